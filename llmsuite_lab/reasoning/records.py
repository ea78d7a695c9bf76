"""What this section reads off its recorded runs: training seeds of each adapter, the untuned model, and the public sets.

    pal, cot, direct, short_pal, …    results by set ("test", "seen"), rows of `evaluation.Result`
    pal_elsewhere                     "single" and "several", problems of another author: each story with small numbers, then each with large ones; "svamp",
                                      "mawps"
    pal_varied                        these but "mawps", those at home, and under "leaks" how many held-out texts the training shares a run of words with
    pal_mawps                         the same training once more: "test", "mawps" and its "leaks"
    reasoning_base                    such rows by method
    reasoning_sizes                   such rows by adapter and number of digits, a story in the same place
    reasoning_public                  right or wrong, by set and adapter
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from llmsuite_lab.core import records
from llmsuite_lab.core.errors import unknown
from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.core.records import Record
from llmsuite_lab.reasoning import evaluation
from llmsuite_lab.reasoning.evaluation import Result, from_rows, scores
from llmsuite_lab.world.elsewhere.problems import SETS


def runs(name: str) -> list[Record]:
    """All recorded trainings of "pal", "cot", …, by seed, their results as lists of `Result`. Raises LabError when there is none."""
    found = records.read_all(name)
    return [replace(run, results={which: from_rows(rows) for which, rows in run.results.items() if isinstance(rows, list)}) for run in found]


def base(method: str) -> list[Result]:
    """The untuned model's recorded answers to the first problems of the test set: "direct", "cot" (4-shot) or "pal" (4-shot)."""
    return from_rows(records.read("reasoning_base").results[method])


def by_story(kind: str) -> tuple[Interval, int]:
    """(right with large numbers minus right with small ones, story by story, how often the two differ) of "pal" or "cot" in the recorded twins."""
    small, large = (from_rows(rows) for _, rows in sorted(records.read("reasoning_sizes").results[kind].items(), key=lambda row: int(row[0])))
    differences = [float(b.correct) - float(a.correct) for a, b in zip(small, large, strict=True)]
    return mean_interval(differences, differences=True), sum(d != 0 for d in differences)


def public() -> dict[str, dict[str, list[bool]]]:
    """Right or wrong for each problem of the public sets, by set and adapter."""
    return records.read("reasoning_public").results


def mean_over_seeds(
    found: Sequence[Record], which: str = "test", score: Callable[[Result], float] = lambda r: float(r.correct)
) -> list[float]:
    """One number per problem: its score averaged over the runs. Raises ValueError when the runs answered different problems."""
    return list(records.mean_over_seeds(found, lambda run: scores(run.results[which], score)).values())


def by_told_story(found: Sequence[Record], which: Sequence[str] = SETS) -> list[float]:
    """One number per story of another author: right answers averaged over its two tellings, small numbers and large, and over the runs.

    Raises ValueError for a set that there is not.
    """
    means = []
    for one in which:
        if one not in SETS:
            raise ValueError(unknown("which", one, SETS))
        tellings = mean_over_seeds(found, one)
        if len(tellings) % 2:
            raise ValueError(f"{len(tellings)} answers in {one!r}, and each story is told twice: an even number is needed")
        small, large = tellings[: len(tellings) // 2], tellings[len(tellings) // 2 :]
        means += [(a + b) / 2 for a, b in zip(small, large, strict=True)]
    return means


def elsewhere_gain(which: Sequence[str] = SETS) -> Interval:
    """PAL trained on varied stories minus the shipped PAL on the stories of another author, paired by story. Raises ValueError as `by_told_story`."""
    return _gain(by_told_story(runs("pal_varied"), which), by_told_story(runs("pal_elsewhere"), which))


def problem_gain(which: str) -> Interval:
    """The same paired by problem: "test" and "seen", the sets at home, or "svamp" and "mawps". Raises ValueError for another set."""
    recipes = {"test": "pal", "seen": "pal", "svamp": "pal_elsewhere", "mawps": "pal_elsewhere"}
    if which not in recipes:
        raise ValueError(unknown("which", which, list(recipes)))
    return _gain(mean_over_seeds(runs("pal_mawps" if which == "mawps" else "pal_varied"), which), mean_over_seeds(runs(recipes[which]), which))


def _gain(varied: Sequence[float], shipped: Sequence[float]) -> Interval:
    return mean_interval([a - b for a, b in zip(varied, shipped, strict=True)], differences=True)


def equation_truth(found: Sequence[Record], digits: Sequence[int], which: str = "test") -> list[float]:
    """For each problem with operands of these sizes the share of its stated equations that are true, averaged over the runs that state any."""
    rows = zip(*(records.held(run, lambda run: [(r.digits, r) for r in run.results[which]]) for run in found), strict=True)
    shares = [evaluation.equation_truth([result for _, result in row]) for row in rows if row[0][0] in digits]
    return [sum(share) / len(share) for share in shares if share]


def by(found: Sequence[Record], key: Callable[[Result], int], which: str = "test") -> dict[int, Interval]:
    """Accuracy for each value of `key` (digits, steps), averaged over seeds, interval over problems."""
    means = mean_over_seeds(found, which)
    groups = [key(r) for r in found[0].results[which]]
    return {g: mean_interval([m for m, group in zip(means, groups, strict=True) if group == g]) for g in sorted(set(groups))}
