"""What the recipes of this section measure: a tuned adapter and the untuned model on the frozen problems, both adapters on public sets."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.runs import Outcome
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.reasoning.evaluation import Result, as_rows, evaluate, solves
from llmsuite_lab.reasoning.own_problems import OwnProblem
from llmsuite_lab.reasoning.training import training_problems
from llmsuite_lab.world import readers
from llmsuite_lab.world.word_problems import Problem, load, twins

EVALUATED = 120  # problems of the frozen test set a run is scored on: four of each size and number of steps
SHOTS = 4
UNTUNED_ITEMS = {"direct": 120, "cot": 30, "pal": 30}  # the long few-shot prompts cost minutes
STORIES, SIZES = 100, (2, 6)  # stories told with operands of either number of digits
PUBLIC = ("svamp", "gsm8k", "gsm-hard")
PUBLIC_ITEMS = 24


def solved(kind: str, adapter: Path | str) -> dict[str, Any]:
    """An adapter's answers as rows by set: "test" (unseen sentences) and "seen" (training sentences, new problems)."""
    lm = LanguageModel.load(adapter=adapter)
    chosen = {"test": load("test")[:EVALUATED], "seen": load("seen")}
    return {which: as_rows(evaluate(lm, kind, problems)) for which, problems in chosen.items()}


def on(problems: Sequence[Problem | OwnProblem]) -> dict[str, dict[str, list[Result]]]:
    """Every method on problems of one's own (`own_problems.load`), as the recorded runs have them for the course's: by "untuned" and "tuned", then by method.

    The untuned model answers UNTUNED_ITEMS of them, spread over the list: a file may begin with the easy ones. The figures of this section that a problem set
    changes take what comes back. Raises ValueError for no problems.
    """
    tuned = {kind: evaluate(LanguageModel.load(adapter=kind), kind, problems) for kind in ("cot", "pal")}
    return {"untuned": _untuned(problems, spread=True), "tuned": tuned}


def untuned() -> Outcome:
    """The untuned model's answers by method, as rows: direct without examples, the other two after four solved training problems."""
    return Outcome({"shots": SHOTS, "items": UNTUNED_ITEMS}, {method: as_rows(rows) for method, rows in _untuned(load("test")).items()})


def _untuned(problems: Sequence[Problem | OwnProblem], spread: bool = False) -> dict[str, list[Result]]:
    lm, examples = LanguageModel.load(), training_problems(SHOTS, seed=77)
    chosen = {m: range(min(n, len(problems))) for m, n in UNTUNED_ITEMS.items()}
    if spread:
        chosen = {m: [i * len(problems) // len(first) for i in first] for m, first in chosen.items()}
    return {m: evaluate(lm, m, [problems[i] for i in chosen[m]], examples=() if m == "direct" else examples) for m in UNTUNED_ITEMS}


def sizes(stories: int = STORIES, digits: tuple[int, int] = SIZES) -> Outcome:
    """Both shipped adapters on held-out stories that are told twice, all but the numbers alike: rows by adapter and number of digits."""
    told = twins("test", stories, digits)
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for kind in ("pal", "cot"):
        lm = LanguageModel.load(adapter=kind)
        found[kind] = {str(size): as_rows(evaluate(lm, kind, [pair[i] for pair in told])) for i, size in enumerate(digits)}
    return Outcome({"stories": stories, "digits": list(digits), "adapters": ["pal", "cot"]}, found)


def public_sets(folder: Path | None = None) -> Outcome:
    """Right or wrong for each problem of SVAMP, GSM8K and GSM-Hard, by adapter; `folder` holds them as JSON Lines (see `world.readers`).

    None: the folder that LLMSUITE_REAL_DATA names. Raises LabError when that is not set, or a file is missing or of another format.
    """
    given = folder or os.environ.get("LLMSUITE_REAL_DATA")
    if not given:
        raise LabError("set LLMSUITE_REAL_DATA to the folder that holds svamp.jsonl, gsm8k.jsonl and gsm-hard.jsonl")
    rows = {name: readers.read(name, Path(given) / f"{name}.jsonl", limit=PUBLIC_ITEMS) for name in PUBLIC}
    found: dict[str, dict[str, list[bool]]] = {name: {} for name in PUBLIC}
    for method in ("cot", "pal"):
        lm = LanguageModel.load(adapter=method)
        for name, problems in rows.items():
            found[name][method] = solves(lm, method, [p.question for p in problems], [p.answer for p in problems])
    return Outcome({"items": PUBLIC_ITEMS, "adapters": ["cot", "pal"]}, found)
