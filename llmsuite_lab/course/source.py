"""Show the package's own source in place: what the notebook explains is what runs, and no notebook pastes code.

    show(scaled_dot_product_attention)

The output is Markdown with a fenced code block, so JupyterLab, Colab, VS Code and the HTML export each highlight it in their own colours,
light or dark, also in a notebook nobody has trusted yet (HTML styles would be stripped there).
"""

import ast
import inspect
import textwrap
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Source:
    """A piece of source text that draws itself highlighted in a notebook; `text` is the plain code."""

    title: str
    text: str

    def __repr__(self) -> str:
        return f"{self.title} ({len(self.text.splitlines())} lines)"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        fence = "```" if "```" not in self.text else "````"
        return {"text/plain": repr(self), "text/markdown": f"*{self.title}*\n\n{fence}python\n{self.text}\n{fence}"}


def show(thing: Any, lines: int | tuple[int, int] | None = None, doc: bool = True) -> Source:
    """The source of a function, class, method, property or module of the package, to be the last line of a cell.

    `lines` limits it: a number for the first so many lines, a pair (first, last) counted from 1, both included. `doc=False` leaves the
    docstring out when the text cell above says it already. Raises TypeError for an object without Python source, ValueError for a
    range outside it.
    """
    thing = _plain(thing)
    try:
        text = textwrap.dedent(inspect.getsource(thing)).rstrip()
    except (OSError, TypeError):
        raise TypeError(
            f"show() needs a function, class, method or module written in Python, got {type(thing).__name__}: {thing!r:.80}"
        ) from None
    text = text if doc else _without_docstring(text)
    if lines is not None:
        text = _cut(text, lines)
    return Source(_title(thing), text)


def _plain(thing: Any) -> Any:
    if isinstance(thing, property):
        return thing.fget
    if isinstance(thing, partial):
        return thing.func
    if not inspect.isroutine(thing) and not inspect.isclass(thing) and not inspect.ismodule(thing):
        raise TypeError(
            f"show() needs a function, class, method or module, got an object of type {type(thing).__name__}; show(type(x)) shows its class"
        )
    return inspect.unwrap(thing) if callable(thing) else thing


def _title(thing: Any) -> str:
    name = thing.__name__ if inspect.ismodule(thing) else f"{thing.__module__}.{thing.__qualname__}"
    file = inspect.getsourcefile(thing)
    top = name.split(".")[0]
    parts = Path(file).parts if file else ()
    if top not in parts:
        return name
    start = len(parts) - 1 - parts[::-1].index(top)
    return f"{name}, {'/'.join(parts[start:])}"


def _without_docstring(text: str) -> str:
    node = ast.parse(text).body
    owner = node[0] if len(node) == 1 and isinstance(node[0], ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) else ast.parse(text)
    if ast.get_docstring(owner) is None or len(owner.body) == 1:  # a body that is only a docstring would no longer parse
        return text
    first = owner.body[0]
    rows = text.splitlines()
    del rows[first.lineno - 1 : first.end_lineno]
    return "\n".join(rows).strip("\n")


def _cut(text: str, lines: int | tuple[int, int]) -> str:
    rows = text.splitlines()
    first, last = (1, min(lines, len(rows))) if isinstance(lines, int) else lines
    if not 1 <= first <= last <= len(rows):
        raise ValueError(f"lines={lines!r}, but the source has {len(rows)} lines: give a number from 1, or (first, last) within it")
    before = ["# …"] if first > 1 else []
    after = ["# …"] if last < len(rows) else []
    return "\n".join([*before, *textwrap.dedent("\n".join(rows[first - 1 : last])).splitlines(), *after])
