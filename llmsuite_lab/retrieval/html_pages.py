"""HTML as text: a block a line, headings as Markdown, a table's cells between bars.

    <h2>Prices</h2><table><tr><td>Lamp</td><td>12 crowns</td></tr></table>   →   ## Prices ⏎ Lamp | 12 crowns

The parser is Python's own, which takes any page, however it is written. In production: `trafilatura`, which also tells the article from what is around it.
"""

import codecs
import re
from html.parser import HTMLParser
from pathlib import Path

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.retrieval.chunking import read_document

_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
_BLOCKS = {
    *"address article aside blockquote body br button caption dd details dialog div dl dt fieldset figcaption figure footer form head header hr".split(),
    *"legend li main nav ol optgroup option p pre section select summary table tbody textarea tfoot thead title tr ul".split(),
    *_HEADINGS,
}
_CELLS = {"td", "th"}
_LOOKS_LIKE_MARKDOWN = re.compile(r"#{1,6} |```|~~~")
_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_SILENT = {"script", "style", "noscript", "template", "svg"}


def html_text(source: str) -> str:
    """The text of an HTML page, a block a line, headings as Markdown, a table's cells between bars; scripts and styles are left out.

    A line of text that only looks like Markdown's own begins with a backslash.
    """
    reader = _Reader()
    reader.feed(source)
    reader.close()
    return reader.text()


def unescaped(text: str) -> str:
    """A piece of what `html_text` made, without the backslash before a line that only looks like Markdown's own."""
    return re.sub(rf"(?m)^\\(?={_LOOKS_LIKE_MARKDOWN.pattern})", "", text)


def html_source(file: Path, encoding: str) -> str:
    """The page of a file in `encoding`, else in the one that it names itself. Raises LabError as `read_document`."""
    try:
        return read_document(file, encoding)
    except LabError:
        if not file.is_file():
            raise
        named = _CHARSET.search(file.read_bytes()[:2048])
        own = named[1].decode("ascii").lower() if named else encoding
        if own in ("iso-8859-1", "latin1", "latin-1", "us-ascii", "ascii"):  # all of them mean this one (WHATWG, "Encoding", 4.2)
            own = "windows-1252"
        try:
            known = own != encoding and codecs.lookup(own)
        except LookupError:
            known = False
        if not known:
            raise
        return read_document(file, own)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[str] = [""]
        self.silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.silent += tag in _SILENT
        if tag in _BLOCKS:
            self.lines.append(f"{_HEADINGS[tag]} " if tag in _HEADINGS else "")
        elif tag in _CELLS and self.lines[-1].strip():
            self.lines[-1] += " | "

    def handle_endtag(self, tag: str) -> None:
        self.silent -= tag in _SILENT and self.silent > 0
        if tag in _BLOCKS:
            self.lines.append("")

    def handle_data(self, data: str) -> None:
        if not self.silent:
            if not self.lines[-1] and _LOOKS_LIKE_MARKDOWN.match(data.lstrip()):
                self.lines[-1] = "\\"
            self.lines[-1] += " ".join(data.split()).join((" " if data[:1].isspace() else "", " " if data[-1:].isspace() else ""))

    def text(self) -> str:
        lines = (" ".join(line.split()) for line in self.lines)
        return "\n\n".join(line for line in lines if line.strip("# "))
