"""Traces: what ran, inside what, with what outcome; as text, as a Mermaid diagram, as data for a figure.

    run tree: every Runnable, model, tool and retriever reports its start and end with its own id and its parent's

LangChain hands these events to callback handlers; `Recorder` keeps them. Nothing leaves the machine. In production: LangSmith, or OpenTelemetry.
"""

import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler

_PLUMBING = ("Runnable", "ChannelWrite", "ChannelRead", "Branch", "__", "_write", "lambda", "strip")


@dataclass
class Span:
    """One run: its name, kind ("chain", "model", "tool", "retriever"), start and end in seconds, its parent, and what came out (or the error)."""

    name: str
    kind: str
    start_s: float
    parent: UUID | None
    end_s: float | None = None
    result: str = ""
    failed: bool = False


class Recorder(BaseCallbackHandler):
    """A callback handler that keeps the run tree: `chain.invoke(x, {"callbacks": [recorder]})`. One recorder per call."""

    run_inline = True  # events of threads in the order in which they happen

    def __init__(self) -> None:
        self.spans: dict[UUID, Span] = {}
        self._begun = time.perf_counter()

    def _start(self, kind: str, serialized: Any, run_id: UUID, parent: UUID | None, name: str | None) -> None:
        label = name or (serialized or {}).get("name") or ((serialized or {}).get("id") or [kind])[-1]
        self.spans[run_id] = Span(label, kind, time.perf_counter() - self._begun, parent)

    def _end(self, run_id: UUID, result: Any, failed: bool = False) -> None:
        span = self.spans[run_id]
        span.end_s, span.result, span.failed = time.perf_counter() - self._begun, _short(result), failed

    def on_chain_start(self, serialized, inputs, *, run_id, parent_run_id=None, name=None, **kwargs) -> None:
        """A chain, a node of a graph, or a part of one begins."""
        self._start("chain", serialized, run_id, parent_run_id, name)

    def on_chain_end(self, outputs, *, run_id, **kwargs) -> None:
        """It ends."""
        self._end(run_id, outputs)

    def on_chain_error(self, error, *, run_id, **kwargs) -> None:
        """It fails."""
        self._end(run_id, f"{type(error).__name__}: {error}", failed=True)

    def on_chat_model_start(self, serialized, messages, *, run_id, parent_run_id=None, name=None, **kwargs) -> None:
        """A chat model begins."""
        self._start("model", serialized, run_id, parent_run_id, name)

    def on_llm_start(self, serialized, prompts, *, run_id, parent_run_id=None, name=None, **kwargs) -> None:
        """A text model begins."""
        self._start("model", serialized, run_id, parent_run_id, name)

    def on_llm_end(self, response, *, run_id, **kwargs) -> None:
        """A model ends."""
        generation = response.generations[0][0]
        calls = getattr(getattr(generation, "message", None), "tool_calls", None) or []
        self._end(run_id, generation.text + "".join(f" → {call['name']}{list(call['args'].values())}" for call in calls))

    def on_llm_error(self, error, *, run_id, **kwargs) -> None:
        """A model fails."""
        self._end(run_id, f"{type(error).__name__}: {error}", failed=True)

    def on_tool_start(self, serialized, input_str, *, run_id, parent_run_id=None, name=None, **kwargs) -> None:
        """A tool begins."""
        self._start("tool", serialized, run_id, parent_run_id, name)

    def on_tool_end(self, output, *, run_id, **kwargs) -> None:
        """A tool ends."""
        self._end(run_id, getattr(output, "content", output))

    def on_tool_error(self, error, *, run_id, **kwargs) -> None:
        """A tool fails."""
        self._end(run_id, f"{type(error).__name__}: {error}", failed=True)

    def on_retriever_start(self, serialized, query, *, run_id, parent_run_id=None, name=None, **kwargs) -> None:
        """A retriever begins."""
        self._start("retriever", serialized, run_id, parent_run_id, name)

    def on_retriever_end(self, documents, *, run_id, **kwargs) -> None:
        """A retriever ends."""
        self._end(run_id, ", ".join(str(document.metadata.get("id", "?")) for document in documents))

    def on_retriever_error(self, error, *, run_id, **kwargs) -> None:
        """A retriever fails."""
        self._end(run_id, f"{type(error).__name__}: {error}", failed=True)

    def rows(self) -> list[tuple[int, Span]]:
        """(depth, span) of everything but LangChain's own plumbing, in the order of its start."""
        return [(self._depth(span), span) for span in self.spans.values() if _shown(span)]

    def _depth(self, span: Span) -> int:
        depth, parent = 0, self.spans.get(span.parent)
        while parent is not None:
            depth, parent = depth + _shown(parent), self.spans.get(parent.parent)
        return depth


def as_text(recorder: Recorder, width: int = 100, results: bool = True) -> str:
    """The run tree, one line a run, indented; `results` adds what came out."""
    lines = []
    for depth, span in recorder.rows():
        line = f"{'  ' * depth}{span.kind:<10}{span.name}" + (f": {span.result}" if results and span.result else "")
        lines.append(line if len(line) <= width else line[: width - 1] + "…")
    return "\n".join(lines)


def as_mermaid(recorder: Recorder) -> str:
    """The run tree as a Mermaid flow chart: text that GitHub, JupyterLab and the Mermaid tools draw."""
    shapes = {"chain": '["{}"]', "model": '(["{}"])', "tool": '[["{}"]]', "retriever": '[("{}")]'}
    ids = {id(span): f"n{i}" for i, (_, span) in enumerate(recorder.rows())}
    lines, above = ["flowchart TD"], []
    for depth, span in recorder.rows():
        lines.append(f"    {ids[id(span)]}{shapes[span.kind].format(span.name)}")
        if depth and depth <= len(above):
            lines.append(f"    {above[depth - 1]} --> {ids[id(span)]}")
        above = [*above[:depth], ids[id(span)]]
    return "\n".join(lines)


def _shown(span: Span) -> bool:
    return not (
        span.kind == "chain"
        and (span.name.startswith(_PLUMBING) or not span.name.isidentifier() or span.name.endswith(("Parser", "Template")))
    )


def _short(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("answer", value.get("route", ""))
    text = value if isinstance(value, str) else "" if value is None else str(value)
    return " ".join(text.split())[:300]
