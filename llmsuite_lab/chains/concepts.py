"""The ideas of the section as pictures: what composing means, what travels through a chain, who asks whom. Drawn; what is measured is elsewhere."""

import textwrap
from collections.abc import Sequence
from typing import Any

from llmsuite_lab.agents.demonstrations import demonstrate
from llmsuite_lab.core.diagrams import arrow, box, canvas, cells, colour, say, tint
from llmsuite_lab.core.errors import within
from llmsuite_lab.world.almanac_frozen import load_almanac, load_questions


def the_bar() -> Any:
    """A chain as a pipe: two parts side by side in a dictionary, then one after the other."""
    drawn, ax = canvas("Each part has the same three verbs, so any part fits", 6.6, 5.2)
    box(ax, 3.3, 4.6, 2.6, 0.5, "a question", fill="base")
    box(ax, 3.3, 3.5, 6.3, 1.0, fill="third", outline=True)
    box(ax, 1.75, 3.5, 2.7, 0.6, "pass it through", fill="third", size=13)
    box(ax, 4.85, 3.5, 2.7, 0.6, "retriever", fill="third", size=13)
    arrow(ax, (3.0, 4.33), (1.8, 3.85))
    arrow(ax, (3.6, 4.33), (4.8, 3.85))
    for n, (name, fill) in enumerate((("prompt template", "baseline"), ("model", "tuned"), ("parser", "baseline"))):
        y = 2.35 - 0.8 * n
        arrow(ax, (3.3, y + (0.62 if n == 0 else 0.5)), (3.3, y + 0.28))
        box(ax, 3.3, y, 2.6, 0.52, name, fill=fill)
        box(ax, 1.68, y, 0.4, 0.52, "|", fill="text", size=16)
    arrow(ax, (3.3, 0.46), (3.3, 0.16))
    for n, verb in enumerate(("invoke", "batch", "stream")):
        cells(ax, 5.1, 2.35 - 0.8 * n, [verb], "accent", width=1.3, size=13, mono=True)
    return drawn


def what_travels() -> Any:
    """The dictionary that travels through the RAG chain: every part adds a key, and none is lost."""
    drawn, ax = canvas("At the end everything is still there", 10.8, 4.4)
    keys = ("question", "documents", "context", "draft", "answer")
    steps = ("the question", "retriever", "join the passages", "template | model | parser", "the gate may decline")
    for n, name in enumerate(steps):
        count = n + 1
        y = 3.95 - 0.82 * n
        say(ax, 0.05, y, name, size=13.5, bold=True, across="left", ink="tuned" if "model" in name else "text")
        fills = [tint("baseline", 0.25)] * (count - 1) + ["baseline" if "model" not in name else "tuned"]
        cells(ax, 3.3, y, keys[:count], fills, width=1.38, size=13, mono=True)
        if n:
            arrow(ax, (3.3 + 1.44 * (count - 1) + 0.69, y + 0.55), (3.3 + 1.44 * (count - 1) + 0.69, y + 0.27), ink="base")
    return drawn


