"""Decks: Markdown in `slides/` becomes one self-contained reveal.js page each, with math, highlighted code and the package's own figures.

The syntax is Marp's: front matter, `---` between slides, HTML comments as speaker notes. Four additions, so that a slide never
holds a copy of something that lives elsewhere:

- `![alt](figure:module:function)` calls the function (a matplotlib Figure or an SVG string) and embeds the picture; behind a question mark,
  `figure:module:function?word`, stands its argument;
- `![alt](notebook:00_start_here:tag)` embeds the picture that the notebook's cell with that tag has stored: the slide shows the same run;
- a fenced block with the info word `source` holding `module:name` shows that object's source code;
- a speaker note that begins `3 min · …` states the slide's time; the builder adds the minutes up.

A picture stands beside the slide's text, or below it when it is wide, and takes all the room there is.
"""

import base64
import html
import importlib
import inspect
import io
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import write_output
from llmsuite_lab.core.paths import repo_dir
from llmsuite_lab.course.pictures import stored_picture

VENDOR = Path(__file__).parent / "vendor"
FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.S)
NOTE = re.compile(r"<!--(.*?)-->", re.S)
MINUTES = re.compile(r"\A\s*(\d+(?:\.\d+)?) min\b")
HEADING = re.compile(r"\A\s*<h([12])>.*?</h\1>", re.S)
PICTURE = re.compile(r"<p>(<img [^>]*>)</p>")
SIZE = re.compile(r'width="([\d.]+)(?:pt|px)?" height="([\d.]+)(?:pt|px)?"')
WIDE = 1.9  # width over height from which a picture stands below the text instead of beside it


@dataclass(frozen=True)
class Slide:
    """One slide: its Markdown without the notes, its speaker notes, its planned time in minutes (0 when the notes state none)."""

    body: str
    notes: tuple[str, ...]
    minutes: float


@dataclass(frozen=True)
class Deck:
    """A parsed deck: file stem, title, slides."""

    name: str
    title: str
    slides: tuple[Slide, ...]

    @property
    def minutes(self) -> float:
        """Planned time of the whole deck, the sum over its slides."""
        return sum(slide.minutes for slide in self.slides)


def parse(path: Path) -> Deck:
    """Read a deck. Raises LabError naming the file for broken front matter, a missing title or an empty slide."""
    import yaml

    text = path.read_text(encoding="utf-8")
    match = FRONT_MATTER.match(text)
    try:
        meta = yaml.safe_load(match[1]) if match else {}
    except yaml.YAMLError as error:
        raise LabError(f"{path.name}: the front matter is not YAML ({error})") from error
    if not isinstance(meta, dict) or not meta.get("title"):
        raise LabError(f"{path.name}: a deck begins with front matter that holds a title: ---, title: …, ---")
    slides = [_slide(part) for part in _split(text[match.end() :])]
    if empty := [i for i, slide in enumerate(slides, 1) if not slide.body.strip()]:
        raise LabError(f"{path.name}: slide {empty[0]} of {len(slides)} is empty; is there one `---` too many?")
    return Deck(path.stem, str(meta["title"]), tuple(slides))


def _split(text: str) -> list[str]:
    parts, fenced = [[]], False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        if line.strip() == "---" and not fenced:
            parts.append([])
        else:
            parts[-1].append(line)
    return ["\n".join(lines) for lines in parts]


def _slide(text: str) -> Slide:
    notes = tuple(note.strip() for note in NOTE.findall(text))
    minutes = sum(float(match[1]) for note in notes if (match := MINUTES.match(note)))
    return Slide(NOTE.sub("", text), notes, minutes)


def render(deck: Deck, base: Path) -> str:
    """The deck as one HTML page that requests nothing from anywhere. `base` is the folder relative image paths start from."""
    sections = []
    for slide in deck.slides:
        body = re.sub(r'<img src="([^"]+)" alt="([^"]*)" />', lambda m: _image(m[1], m[2], base), _markdown().render(slide.body))
        notes = "".join(f'<aside class="notes">{_markdown().render(note)}</aside>' for note in slide.notes)
        sections.append(f'<section><div class="slide">{_laid_out(body)}</div>{notes}</section>')
    return "\n".join(
        (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(deck.title)}</title>',
            f'<meta name="generator" content="LLMSuite Lab, llmsuite slides"><link rel="icon" href="data:,"><style>{_css()}</style></head><body>',
            f'<div class="reveal"><div class="slides">{"".join(sections)}</div></div>',
            *(_script(name) for name in ("katex/katex.min.js", "reveal/reveal.js", "reveal/notes.js")),
            f"<script>{(VENDOR / 'start.js').read_text(encoding='utf-8')}</script></body></html>",
        )
    )


def _laid_out(body: str) -> str:
    """The heading, then what is below it: text and picture side by side, or one above the other. A title stands with its text."""
    heading = match[0] if (match := HEADING.match(body)) else ""
    rest = body[len(heading) :]
    title = heading.startswith("<h1>")
    above, within = ("", heading) if title else (heading, "")
    pictures = PICTURE.findall(rest)
    text = PICTURE.sub("", rest).strip()
    if len(pictures) == 1 and (within or text) and (title or _aspect(pictures[0]) < WIDE):
        column = f'<div class="text">{within}{text}</div><div class="picture">{pictures[0]}</div>'
        return f'{above}<div class="body beside{" title" * title}">{column}</div>'
    return f'{above}<div class="body">{within}{PICTURE.sub(_picture, rest)}</div>'


def _picture(match: re.Match) -> str:
    return f'<div class="picture">{match[1]}</div>'


def _aspect(image: str) -> float:
    width, height = map(float, SIZE.search(image).groups())
    return width / height


