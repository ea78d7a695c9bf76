"""Recorded runs: read whole, averaged over seeds, drawn; and a clear sentence when one is missing."""

import pytest

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.history import History
from llmsuite_lab.core.records import write
from llmsuite_lab.reasoning import figures, records
from llmsuite_lab.reasoning.evaluation import Result, as_rows


def _results(right):
    """Twelve answers, two a size, steps 2 and 5; `right(i)` says which are correct. Each states four equations."""
    return [
        Result(1 + i // 2, (2, 5)[i % 2], right(i), "right" if right(i) else "wrong", "7", 4, 4 if right(i) else 1, 30 + i)
        for i in range(12)
    ]


@pytest.fixture
def folder(no_records, recorded):
    """A data folder with two seeds of each adapter, the untuned model and the public sets."""
    history = History(3, [1.0, 0.5, 0.2], [1e-3] * 3, [1.0] * 3, [100] * 3, [50] * 3, [1.0] * 3)
    marks = {("pal", 0): lambda i: True, ("pal", 1): lambda i: i < 6, ("cot", 0): lambda i: i < 4, ("cot", 1): lambda i: i < 2}
    marks[("direct", 0)] = lambda i: i < 1
    for (kind, seed), right in marks.items():
        rows = as_rows(_results(right))
        write(recorded(kind, {"test": rows, "seen": rows[:5]}, seed=seed, history=history))
    untuned = as_rows(_results(lambda i: i == 0))
    write(recorded("reasoning_base", {"direct": untuned, "cot": untuned[:7], "pal": untuned[:5]}))
    public = {name: {"cot": [True, False, False], "pal": [True, True, False]} for name in ("svamp", "gsm8k")}
    write(recorded("reasoning_public", public))
    return no_records


def test_runs_come_whole_and_by_seed(folder):
    found = records.runs("pal")
    assert [run.seed for run in found] == [0, 1]
    assert found[0].results["test"] == _results(lambda i: True)
    assert found[0].history.losses == [1.0, 0.5, 0.2]


def test_scores_are_averaged_over_seeds_before_the_interval(folder):
    found = records.runs("pal")
    assert records.mean_over_seeds(found) == [1.0] * 6 + [0.5] * 6
    sizes = records.by(found, lambda r: r.digits)
    assert {size: interval.mean for size, interval in sizes.items()} == {1: 1.0, 2: 1.0, 3: 1.0, 4: 0.5, 5: 0.5, 6: 0.5}
    assert all(interval.n == 2 for interval in sizes.values())
    assert len(records.mean_over_seeds(found, "seen")) == 5


def test_stated_equations_are_averaged_problem_by_problem(folder):
    """cot: seed 0 is right on the first four problems, seed 1 on the first two; a right one states four true equations, a wrong one one."""
    found = records.runs("cot")
    assert records.equation_truth(found, (1, 2)) == [1.0, 1.0, (1 + 0.25) / 2, (1 + 0.25) / 2]
    assert records.equation_truth(found, (5,)) == [0.25, 0.25]


def test_a_story_is_compared_with_itself_in_larger_numbers(no_records, recorded):
    """Sizes are numbers, not words ("10" is the larger): of twelve stories seven are right in small numbers, the first four in large ones."""
    told = {"10": as_rows(_results(lambda i: i < 4)), "2": as_rows(_results(lambda i: 1 <= i < 8))}
    write(recorded("reasoning_sizes", {"cot": told, "pal": {"2": told["2"], "6": told["2"]}}))
    difference, differing = records.by_story("cot")
    assert difference.mean == pytest.approx((4 - 7) / 12)
    assert (difference.n, differing) == (12, 5)
    difference, differing = records.by_story("pal")
    assert (difference.mean, differing) == (0.0, 0)
    cut = {"2": told["2"], "6": told["2"][1:]}
    write(recorded("reasoning_sizes", {"pal": cut}))
    with pytest.raises(ValueError, match="shorter"):
        records.by_story("pal")


def test_every_figure_draws_from_the_records(folder):
    for draw in (
        figures.by_size,
        figures.by_steps,
        figures.equation_truth,
        figures.seen_and_unseen,
        figures.tuned_or_not,
        figures.losses,
        figures.public_sets,
        figures.loop,
    ):
        drawn = draw()
        assert drawn.axes[0].get_title(loc="left")
    recorded = {line.get_label(): float(line.get_ydata()[0]) for line in figures.by_size().axes[0].get_lines()}
    assert (recorded["direct, tuned"], recorded["program-aided"]) == (0.5, 1.0)
    tuned = [bar.get_height() for bar in figures.tuned_or_not().axes[0].patches][3:]
    assert tuned == [records.mean_interval(records.mean_over_seeds(records.runs(kind))).mean for kind in ("direct", "cot", "pal")]
    right, wrong = _results(lambda i: True), _results(lambda i: False)
    live = figures.by_size({"untuned": {"direct": wrong}, "tuned": {"cot": wrong, "pal": right}})
    heights = {line.get_label(): list(line.get_ydata()) for line in live.axes[0].get_lines()}
    assert heights == {"direct, untuned": [0.0] * 6, "chain of thought": [0.0] * 6, "program-aided": [1.0] * 6}


def test_a_figure_without_its_record_says_so(no_records):
    for draw in (figures.by_size, figures.equation_truth, figures.losses, figures.public_sets, figures.tuned_or_not):
        drawn = draw()
        assert drawn.axes[0].get_title(loc="left") == "Not measured yet"
        assert "data/runs" in " ".join(text.get_text() for text in drawn.axes[0].texts).replace("\n", " ")


def test_bad_records(folder):
    (folder / "reasoning_base_seed0.json").unlink()
    with pytest.raises(LabError, match="llmsuite train reasoning_base --seed 0"):
        records.base("direct")
    with pytest.raises(LabError, match="llmsuite train reasoning_sizes --seed 0"):
        records.by_story("pal")
    (folder / "pal_seed1.json").write_text("{half")
    with pytest.raises(LabError, match="llmsuite train pal --seed 1"):
        records.runs("pal")
    runs = records.runs("cot")
    runs[1].results["test"].pop()
    with pytest.raises(ValueError, match="12, 11"):
        records.mean_over_seeds(runs)
    runs[1].results["test"].append(runs[0].results["test"][0])  # twelve again, but another problem
    with pytest.raises(ValueError, match="different items"):
        records.mean_over_seeds(runs)
