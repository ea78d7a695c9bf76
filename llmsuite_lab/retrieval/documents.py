"""Documents of one's own as passages: a folder of Markdown, text, HTML and PDF files, or the rows of a table.

    file → text (headings as Markdown, pages kept) → chunks of at most `size` words → Passage(id = "folder/file.md#3", document, title, text)

A passage's title is the file's name and the headings above it, so that "it" still says of what. Every passage of a file has that file as its `document`;
only a date tells one version of a document from another. What cannot be read is left out and named, with the reason, in what comes back. A link to a
file is read, one to a folder is not followed.
In production: `unstructured`, `docling`, LangChain's document loaders.
"""

import logging
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmsuite_lab.core.errors import LabError, no_empty_name, within
from llmsuite_lab.core.text import word_spans
from llmsuite_lab.retrieval.chunking import by_headings, by_sentences, by_tokens, read_document
from llmsuite_lab.retrieval.html_pages import html_source, html_text, unescaped

SIZE = 120  # words: with its title a passage stays under the embedder's 256 tokens
MARKDOWN, TEXT, HTML, PDF = (".md", ".markdown"), (".txt", ".text", ".rst"), (".html", ".htm"), (".pdf",)
_TEXT_COLUMNS = ("text", "page_content", "content", "passage", "body", "context", "document")
_EMBEDDED = re.compile(r"(data:[\w.+-]+/[\w.+-]+[^,\s]{0,100};base64,)[A-Za-z0-9+/=]+")  # a picture in the middle of a text
_NAMED = 5  # files that a warning names


@dataclass(frozen=True)
class Passage:
    """A piece of a document. `dated`: an ISO date where versions of one document are told apart, else ""."""

    id: str
    document: str
    title: str
    text: str
    dated: str = ""


@dataclass(frozen=True)
class Skipped:
    """A file, some pages of one, a folder or a row that was left out, and why."""

    file: str
    reason: str


def read_folder(folder: str | Path, *, size: int = SIZE, encoding: str = "utf-8") -> tuple[list[Passage], list[Skipped]]:
    """The passages of all files below `folder` (or of one file), in the order of their names, and what was left out; hidden files are not looked at.

    Raises LabError for a folder that is not there or holds no readable text, ValueError for a size below 1.
    """
    within("size", size, 1, 100_000)
    no_empty_name("folder", folder)
    place = Path(folder).expanduser()
    try:
        place.stat()
    except PermissionError as error:
        raise LabError(f"{place} cannot be opened ({error.strerror}): name a folder that you may read") from error
    except OSError as error:
        raise LabError(f"there is no folder {place}: name one that holds Markdown, text, HTML or PDF files") from error
    files, skipped = _files(place)
    passages: list[Passage] = []
    for file in files:
        name = file.name if file == place else file.relative_to(place).as_posix()
        if not _is_text(name):
            skipped.append(Skipped(_printable(name), "its name is no text in UTF-8: rename it"))
            continue
        silent: list[int] = []
        try:
            found = list(_passages(file, name, size, encoding, silent))
        except LabError as error:
            skipped.append(Skipped(name, str(error)))
            continue
        except OSError as error:
            skipped.append(Skipped(name, _cannot(error)))
            continue
        if not found:
            skipped.append(Skipped(name, "there is no text in it" + (f" ({_OCR})" if file.suffix.lower() in PDF else "")))
        elif silent:
            skipped.append(Skipped(name, f"there is no text on {len(silent)} of its pages, {_numbers(silent)} ({_OCR})"))
        passages += found
    skipped.sort(key=lambda one: one.file)
    if not passages:
        why = "; ".join(f"{one.file}: {one.reason}" for one in skipped[:3]) or "it is empty"
        raise LabError(f"nothing in {place} can be read ({why}): it takes {', '.join((*MARKDOWN, *TEXT, *HTML, *PDF))}")
    return passages, skipped


