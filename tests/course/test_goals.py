"""Goals are judged by their means against bars, on what the records hold."""

import pytest

from llmsuite_lab.core import records
from llmsuite_lab.core.metrics import Interval
from llmsuite_lab.course import goals
from tests.course.test_train import waited_for


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
    ("section", "bars"),
    [
        ("retrieval", [*[0.85, 0.1, 0.5] * 2, 0.75, 0.8]),
        ("reasoning", [0.6, 0.0, 0.8, 0.7, 0.25, 0.6]),
        ("agents", [0.9, 0.4, 0.4, 0.4, 0.85, 0.85, 0.6]),
    ],
)
def test_every_section_is_judged_on_its_recorded_runs(section, bars):
    found = getattr(goals, section)()
    assert [goal.bar for goal in found] == bars
    assert all(goal.measured.n >= 12 for goal in found)
    trained = [goal for goal in found if goal.seeds]
    assert trained
    unfinished = [records.seeds(name) for name in waited_for()]  # a draft says which recipes lack a seed
    assert all(list(goal.seeds) in ([0, 1, 2], *unfinished) for goal in trained), "three training seeds stand behind every goal of something trained"
    assert list(goals.table(found)["verdict"]) == ["reached" if goal.reached else "missed" for goal in found]


def test_the_shares_are_those_counted_by_hand():
    claims = [row["said"] == row["label"] for run in records.read_all("react") for row in run.results["claims"]]
    (labels,) = (goal for goal in goals.agents() if goal.what.startswith("claims"))
    assert labels.measured.mean == pytest.approx(sum(claims) / len(claims))
