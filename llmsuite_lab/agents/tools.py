"""Tools: what an agent may do, as data the loop can check before anything runs.

action = name[argument],  name ∈ {tool.name} ∪ {Finish}

Search and Lookup are those of the paper's Wikipedia interface (Yao et al., 2022, section 3.1): Search opens a page and returns its beginning, or names
the closest titles; Lookup finds the sentences of the open page that hold a word, as Ctrl+F does. In production: `langchain_core.tools.tool`,
function calling, or an MCP server; each is again a name, a description, a typed argument and a function.
"""

import difflib
import threading
from collections.abc import Callable, Iterable
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any

from llmsuite_lab.core.text import fold
from llmsuite_lab.core.values import number
from llmsuite_lab.world.almanac import Almanac, Page


@dataclass(frozen=True)
class Argument:
    """The one argument of a tool: a name and a type (str or int) that the loop converts to, and the longest text it may be given in."""

    name: str
    type: type = str
    max_chars: int = 80

    def parse(self, text: str) -> str | int:
        """The typed value of `text`. Raises ValueError, saying what is allowed, for an empty, too long or ill-typed text."""
        text = text.strip()
        if not text:
            raise ValueError(f"{self.name} is empty")
        if len(text) > self.max_chars:
            raise ValueError(f"{self.name} has {len(text)} characters, at most {self.max_chars} are allowed")
        if self.type is int:
            value = number(text)
            if value is None or value.denominator != 1:
                raise ValueError(f"{self.name} must be a whole number, not {text!r}")
            return int(value)
        return text


@dataclass(frozen=True)
class Tool:
    """A named function with a description, one typed argument and limits: `timeout_s` per call, `max_chars` of observation.

    refers_to: the tool whose last call this one speaks about (Lookup reads the page that Search opened); "" for a tool that stands alone.
    restore: puts back, on a fresh tool, the state that a call with this argument left behind, and does nothing else: a conversation that goes on
    after its process has ended must not act again. None for a tool that keeps no state, or whose state ends with the process.
    """

    name: str
    description: str
    argument: Argument
    function: Callable[[str | int], str]
    timeout_s: float = 5.0
    max_chars: int = 600
    refers_to: str = ""
    restore: Callable[[str | int], object] | None = None

    def __post_init__(self) -> None:
        """Refuse what the action grammar cannot name. Raises ValueError."""
        if not self.name.isidentifier():
            raise ValueError(f"a tool is called name[argument], so name={self.name!r} must be one word of letters and digits")
        if self.argument.type not in (str, int):
            raise ValueError(f"argument type {self.argument.type!r} of tool {self.name} is not supported; use str or int")
        if self.timeout_s <= 0 or self.max_chars < 1:
            raise ValueError(f"tool {self.name}: timeout_s={self.timeout_s} and max_chars={self.max_chars} must be above zero")

    @property
    def parameters(self) -> dict[str, Any]:
        """JSON schema of the argument: {"type": "object", "properties": …}."""
        kind = "integer" if self.argument.type is int else "string"
        return {"type": "object", "properties": {self.argument.name: {"type": kind}}, "required": [self.argument.name]}

    @property
    def schema(self) -> dict[str, Any]:
        """{"type": "function", "function": {name, description, parameters}}: what chat templates and LangChain take."""
        return {"type": "function", "function": {"name": self.name, "description": self.description, "parameters": self.parameters}}

    def text_of(self, arguments: dict[str, Any]) -> str:
        """Arguments by name as the text that `call` takes. Raises ValueError for another name than the argument's."""
        if set(arguments) != {self.argument.name}:
            raise ValueError(f"the arguments must be {{{self.argument.name}: …}}, not {{{', '.join(map(str, arguments))}}}")
        return str(arguments[self.argument.name])


@dataclass(frozen=True)
class ToolResult:
    """What came of a call: the observation, and a kind: "ok", "empty", "bad argument", "raised" or "timed out"."""

    text: str
    kind: str = "ok"


