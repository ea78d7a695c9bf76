"""Text in any script: the form in which two texts are compared, and the words they are made of.

    same(a, b)  ⇔  fold(a) = fold(b),      fold = NFC ∘ casefold ∘ NFD, white space collapsed (Unicode Standard, 3.13, D145)

"é" is one character or two, Σ ends a word as ς, German ß is SS in capitals: compared by code point, equal words differ. A word is a run of letters,
digits and the marks on them; Chinese, Japanese, Thai, Lao, Khmer, Burmese and Tibetan put no spaces between words, so their unit is the character with
its marks. In production: ICU's break iterators, which know dictionaries.
"""

import re
import unicodedata
from functools import lru_cache

import regex

_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}ー\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}&&\p{L}]"
# a letter, digit or mark that, beside another, stands inside a word
_WITHIN = r"[[\p{L}\p{N}\p{M}]--[\p{Han}\p{Hiragana}\p{Katakana}ー\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]]"
_CLUSTER = regex.compile(rf"{_UNSPACED}\p{{M}}*", regex.V1)
_IDEOGRAPH = regex.compile(r"\p{Han}")
_SPAN = regex.compile(rf"(?:{_UNSPACED}\p{{M}}*(?:(?!{_UNSPACED})\p{{P}})*|(?:(?!{_UNSPACED})\S)+)\s*", regex.V1)
_ASCII_SPAN = re.compile(r"\S+\s*")
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))  # soft hyphen, zero-width space and joiners, byte order mark


def one_line(text: str) -> str:
    """The text with every run of white space as one space."""
    return " ".join(text.split())


def fold(text: str) -> str:
    """The form in which texts are compared where case does not count: folded, composed (NFC), with single spaces."""
    folded = text.casefold() if text.isascii() else unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())
    return one_line(folded)


def place(part: str, text: str, start: int = 0) -> int:
    """Where `part` stands in `text` as words and numbers of its own, -1 where it does not: "3" is not in "13 toys", "3.5" or "1930". Both in NFC."""
    before = rf"(?<!{_WITHIN})" if regex.match(_WITHIN, part, regex.V1) else ""
    behind = rf"(?!{_WITHIN})" if regex.search(rf"{_WITHIN}\Z", part, regex.V1) else ""
    before += r"(?<!\d[.,:'’])" if part[:1].isdigit() else ""
    behind += r"(?![.,:'’]\d)" if part[-1:].isdigit() else ""
    found = regex.compile(f"{before}{regex.escape(part, literal_spaces=True)}{behind}", regex.V1).search(text, start)
    return found.start() if found and part else -1


def words(text: str, *, inside: str = "", between: str = "", size: int = 1) -> list[str]:
    """The words of `text`, folded, in order: runs of letters, digits and marks, and of the characters of `inside`.

    The characters of `between` hold two words together ("-:": AD-176, 11:45). Scripts without spaces give the n-grams of `size` characters of each
    run (a shorter run as it is), and with size > 1 every ideograph alone as well, since it is a word of its own. Raises ValueError for size < 1.
    """
    if size < 1:
        raise ValueError(f"size={size}, but a run is cut into pieces of at least one character")
    text = fold(text.translate(_INVISIBLE))
    if text.isascii():
        return _ascii_pattern(inside, between).findall(text)
    found: list[str] = []
    for match in _pattern(inside, between).finditer(text):
        if match["run"] is None:
            found.append(match[0])
            continue
        clusters = _CLUSTER.findall(match[0])
        found += ["".join(clusters[i : i + size]) for i in range(max(1, len(clusters) - size + 1))]
        found += [c for c in clusters if _IDEOGRAPH.match(c)] if size > 1 < len(clusters) else []
    return found


def word_spans(text: str) -> list[tuple[int, int]]:
    """(start, end) of every word as it is written, with the punctuation and the spaces after it: cut at white space, and after every character of
    a script without spaces."""
    return [m.span() for m in (_ASCII_SPAN if text.isascii() else _SPAN).finditer(text)]


@lru_cache
def _ascii_pattern(inside: str, between: str) -> re.Pattern:
    word = rf"[a-z0-9{re.escape(inside)}]+"
    return re.compile(rf"{word}(?:[{re.escape(between)}]{word})*" if between else word)


@lru_cache
def _pattern(inside: str, between: str):
    letter = rf"(?:(?!{_UNSPACED})[\p{{L}}\p{{N}}{regex.escape(inside)}]\p{{M}}*)"
    word = rf"{letter}+(?:[{regex.escape(between)}]{letter}+)*" if between else f"{letter}+"
    return regex.compile(rf"(?P<run>(?:{_UNSPACED}\p{{M}}*)+)|{word}", regex.V1)