def threads_gathered(n: int = 5) -> Any:
    """n threads, each with one prompt, wait for one another and become one call with n prompts."""
    within("n", n, 1, 100)
    drawn, ax = canvas("Calls that arrive together become one batch", 6.6, 4.9)
    for k in range(n):
        y = 4.0 - 0.78 * k
        cells(ax, 0.05, y, [f"thread {k + 1}"], "base", width=1.3, size=13)
        arrow(ax, (1.42, y), (2.42, 2.44 + 0.32 * (n // 2 - k)), ink="baseline")
    box(ax, 3.2, 2.44, 1.5, 2.4, "gathers\nfor a\nmoment", fill="baseline", size=13)
    arrow(ax, (4.0, 2.44), (4.75, 2.44), ink="tuned", width=4)
    box(ax, 5.6, 2.44, 1.6, 2.4, fill="tuned", outline=True)
    for k in range(n):
        cells(ax, 4.95, 3.28 - 0.42 * k, [f"prompt {k + 1}"], "tuned", width=1.3, size=12, height=0.34)
    say(ax, 5.6, 0.95, "one call", size=14, bold=True, ink="tuned")
    say(ax, 0.7, 0.3, "one prompt each", size=12.5, italic=True)
    say(ax, 3.2, 0.95, "GatheringModel", size=12.5, mono=True)
    return drawn


def messages_and_text() -> Any:
    """A demonstration's first turns twice: as LangChain's messages and as the text that the tuned model knows."""
    question = load_questions(("compare_magazines",), per_kind=1)[0]
    first, *_, last = demonstrate(question, load_almanac())
    drawn, ax = canvas("Two ways to write one thing, and each can be made from the other", 10.8, 4.3)
    say(ax, 1.5, 3.95, "the graph speaks messages", size=14, bold=True, ink="baseline")
    say(ax, 7.0, 3.95, "the tuned model speaks text", size=14, bold=True, ink="tuned")
    rows = (
        ("human", "", f"Question: {question.text}"),
        ("AI", "with a tool call", f"Thought: {first.thought}\nAction: {first.action}[{first.argument}]"),
        ("tool", "", f"Observation: {first.observation}"),
        ("AI", "without one", f"Action: {last.action}[{last.argument}]"),
    )
    for n, (who, what, text) in enumerate(rows):
        y = 3.3 - 0.87 * n
        box(ax, 1.5, y, 2.8, 0.68, who, what, fill={"human": "base", "AI": "baseline", "tool": "accent"}[who], size=13.5)
        arrow(ax, (2.98, y), (3.5, y), ink="base")
        arrow(ax, (3.5, y), (2.98, y), ink="base")
        box(ax, 7.15, y, 7.2, 0.68, fill=tint("tuned", 0.16))
        say(ax, 3.7, y, "\n".join(textwrap.fill(line, 64) for line in text.splitlines()), size=12, across="left", mono=True)
    return drawn


def rules_around_the_tool() -> Any:
    """Where the course's rules stand: around every tool call that the framework makes."""
    drawn, ax = canvas("The framework calls, our rules answer first", 10.6, 3.0)
    box(ax, 1.3, 1.5, 2.2, 0.9, "model", "asks for a tool", fill="tuned")
    box(ax, 7.1, 1.45, 5.4, 2.5, fill="bound", outline=True)
    say(ax, 7.1, 2.45, "middleware: the loop of lecture 04", size=13, bold=True)
    box(ax, 5.85, 1.4, 2.3, 0.9, "allowed? new?", "within limits?", fill="bound", size=13)
    box(ax, 8.65, 1.4, 1.7, 0.9, "tool", "with a time limit", fill="accent")
    arrow(ax, (2.43, 1.65), (4.66, 1.65), "tool call")
    arrow(ax, (7.03, 1.4), (7.76, 1.4), "yes", ink="accent")
    arrow(ax, (4.66, 1.2), (2.43, 1.2), "refusal, result", ink="bound", above=-0.22)
    arrow(ax, (8.65, 0.93), (8.65, 0.5), ink="accent")
    arrow(ax, (8.65, 0.45), (5.9, 0.45), ink="accent")
    arrow(ax, (5.85, 0.5), (5.85, 0.93), ink="accent")
    return drawn


def agent_from_parts() -> Any:
    """What `create_agent` is given and what it returns: a model, tools and middleware, joined to a graph that goes round until no tool is asked for."""
    drawn, ax = canvas("An agent is composed too: a model, tools, rules and a memory around one circle", 11.2, 4.7)
    parts = (
        ("model", "messages in, a message out", "LabChatModel", "tuned"), ("tools", "name, argument, limits", "Search, Lookup", "accent"),
        ("middleware", "rules around each call", "ReActRules", "bound"), ("checkpointer", "the state by thread", "memory", "third"),
    )  # fmt: skip
    for n, (name, below, ours, fill) in enumerate(parts):
        y = 4.1 - 1.02 * n
        box(ax, 1.5, y, 2.8, 0.8, name, below, fill=fill)
        say(ax, 3.05, y, ours, size=12.5, mono=True, across="left")
        arrow(ax, (4.75, y), (5.35, 2.55 + 0.25 * (1.5 - n)), ink="base")
    say(ax, 8.3, 4.42, "create_agent", size=14, bold=True, mono=True)
    box(ax, 8.3, 2.25, 5.6, 3.9, fill="base", outline=True)
    box(ax, 6.9, 3.45, 1.9, 0.66, "start", "the question", fill="base")
    box(ax, 6.9, 2.0, 1.9, 0.8, "model", fill="tuned")
    box(ax, 9.85, 2.0, 1.9, 0.8, "tools", "inside the rules", fill="accent")
    box(ax, 6.9, 0.68, 1.9, 0.6, "end", fill="base")
    arrow(ax, (6.9, 3.1), (6.9, 2.43))
    arrow(ax, (7.88, 2.2), (8.87, 2.2), "a tool call", ink="tuned")
    arrow(ax, (8.87, 1.8), (7.88, 1.8), "its result", ink="accent", above=-0.2)
    arrow(ax, (6.9, 1.58), (6.9, 1.0), dashed=True)
    say(ax, 7.05, 1.28, "no tool call: done", size=12, across="left", italic=True)
    return drawn


def routes_by_nearness(reach: float = 0.62, seed: int = 5) -> Any:
    """Examples of three routes as points, each with its `reach`: a question near one of them takes its route, one near none is asked back.

    Raises ValueError for a reach below 0 or above 3 (the picture is five wide).
    """
    import numpy as np

    within("reach", reach, 0, 3)

    rng = np.random.default_rng(seed)
    drawn, ax = canvas("The nearest example decides, unless none is near", 6.6, 5.2)
    ax.set_aspect("equal")
    examples = []
    for (x, y), name, fill in (((1.3, 3.4), "handbook", "baseline"), ((4.9, 3.5), "sums", "accent"), ((3.0, 1.2), "almanac", "third")):
        points = rng.normal((x, y), 0.42, (7, 2))
        ax.plot(*points.T, "o", color=colour(fill), markersize=8, zorder=3)
        say(ax, x, y + 1.15, name, size=14, bold=True, ink=fill)
        examples += [(point, name, fill) for point in points]
    for query, text in ((np.array([4.75, 2.62]), "what is 12 × 7?"), (np.array([5.45, 1.0]), "sing me a song")):
        nearest, name, fill = min(examples, key=lambda e: float(np.linalg.norm(e[0] - query)))
        near = float(np.linalg.norm(nearest - query)) <= reach
        ax.plot(*query, "*", color=colour("tuned"), markersize=22, zorder=5)
        say(ax, query[0] + 0.1, query[1] - 0.42, f"{text}\n→ {name if near else 'unclear: ask back'}", size=12.5, bold=True, ink="tuned")
    _paint_routes(ax, np.array([point for point, _, _ in examples]), [tint(fill, 0.13) for _, _, fill in examples], reach)
    return drawn


def _paint_routes(ax: Any, points: Any, faces: Sequence[str], reach: float) -> None:
    """Every place in the colour of the nearest point, as a question there would be routed; white where none is within `reach`."""
    import numpy as np
    from matplotlib.colors import to_rgba_array

    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    x, y = np.linspace(left, right, 661), np.linspace(low, high, 521)
    apart = np.hypot(x[None, :, None] - points[:, 0], y[:, None, None] - points[:, 1])  # [y, x, points]
    painted = to_rgba_array(faces)[apart.argmin(-1)]
    painted[..., 3] = apart.min(-1) <= reach
    ax.imshow(painted, extent=(left, right, low, high), origin="lower", zorder=0)


def two_conversations() -> Any:
    """The same words in two threads: in one there is something that "it" can mean."""
    drawn, ax = canvas("The same words, two threads, two answers", 6.6, 5.1)
    for x, who, fill in ((1.65, "Ann", "baseline"), (4.95, "Bob", "second")):
        say(ax, x, 4.75, f"thread: {who}", size=14, bold=True, ink=fill)
    box(ax, 1.65, 4.05, 3.0, 0.66, "How much does\nthe toaster weigh?", fill="baseline", size=12.5)
    box(ax, 1.65, 3.2, 3.0, 0.52, "memory: the toaster", fill="third", outline=True, size=12.5)
    arrow(ax, (1.65, 3.7), (1.65, 3.48))
    for x, fill in ((1.65, "baseline"), (4.95, "second")):
        box(ax, x, 2.3, 3.0, 0.56, "What colour is it?", fill=fill, size=13.5)
    box(ax, 4.95, 3.2, 3.0, 0.52, "memory: empty", fill="base", outline=True, size=12.5)
    arrow(ax, (1.65, 2.92), (1.65, 2.6), ink="third", width=3)
    arrow(ax, (4.95, 2.92), (4.95, 2.6), ink="base", dashed=True)
    for x, text, fill in ((1.65, "“What colour is\nthe toaster?”", "accent"), (4.95, "“What do you\nmean by 'it'?”", "tuned")):
        arrow(ax, (x, 2.0), (x, 1.55))
        box(ax, x, 1.15, 3.0, 0.74, text, fill=fill, size=13)
    say(ax, 1.65, 0.5, "goes to the handbook", size=12.5, italic=True)
    say(ax, 4.95, 0.5, "asked back", size=12.5, italic=True)
    return drawn


def run_inside_run() -> Any:
    """A trace as boxes in boxes: what ran, inside of what, and where the wrong answer came from."""
    drawn, ax = canvas("Which part was it? Look inside", 6.6, 4.7)
    box(ax, 3.3, 2.25, 6.4, 4.2, fill="base", outline=True)
    say(ax, 0.35, 4.1, "assistant", size=13.5, bold=True, across="left")
    box(ax, 1.2, 2.2, 1.7, 3.0, "route", fill="baseline")
    box(ax, 4.25, 2.2, 4.1, 3.0, fill="accent", outline=True)
    say(ax, 2.4, 3.45, "handbook skill", size=13.5, bold=True, across="left", ink="accent")
    parts = (("retriever", "passages", "accent"), ("model", "a draft", "tuned"), ("gate", "let it pass", "baseline"))
    for n, (name, below, fill) in enumerate(parts):
        box(ax, 4.25, 2.9 - 0.8 * n, 3.6, 0.66, name, below, fill=fill)
    say(ax, 3.3, 0.4, "each with start, end, input, result, parent", size=12.5, italic=True)
    return drawn
