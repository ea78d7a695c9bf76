"""Text of any script: equal words are equal, and there are words where no spaces are."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsuite_lab.core.text import fold, place, word_spans, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("café", "cafe\u0301"),
        ("STRASSE", "straße"),
        ("ΟΔΟΣ", "οδος"),
        ("Ёлка", "ЁЛКА"),
        ("à  la\ncarte", "À la carte"),
        ("가", "\u1100\u1161"),
    ],
)
def test_equal_texts_are_equal_however_they_are_encoded(one, other):
    assert fold(one) == fold(other)


@given(st.text(max_size=40))
def test_composed_and_decomposed_text_fold_alike_and_have_the_same_words(text):
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert fold(composed) == fold(decomposed) == fold(fold(text))
    assert words(composed, size=2) == words(decomposed, size=2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("हिन्दी में लिखा है।", ["हिन्दी", "में", "लिखा", "है"]),
        ("Привет, мир!", ["привет", "мир"]),
        ("שָׁלוֹם עולם", ["שָׁלוֹם", "עולם"]),
        ("می\u200cخواهم برو", ["میخواهم", "برو"]),
        ("한국어 문장.", ["한국어", "문장"]),
        ("黒猫がいる。AI と", ["黒", "猫", "が", "い", "る", "ai", "と"]),
        ("น้ำ ok", ["น้", "ำ", "ok"]),
        ("it's x_1, AD-176 at 11:45", ["it", "s", "x", "1", "ad", "176", "at", "11", "45"]),
    ],
)
def test_words_keep_their_marks_and_scripts_without_spaces_have_characters(text, expected):
    assert words(text) == expected


def test_n_grams_of_unspaced_runs_and_joined_words():
    assert words("黒猫が AD-176 x_1", inside="_", between="-", size=2) == ["黒猫", "猫が", "黒", "猫", "ad-176", "x_1"]
    assert words("猫", size=2) == ["猫"]
    with pytest.raises(ValueError, match="size=0"):
        words("猫", size=0)


@given(st.text(alphabet=st.characters(max_codepoint=127), max_size=60))
def test_english_is_cut_as_ever(text):
    """In ASCII the words are the regular expression that BM25 counted with, and the spans are those between white space."""
    assert words(text, inside="_", between="-:") == re.findall(r"\w+(?:[-:]\w+)*", text.lower())
    assert [text[a:b] for a, b in word_spans(text)] == re.findall(r"\S+\s*", text)


@given(st.text(alphabet="ab .。猫のกำ\n", max_size=40))
def test_spans_cover_every_character_but_leading_space(text):
    assert "".join(text[a:b] for a, b in word_spans(text)) == text.lstrip()


@pytest.mark.parametrize(
    ("part", "text", "at"),
    [
        ("3", "13 toys, 3.5 of 1930 at 3:00 and 3", 33), ("no", "note: no.", 6), ("333", "高さ333メートル", 2), ("東京", "東京タワー", 0),
        ("Café", "Cafés, Café", 7), ("C++", "C++ and C", 0), ("14 crowns.", "it costs 14 crowns.", 9),
        ("7:40", "at 7:40.", 3), ("5", "1,5", -1), ("", "", -1), ("ค", "คน", 0),
    ],
)  # fmt: skip
def test_a_part_stands_in_a_text_as_words_of_its_own(part, text, at):
    assert place(part, text) == at
