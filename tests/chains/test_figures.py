"""The figures say what they were given, and draw it within their axes."""

import pytest

from llmsuite_lab.chains import counting, figures, trace
from llmsuite_lab.chains.assistant import Assistant, Reply
from llmsuite_lab.chains.routing import Choice


def test_the_bars_are_the_counted_lines_and_the_adapters_stand_on_theirs():
    each, whole = figures.lines_compared().axes
    lines = counting.comparison()
    assert sorted(bar.get_height() for bar in each.patches) == sorted(value for pair in lines.values() for value in pair)
    own, composed, adapters = whole.patches
    assert [own.get_height(), composed.get_height()] == [sum(side) for side in zip(*lines.values())]
    assert (adapters.get_height(), adapters.get_y()) == (counting.adapter_lines(), composed.get_height())


def test_the_graph_shows_every_node_once_and_choices_dashed():
    (ax,) = figures.assistant_graph().axes
    assert [t.get_text() for t in ax.texts if t.get_text()].count("clarify") == 1
    assert {"start", "recall", "route", "handbook", "sums", "almanac", "clarify", "end"} == {t.get_text() for t in ax.texts} - {""}


def test_a_run_tree_has_one_bar_per_run_and_needs_one():
    with pytest.raises(ValueError, match="nothing was recorded"):
        figures.run_tree(trace.Recorder())
    desk = Assistant({"prices": lambda q: Reply("67")}, lambda qs: [Choice("prices", 1.0, "")])
    recorder = trace.Recorder()
    desk.ask("How much?", "ann", {"callbacks": [recorder], "run_name": "assistant"})
    (ax,) = figures.run_tree(recorder).axes
    assert [label.get_text().strip() for label in ax.get_yticklabels()] == ["assistant", "recall", "route", "prices"]
    assert len([bar for bar in ax.patches if bar.get_width() > 0]) >= 4


def test_the_routing_table_names_both_sides():
    drawn = figures.routing_table({"handbook": {"handbook": 3, "unclear": 1}, "unclear": {"handbook": 0, "unclear": 2}})
    assert [t.get_text() for t in drawn.axes[0].get_yticklabels()] == ["handbook", "unclear"]