@cache
def _markdown():
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    def math(source: str, options: dict) -> str:
        tag = "div" if options["display_mode"] else "span"
        return f'<{tag} class="tex" data-display="{int(options["display_mode"])}">{html.escape(source)}</{tag}>'

    # HTML is on: the decks are the course's own text, and columns need a <div>
    return (
        MarkdownIt("commonmark", {"html": True, "highlight": _code})
        .enable("table")
        .use(dollarmath_plugin, renderer=math, double_inline=True)
    )


def _code(text: str, language: str, _attributes: str) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    if language == "source":
        text, language = inspect.getsource(_resolve(text.strip())), "python"
    try:
        lexer = get_lexer_by_name(language or "text")
    except ClassNotFound as error:
        raise LabError(f"a code block asks for the language {language!r}, which Pygments does not know") from error
    # as large as the longest line allows; what is longer still wraps
    longest = max(1, *map(len, text.splitlines()), 1)
    size = max(15.0, min(21.0, 1120 / (0.605 * longest)))
    return f'<pre class="code" style="font-size:{size:.1f}px">{highlight(text, lexer, HtmlFormatter(nowrap=True))}</pre>'


def _resolve(reference: str) -> object:
    module, _, name = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise LabError(f"the deck refers to {reference!r}, which cannot be loaded ({error}); write module:name") from error


def _image(source: str, alt: str, base: Path) -> str:
    if source.startswith("figure:"):
        reference, *words = source.removeprefix("figure:").split("?")
        made = _resolve(reference)(*words)
        kind, data = "svg+xml", (made if isinstance(made, str) else _svg(made)).encode()
    elif source.startswith("notebook:"):
        kind, data = "png", stored_picture(source.removeprefix("notebook:"))
    else:
        path = base / source
        if not path.is_file():
            raise LabError(f"the deck shows {source!r}, but there is no such file beside it")
        kind, data = {".svg": "svg+xml"}.get(path.suffix, path.suffix.lstrip(".")), path.read_bytes()
    width, height = _size(data, source)
    data = base64.b64encode(data).decode()
    return f'<img alt="{html.escape(alt)}" width="{width:g}" height="{height:g}" src="data:image/{kind};base64,{data}">'


def _size(data: bytes, source: str) -> tuple[float, float]:
    if data.startswith(b"\x89PNG"):
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if match := SIZE.search(data.decode("utf-8", errors="replace")):
        return float(match[1]), float(match[2])
    raise LabError(f"the picture {source!r} does not say how large it is; use a PNG, or an SVG with width and height")


def _svg(figure) -> str:
    import matplotlib
    import matplotlib.pyplot as plt

    buffer = io.StringIO()
    # letters as outlines: a reader's machine may lack the font; a fixed salt: the same figure gives the same bytes
    with matplotlib.rc_context({"svg.hashsalt": "llmsuite", "svg.fonttype": "path"}), warnings.catch_warnings():
        warnings.filterwarnings("error", message="Glyph .* missing from")
        try:
            figure.savefig(buffer, format="svg", bbox_inches="tight", facecolor="white", metadata={"Date": None})
        except UserWarning as error:
            raise LabError(f"a figure's letters cannot all be drawn: {error}") from error
        finally:
            plt.close(figure)
    return buffer.getvalue()


@cache
def _css() -> str:
    from pygments.formatters import HtmlFormatter

    def font(match: re.Match) -> str:
        data = base64.b64encode((VENDOR / "katex" / "fonts" / match[1]).read_bytes()).decode()
        return f"src:url(data:font/woff2;base64,{data}) format('woff2')"

    katex = re.sub(r"src:url\(fonts/([\w-]+\.woff2)\)[^;}]*", font, (VENDOR / "katex" / "katex.min.css").read_text(encoding="utf-8"))
    reveal = [(VENDOR / "reveal" / name).read_text(encoding="utf-8") for name in ("reset.css", "reveal.css")]
    return "\n".join([*reveal, katex, HtmlFormatter(style="friendly").get_style_defs(".code"), (VENDOR / "theme.css").read_text(encoding="utf-8")])


def _script(name: str) -> str:
    return "<script>" + (VENDOR / name).read_text(encoding="utf-8").replace("</script", "<\\/script") + "</script>"


def decks() -> list[Path]:
    """The decks' sources in order. Raises LabError outside a clone."""
    root = repo_dir()
    if root is None:
        raise LabError("the decks are part of the repository, and this installation has none; clone it and run `make slides` there")
    return sorted((root / "slides").glob("*.md"))


def chosen(names: Iterable[str] = ()) -> list[Path]:
    """The decks that `names` mean, each once and in the course's order: a deck's name or its number (`03`, `3`); no name means all.

    Raises LabError for a name that no deck has, with the ones there are.
    """
    sources = decks()
    names = [name.zfill(2) if name.isdecimal() else name for name in names]
    for name in names:
        if not any(name in (path.stem, path.stem.partition("_")[0]) for path in sources):
            raise LabError(f"no deck is called {name!r}; there are: {', '.join(path.stem for path in sources)} (the number alone will do)")
    return [path for path in sources if not names or {path.stem, path.stem.partition("_")[0]} & set(names)]


def build(names: Iterable[str] = (), out: Path | None = None) -> list[tuple[Deck, Path]]:
    """Build the decks that `names` mean (see `chosen`) into `out` (default: build/slides of the clone); gives each deck and its HTML file.

    Raises LabError for an unknown name, when `out` is a file, and when a deck's place holds a file that this did not make: it stays as it is.
    """
    sources = chosen(names)
    folder = sources[0].parents[1] / "build" / "slides" if out is None else out
    built = []
    for source in sources:
        deck = parse(source)
        place = folder / f"{source.stem}.html"
        write_output(place, render(deck, source.parent))
        built.append((deck, place))
    return built
