"""Chunking: cut a document into passages small enough for the embedder and the context budget.

    chunk_j = tokens[j(size − overlap) : j(size − overlap) + size]

so that neighbours share `overlap` tokens and a fact on a border stands whole in one of them (as long as it is no longer than the overlap). By
sentences or headings the border falls where the author put one. Production: `langchain_text_splitters`.
"""

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import regex

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.text import word_spans
from llmsuite_lab.lm.text import offsets

# a full stop of a script with capitals ends a sentence where one begins behind it; those of other scripts end it always, the Chinese without a space
_SENTENCE_END = regex.compile(
    r"(?<=[.!?])[\"'”’)]*\s+(?=[\"'“‘(]?[\p{Lu}\p{Lt}\p{Lo}0-9])|(?<=[।॥؟۔։።၊။])[\"'”’)»]*\s+|(?<=[。！？｡])[”’」』）]*\s*"
)

_MARKS = {  # Unicode Standard, 23.8; UTF-32's begins as UTF-16's does
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True)
class Chunk:
    """A piece of a document: `text == document[start:end]` (characters), under `heading` ("" where there is none)."""

    text: str
    start: int
    end: int
    heading: str = ""


def by_tokens(text: str, size: int, overlap: int = 0, offsets: Callable[[str], list[tuple[int, int]]] | None = None) -> list[Chunk]:
    """Windows of `size` tokens, each sharing `overlap` tokens with the one before; the last may be shorter.

    `offsets` gives every token's (start, end) in characters, such as `token_offsets(tokenizer)`; without it, a token is a word.
    Raises ValueError for size < 1 or an overlap that is not smaller than the size.
    """
    _check(size, overlap, "tokens")
    spans = (offsets or word_spans)(text)
    chunks, step = [], size - overlap
    for first in range(0, len(spans), step):
        window = spans[first : first + size]
        chunks.append(_chunk(text, window[0][0], window[-1][1]))
        if first + size >= len(spans):  # what follows would repeat the overlap and nothing else
            break
    return chunks


def by_sentences(text: str, size: int, overlap: int = 0) -> list[Chunk]:
    """Windows of whole sentences of at most `size` words together, beginning again with the last `overlap` sentences.

    A sentence longer than `size` stands alone, whole. Raises ValueError for size < 1 or overlap < 0.
    """
    if size < 1 or overlap < 0:
        raise ValueError(f"size={size} words, overlap={overlap} sentences: the size must be at least 1, the overlap at least 0")
    borders = [0, *(m.end() for m in _SENTENCE_END.finditer(text)), len(text)]
    sentences = [(a, b) for a, b in zip(borders, borders[1:]) if text[a:b].strip()]
    lengths = [len(word_spans(text[a:b])) for a, b in sentences]
    chunks, first = [], 0
    while first < len(sentences):
        last = first + 1
        while last < len(sentences) and sum(lengths[first : last + 1]) <= size:
            last += 1
        chunks.append(_chunk(text, sentences[first][0], sentences[last - 1][1]))
        if last == len(sentences):
            break
        first = max(first + 1, last - overlap)
    return chunks


def by_headings(text: str, size: int | None = None) -> list[Chunk]:
    """One chunk per Markdown heading with a body, `heading` holding the path ("Handbook > People > Ann Lee"); fenced code is no heading.

    With `size`, bodies longer than that many words are cut further by sentences. Text before the first heading gets heading "". A heading with nothing
    below it is a chunk itself, under the headings above it.
    """
    path: dict[int, str] = {}
    chunks: list[Chunk] = []
    start, position, fence, last = 0, 0, "", (0, 0, 0)  # last: level of the heading above, and where its words stand

    def close(end: int, following: int = 1) -> None:
        level, a, b = last
        if not text[start:end].strip():
            if following <= level:
                chunks.append(Chunk(text[a:b], a, b, " > ".join(path[known] for known in sorted(path) if known < level)))
        else:
            heading = " > ".join(path[known] for known in sorted(path))
            body = _chunk(text, start, end)
            parts = [body] if size is None else by_sentences(body.text, size)
            chunks.extend(Chunk(p.text, body.start + p.start, body.start + p.end, heading) for p in (_from_zero(body, parts)))

    for line in text.splitlines(keepends=True):
        mark = line.lstrip()[:3]
        if mark in ("```", "~~~") and fence in ("", mark):  # what opened a block closes it
            fence = "" if fence else mark
        heading = None if fence else re.match(r"(#{1,6}) +(\S.*)", line)
        if heading:
            level, title = len(heading[1]), _title(heading[2])
            close(position, level)
            last = (level, position + heading.start(2), position + heading.start(2) + len(title))
            path = {known: title for known, title in path.items() if known < level} | {level: title}
            start = position + len(line)
        position += len(line)
    close(len(text))
    return chunks


def _title(written: str) -> str:
    """A heading's words without the signs that may close it: "Cats ##" is Cats, "C#" is C#."""
    bare = written.rstrip().rstrip("#")
    return bare.rstrip() if bare[-1:].isspace() else written.rstrip()


def _from_zero(body: Chunk, parts: list[Chunk]) -> list[Chunk]:
    """`parts` with positions counted from the body's first character."""
    return [Chunk(body.text, 0, len(body.text))] if parts == [body] else parts


def token_offsets(tokenizer) -> Callable[[str], list[tuple[int, int]]]:
    """A function for `by_tokens` that cuts as this (fast) tokenizer does."""

    return lambda text: [(a, b) for a, b in offsets(tokenizer, text) if b > a]


def read_document(path: Path, encoding: str = "utf-8") -> str:
    """The text of a document file, its lines ending in "\\n"; a byte order mark says its encoding, whatever `encoding` is, and is no part of the text.

    Raises LabError when it is missing or not in this encoding, with the offending byte and what to try.
    """
    try:
        data = path.read_bytes()
        encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), encoding)
        return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        raise LabError(f"No document at {path}.") from None
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise LabError(
            f"{path.name} is not {encoding}: byte 0x{byte:02x} at position {error.start}. "
            f"If you know its encoding, pass it, such as encoding='latin-1' or 'utf-16'; guessing would index wrong words."
        ) from None


def _chunk(text: str, start: int, end: int) -> Chunk:
    """The chunk of text[start:end] without the white space around it."""
    inner = text[start:end]
    start += len(inner) - len(inner.lstrip())
    return Chunk(inner.strip(), start, start + len(inner.strip()))


def _check(size: int, overlap: int, unit: str) -> None:
    if size < 1 or not 0 <= overlap < size:
        raise ValueError(
            f"size={size}, overlap={overlap} {unit}: the size must be at least 1, the overlap at least 0 and smaller than the size"
        )
