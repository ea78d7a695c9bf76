"""Goals are judged by their means against bars, on what the records hold."""

import pytest

from llmsuite_lab.core.metrics import Interval
from llmsuite_lab.course import goals


def test_the_mean_decides_on_either_side_of_the_bar():
    measured = Interval(0.5, 0.4, 0.6, 20)
    assert goals.Goal("x", 0.5, measured).reached
    assert not goals.Goal("x", 0.51, measured).reached
    assert not goals.Goal("x", 0.5, measured, less_is_better=True).reached
    assert goals.Goal("x", 0.51, measured, less_is_better=True).reached


def test_the_table_says_what_was_missed():
    rows = [
        goals.Goal("easy", 0.1, Interval(0.5, 0.4, 0.6, 20), [0, 1]),
        goals.Goal("hard", 0.1, Interval(0.5, 0.4, 0.6, 20), less_is_better=True),
    ]
    assert goals.table(rows).to_numpy().tolist() == [
        ["easy", "≥ 0.10", "0.50 [0.40, 0.60], n=20", "0, 1", "reached"],
        ["hard", "< 0.10", "0.50 [0.40, 0.60], n=20", "–", "missed"],
    ]
    with pytest.raises(ValueError, match="goals is empty"):
        goals.table([])


@pytest.mark.parametrize(
    ("section", "bars"), [("retrieval", [0.85, 0.1, 0.5] * 2), ("reasoning", [0.6, 0.0]), ("agents", [0.9, 0.4, 0.4, 0.4, 0.85])]
)
def test_every_section_is_judged_on_its_recorded_runs(section, bars):
    found = getattr(goals, section)()
    assert [goal.bar for goal in found] == bars
    assert all(goal.measured.n >= 12 for goal in found)
    trained = [goal for goal in found if goal.seeds]
    assert trained
    assert all(list(goal.seeds) == [0, 1, 2] for goal in trained), "three training seeds stand behind every goal of something trained"
    assert list(goals.table(found)["verdict"]) == ["reached" if goal.reached else "missed" for goal in found]


def test_the_shares_are_those_counted_by_hand():
    from llmsuite_lab.agents import records

    claims = [row["said"] == row["label"] for run in records.runs() for row in run.results["claims"]]
    assert goals.agents()[-1].measured.mean == pytest.approx(sum(claims) / len(claims))