def call(tool: Tool, text: str) -> ToolResult:
    """Run `tool` on the raw argument `text` within its limits. Never raises for what the tool does: that becomes a result of its kind.

    The function runs in a daemon thread, so that one which hangs is left behind after `timeout_s` seconds and cannot keep the process alive.
    """
    try:
        value = tool.argument.parse(text)
    except ValueError as error:
        return ToolResult(f"{tool.name} was not run: {error}.", "bad argument")
    box: list[ToolResult] = []

    def work() -> None:
        try:
            answer = tool.function(value)
            answer = answer if isinstance(answer, ToolResult) else ToolResult(str(answer))
            box.append(answer if answer.text.strip() else ToolResult(f"{tool.name} found nothing.", "empty"))
        except BaseException as error:  # whatever a tool raises, an exit too, is the agent's to read, not ours to die of
            box.append(ToolResult(f"{tool.name} failed: {type(error).__name__}: {error}".rstrip(": ") + ".", "raised"))

    worker = threading.Thread(target=copy_context().run, args=(work,), daemon=True, name=f"tool-{tool.name}")
    worker.start()
    worker.join(tool.timeout_s)
    if not box:
        return ToolResult(f"{tool.name} did not answer within {tool.timeout_s:g} s.", "timed out")
    text = box[0].text.encode("utf-8", "replace").decode()  # half a character, as in a file's name, is no text that a model can read
    return ToolResult(text if len(text) <= tool.max_chars else text[: tool.max_chars - 1] + "…", box[0].kind)


def tools_in(given: Any) -> list[Tool]:
    """The tools that `make_tools` returned. Raises TypeError, saying what to do, for one tool instead of a list and for a function that is none yet."""
    if isinstance(given, Tool) or not isinstance(given, Iterable):
        raise TypeError(f"make_tools must return a list of tools, not {given!r:.60}: write lambda: [tool]")
    found = list(given)
    for one in found:
        if not isinstance(one, Tool):
            name = getattr(one, "__name__", None) or f"{one!r:.60}"
            raise TypeError(f"{name} is a {type(one).__name__}, no tool: agents.functions.tool_from makes one of a typed function")
    return found


@dataclass
class AlmanacReader:
    """One reader of an almanac with a page open: the state that Search and Lookup share within one trajectory."""

    almanac: Almanac
    page: Page | None = None
    _by_title: dict[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Index the titles without regard to case."""
        self._by_title = {fold(title): title for title in self.almanac.pages}

    def search(self, title: str) -> str | ToolResult:
        """Open the page `title` (case does not matter) and return its opening; else the closest titles, and no page is open."""
        found = self._by_title.get(fold(title))
        self.page = self.almanac.pages[found] if found else None
        if self.page is not None:
            return self.page.opening
        similar = closest_titles(self.almanac, title)
        return ToolResult(f"There is no page {title}." + (f" Similar: {', '.join(similar)}." if similar else ""), "empty")

    def lookup(self, keyword: str) -> str | ToolResult:
        """The sentences of the open page that hold `keyword`."""
        if self.page is None:
            return ToolResult("No page is open. Search for one first.", "empty")
        found = [text for text in (self.page.opening, *self.page.details) if fold(keyword) in fold(text)]
        return " ".join(found) if found else ToolResult(f"Nothing about {keyword} on this page.", "empty")


def closest_titles(almanac: Almanac, query: str, n: int = 2) -> list[str]:
    """Up to `n` titles that share most words with `query`, then by spelling; empty when nothing is close."""
    words = set(fold(query).split())

    def likeness(title: str) -> float:
        shared = len(words & set(fold(title).split()))
        return shared + difflib.SequenceMatcher(None, fold(query), fold(title)).ratio()

    ranked = sorted(almanac.pages, key=likeness, reverse=True)[:n]
    return [title for title in ranked if likeness(title) >= 0.6]


def almanac_tools(almanac: Almanac) -> list[Tool]:
    """Search and Lookup over one almanac, with a fresh reader: make a new pair for every trajectory."""
    reader = AlmanacReader(almanac)
    return [
        Tool("Search", "open the page with this title and read its beginning", Argument("title"), reader.search, restore=reader.search),
        Tool("Lookup", "find the sentences of the open page that hold this word", Argument("keyword"), reader.lookup, refers_to="Search"),
    ]
