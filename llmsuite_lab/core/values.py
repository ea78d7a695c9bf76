"""Values: the one place where a number is read from text, for every reader and every score.

| written | read as |
|---|---|
| 1,234 · 1.234.567 · 1 234 · 1'234 · 1٬234 · 1_234 | thousands: one to three digits, not 0, then groups of exactly three |
| 1,00,000 · 12,34,567.50 | lakh and crore: one or two digits, not 0, groups of two, the last of three, by commas |
| 1.5 · .5 · 1٫5 | a single dot is the decimal point: 1.000 is one |
| 1,5 · 0,125 · 1234,5 | a single comma that cannot group thousands is the decimal comma |
| 1.000,50 · 1,000.50 | of two marks the last, if it stands once, is the decimal one |
| 3/4 · 1 1/2 · 1½ · 1e6 · 10² · 2.5 × 10⁶ · 2.5 x 10^6 | their value, exactly |
| -$5. · $-5 · −5 · –5 · € 5 · 5 € | sign and currency in any order; a full stop behind is not part of the number |
| 5% | 5, and a per cent sign that `normalise_answer` keeps |
| ٧٤ · ७४ · ７４ | digits of any script |

What is ambiguous is read as English: 1,000 is a thousand and 1.000 is one. In running text a minus behind a number is an operator ("12 - 5 = 7"), an
ordinary space groups nothing (a no-break one does; in an answer both do), and dates, clock times, versions (1.2.3), codes (AD-176, A4, 0x10, 1_00) and
digits in another base (10₂) are no numbers: none is read from a part of them. Nor are "nan", "inf", number words, and powers of ten beyond three digits
(1e9999), so that nothing becomes infinite. An answer that is only an expression ("12 - 5", "12 - 5 = 3 + 4") states no number: nothing is worked out
on its behalf. In production: ICU's number parsing, which is told the locale.
"""

import math
import re
import unicodedata
from collections import deque
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

