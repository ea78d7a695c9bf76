"""Numbers in text: every row of the module's table, everything that is no number, and parity with Python's own arithmetic where it can read."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsuite_lab.core.values import canonical, finite, normalise_answer, number, numbers, plain, stated

WRITTEN = {
    "74": ["74", "74.0", "074", " 74. ", "+74", "$74", "74 $", "74 €", "£ 74", "٧٤", "७४", "７４", "۷۴"],
    "1234": ["1,234", "1 234", "1\u00a0234", "1\u202f234", "1'234", "1’234", "1٬234", "$1,234.00", "1234,0", "1.234e3", "1_234"],
    "1000": ["1,000", "1 000", "1e3", "10³", "1.0 × 10³", "1.0 x 10^3", "1.0*10^3", "1X10³", "1.000,0"],
    "1": ["1.000", "1,0", "3/3"],
    "1234567.5": ["1,234,567.5", "1.234.567,5", "1 234 567,5", "1 234 567.50", "1'234'567.5", "2469135/2"],
    "100000": ["1,00,000", "₹ 1,00,000.00", "100,000", "100_000", "१,००,०००"],
    "1234567.25": ["12,34,567.25", "1_234_567.25"],
    "1250.5": ["$1,250.50", "1.250,50", "1250,5", "1250.5"],
    "0.125": ["0,125", ".125", "1/8", "⅛", "1.25e-1", "1.25 · 10⁻¹"],
    "1.5": ["1 1/2", "1½", "1 ½", "3/2", "1,5", "1٫5"],
    "-5": ["-$5.", "$-5", "-$ 5", "−5", "–5", "‒5", "－5", "- 5", "-5.00", "-٥"],
    "100": ["10²", "10^2", "1E2"],
    "1/3": ["1/3", "2/6", "⅓"],
    "0": ["0", "-0", "0.0", "0/7"],
}
NO_NUMBERS = [
    "", " ", "-", ".", "e5", "nan", "NaN", "inf", "-Infinity", "seven", "5%", "74 loaves", "12,345,67", "1.2.3", "1,2,3", "2019-04-02", "02.04.2019",
    "4/5/2019", "12:30", "AD-176", "10₂", "1/0", "1_00", "1_0000", "0_100", "1_00_000", "0x1F", "0x10", "0b1", "5-", "--5", "3-5", "(5)", "1e", "10^9999999",
    "1e9999", "1e-9999", "2 x 10^12345", "1,0,000", "123,45,678", "01,00,000", "1,00,00", "1.00.000", "9" * 5000, "1,23.4,5", "5 5",
]  # fmt: skip


@pytest.mark.parametrize(("value", "text"), [(value, text) for value, texts in WRITTEN.items() for text in texts])
def test_a_number_is_read_in_every_way_of_writing_it(value, text):
    assert number(text) == Fraction(value)
    assert canonical(number(text)) == normalise_answer(text) == value


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_number_is_none(text):
    assert number(text) is None
    with pytest.raises(ValueError, match="is not a number"):
        finite(text)


@given(st.integers(-(10**20), 10**20), st.integers(0, 6))
def test_any_decimal_is_read_exactly(digits, places):
    value = Fraction(digits, 10**places)
    english = f"{abs(digits) // 10**places:,}" + (f".{abs(digits) % 10**places:0{places}}" if places else "")
    german = english.translate(str.maketrans(",.", ".,"))
    sign = "-" if digits < 0 else ""
    assert number(sign + english) == value
    assert number(f"{sign}${english}.") == value
    if places != 3 and english.count(",") != 1:  # one mark in front of three digits is read as English has it
        assert number(sign + german) == value


@given(st.fractions())
def test_the_canonical_text_is_read_back(value):
    assert number(canonical(value)) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_float_is_read_as_python_reads_it(value):
    assert finite(repr(value)) == value == finite(value)


@pytest.mark.parametrize("value", [None, True, [7], {}, math.nan, math.inf, 10**400, "1e400"])
def test_what_a_data_file_may_not_hold_is_refused(value):
    with pytest.raises(ValueError, match="is not a"):
        finite(value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("12 - 5 = 7", ["12", "5", "7"]),
        ("12-5=7, 12 −5 = 7", ["12", "5", "7", "12", "5", "7"]),
        ("it fell to -5, then (-6) and −$7.", ["-5", "-6", "-7"]),
        ("3–5 days, 5-year", ["3", "5", "5"]),
        ("on 2019-04-02, 2.4.2019, 4/2/19, 4 March, March 4, 2019 at 12:30 there were 9", ["9"]),
        ("K-52, AD-176, A4, v1.2, covid-19, x2 and 1.2.3", []),
        ("5km, 3rd, 10am, #4", ["5", "3", "10", "4"]),
        ("20% of 50", ["20", "50"]),
        ("1 1/2 cups and ¾", ["1.5", "0.75"]),
        ("10 000 and 10\u00a0000 and 1,5", ["10", "0", "10000", "1.5"]),
        ("x² and 10² m²", ["100"]),
        ("A list: 1, 2, 3. The end.", ["1", "2", "3"]),
        ("<<48/2=24>>24", ["24", "24", "24"]),
        ("0x10 and B12x3, but 2x4x6 and 3.5 X $2", ["2", "4", "6", "3.5", "2"]),
        ("₹ 1,00,000 or 12,34,567.5 of 1_000 and 1_000_000, not 1_00, 1_00_000, 12_3, 10₂ or a_100", ["100000", "1234567.5", "1000", "1000000"]),
        ("1e9999, 1E-12345, 10^9999999, 2.5 × 10^12345, 0x1F, 0b101, 1e5 and 10^3", ["100000", "1000"]),
        ("May 5 people come in 2019?", ["5", "2019"]),
    ],
)
def test_numbers_in_running_text(text, found):
    assert [canonical(n.value) for n in numbers(text)] == found


@given(st.text(alphabet="0123456789 .,-/'%$e^:²½−٣\u00a0abxX(=+", max_size=30))
def test_positions_and_order_hold_for_any_text(text):
    found, written = numbers(text), plain(text)
    assert plain(written) == written
    assert all(0 <= n.start < n.end <= len(written) for n in found)
    assert all(a.end <= b.start for a, b in zip(found, found[1:]))
    assert all(any(c.isdigit() for c in written[n.start : n.end]) for n in found)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("74.", "74"), ("12 - 5 = 7", "7"), ("$12 − $5 = $7 each", "7"), ("(12 - 5) * 2 = 14", "14"), ("2 + 1 + 3 = 3 + 3 = 6", "6"), ("7/2 = 4", "4"),
        ("1,000 + 250 = 1,250.", "1250"), ("3 apples, 2 + 2 = 4", "3"), ("5 - 7 = -2", "-2"), ("12 345", "12345"), ("about 2019-04-02", None), ("none", None),
        ("5 x 3 = 15", "15"), ("2x3x4 = 24.", "24"), ("5x + 3 = 8", "5"), ("7 = 3 + 4", "7"), ("12 - 5 = 10 - 3 = 7", "7"), ("12 - 5 = 7 - so", "7"),
        ("12 - 5 = 3 + 4", None), ("12 - 5", None), ("2 + 4 = 3 + 3 = 5 + 1", None), ("12 - 5 = (3 + 4)", None), ("7 = 3 + 4 = 5 + 2", "7"),
        ("12 - 5 = 3 + 4 = 7", "7"), ("12 - 5 = 7 = 3 + 4", "7"), ("1,00,000 + 1_000 = 1,01,000", "101000"), ("1e9999", None), ("0x10", None),
    ],
)  # fmt: skip
def test_what_an_answer_states(text, value):
    found = stated(text)
    assert (None if found is None else canonical(found.value)) == value


@given(st.text(max_size=30))
def test_normalising_twice_changes_nothing_for_a_number(text):
    once = normalise_answer(text)
    if number(once) is not None:
        assert normalise_answer(once) == once


@pytest.mark.timeout(60)  # a pattern tried anew at each letter takes a hundred times as long
@pytest.mark.parametrize("piece", ["a", "_", "x1", "1_", "a-", "0x", "a1-"])
def test_one_very_long_word_is_read_in_a_moment(piece):
    assert len(numbers(piece * 200_000)) <= 1


@pytest.mark.timeout(60)  # what goes back to the beginning at each step takes hundreds of times as long
@pytest.mark.parametrize(("piece", "said"), [("1,", None), ("1.,", 1), ("=1", 1), ("1=", 1), ("1+", None), ("1.1.2000,", None), ("1/1/", None)])
def test_one_very_long_row_of_numbers_is_read_in_a_moment(piece, said):
    found = stated(piece * 50_000)
    assert (None if found is None else found.value) == said
    assert stated(f"{'1' * 5000}/7 5").value == 5, "no number has so many digits, in a fraction either"


@pytest.mark.parametrize("text", ["0x99x9_E-50", "0x0bo9-2/", "0oAb_-2", "1__a5", "1_a-5"])
def test_a_code_is_hidden_whole_wherever_its_word_begins(text):
    assert all(found.value == 1 for found in numbers(text))
