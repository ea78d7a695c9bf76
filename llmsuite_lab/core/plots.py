"""The house style and the figures that several sections share.

One message per figure, said in its title; the same colour for the same thing in the whole course; intervals wherever there is a spread;
letters that can be read from the last row of a lecture hall. Every function returns a `matplotlib.figure.Figure`, so that a notebook shows
what a slide shows. In production: matplotlib, seaborn.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmsuite_lab.core.files import write_output
from llmsuite_lab.core.history import History
from llmsuite_lab.core.metrics import Interval

# Okabe and Ito's palette, which stays apart for colour-blind eyes. One meaning, one colour: never reassign them in a section.
COLOURS = {
    "base": "#8A9299",  # the model as it came
    "tuned": "#D55E00",  # after training
    "baseline": "#0072B2",  # what we compare with: another method, the library
    "accent": "#009E73",  # the point of the figure when it is neither of these
    "second": "#CC79A7",
    "third": "#E69F00",
    "fourth": "#56B4E9",
    "bound": "#30363B",  # a limit or ideal, drawn as a dashed line
    "text": "#22272B",
    "grid": "#E3E6E8",
}
CYCLE = [COLOURS[k] for k in ("baseline", "tuned", "accent", "second", "third", "fourth", "base")]
SIZE = (7.6, 4.2)  # inches: 684 × 378 pixels at the style's 90 dots per inch


def use_house_style() -> None:
    """Set matplotlib's defaults for the course: call it once at the top of a notebook (the functions here do it by themselves)."""
    import matplotlib as mpl

    mpl.rcParams.update(
        {
            "figure.figsize": SIZE,
            "figure.dpi": 90,
            "savefig.dpi": 90,
            "figure.constrained_layout.use": True,
            "figure.facecolor": "white",
            "axes.facecolor": "white",
            "savefig.facecolor": "white",  # dark text needs its own ground: a reader's theme may be dark
            "savefig.transparent": False,
            "font.size": 12.5,
            "axes.titlesize": 14.5,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.titlepad": 12,
            "axes.labelsize": 13,
            "axes.labelcolor": COLOURS["text"],
            "axes.edgecolor": "#9AA1A6",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": COLOURS["grid"],
            "grid.linewidth": 1.0,
            "text.color": COLOURS["text"],
            "xtick.color": COLOURS["text"],
            "ytick.color": COLOURS["text"],
            "axes.prop_cycle": mpl.cycler(color=CYCLE),
            "lines.linewidth": 2.4,
            "lines.markersize": 6.5,
            "legend.frameon": False,
            "svg.fonttype": "none",
            "svg.hashsalt": "llmsuite",  # same figure, same ids, same bytes
        }
    )


def figure(width: float = SIZE[0], height: float = SIZE[1], **subplots: Any) -> tuple[Any, Any]:
    """A house-style figure and its axes (inches; further arguments as for `plt.subplots`), closed for pyplot: a notebook shows it once, as a value."""
    import matplotlib.pyplot as plt

    use_house_style()
    drawn, axes = plt.subplots(figsize=(width, height), **subplots)
    plt.close(drawn)
    return drawn, axes


def colour_of(name: str, position: int = 0) -> str:
    """The course's colour for a series: its own when `name` is in `COLOURS`, else the cycle's at `position`."""
    return COLOURS.get(name.lower(), CYCLE[position % len(CYCLE)])


def bars_with_intervals(
    values: Mapping[str, Interval | Mapping[str, Interval]],
    *,
    title: str,
    ylabel: str,
    xlabel: str = "",
    colours: Mapping[str, str] | None = None,
    bound: tuple[str, float] | None = None,
    ylim: tuple[float, float] | None = None,
    show_values: bool = True,
) -> Any:
    """Bars with their intervals: one per label, or groups of them.

    values: {label: Interval}, or {group: {series: Interval}} with the same series names in each group (a missing one leaves a gap).
    colours: by label or series, a name of `COLOURS` or any colour. bound: (label, height) of a dashed line. Raises ValueError for no values.
    """
    if not values:
        raise ValueError("there is nothing to draw: give at least one labelled interval")
    grouped = isinstance(next(iter(values.values())), Mapping)
    groups = values if grouped else {label: {label: interval} for label, interval in values.items()}
    series = list(dict.fromkeys(name for group in groups.values() for name in group)) if grouped else [None]
    drawn, ax = figure(min(11.0, max(SIZE[0], 0.45 * len(groups) * len(series) + 2.0)))
    width = 0.8 / len(series) if grouped else 0.6
    top = max(i.high for group in groups.values() for i in group.values())
    largest = max(abs(i.mean) for group in groups.values() for i in group.values())
    for g, group in enumerate(groups.values()):
        for name, interval in group.items():
            s = series.index(name) if grouped else 0
            x = g + (s - (len(series) - 1) / 2) * width
            given = (colours or {}).get(name)
            colour = COLOURS.get(given, given) if given else colour_of(name, s if grouped else g)
            reach = [[interval.mean - interval.low], [interval.high - interval.mean]]
            ax.bar(x, interval.mean, width * 0.92, color=colour, label=name if grouped and name not in _labels(ax) else None)
            ax.errorbar(x, interval.mean, yerr=reach, fmt="none", ecolor=COLOURS["text"], elinewidth=1.6, capsize=4)
            if show_values:
                behind = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # legible where a dashed level passes
                at = (x, interval.high)
                ax.annotate(_short(interval.mean, largest), at, (0, 4), textcoords="offset points", ha="center", fontsize=11.5, bbox=behind)
    ax.set_xticks(range(len(groups)), [_wrapped(label, len(groups)) for label in groups])
    ax.grid(axis="x", visible=False)
    ax.tick_params(axis="x", length=0)
    if bound is not None:
        _level(ax, *bound)
        top = max(top, bound[1])
    low = min(0.0, *(i.low for group in groups.values() for i in group.values()))
    ax.set_ylim(*(ylim or (low * 1.12, top * 1.14 or 1.0)))
    return _finish(drawn, ax, title, xlabel, ylabel, legend="above" if grouped else False)


