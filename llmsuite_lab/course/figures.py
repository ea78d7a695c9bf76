"""The pictures of notebook 00 and its deck: the map of the course, and the three limits of a plain model."""

from collections.abc import Mapping, Sequence
from typing import Any

from llmsuite_lab.core.metrics import Interval
from llmsuite_lab.core.plots import COLOURS, figure, lines_with_bands
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
    drawn, ax = figure(10.4, 5.6)
    ax.set_axis_off()
    ax.set(xlim=(0, 12), ylim=(-0.3, 7.3))
    _box(ax, 6, 6.7, 11.4, 0.95, *COMPOSED, colour="second")
    for column, (number, name, limit) in enumerate(REMEDIES):
        x = 2 + 4 * column
        _box(ax, x, 4.75, 3.3, 1.0, number, name, "", colour="accent")
        _arrow(ax, (x, 5.27), (x, 6.2))
        _arrow(ax, (x, 3.5), (x, 4.23))
        ax.text(x, 3.02, limit, ha="center", va="center", fontsize=12.5, color=COLOURS["tuned"], style="italic")
        _arrow(ax, (6 + 1.5 * (column - 1), 2.05), (x, 2.62))
    _box(ax, 6, 1.55, 5.6, 0.95, "00", "a plain language model", "three limits, measured", colour="base")
    _box(ax, 6, 0.25, 5.6, 0.75, *ENGINE, colour="baseline")
    _arrow(ax, (6, 0.65), (6, 1.05))
    ax.set_title("Every notebook answers a limit that you measure first")
    return drawn


def _box(ax: Any, x: float, y: float, width: float, height: float, number: str, name: str, text: str, colour: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    style = "round,pad=0.02,rounding_size=0.16"
    ax.add_patch(
        FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle=style, facecolor=COLOURS[colour], edgecolor="none")
    )
    title = f"{number}  {name}"
    ax.text(x, y + (0.17 if text else 0), title, ha="center", va="center", color="white", fontsize=14, fontweight="bold")
    if text:
        ax.text(x, y - 0.24, text, ha="center", va="center", color="white", fontsize=11.5)


def _arrow(ax: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": COLOURS["bound"], "lw": 1.6})


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
