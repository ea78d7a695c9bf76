"""Documents of one's own as passages: a folder of Markdown, text, HTML and PDF files, or the rows of a table.

    file → text (headings as Markdown, pages kept) → chunks of at most `size` words → Passage(id = "folder/file.md#3", document, title, text)

A passage's title is the file's name and the headings above it, so that "it" still says of what. Every passage of a file has that file as its `document`;
only a date tells one version of a document from another. A file that cannot be read is left out and named, with the reason, in what comes back.
In production: `unstructured`, `docling`, LangChain's document loaders.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from llmsuite_lab.core.errors import LabError, within
from llmsuite_lab.core.text import word_spans
from llmsuite_lab.retrieval.chunking import by_headings, by_sentences, by_tokens, read_document

SIZE = 120  # words: with its title a passage stays under the embedder's 256 tokens
MARKDOWN, TEXT, HTML, PDF = (".md", ".markdown"), (".txt", ".text", ".rst"), (".html", ".htm"), (".pdf",)
_TEXT_COLUMNS = ("text", "page_content", "content", "passage", "body", "context", "document")
_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
_BLOCKS = {"p", "div", "li", "tr", "section", "article", "br", "table", "ul", "ol", "pre", "blockquote", "title", "dt", "dd", *_HEADINGS}
_SILENT = {"script", "style", "noscript", "template", "svg"}


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
    """A file that was left out, and why."""

    file: str
    reason: str


def read_folder(folder: str | Path, *, size: int = SIZE, encoding: str = "utf-8") -> tuple[list[Passage], list[Skipped]]:
    """The passages of all files below `folder` (or of one file), in the order of their names, and what was left out; hidden files are not looked at.

    Raises LabError for a folder that is not there or holds no readable text, ValueError for a size below 1.
    """
    within("size", size, 1, 100_000)
    place = Path(folder)
    if not place.exists():
        raise LabError(f"there is no folder {place}: name one that holds Markdown, text, HTML or PDF files")
    files = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.is_file() and not _hidden(p.relative_to(place)))
    passages: list[Passage] = []
    skipped: list[Skipped] = []
    for file in files:
        name = file.name if place.is_file() else file.relative_to(place).as_posix()
        try:
            found = list(_passages(file, name, size, encoding))
        except (LabError, OSError) as error:
            skipped.append(Skipped(name, str(error)))
            continue
        if not found:
            skipped.append(Skipped(name, "there is no text in it" + (" (scanned pages need OCR)" if file.suffix.lower() in PDF else "")))
        passages += found
    if not passages:
        why = "; ".join(f"{one.file}: {one.reason}" for one in skipped[:3]) or "it is empty"
        raise LabError(f"nothing in {place} can be read ({why}): it takes {', '.join((*MARKDOWN, *TEXT, *HTML, *PDF))}")
    return passages, skipped


def from_rows(rows: Iterable[Mapping[str, Any]], *, text: str | None = None, size: int = SIZE) -> list[Passage]:
    """The passages of a table's rows, such as a `datasets.Dataset`: "id", "document", "title" and "dated" are used where there are such columns.

    `text` names the column to read; without it, one called text, content, passage or the like, else the only column that holds strings. Raises
    ValueError when that is not clear, for a table of several splits, one without rows or text, and a repeated id.
    """
    within("size", size, 1, 100_000)
    if isinstance(rows, Mapping):
        raise ValueError(f"this table has several splits ({', '.join(map(str, rows))}): give one of them")
    passages: list[Passage] = []
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise ValueError(f"row {number} is a {type(row).__name__}, but it must be a mapping of columns to values")
        text = text or _text_column(row)
        if not isinstance(row.get(text), str):
            raise ValueError(f"row {number} has no text under {text!r}, only {', '.join(map(str, row))}")
        name = str(row["id"]) if row.get("id") not in (None, "") else f"row{number}"
        about = {key: str(row[key]) for key in ("document", "title", "dated") if row.get(key) is not None and key != text}
        pieces = _cut(row[text], size)
        for n, (heading, piece) in enumerate(pieces):
            title = about.get("title") or heading or name
            passages.append(Passage(name if len(pieces) == 1 else f"{name}#{n}", about.get("document", name), title, piece, about.get("dated", "")))
    if not passages:
        raise ValueError("the table holds no text: there is nothing to retrieve from")
    if len({p.id for p in passages}) < len(passages):
        raise ValueError(f"{len(passages)} passages have {len({p.id for p in passages})} different ids: each row needs an id of its own")
    return passages


def html_text(source: str) -> str:
    """The text of an HTML page, a block a line, headings as Markdown; scripts and styles are left out."""
    reader = _Reader()
    reader.feed(source)
    reader.close()
    return reader.text()


def pdf_pages(file: Path) -> list[str]:
    """The text of each page of a PDF. Raises LabError for a file that is none, or is locked by a password."""
    from pypdf import PdfReader

    try:
        reader = PdfReader(file)
        return [page.extract_text() for page in reader.pages]
    except Exception as error:  # a broken file makes the reader raise whatever its code comes to, an AssertionError too
        raise LabError(f"it cannot be read as PDF ({str(error)[:100] or type(error).__name__})") from error


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _passages(file: Path, name: str, size: int, encoding: str) -> Iterator[Passage]:
    suffix, stem = file.suffix.lower(), Path(name).stem
    if suffix in PDF:
        for page, text in enumerate(pdf_pages(file), start=1):
            for n, (_, piece) in enumerate(_cut(text, size, headings=False)):
                yield Passage(f"{name}#page{page}.{n}", name, f"{stem}, page {page}", piece)
        return
    if suffix not in (*MARKDOWN, *TEXT, *HTML):
        raise LabError(f"files of the kind {suffix or 'without a suffix'} are not read")
    text = read_document(file, encoding)
    if "\x00" in text:
        raise LabError("it holds zero bytes: it is no text")
    pieces = _cut(html_text(text) if suffix in HTML else text, size, headings=suffix not in TEXT)
    for n, (heading, piece) in enumerate(pieces):
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
    named = next((name for name in _TEXT_COLUMNS if name in strings), None)
    if named is None and len(strings) != 1:
        raise ValueError(f"which column holds the text? There are {', '.join(map(str, row))}: name one with text=…")
    return named or strings[0]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[str] = [""]
        self.silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.silent += tag in _SILENT
        if tag in _BLOCKS:
            self.lines.append(f"{_HEADINGS[tag]} " if tag in _HEADINGS else "")

    def handle_endtag(self, tag: str) -> None:
        self.silent -= tag in _SILENT and self.silent > 0
        if tag in _BLOCKS:
            self.lines.append("")

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.lines[-1] += " ".join(data.split()).join((" " if data[:1].isspace() else "", " " if data[-1:].isspace() else ""))

    def text(self) -> str:
        lines = (" ".join(line.split()) for line in self.lines)
        return "\n\n".join(line for line in lines if line.strip("# "))
