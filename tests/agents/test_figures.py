"""Pictures: each draws what it is given, and a missing record is a sentence with the remedy."""

import pytest

from llmsuite_lab.agents import figures
from llmsuite_lab.agents.evaluation import Answer
from llmsuite_lab.agents.react import Step, Trajectory
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.world.almanac_questions import TRAINED_KINDS, UNTRAINED_KINDS


def answers(correct):
    return [
        Answer(kind, f"q {i}", "x", "x", correct, 90, 30, 3, 2, 0, 0.1) for kind in (*TRAINED_KINDS, *UNTRAINED_KINDS) for i in range(3)
    ]


def test_a_trace_shows_every_line_and_survives_its_plain_form():
    steps = [
        Step("I look.", "Search", "Ada", "Ada is a city.", "ok", "raw", True, 9, 4),
        Step("So.", "Finish", "yes", "", "finish", "", False, 9, 4),
    ]
    done = Trajectory("Question: is it?\nThought:", steps, "yes", "finished", 0.2)
    assert figures.trajectory_from(done.as_dict()) == done
    texts = [text.get_text() for text in figures.draw_trace(done).axes[0].texts]
    assert {"Question: is it?", "I look.", "Search[Ada]", "Ada is a city.", "Finish[yes]"} <= set(texts)


def test_dots_stand_at_the_accuracy_of_their_kind():
    axes = figures.dots_by_kind({"chain of thought": answers(False), "tuned ReAct": answers(True)}).axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert sorted({float(line.get_xdata()[0]) for line in dots}) == [0.0, 1.0]
    assert len(dots) == 2 * 11
    with pytest.raises(ValueError, match="nothing to draw"):
        figures.dots_by_kind({})


def test_varied_plans_are_those_of_the_shipped_recipe():
    """`react_varied`, another recipe on other pages, has a name like a mixture's."""
    legend, shipped = figures.transfer().axes[0].get_legend(), figures.tuned_by_kind()
    colours = {text.get_text(): patch.get_facecolor() for text, patch in zip(legend.get_texts(), legend.get_patches(), strict=True)}
    bars = [bar.get_height() for bar in legend.axes.patches if bar.get_facecolor() == colours["varied plans"]]
    assert bars == pytest.approx([shipped[kind].mean for kind in UNTRAINED_KINDS])


def test_cost_bars_add_up():
    axes = figures.draw_cost({"no tool": answers(True)}).axes[0]
    assert sum(bar.get_width() for bar in axes.patches) == 120
    with pytest.raises(ValueError, match="nothing to draw"):
        figures.draw_cost({})


def test_a_missing_record_names_the_command(no_records):
    for draw in (figures.recorded_by_kind, figures.in_one_turn, figures.transfer, figures.fact_checking, figures.loss):
        with pytest.raises(LabError, match="`llmsuite train react"):
            draw()
