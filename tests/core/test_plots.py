"""What the figures carry: heights, intervals, labels, colours; and what they refuse. Looks are judged by eye, not here."""

import math

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

from llmsuite_lab.core import labels, plots
from llmsuite_lab.core.history import History
from llmsuite_lab.core.metrics import Interval, proportion_interval

TITLES = {"title": "One message", "ylabel": "accuracy"}


def history(n: int) -> History:
    return History(n, [3.0 - i / n for i in range(n)], [1e-3] * n, [1.0] * n, [50] * n, [20] * n, [0.1] * n)


def test_bars_stand_at_the_means_with_their_intervals():
    values = {"base": proportion_interval(2, 20), "tuned": proportion_interval(15, 20)}
    drawn = plots.bars_with_intervals(values, bound=("chance", 0.5), **TITLES)
    (ax,) = drawn.axes
    assert [p.get_height() for p in ax.patches] == [0.1, 0.75]
    assert [to_hex(p.get_facecolor()).upper() for p in ax.patches] == [plots.COLOURS["base"], plots.COLOURS["tuned"]]
    ends = [sorted(segment[:, 1]) for c in ax.collections for segment in c.get_segments()]
    assert np.allclose(ends, [[i.low, i.high] for i in values.values()])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["base", "tuned"]
    assert "chance" in [t.get_text() for t in ax.texts]
    assert ax.get_title(loc="left") == "One message"


def test_numbers_on_bars_share_one_form():
    heights = {"a": 3.456, "b": 11.2, "c": -0.5}
    for scale, written in ((1.0, ["3.5", "11.2", "-0.5"]), (0.1, ["0.35", "1.12", "-0.05"]), (100.0, ["346", "1,120", "-50"])):
        values = {name: Interval(scale * height, scale * height, scale * height, 9) for name, height in heights.items()}
        assert [t.get_text() for t in plots.bars_with_intervals(values, **TITLES).axes[0].texts] == written


def test_grouped_bars_leave_a_gap_and_name_each_series_once():
    one = Interval(0.5, 0.4, 0.6, 9)
    drawn = plots.bars_with_intervals({"1 digit": {"PAL": one, "CoT": one}, "2 digits": {"CoT": one}}, colours={"PAL": "tuned"}, **TITLES)
    (ax,) = drawn.axes
    assert len(ax.patches) == 3
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["PAL", "CoT"]
    assert to_hex(ax.patches[0].get_facecolor()).upper() == plots.COLOURS["tuned"]
    cot = [p.get_x() + p.get_width() / 2 for p in (ax.patches[1], ax.patches[2])]
    assert cot[1] - cot[0] == pytest.approx(1.0), "a series keeps its place in every group"


def test_lines_carry_bands_only_where_there_are_intervals():
    x = [1, 10, 100]
    intervals = [Interval(v, v - 0.1, v + 0.2, 5) for v in (0.1, 0.2, 0.3)]
    drawn = plots.lines_with_bands(
        x, {"ours": intervals, "theirs": [0.3, math.nan, 0.1]}, xlabel="n", log_x=True, bound=("limit", 0.9), **TITLES
    )
    (ax,) = drawn.axes
    assert len(ax.collections) == 1
    assert np.allclose(ax.lines[0].get_ydata(), [0.1, 0.2, 0.3])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["ours", "theirs", "limit"]
    assert ax.get_xscale() == "log"
    with pytest.raises(ValueError, match="2 values for 3 positions"):
        plots.lines_with_bands(x, {"short": [1.0, 2.0]}, xlabel="n", **TITLES)


def test_loss_curve_runs_over_tokens():
    drawn = plots.loss_curve(history(40), title="It learns", references={"bigram entropy": 2.5})
    (ax,) = drawn.axes
    raw, smooth = ax.lines[:2]
    assert list(raw.get_xdata()[:3]) == [50, 100, 150]
    assert smooth.get_ydata()[20] == pytest.approx(np.mean(raw.get_ydata()[19:21]))
    assert len(plots.loss_curve({"PAL": history(5), "CoT": history(7)}, title="Two").axes[0].get_legend().get_texts()) == 2
    with pytest.raises(ValueError, match="no step"):
        plots.loss_curve(History(), title="Nothing")