def lines_with_bands(
    x: Sequence[float],
    series: Mapping[str, Sequence[Interval | float]],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    colours: Mapping[str, str] | None = None,
    bound: tuple[str, float] | None = None,
    log_x: bool = False,
    log_y: bool = False,
    markers: bool = True,
    ylim: tuple[float, float] | None = None,
) -> Any:
    """One line per series over x, with a band from low to high where the values are `Interval`s.

    NaN leaves a gap. With log_x the ticks stand at the given x. Raises ValueError when a series has another length than x.
    """
    drawn, ax = figure()
    for position, (name, values) in enumerate(series.items()):
        if len(values) != len(x):
            raise ValueError(f"series {name!r} has {len(values)} values for {len(x)} positions on the x axis")
        given = (colours or {}).get(name)
        colour = COLOURS.get(given, given) if given else colour_of(name, position)
        means = [v.mean if isinstance(v, Interval) else float(v) for v in values]
        ax.plot(x, means, marker="o" if markers else None, color=colour, label=name)
        if any(isinstance(v, Interval) for v in values):
            low, high = zip(*((v.low, v.high) if isinstance(v, Interval) else (v, v) for v in values), strict=True)
            ax.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    if bound is not None:
        ax.axhline(bound[1], color=COLOURS["bound"], linestyle="--", linewidth=1.6, label=bound[0])
    if log_x:
        ax.set_xscale("log")
        ax.set_xticks(list(x), [f"{v:,g}" for v in x])
        ax.minorticks_off()
    elif len(x) <= 12 and all(float(v).is_integer() for v in x):  # counts: no tick between them
        ax.set_xticks(list(x))
    if log_y:
        ax.set_yscale("log")
    if ylim:
        ax.set_ylim(*ylim)
    return _finish(drawn, ax, title, xlabel, ylabel, legend=len(series) > 1 or bound is not None)


