"""`python -m llmsuite_lab.course.reasoning_runs base|public`: record what notebook 03 compares with.

base: the untuned model, directly and with four solved examples in the prompt, on the first problems of the frozen test set.
public: both adapters on samples of SVAMP, GSM8K and GSM-Hard, read from the folder that LLMSUITE_REAL_DATA names (JSON Lines, see world.readers).
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.paths import data_dir
from llmsuite_lab.course.recipes import commit_now, provenance, save_record
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.reasoning.evaluation import as_rows, evaluate, solves
from llmsuite_lab.reasoning.training import training_problems
from llmsuite_lab.world import readers
from llmsuite_lab.world.word_problems import load

SHOTS = 4
BASE_ITEMS = {"direct": 120, "cot": 30, "pal": 30}  # the long few-shot prompts cost minutes
PUBLIC = ("svamp", "gsm8k", "gsm-hard")


def base() -> dict[str, Any]:
    """Results of the untuned model by method, as rows: direct without examples, the other two after four solved training problems."""
    lm, problems = LanguageModel.load(), load("test")
    examples = training_problems(SHOTS, seed=77)
    found = {}
    for method, n in BASE_ITEMS.items():
        found[method] = as_rows(evaluate(lm, method, problems[:n], examples=() if method == "direct" else examples))
    return {"settings": {"shots": SHOTS, "items": BASE_ITEMS}, "results": found}


def public(folder: Path, items: int = 24) -> dict[str, Any]:
    """Right or wrong for each problem of each public set, by adapter. Raises LabError when a file is missing or of another format."""
    rows = {name: readers.read(name, folder / f"{name}.jsonl", limit=items) for name in PUBLIC}
    found: dict[str, dict[str, list[bool]]] = {name: {} for name in PUBLIC}
    for method in ("cot", "pal"):
        lm = LanguageModel.load(adapter=method)
        for name, problems in rows.items():
            found[name][method] = solves(lm, method, [p.question for p in problems], [p.answer for p in problems])
    return {"settings": {"items": items, "adapters": ["cot", "pal"]}, "results": found}


def main(arguments: list[str]) -> None:
    """Run one of the two and write data/runs/reasoning_<name>.json."""
    if arguments not in (["base"], ["public"]):
        raise LabError("say which record to make: python -m llmsuite_lab.course.reasoning_runs base|public")
    began, commit = time.perf_counter(), commit_now()
    if arguments == ["base"]:
        made = base()
    else:
        given = os.environ.get("LLMSUITE_REAL_DATA")
        if not given:
            raise LabError("set LLMSUITE_REAL_DATA to the folder that holds svamp.jsonl, gsm8k.jsonl and gsm-hard.jsonl")
        made = public(Path(given))
    name = f"reasoning_{arguments[0]}"
    head = provenance(f"python -m llmsuite_lab.course.reasoning_runs {arguments[0]}", 0, time.perf_counter() - began, commit)
    save_record(data_dir() / "runs" / f"{name}.json", {"name": name, **head, **made})


if __name__ == "__main__":
    main(sys.argv[1:])