def test_heat_map_scale_and_labels():
    matrix = np.array([[0.0, -2.0, 1.0], [0.5, 0.25, 0.0]])
    drawn = plots.heat_map(matrix, title="Diverging", diverging=True, annotate=True, xticks=list("abc"), yticks=["one", "two"])
    ax = drawn.axes[0]
    image = ax.images[0]
    assert image.get_clim() == (-2.0, 2.0)
    assert min(image.cmap(0.5)) > 0.99, "zero is white"
    assert [t.get_text() for t in ax.texts] == ["0.00", "-2.00", "1.00", "0.50", "0.25", "0.00"]
    with pytest.raises(ValueError, match="2 rows and 3 columns"):
        plots.heat_map(matrix, title="", xticks=["a"])
    with pytest.raises(ValueError, match=r"\(3,\)"):
        plots.heat_map([1, 2, 3], title="")


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="nothing to draw"):
        plots.bars_with_intervals({}, **TITLES)


def test_figures_are_small_files_and_leave_pyplot_alone(tmp_path):
    drawn = plots.bars_with_intervals({"base": Interval(0.5, 0.4, 0.6, 9)}, **TITLES)
    assert plt.get_fignums() == [], "an open figure would be shown a second time by the notebook"
    png = plots.save_figure(drawn, tmp_path / "deep" / "a.png")
    assert 3_000 < png.stat().st_size < 80_000
    first, second = (plots.save_figure(drawn, tmp_path / f"{i}.svg").read_text() for i in (1, 2))
    assert first.startswith("<?xml")
    assert "Date" not in first
    assert first == second


def test_colours_are_distinct_and_have_a_meaning():
    assert len(set(plots.COLOURS.values())) == len(plots.COLOURS)
    assert {"base", "tuned", "baseline", "bound", "accent"} <= set(plots.COLOURS)
    assert plots.colour_of("Tuned", 5) == plots.COLOURS["tuned"]
    assert plots.colour_of("unknown", 1) == plots.CYCLE[1]


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_saved_figure_has_its_own_ground(tmp_path, suffix):
    """Dark letters on a reader's dark page cannot be read: every pixel outside the axes too is opaque."""
    with plt.rc_context({"figure.facecolor": "none", "axes.facecolor": "none", "savefig.transparent": True}):  # what a notebook's theme may set
        drawn = plots.bars_with_intervals({"a": Interval(0.5, 0.4, 0.6, 10)}, title="t", ylabel="y")
        file = plots.save_figure(drawn, tmp_path / f"figure{suffix}")
    if suffix == ".png":
        assert plt.imread(file)[..., 3].min() == 1.0
    else:
        assert "fill: #ffffff" in file.read_text().split("axes_1")[0]


def test_a_name_stands_where_it_covers_neither_a_name_nor_a_point_nor_an_error_bar():
    drawn, ax = plots.figure()
    points = {"first of all": (0.5, 0.5), "second": (0.51, 0.52), "third": (0.49, 0.5), "in the corner": (0.99, 0.99)}
    for x, y in points.values():
        ax.errorbar([x], [y], yerr=0.06, fmt="o", capsize=4)
    ax.set(xlim=(0, 1), ylim=(0, 1))
    labels.name_points(ax, points)
    assert [text.get_text() for text in ax.texts] == list(points)
    drawn.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[i + 1 :])
    for x, y in points.values():
        bar = ax.transData.transform([(x, y - 0.06), (x, y), (x, y + 0.06)])
        assert not any(box.contains(*dot) for box in boxes for dot in bar)
    assert all(ax.bbox.contains(*corner) for corner in boxes[-1].corners())
    _, under = plots.figure()
    labels.name_points(under, {"above": (0.5, 0.5), "under": (0.2, 0.5)}, below=("under",))
    assert [text.xyann[1] < 0 for text in under.texts] == [False, True]
    with pytest.raises(ValueError, match="not finite: lost"):
        labels.name_points(ax, {"lost": (math.nan, 0.5)})
