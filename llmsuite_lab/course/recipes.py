"""`llmsuite train pal|cot|react|reader`: make a shipped adapter again, with its provenance, its history and its score on the frozen test set.

A run is one folder in PEFT format (`lm.adapters.write_adapter`) and one record, JSON on one line: command, seed, settings, versions, machine,
wall time, commit, per-step history, per-problem results. Seed 0 is the one that ships, named before it was run; the other seeds give the spread.
"""

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from llmsuite_lab.core.errors import LabError, unknown
from llmsuite_lab.core.files import write_text
from llmsuite_lab.core.history import History
from llmsuite_lab.core.paths import cache_dir, data_dir, repo_dir
from llmsuite_lab.lm.adapters import write_adapter

NAMES = ("pal", "cot", "react", "reader")
SHIPPED_SEED = 0
EVALUATED = 120  # problems of the frozen test set a run is scored on: four of each size and number of steps
_PACKAGES = ("torch", "transformers", "peft", "pydantic-monty")


def run(name: str, seed: int = 0, out: Path | None = None, *, evaluate: bool = True) -> Path:
    """Train adapter `name` with `seed`, write it and its record, print where; returns the adapter's folder.

    Without `out`, seed 0 replaces data/adapters/<name> and other seeds go to the cache folder; the record is data/runs/<name>_seed<seed>.json.
    With `out`, both stand there. A stopped run goes on from its checkpoint in the cache folder. Raises ValueError for an unknown name.
    """
    if name not in NAMES:
        raise ValueError(unknown("recipe", name, list(NAMES)))
    if seed < 0:
        raise ValueError(f"seed={seed}, but a seed is zero or above")
    commit = commit_now()
    checkpoint = cache_dir() / "training" / f"{name}_seed{seed}"
    model, history, settings = _train(name, seed, checkpoint)
    if history.interrupted:
        raise LabError(
            f"stopped after {history.steps} of {history.planned_steps} steps: the same command goes on from there ({checkpoint})"
        )
    folder, file = places(name, seed, out)
    record = finish(name, seed, model, history, settings, folder, commit=commit, wall_s=history.wall_s, evaluate=evaluate)
    save_record(file, record)
    print(
        f"adapter: {folder}\nrecord:  {file}\ntokens:  {sum(history.tokens):,} in {history.wall_s:,.0f} s of steps, last loss {history.losses[-1]:.3f}"
    )
    return folder


def places(name: str, seed: int, out: Path | None = None) -> tuple[Path, Path]:
    """(the adapter's folder, the record's file) of a run."""
    if out is not None:
        return out, out / "run.json"
    shipped = data_dir() / "adapters" / name
    folder = shipped if seed == SHIPPED_SEED else cache_dir() / "adapters" / f"{name}_seed{seed}"
    return folder, data_dir() / "runs" / f"{name}_seed{seed}.json"


def finish(
    name: str,
    seed: int,
    model: Any,
    history: History,
    settings: dict[str, Any],
    folder: Path,
    *,
    commit: str,
    wall_s: float,
    evaluate: bool = True,
) -> dict[str, Any]:
    """Write the adapter with its provenance, evaluate it as it will be loaded, and return the whole record."""
    made = provenance(f"llmsuite train {name} --seed {seed}", seed, wall_s, commit) | {"settings": settings, "tokens": sum(history.tokens)}
    write_adapter(folder, model, made, base=settings["model"])
    record = {"name": name, **made, "history": history.as_dict()}
    if evaluate:
        record["results"] = evaluated(name, folder)
    return record


def provenance(command: str, seed: int, wall_s: float, commit: str) -> dict[str, Any]:
    """What every record starts with: how, with what, where, how long (for a training: its steps, in however many sittings), and from which commit."""
    versions = {package: importlib.metadata.version(package) for package in _PACKAGES} | {"python": platform.python_version()}
    return {"command": command, "seed": seed, "versions": versions, "machine": machine(), "wall_s": round(wall_s, 1), "commit": commit}


def evaluated(name: str, adapter: Path | str) -> dict[str, Any]:
    """The adapter's answers to the frozen problems, as rows by set: "test" (unseen sentences) and "seen" (training sentences, new problems).

    For react: its answers to the frozen questions and claims (`agents.records.results`). For reader: its verdicts on the held-out handbook.
    """
    if name == "reader":
        from llmsuite_lab.retrieval.record import reader_results

        return reader_results(adapter)
    if name == "react":
        from llmsuite_lab.agents.records import results

        return results(adapter)
    from llmsuite_lab.lm.language_model import LanguageModel
    from llmsuite_lab.reasoning.evaluation import as_rows, evaluate
    from llmsuite_lab.world.word_problems import load

    lm = LanguageModel.load(adapter=adapter)
    chosen = {"test": load("test")[:EVALUATED], "seen": load("seen")}
    return {which: as_rows(evaluate(lm, name, problems)) for which, problems in chosen.items()}


def save_record(file: Path, record: dict[str, Any]) -> None:
    """Write a record as one line of JSON, atomically."""
    write_text(file, json.dumps(record, ensure_ascii=False) + "\n")


def machine() -> str:
    """What the run was on, in words: processor, cores, memory."""
    from llmsuite_lab.core.runtime import _cpu_model, available_cores

    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30 if hasattr(os, "sysconf") else 0
    return f"{_cpu_model()}, {available_cores()} of {os.cpu_count()} cores, {pages:.0f} GiB memory"


def _train(name: str, seed: int, checkpoint: Path) -> tuple[Any, History, dict[str, Any]]:
    if name == "react":
        from llmsuite_lab.agents import recipe

        return recipe.train(seed, checkpoint=checkpoint)
    if name == "reader":
        from llmsuite_lab.retrieval import reader

        return reader.train(seed, checkpoint=checkpoint)
    from llmsuite_lab.reasoning import training

    return training.train(name, seed, checkpoint=checkpoint)


def commit_now() -> str:
    """The clone's commit, or why it is not known."""
    root = repo_dir()
    if root is None:
        return "not in a clone"
    asked = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown ({type(error).__name__})"