_RAISED = re.compile(r"(?<=[\d)])[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
_LOWERED = re.compile(r"(?<=\d)[₀₁₂₃₄₅₆₇₈₉]+")
_VULGAR = re.compile(r"(?<=\d)\s?(?=[¼½¾⅐-⅞])")
_NO_BREAK = re.compile("[\u00a0\u2007\u2009\u202f]")
_NO_BREAK_SPACE = "\u00a0"
_TIMES = re.compile(  # an x that multiplies: 5 x 3 and 2x3x4, but not 0x10, B12x3, 4x
    r"(?<=[\d)%])[ \t][xX](?=[ \t]?[($€£]*\.?[0-9])|(?<![\w.,-])(?!0[xX])[0-9][0-9.,]*(?:[xX][($€£]*[0-9][0-9.,]*)+(?![^\W\d])"
)
_MARKS = str.maketrans("‐‒–−‘’ʼ“”„«»⁄٫٬٪", "----" + "'''" + '"""""' + "/.'%")
# digits with marks between them: what comes between two digits and is no part of a number is found out in `_read`
NUMERAL = rf"(?:(?<![\w.])\.)?[0-9](?:[0-9]|[.,](?=[0-9])|['_{_NO_BREAK_SPACE}](?=[0-9]{{3}}(?![0-9])))*"
_LONGEST = 400  # characters of a numeral: no float is longer, and Python refuses to read an integer of some thousands
_CURRENCY = "$£€¥₹₽₩₺₴₪¢"
_NUMBER = re.compile(
    rf"""(?P<sign>[-+](?=\.?[0-9{_CURRENCY}]))?(?:[{_CURRENCY}]\s?)?(?P<inner>(?<=[{_CURRENCY}])-)?
    (?:(?:(?P<whole>[0-9]+)[ {_NO_BREAK_SPACE}])?(?<![./])(?P<above>[0-9]+)/(?P<below>[0-9]+)(?![0-9/]|[.,][0-9])
      |(?P<numeral>{NUMERAL})(?:[eE](?P<exponent>[-+]?[0-9]{{1,3}})(?!\w))?(?:\s?[×·*]\s?10\^(?P<tens>-?[0-9]{{1,3}}))?(?:\^(?P<power>-?[0-9]{{1,3}}))?)
    (?P<percent>\s?%)?(?:\s?[{_CURRENCY}](?!\d))?""",
    re.VERBOSE,
)
_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_YEAR = r"(?:,?\ [0-9]{4}\b)"
_CODE = r"(?!(?<=[0-9])_)[^\W\d]\w*(?:[-_]?[0-9][\w.]*(?<!\.))+"  # tried where a word begins only: at each letter, a long word would take its square
_NO_NUMBER = re.compile(
    rf"""(?<![\w.])[0-9]{{4}}([-/.])[0-9]{{1,2}}\1[0-9]{{1,2}}(?![0-9])|(?<![\w.])[0-9]{{1,2}}([-/.])[0-9]{{1,2}}\2(?:[0-9]{{4}}|[0-9]{{2}})(?![0-9])
    |(?<!\d)[0-9]{{1,2}}:[0-9]{{2}}(?::[0-9]{{2}})?(?![0-9])
    |(?<!\d)[0-9]{{1,2}}(?:st|nd|rd|th)?(?:\ of)?\ {_MONTH}\b{_YEAR}?
    |\b{_MONTH}\ [0-9]{{1,2}}(?:(?:st|nd|rd|th)\b{_YEAR}?|{_YEAR})
    |(?<![\w.])(?:0[xXbBoO][0-9a-fA-F]+(?:{_CODE})?|(?![1-9][0-9]{{0,2}}(?:_[0-9]{{3}})+(?![0-9_]))[0-9]+(?:_[0-9]+)+)
    |(?<![\w.])[0-9][0-9.,]{{0,{_LONGEST}}}+(?:(?:\s?[×·*]\s?10)?\^|[eE])[-+]?[0-9]{{4,}}
    |(?:(?<![^\W\d])|(?<=[0-9]_)){_CODE}|\^[0-9]+|(?:(?<![0-9])_|_(?![0-9]{{3}}(?![0-9])))[0-9]+""",
    re.VERBOSE,
)
_VALUE_BEFORE = re.compile(r"(?:[\d)%]\s*|\w)\Z")  # a sign behind one is an operator or the dash of a range
_SPACED_GROUPS = re.compile(r"(?<![\w.,])[1-9][0-9]{0,2}(?: [0-9]{3})+(?![0-9])")
_FURTHER = re.compile(rf"[ \t]*[-+*/×÷·][ \t]*\(*[{_CURRENCY}]?\.?[0-9]")  # behind a number that is only the first of an expression
_REST_OF_EQUATION = re.compile(rf"(?:[ \t]*[-+*/×÷·][ \t]*\(*[{_CURRENCY}]?{NUMERAL}\)*%?)*[ \t]*=[ \t]*")


@dataclass(frozen=True)
class Number:
    """A number found in `plain(text)[start:end]`: its exact `value`, how many decimal `places` were written, and whether a per cent sign follows."""

    value: Fraction
    start: int
    end: int
    places: int = 0
    percent: bool = False


def plain(text: str) -> str:
    """`text` with one form of every digit, minus, quotation mark and fraction: compatibility forms resolved (NFKC), but 10² is 10^2, 10₂ 10_2, and an x
    between two numbers is ×."""
    text = _VULGAR.sub(" ", _RAISED.sub(lambda m: f"^{m[0]}", _LOWERED.sub(lambda m: f"_{m[0]}", text)))
    text = _NO_BREAK_SPACE.join(unicodedata.normalize("NFKC", part) for part in _NO_BREAK.split(text)).translate(_MARKS)
    text = text if text.isascii() else "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)
    return _TIMES.sub(lambda m: m[0].replace("x", "×").replace("X", "×"), text)


def number(text: str) -> Fraction | None:
    """The number that the whole of `text` is, exactly; None when it is anything else, a number with a unit or a per cent sign among them."""
    found = _whole(text)
    return found.value if found is not None and not found.percent else None


def finite(value: Any) -> float:
    """A number of a data file, given as a number or as text. Raises ValueError for anything else: null, true, lists, nan, infinity, other text."""
    found: Any = (
        number(value) if isinstance(value, str) else value if isinstance(value, int | float) and not isinstance(value, bool) else None
    )
    if found is None:
        raise ValueError(f"{value!r:.60} is not a number")
    try:
        read = float(found)
    except OverflowError:
        read = math.inf
    if not math.isfinite(read):
        raise ValueError(f"{value!r:.60} is not a finite number")
    return read


def numbers(text: str) -> list[Number]:
    """All numbers in a running text, in order; positions are those in `plain(text)`."""
    text = plain(text)
    hidden = deque(m.span() for m in _NO_NUMBER.finditer(text))
    found: list[Number] = []
    position = 0
    while match := _NUMBER.search(text, position):
        position = match.end()
        while hidden and hidden[0][1] <= match.start():
            hidden.popleft()
        end = match.end("numeral" if match["numeral"] else "below")
        if hidden and hidden[0][0] < end:
            while hidden and hidden[0][0] < end:  # whatever begins between two of them ends no sooner than this one does
                position = hidden.popleft()[1]
            continue
        if (read := _read(match)) is None:
            continue
        if match["sign"] and _VALUE_BEFORE.search(text, max(0, match.start() - 8), match.start()):
            read = replace(read, value=-read.value if match["sign"] == "-" else read.value, start=match.end("sign"))
        found.append(read)
    return found


def stated(text: str) -> Number | None:
    """The number that an answer states: its first, or, where an equation begins there, the last side that is a number alone ("12 - 5 = 7" says 7, and so
    does "7 = 12 - 5"). None where that is an expression and no side is a number: "12 - 5 = 3 + 4" states none."""
    text = _SPACED_GROUPS.sub(_unbroken, plain(text))
    found = numbers(text)
    if not found:
        return None
    side, said = found[0], None if continues(text, found[0].end) else found[0]
    at = {n.start: n for n in found}
    while (rest := _REST_OF_EQUATION.match(text, side.end)) and (right := at.get(rest.end())):
        side, said = right, said if continues(text, right.end) else replace(right, start=found[0].start)
    return said


def continues(text: str, end: int) -> bool:
    """Whether the number that ends at `plain(text)[end]` is only the first of an expression: an operator and a number stand behind it."""
    return _FURTHER.match(text, end) is not None


def canonical(value: Fraction) -> str:
    """One text for one value: "74", "-0.5", "1250.5"; a fraction in lowest terms where no decimal is exact ("1/3")."""
    places, below = 0, value.denominator
    while below % 10 == 0:
        below, places = below // 10, places + 1
    while below % 2 == 0:
        below, places = below // 2, places + 1
    while below % 5 == 0:
        below, places = below // 5, places + 1
    if below != 1:
        return f"{value.numerator}/{value.denominator}"
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    whole, decimals = (digits[:-places], digits[-places:].rstrip("0")) if places else (digits, "")
    return ("-" if value < 0 else "") + whole + (f".{decimals}" if decimals else "")


def normalise_answer(text: str) -> str:
    """The form in which two answers are compared: case, spaces, outer quotes and a closing full stop do not count; numbers by value.

    "1,250.50", "$1250.5" and "1250.50" become "1250.5", "3/4" becomes "0.75". Nothing else is removed: "74 loaves" is not "74", "5%" is not "5", and
    "Yes, because …" is not "yes". A longer text that merely contains the answer is another answer.
    """
    text = " ".join(plain(text).casefold().split())
    text = unicodedata.normalize("NFC", text).removesuffix(".").strip("\"'` ").removesuffix(".").strip()
    found = _whole(text)
    return text if found is None else canonical(found.value) + "%" * found.percent


def _unbroken(match: re.Match) -> str:
    return match[0].replace(" ", _NO_BREAK_SPACE)


def _whole(text: str) -> Number | None:
    text = _SPACED_GROUPS.sub(_unbroken, plain(text).strip().removesuffix(".").rstrip())
    match = _NUMBER.fullmatch(re.sub(r"^([-+]) ", r"\1", text))
    return None if match is None else _read(match)


def _read(match: re.Match) -> Number | None:
    """The value of a match of `_NUMBER`; None when its marks do not make a number."""
    minus = (match["sign"] == "-") != (match["inner"] is not None)
    if match["above"] is not None:
        if max(map(len, match.group("above", "below"))) > _LONGEST or len(match["whole"] or "") > _LONGEST or int(match["below"]) == 0:
            return None
        value, places = int(match["whole"] or 0) + Fraction(int(match["above"]), int(match["below"])), 0
    else:
        if (read := _decimal(match["numeral"])) is None:
            return None
        value, places = read
        value *= Fraction(10) ** (int(match["exponent"] or 0) + int(match["tens"] or 0))
        if match["power"] is not None:
            if value == 0 or len(match["numeral"]) > 4 or match["exponent"] or match["tens"]:
                return None  # no answer is written so, and its digits could fill the memory
            value **= int(match["power"])
    return Number(-value if minus else value, match.start(), match.end(), places, match["percent"] is not None)


def _decimal(numeral: str) -> tuple[Fraction, int] | None:
    """(value, decimal places) of digits and marks by the table above."""
    if len(numeral) > _LONGEST:
        return None
    marks = [c for c in numeral if not c.isdigit()]
    if not marks:
        return Fraction(int(numeral)), 0
    last = marks[-1]
    head, _, tail = numeral.rpartition(last)
    others = set(marks[:-1])
    if len(set(marks)) == 1 and _grouped(numeral, last) and not (last == "." and len(marks) == 1):
        return Fraction(int(numeral.replace(last, ""))), 0
    if last not in ".," or last in others or len(others) > 1 or (others and not _grouped(head, *others)) or (last == "," and not head):
        return None
    return Fraction(int("".join(c for c in head if c.isdigit()) + tail), 10 ** len(tail)), len(tail)


def _grouped(numeral: str, mark: str) -> bool:
    first, *groups = numeral.split(mark)
    lakhs = mark == "," and len(groups) > 1 and len(first) < 3  # 1,00,000: only the last group has three
    return 1 <= len(first) <= 3 and first[0] != "0" and [len(g) for g in groups] in ([3] * len(groups), [2] * (len(groups) - 1) + [3] * lakhs)
