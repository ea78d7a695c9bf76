"""What the sections of paper 2 set out to reach on held-out data, beside what they reached: the bars are aims, a missed one stays in.

    reached ⇔ mean ≥ bar  (or mean < bar, where less is better)        the mean alone decides; the interval says how sure it is

Everything is read from the recorded runs. Where something is trained, a question's score is its mean over the training seeds, and the interval is
over questions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.core.records import read_all

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Goal:
    """One goal: `what` is measured, its `bar`, what came out, and the training seeds (none: nothing was trained)."""

    what: str
    bar: float
    measured: Interval
    seeds: Sequence[int] = ()
    less_is_better: bool = False

    @property
    def reached(self) -> bool:
        """Whether the mean is on the right side of the bar."""
        return self.measured.mean < self.bar if self.less_is_better else self.measured.mean >= self.bar


def table(goals: Sequence[Goal]) -> "DataFrame":
    """The goals as a table: what, bar, measured, training seeds, verdict. Raises ValueError without goals."""
    from pandas import DataFrame

    if not goals:
        raise ValueError("goals is empty: pass those of a section, such as goals.retrieval()")
    rows = [
        (
            goal.what,
            f"{'<' if goal.less_is_better else '≥'} {goal.bar:.2f}",
            str(goal.measured),
            ", ".join(map(str, goal.seeds)) or "–",
            "reached" if goal.reached else "missed",
        )
        for goal in goals
    ]
    return DataFrame(rows, columns=["on held-out data", "goal", "measured", "training seeds", "verdict"])


def retrieval() -> list[Goal]:
    """Retrieval: right, refused and declined with the best passage, untuned behind its gate and tuned; the reader of many forms elsewhere (paper 2.1)."""
    from llmsuite_lab.retrieval import records

    found, trained = records.load(), records.readers()
    answerable = found["questions"]["one"]
    behind = [float(verdict == "correct") for verdict in found["verdicts"]["top-1 with gate"][:answerable]]
    declined, refused = records.declined_shares(found)
    tuned, seeds = records.reader_shares(trained), [run.seed for run in trained]
    rows = []
    for name, right, wrongly, rightly, used in (
        ("untuned", mean_interval(behind), refused, declined, ()),
        ("tuned reader", tuned["right"], tuned["refused"], tuned["declined"], seeds),
    ):
        rows += [
            Goal(f"{name}: answerable from one passage, right", 0.85, right, used),
            Goal(f"{name}: the same, refused", 0.10, wrongly, used, less_is_better=True),
            Goal(f"{name}: unanswerable, declined", 0.50, rightly, used),
        ]
    varied = read_all("reader_varied")
    away, used = records.elsewhere(varied), [run.seed for run in varied]
    return [
        *rows,
        Goal("varied reader and gate, another author's corpora: right", 0.75, away["right"], used),
        Goal("the same: unanswerable, declined", 0.80, away["declined"], used),
    ]


def reasoning() -> list[Goal]:
    """Word problems: tuned PAL on unseen sentences, and its six-digit against its one-digit problems; varied PAL, elsewhere too (paper 2.2)."""
    from llmsuite_lab.reasoning import evaluation, records

    runs = records.runs("pal")
    means, problems, seeds = records.mean_over_seeds(runs), runs[0].results["test"], [run.seed for run in runs]
    by_size = {digits: [m for m, r in zip(means, problems, strict=True) if r.digits == digits] for digits in (1, 6)}
    varied, again = records.runs("pal_varied"), records.runs("pal_mawps")
    used = [run.seed for run in varied]
    return [
        Goal("PAL on unseen sentences, right", 0.60, mean_interval(means), seeds),
        Goal("PAL with six digits minus PAL with one digit", 0.0, evaluation.gap(by_size[6], by_size[1]), seeds),
        Goal("varied PAL on unseen sentences, right", 0.80, mean_interval(records.mean_over_seeds(varied)), used),
        Goal("the same, another author's problems", 0.70, mean_interval(records.by_told_story(varied)), used),
        Goal("the same, SVAMP", 0.25, mean_interval(records.mean_over_seeds(varied, "svamp")), used),
        Goal("the same, MAWPS' problems of one operation", 0.60, mean_interval(records.mean_over_seeds(again, "mawps")), [run.seed for run in again]),
    ]


def agents() -> list[Goal]:
    """ReAct: the trained kinds, each kind never trained, and the labels of claims; the varied agent elsewhere (paper 2.3)."""
    from llmsuite_lab.agents import records
    from llmsuite_lab.world.almanac_questions import TRAINED_KINDS, UNTRAINED_KINDS

    seeds, by_kind = records.recorded_seeds(), records.tuned_by_kind()
    trained = mean_interval([score for kind, score in records.tuned_scores() if kind in TRAINED_KINDS])
    varied = read_all("react_varied")
    used = [run.seed for run in varied]
    return [
        Goal("the trained kinds, right", 0.90, trained, seeds),
        *(Goal(f"never trained: {kind.replace('_', ' ')}", 0.40, by_kind[kind], seeds) for kind in UNTRAINED_KINDS),
        Goal("claims, right label", 0.85, mean_interval(records.fact_checking_scores()), seeds),
        Goal("varied agent, all kinds over reworded pages", 0.85, records.right_in(varied, "reworded"), used),
        Goal("the same in another author's worlds", 0.60, records.elsewhere(varied)["all"], used),
    ]