def announce(skipped: Sequence[Skipped], besides: Sequence[str] = ()) -> None:
    """Warn of the files that were not read, those named in `besides` excepted: what is missing in a corpus is missing in its scores."""
    left = [one for one in skipped if one.file not in besides]
    if left:
        more = f"; and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
        warnings.warn(f"not read: {'; '.join(f'{one.file} ({one.reason})' for one in left[:_NAMED])}{more}", stacklevel=3)


def from_rows(rows: Iterable[Mapping[str, Any]], *, text: str | None = None, size: int = SIZE) -> list[Passage]:
    """The passages of a table's rows, such as a `datasets.Dataset`: "id", "document", "title" and "dated" are used where there are such columns.

    `text` names the column to read; without it, one called text, content, passage or the like, else the only column that holds strings. A row without
    text is left out. Raises ValueError when the column is not clear or holds something else, for a table of several splits, one without rows or text,
    and a repeated id.
    """
    return read_rows(rows, text=text, size=size)[0]


def read_rows(rows: Iterable[Mapping[str, Any]], *, text: str | None = None, size: int = SIZE) -> tuple[list[Passage], list[Skipped]]:
    """`from_rows`, with the rows that were left out."""
    within("size", size, 1, 100_000)
    if isinstance(rows, Mapping):
        given = ", ".join(map(str, rows))
        raise ValueError(f"this table has several splits ({given}): give one of them; of columns, datasets.Dataset.from_dict makes a table")
    passages: list[Passage] = []
    skipped: list[Skipped] = []
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise ValueError(f"row {number} is a {type(row).__name__}, but it must be a mapping of columns to values (of pandas: df.to_dict('records'))")
        text = text or _text_column(row)
        said = row.get(text)
        if text not in row or not isinstance(said, str | None):
            raise ValueError(f"row {number} has no text under {text!r}, but {_shown(row, text)}")
        name = str(row["id"]) if row.get("id") not in (None, "") else f"row{number}"
        about = {key: str(row[key]) for key in ("document", "title", "dated") if row.get(key) is not None and key != text}
        if half := next((word for word in (name, *about.values(), said or "") if not _is_text(word)), None):
            skipped.append(Skipped(f"row {number}", f"it holds half a character, which is no text ({ascii(half)[:60]})"))
            continue
        pieces = _cut(said or "", size)
        if not pieces:
            skipped.append(Skipped(f"row {number}", f"there is no text in it under {text!r}"))
        for n, (heading, piece) in enumerate(pieces):
            title = about.get("title") or heading or name
            passages.append(Passage(name if len(pieces) == 1 else f"{name}#{n}", about.get("document", name), title, piece, about.get("dated", "")))
    if not passages:
        raise ValueError("the table holds no text: there is nothing to retrieve from")
    seen: set[str] = set()
    if twice := next((p.id for p in passages if p.id in seen or seen.add(p.id)), None):
        raise ValueError(f"{len(passages)} passages have {len({p.id for p in passages})} different ids ({twice!r} twice): each row needs an id of its own")
    return passages, skipped


def pdf_pages(file: Path) -> list[str]:
    """The text of each page of a PDF. Raises LabError for a file that is none, or is locked by a password."""
    from pypdf import PdfReader

    try:
        with _no_log("pypdf"):
            pages = [page.extract_text() for page in PdfReader(file).pages]
        return [page.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for page in pages]  # its fonts may give half characters
    except Exception as error:  # a broken file makes the reader raise whatever its code comes to, an AssertionError too
        raise LabError(f"it cannot be read as PDF ({str(error)[:100] or type(error).__name__})") from error


_OCR = "scanned pages need OCR"


