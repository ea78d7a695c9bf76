"""Boxes, arrows and rows of cells: what the concept pictures of every section are drawn with.

A canvas measures in inches from its lower left corner, so that what is said of letters (12 points are a sixth of an inch) holds for boxes too.
Nothing here is data: a figure of results is made with `core.plots`. In production: TikZ, Graphviz, Mermaid.
"""

import textwrap
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.plots import COLOURS, figure

BESIDE = (6.4, 5.2)  # inches: stands beside a slide's text
WIDE = (11.2, 4.9)  # inches: has the slide to itself
SMALLEST = 12.0  # points: below this a line cannot be read from the last row


def canvas(title: str, width: float = BESIDE[0], height: float = BESIDE[1]) -> tuple[Any, Any]:
    """An empty figure and its axes, in inches from the lower left corner, without frame; the title states the figure's message."""
    drawn, ax = figure(width, height)
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.set_axis_off()
    ax.set_title(title)
    return drawn, ax


def colour(name: str) -> str:
    """A colour of the course by its name; any other colour as it is."""
    return COLOURS.get(name, name)


def tint(name: str, strength: float) -> str:
    """A colour of the course mixed with white, as #rrggbb: strength 0 is white, 1 the colour itself."""
    share = max(0.0, min(1.0, strength))
    channels = (int(colour(name)[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 + (c - 255) * share):02x}" for c in channels)


def matrix(
    ax: Any, x: float, y: float, values: Any, side: float | tuple[float, float] = 0.34, *, fill: str = "baseline", below_zero: str = "baseline",
    written: bool = False, size: float = 13,
) -> None:  # fmt: skip
    """A [rows, columns] matrix as squares from the upper left corner (x, y), `fill` for the largest value, `below_zero` for negative ones.

    written: the numbers too, whole ones without a point. side: inches, or (width, height).
    """
    from matplotlib.patches import Rectangle

    wide, high = side if isinstance(side, tuple) else (side, side)
    reach = max((abs(v) for row in values for v in row), default=0) or 1.0
    whole = all(float(v).is_integer() for row in values for v in row)
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            share = abs(value) / reach
            face = tint(fill if value >= 0 else below_zero, 0.92 * share)
            at = (x + wide * j, y - high * (i + 1))
            ax.add_patch(Rectangle(at, wide - 0.02, high - 0.02, facecolor=face, edgecolor=COLOURS["grid"], linewidth=0.8, zorder=2))
            if written:
                text = f"{value:.0f}" if whole else f"{value + 0.0:.2f}".replace("-0.00", "0.00")
                say(ax, at[0] + wide / 2, at[1] + high / 2, text, size=size, ink="white" if share > 0.6 else "text")


def say(
    ax: Any, x: float, y: float, text: str, *, size: float = 13, ink: str = "text", bold: bool = False, italic: bool = False,
    across: str = "center", down: str = "center", mono: bool = False, math: bool = False,
) -> None:  # fmt: skip
    """Text at a point; a dollar is a dollar, unless `math`. across: "left", "center", "right"; down: "top", "center", "bottom".

    Raises ValueError for letters nobody can read.
    """
    if size < SMALLEST:
        raise ValueError(f"size={size} cannot be read from the last row; use at least {SMALLEST}")
    ax.text(
        x, y, text, fontsize=size, color=colour(ink), ha=across, va=down, fontweight="bold" if bold else "normal",
        style="italic" if italic else "normal", family="monospace" if mono else None, linespacing=1.35, parse_math=math, zorder=4,
    )  # fmt: skip


def box(
    ax: Any, x: float, y: float, width: float, height: float, text: str = "", below: str = "", *, fill: str = "baseline",
    outline: bool = False, size: float = 13.5, mono: bool = False,
) -> None:  # fmt: skip
    """A rounded box around its centre (x, y), with a bold line of text and a plain one `below` it; `outline` draws the colour as a frame only."""
    from matplotlib.patches import FancyBboxPatch

    shape = FancyBboxPatch(
        (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.1", linewidth=2.2, zorder=2,
        facecolor="white" if outline else colour(fill), edgecolor=colour(fill),
    )  # fmt: skip
    ax.add_patch(shape)
    ink = "text" if outline else "white"
    up = min(0.14 + 0.09 * below.count("\n"), height / 3) if below else 0
    if text:
        say(ax, x, y + up, text, size=size, ink=ink, bold=True, mono=mono)
    if below:
        say(ax, x, y - 0.15 if text else y, below, size=SMALLEST, ink=ink)


def arrow(
    ax: Any, start: tuple[float, float], end: tuple[float, float], label: str = "", *, ink: str = "bound", bend: float = 0.0,
    dashed: bool = False, width: float = 1.8, above: float = 0.17, size: float = SMALLEST,
) -> None:  # fmt: skip
    """An arrow, with its label `above` (inches; negative: below) its middle. bend: curvature, 0 is straight."""
    style = {"arrowstyle": "-|>", "color": colour(ink), "lw": width, "ls": "--" if dashed else "-", "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, start, arrowprops=style | {"connectionstyle": f"arc3,rad={bend}", "mutation_scale": 15}, zorder=3)
    if label:
        say(ax, (start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + above, label, size=size)


def cells(
    ax: Any, x: float, y: float, texts: Sequence[str], fills: str | Sequence[str] = "grid", *, width: float | Sequence[float] = 0.6,
    height: float = 0.46, size: float = 13, mono: bool = False, gap: float = 0.06,
) -> list[float]:  # fmt: skip
    """A row of filled cells from `x` to the right, centred on the height `y`; gives the cells' centres. Raises ValueError for wrong counts."""
    n = len(texts)
    fills = [fills] * n if isinstance(fills, str) else list(fills)
    widths = list(width) if isinstance(width, Sequence) else [width] * n
    if len(fills) != n or len(widths) != n:
        raise ValueError(f"{n} cells need as many colours and widths, got {len(fills)} and {len(widths)}")
    centres = []
    for text, fill, wide in zip(texts, fills, widths):
        box(ax, x + wide / 2, y, wide, height, fill=fill)
        pale = sum(int(colour(fill)[i : i + 2], 16) for i in (1, 3, 5)) > 3 * 190
        say(ax, x + wide / 2, y, text, size=size, ink="text" if pale else "white", mono=mono)
        centres.append(x + wide / 2)
        x += wide + gap
    return centres


def from_records(draw: Callable[..., Any]) -> Callable[..., Any]:
    """A figure of recorded runs: drawn, or where a record is missing a figure that says which, with the command that makes it.

    For any other error it raises what `draw` raises.
    """

    @wraps(draw)
    def drawn(*arguments: Any, **named: Any) -> Any:
        try:
            return draw(*arguments, **named)
        except LabError as error:
            blank, ax = canvas("Not measured yet", 8.0, 2.2)
            say(ax, 0.2, 1.2, "\n".join(textwrap.wrap(str(error), 66)), across="left")
            return blank

    return drawn