def loss_curve(
    histories: History | Mapping[str, History],
    *,
    title: str,
    references: Mapping[str, float] | None = None,
    smooth: int | None = None,
    ylabel: str = "loss (nats per token)",
) -> Any:
    """Training loss over tokens read: each step faint, a running mean on top. `references` are dashed levels, such as a bigram entropy.

    smooth: steps in the running mean; None takes a twentieth of the run. Raises ValueError for a history without a step.
    """
    histories = {"training": histories} if isinstance(histories, History) else histories
    drawn, ax = figure()
    for position, (name, history) in enumerate(histories.items()):
        if not history.losses:
            raise ValueError(f"the history {name!r} holds no step: nothing to draw")
        colour = colour_of("tuned" if len(histories) == 1 else name, position)
        tokens, losses = np.cumsum(history.tokens), np.asarray(history.losses)
        window = smooth or max(1, len(losses) // 20)
        ax.plot(tokens, losses, color=colour, alpha=0.28, linewidth=1.2)
        ax.plot(tokens, _running_mean(losses, window), color=colour, label=name)
    for label, level in (references or {}).items():
        _level(ax, label, level)
    ax.xaxis.set_major_formatter(lambda v, _: f"{v:,.0f}" if v < 1e6 else f"{v / 1e6:g}M")
    return _finish(drawn, ax, title, "tokens read", ylabel, legend=len(histories) > 1)


def heat_map(
    matrix: Any,
    *,
    title: str,
    xlabel: str = "",
    ylabel: str = "",
    xticks: Sequence[str] | None = None,
    yticks: Sequence[str] | None = None,
    diverging: bool = False,
    annotate: bool = False,
    colour_label: str = "",
    limits: tuple[float, float] | None = None,
    size: tuple[float, float] | None = None,
) -> Any:
    """A [rows, columns] matrix as colour: from white to blue, or with `diverging` from blue through white at 0 to orange.

    xticks/yticks name columns and rows (tokens, say). `annotate` writes each value. size: inches; None: by rows and columns.
    Raises ValueError for another rank or wrong tick counts.
    """
    matrix = np.asarray(matrix, dtype=float)
    if matrix.ndim != 2:
        raise ValueError(f"a heat map needs a [rows, columns] matrix, not shape {matrix.shape}")
    rows, columns = matrix.shape
    if (xticks is not None and len(xticks) != columns) or (yticks is not None and len(yticks) != rows):
        raise ValueError(f"{len(xticks or [])} column and {len(yticks or [])} row labels for a matrix of {rows} rows and {columns} columns")
    drawn, ax = figure(*(size or (min(11.0, max(5.6, 0.42 * columns + 2.2)), min(8.0, max(3.4, 0.36 * rows + 1.8)))))
    reach = np.nanmax(np.abs(matrix)) or 1.0
    low, high = limits or ((-reach, reach) if diverging else (min(0.0, np.nanmin(matrix)), np.nanmax(matrix) or 1.0))
    image = ax.imshow(matrix, cmap=_colour_map(diverging), vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    drawn.colorbar(image, ax=ax, label=colour_label, pad=0.02).outline.set_visible(False)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    if xticks is not None:
        long = max(map(len, xticks), default=0) > 3 and columns > 6
        ax.set_xticks(
            range(columns), xticks, rotation=60 if long else 0, ha="right" if long else "center", rotation_mode="anchor" if long else None
        )
    if yticks is not None:
        ax.set_yticks(range(rows), yticks)
    if annotate:
        counts = bool((np.asarray(matrix, dtype=float) % 1 == 0).all())
        for (i, j), value in np.ndenumerate(matrix):
            shade = abs(value) / reach if diverging else (value - low) / ((high - low) or 1.0)
            written = f"{value:.0f}" if counts else _short(value, reach)
            ax.text(j, i, written, ha="center", va="center", fontsize=10.5, color="white" if shade > 0.6 else COLOURS["text"])
    return _finish(drawn, ax, title, xlabel, ylabel, legend=False)


def save_figure(drawn: Any, path: Path) -> Path:
    """Write a figure for a slide or a page, in the format of the suffix (.svg, .png, .pdf); makes parent folders, returns the path.

    Raises LabError where a file stands that the course did not write (`core.files.write_output`), ValueError for another suffix.
    """
    page, undated = io.BytesIO(), {"svg": "Date", "pdf": "CreationDate"}  # no date: same figure, same bytes
    kind = path.suffix.removeprefix(".")
    drawn.savefig(page, bbox_inches="tight", format=kind, metadata={undated[kind]: None} if kind in undated else None)
    write_output(path, page.getvalue())
    return path


def _finish(drawn: Any, ax: Any, title: str, xlabel: str, ylabel: str, *, legend: bool | str) -> Any:
    ax.set_title(title)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    if legend == "above":  # between title and axes: bars leave no free corner
        ax.legend(
            loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=len(list(_labels(ax))), fontsize=12, borderaxespad=0.1, handlelength=1.2
        )
        ax.set_title(title, pad=36)
    elif legend:
        ax.legend(loc="best", fontsize=12)
    return drawn


def _level(ax: Any, label: str, height: float) -> None:
    """A dashed line across the axes with its name outside on the right, where it covers nothing."""
    import textwrap

    ax.axhline(height, color=COLOURS["bound"], linestyle="--", linewidth=1.5)
    name = "\n".join(textwrap.wrap(label, 12))
    ax.annotate(name, (1, height), (5, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center", fontsize=11.5)


def _labels(ax: Any) -> Iterable[str]:
    return ax.get_legend_handles_labels()[1]


def _short(value: float, largest: float) -> str:
    """A number for a label, with as many digits as the largest of its figure can do with: one form for all that stand beside each other."""
    return f"{value:,.{2 if largest < 9.995 else 1 if largest < 99.95 else 0}f}"


def _wrapped(label: str, count: int) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(label, max(8, 66 // count))) or label


def _running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean over `window` neighbours on both sides together, fewer at the ends: it does not lag behind the values."""
    sums, here = np.cumsum(np.insert(values, 0, 0.0)), np.arange(len(values))
    first, last = np.maximum(0, here - window // 2), np.minimum(len(values), here + (window + 1) // 2)
    return (sums[last] - sums[first]) / (last - first)


def _colour_map(diverging: bool) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    shades = [COLOURS["baseline"], "#FFFFFF", COLOURS["tuned"]] if diverging else ["#FFFFFF", "#9CC9E8", COLOURS["baseline"], "#0B2A45"]
    return LinearSegmentedColormap.from_list("course", shades)