def _files(place: Path) -> tuple[list[Path], list[Skipped]]:
    """The files below `place` in the order of their names, hidden ones aside, and what is there and is none."""
    if not place.is_dir():
        return [place] if place.is_file() else [], [] if place.is_file() else [Skipped(place.name, "it is neither a file nor a folder")]
    skipped: list[Skipped] = []
    files: list[Path] = []

    def leave_out(path: Path, reason: str) -> None:
        skipped.append(Skipped(_printable(path.relative_to(place).as_posix()), reason))

    for folder, inner, names in os.walk(place, onerror=lambda error: leave_out(Path(error.filename), _cannot(error))):
        inner[:] = [name for name in inner if not name.startswith(".")]
        for name in inner:
            if os.path.islink(Path(folder) / name):
                leave_out(Path(folder) / name, "it is a link to a folder, and those are not followed")
        for path in (Path(folder) / name for name in names if not name.startswith(".")):
            try:
                path.stat()
            except OSError as error:
                leave_out(path, "it is a link that leads nowhere" if os.path.islink(path) else _cannot(error))
                continue
            if path.is_file():
                files.append(path)
            else:
                leave_out(path, "it is neither a file nor a folder")
    return sorted(files), skipped


def _cannot(error: OSError) -> str:
    return f"it cannot be opened ({error.strerror or type(error).__name__})"


def _numbers(numbers: list[int], most: int = 5) -> str:
    return ", ".join(map(str, numbers[:most])) + (" …" if len(numbers) > most else "")


def _is_text(word: str) -> bool:
    return word.isascii() or word.encode("utf-8", "ignore").decode("utf-8") == word


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _shown(row: Mapping[str, Any], column: str) -> str:
    return f"a {type(row[column]).__name__}" if column in row else f"only {', '.join(map(str, row))}"


@contextmanager
def _no_log(name: str) -> Iterator[None]:
    """A library that logs what it also raises, or puts right, is silent."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _passages(file: Path, name: str, size: int, encoding: str, silent: list[int]) -> Iterator[Passage]:
    """`silent` gets the numbers of a PDF's pages without text."""
    suffix, stem = file.suffix.lower(), Path(name).stem
    if suffix in PDF:
        for page, text in enumerate(pdf_pages(file), start=1):
            pieces = _cut(text, size, headings=False)
            silent += [] if pieces else [page]
            for n, (_, piece) in enumerate(pieces):
                yield Passage(f"{name}#page{page}.{n}", name, f"{stem}, page {page}", piece)
        return
    if suffix not in (*MARKDOWN, *TEXT, *HTML):
        raise LabError(f"files of the kind {suffix or 'without a suffix'} are not read")
    text = html_source(file, encoding) if suffix in HTML else read_document(file, encoding)
    if "\x00" in text:
        raise LabError("it holds zero bytes: it is no text")
    text = html_text(text) if suffix in HTML else _EMBEDDED.sub(r"\1…", text)
    pieces = _cut(text, size, headings=suffix not in TEXT)
    for n, (heading, piece) in enumerate(pieces):
        piece = unescaped(piece) if suffix in HTML else piece
        yield Passage(f"{name}#{n}", name, f"{stem}: {heading}" if heading else stem, piece)


def _cut(text: str, size: int, *, headings: bool = True) -> list[tuple[str, str]]:
    """(heading, text) of each chunk; what has no sentence to end at is cut by words."""
    chunks = by_headings(text, size) if headings else by_sentences(text, size)
    found = []
    for chunk in chunks:
        long = len(word_spans(chunk.text)) > size
        found += [(chunk.heading, part.text) for part in (by_tokens(chunk.text, size, size // 6) if long else [chunk])]
    return found


def _text_column(row: Mapping[str, Any]) -> str:
    strings = [name for name, value in row.items() if isinstance(value, str)]
    named = next((name for name in _TEXT_COLUMNS if name in row and isinstance(row[name], str | None)), None)  # None: a row without text comes first
    if named is None and len(strings) != 1:
        raise ValueError(f"which column holds the text? There are {', '.join(map(str, row))}: name one with text=…")
    return named or strings[0]
