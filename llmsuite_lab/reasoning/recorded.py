"""The recorded runs of this section: three training seeds of each adapter, the untuned model, and the public sets, read from data/runs/.

    x̄ = (1/n) Σ_i (1/S) Σ_s x_is      a problem's score is its mean over the S seeds; the interval is over the n problems

What needs minutes to hours is measured once by a command and read here; a notebook says which of its numbers come from such a record.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.history import History
from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.core.paths import data_dir
from llmsuite_lab.reasoning.evaluation import Result, from_rows


@dataclass(frozen=True)
class Run:
    """One recorded training run: its seed, its history, and its results by set ("test", "seen")."""

    kind: str
    seed: int
    history: History
    results: dict[str, list[Result]]


def record(name: str) -> dict[str, Any]:
    """The record data/runs/<name>.json. Raises LabError when it is missing or damaged, with the way to make it."""
    file = data_dir() / "runs" / f"{name}.json"
    kind, _, rest = name.partition("_")
    make = f"python -m llmsuite_lab.course.reasoning_runs {rest}" if kind == "reasoning" else f"llmsuite train {kind}"
    if not file.is_file():
        raise LabError(f"the recorded run data/runs/{name}.json is not there: restore it from the repository, or make it with `{make}`")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problem = type(error).__name__
        raise LabError(f"the recorded run data/runs/{name}.json is damaged ({problem}): restore it, or make it with `{make}`") from error


def runs(kind: str) -> list[Run]:
    """All recorded training runs of "pal" or "cot", by seed. Raises LabError when there is none."""
    files = sorted((data_dir() / "runs").glob(f"{kind}_seed*.json"))
    if not files:
        raise LabError(f"no recorded run of {kind!r} stands in data/runs: restore the folder, or make one with `llmsuite train {kind}`")
    found = []
    for file in files:
        data = record(file.stem)
        results = {which: from_rows(rows) for which, rows in data.get("results", {}).items()}
        found.append(Run(kind, data["seed"], History.from_dict(data["history"]), results))
    return found


def base(method: str) -> list[Result]:
    """The untuned model's recorded answers to the first problems of the test set: "direct", "cot" (4-shot) or "pal" (4-shot)."""
    return from_rows(record("reasoning_base")["results"][method])


def mean_over_seeds(
    found: Sequence[Run], which: str = "test", score: Callable[[Result], float] = lambda r: float(r.correct)
) -> list[float]:
    """One number per problem: its score averaged over the runs. Raises ValueError when the runs answered different problems."""
    columns = [run.results[which] for run in found]
    if len({len(column) for column in columns}) != 1:
        raise ValueError(f"the runs answered {[len(c) for c in columns]} problems: they cannot be averaged")
    return [sum(score(r) for r in row) / len(row) for row in zip(*columns, strict=True)]


def by(found: Sequence[Run], key: Callable[[Result], int], which: str = "test") -> dict[int, Interval]:
    """Accuracy for each value of `key` (digits, steps), averaged over seeds, interval over problems."""
    groups = [key(r) for r in found[0].results[which]]
    means = mean_over_seeds(found, which)
    return {g: mean_interval([m for m, group in zip(means, groups, strict=True) if group == g]) for g in sorted(set(groups))}


def per_seed(found: Sequence[Run], which: str = "test") -> dict[int, float]:
    """Accuracy of every seed on its own: the spread that training adds."""
    return {run.seed: sum(r.correct for r in run.results[which]) / len(run.results[which]) for run in found}
