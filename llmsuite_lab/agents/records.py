"""What the recorded runs of this section hold, and how they are made again.

data/runs/react_seed0.json …   one training run each, with the answers of its adapter to the frozen split (`llmsuite train react --seed 0`)
data/runs/react_baselines.json  the untuned model without a tool, with chain of thought, and with ReAct examples in its prompt (`record_baselines`)
data/runs/react_mixtures.json   the held-out kinds after two training mixtures whose plans are less varied (`record_mixture`)
"""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llmsuite_lab.agents import evaluation
from llmsuite_lab.agents.fact_checking import check_claims, confusion
from llmsuite_lab.agents.tools import almanac_tools
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import write_text
from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.core.paths import data_dir
from llmsuite_lab.world.almanac_frozen import load_almanac, load_claims, load_questions
from llmsuite_lab.world.almanac_questions import TRAINED_KINDS, UNTRAINED_KINDS

PER_KIND = 12  # questions of each kind that a run is scored on, of the 25 frozen ones
FEW_SHOT_STEPS = 6  # turns that the untuned model gets: a correct answer takes two to five


def record(name: str) -> dict[str, Any]:
    """A recorded run by the name of its file in data/runs. Raises LabError with the command that makes it when it is missing or broken."""
    path = data_dir() / "runs" / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LabError(
            f"{path.name} is missing or broken in data/runs ({error}); restore it with git, or run `llmsuite train react`"
        ) from error


def recorded_seeds() -> list[int]:
    """The seeds whose training is recorded in data/runs, in order. Raises LabError when there is none."""
    found = sorted(int(file.stem.removeprefix("react_seed")) for file in (data_dir() / "runs").glob("react_seed*.json"))
    if not found:
        raise LabError("no ReAct training is recorded in data/runs; restore it with git, or run `llmsuite train react`")
    return found


def tuned_scores() -> list[tuple[str, float]]:
    """Recorded: (kind, score) of every frozen question, its score the mean over the recorded seeds. Raises LabError when none is recorded."""
    runs = [record(f"react_seed{seed}")["results"]["questions"] for seed in recorded_seeds()]
    return [(rows[0]["kind"], sum(row["correct"] for row in rows) / len(rows)) for rows in zip(*runs, strict=True)]


def tuned_by_kind() -> dict[str, Interval]:
    """Recorded: accuracy of the tuned model by kind, averaged over seeds, interval over questions."""
    scores = tuned_scores()
    return {kind: mean_interval([s for k, s in scores if k == kind]) for kind in dict.fromkeys(k for k, _ in scores)}


def grounding() -> Interval:
    """Recorded: tuned ReAct minus the untuned chain of thought on the trained kinds, exact match, the same questions, ReAct averaged over its seeds."""
    theirs = {
        row["question"]: row["correct"] for row in record("react_baselines")["results"]["chain of thought"] if row["kind"] in TRAINED_KINDS
    }
    runs = [{row["question"]: row["correct"] for row in record(f"react_seed{seed}")["results"]["questions"]} for seed in recorded_seeds()]
    return mean_interval([sum(run[text] for run in runs) / len(runs) - correct for text, correct in theirs.items()])


def fact_checking_scores() -> list[float]:
    """Recorded: for every frozen claim the share of seeds whose label was right."""
    runs = [record(f"react_seed{seed}")["results"]["claims"] for seed in recorded_seeds()]
    return [sum(row["said"] == row["label"] for row in rows) / len(rows) for rows in zip(*runs, strict=True)]


def results(adapter: Path | str) -> dict[str, Any]:
    """An adapter's answers to the first `PER_KIND` frozen questions of every kind and to every claim, with one trajectory to show; plain data."""
    from llmsuite_lab.lm.language_model import LanguageModel

    lm, almanac, questions, claims = LanguageModel.load(adapter=adapter), load_almanac(), load_questions(per_kind=PER_KIND), load_claims()
    start = time.perf_counter()
    answers, trajectories = evaluation.react_answers(lm, questions, almanac)
    questions_s = time.perf_counter() - start
    verdicts = check_claims(lm, claims, lambda: almanac_tools(almanac))
    return {
        "questions": [_rounded(asdict(answer)) for answer in answers],
        "steps": dict(evaluation.problems(trajectories)),
        "questions_s": round(questions_s, 1),
        "claims_s": round(time.perf_counter() - start - questions_s, 1),
        "claims": [{"text": c.text, "label": c.label, "said": v.label} for c, v in zip(claims, verdicts, strict=True)],
        "confusion": confusion(claims, verdicts),
        "showcase": trajectories[0].as_dict(),
    }


def record_baselines(per_kind: int | None = None) -> dict[str, Any]:
    """Run the three untuned ways of answering on the frozen questions (the first `per_kind` of each kind) and write react_baselines.json."""
    from llmsuite_lab.lm.language_model import LanguageModel

    lm, almanac, questions = LanguageModel.load(), load_almanac(), load_questions(per_kind=per_kind)
    few_shot, trajectories = evaluation.react_answers(lm, questions, almanac, examples=evaluation.react_shots(), max_steps=FEW_SHOT_STEPS)
    methods = {
        "no tool": evaluation.direct(lm, questions),
        "chain of thought": evaluation.chain_of_thought(lm, questions),
        "few-shot ReAct": few_shot,
    }
    found = {
        "command": "python -m llmsuite_lab.course.react_runs baselines",
        "per_kind": per_kind,
        "model": lm.name,
        "results": {name: [_rounded(asdict(answer)) for answer in answers] for name, answers in methods.items()},
        "steps": dict(evaluation.problems(trajectories)),
    }
    _write("react_baselines", found)
    return found


def record_mixture(mixture: str, adapter: Path | str, made: dict[str, Any]) -> dict[str, Any]:
    """Add the answers of an adapter trained on `mixture` to react_mixtures.json, with how it was made (`made`: settings, wall time, commit)."""
    from llmsuite_lab.lm.language_model import LanguageModel

    questions = load_questions(("founder_birthplace", "birthplace_river", "publisher_product", *UNTRAINED_KINDS), per_kind=PER_KIND)
    answers, _ = evaluation.react_answers(LanguageModel.load(adapter=adapter), questions, load_almanac())
    file = data_dir() / "runs" / "react_mixtures.json"
    held = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"made": {}, "results": {}}
    held["made"][mixture] = made
    held["results"][mixture] = [_rounded(asdict(answer)) for answer in answers]
    _write("react_mixtures", held)
    return held


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"wall_s": round(row["wall_s"], 3)}


def _write(name: str, value: dict[str, Any]) -> None:
    write_text(data_dir() / "runs" / f"{name}.json", json.dumps(value, ensure_ascii=False) + "\n")
