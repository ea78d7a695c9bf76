"""The pictures of notebook 00 and its deck: the map of the course, and the three limits of a plain model."""

from collections.abc import Mapping, Sequence
from typing import Any

from llmsuite_lab.core.diagrams import arrow, box, canvas, say
from llmsuite_lab.core.metrics import Interval
from llmsuite_lab.core.plots import lines_with_bands
from llmsuite_lab.course.limits import DIGITS

# (notebook, its name, what it answers or adds), by where they stand on the map
ENGINE = ("01", "the transformer, from scratch", "")
REMEDIES = (
    ("02", "retrieval (RAG)", "it cannot know\nwhat it has not read"),
    ("03", "programs (PAL)", "it cannot\ncompute"),
    ("04", "tools (ReAct)", "it makes up what\nit should look up"),
)
COMPOSED = ("05", "LangChain", "one application from all the parts")


def course_map() -> Any:
    """The map: the plain model in the middle of its three limits, the notebook that answers each, the engine below, the application above."""
    drawn, ax = canvas("Every notebook answers a limit that you measure first", 10.6, 5.6)
    _stop(ax, 5.3, 5.0, 10.0, 0.8, COMPOSED, "second")
    for column, (number, name, limit) in enumerate(REMEDIES):
        x = 1.8 + 3.5 * column
        _stop(ax, x, 3.5, 2.9, 0.8, (number, name, ""), "accent")
        arrow(ax, (x, 3.95), (x, 4.55))
        arrow(ax, (x, 2.72), (x, 3.05))
        say(ax, x, 2.4, limit, ink="tuned", italic=True)
        arrow(ax, (5.3 + 1.5 * (column - 1), 1.68), (x, 2.1))
    _stop(ax, 5.3, 1.27, 5.2, 0.78, ("00", "a plain language model", "three limits, measured"), "base")
    _stop(ax, 5.3, 0.3, 5.2, 0.56, ENGINE, "baseline")
    arrow(ax, (5.3, 0.6), (5.3, 0.86))
    return drawn


def _stop(ax: Any, x: float, y: float, width: float, height: float, stop: tuple[str, str, str], fill: str) -> None:
    number, name, text = stop
    box(ax, x, y, width, height, f"{number}  {name}", text, fill=fill, size=14)


def arithmetic(by_size: Mapping[str, Sequence[Interval]]) -> Any:
    """Exact match against the number of digits of the operands, one line per operation, with intervals (from `limits.accuracy_by_size`)."""
    return lines_with_bands(
        DIGITS,
        {name: list(values) for name, values in by_size.items()},
        title="The longer the numbers, the less the model computes",
        xlabel="digits of both operands",
        ylabel="exactly right (share)",
        colours={"addition": "base", "multiplication": "tuned"},
        ylim=(-0.03, 1.08),
    )
