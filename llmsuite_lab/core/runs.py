"""A run: how a recipe becomes a record, and, where it trains one, an adapter.

A section lists its recipes in `recipes.py`, a tuple RECIPES; `llmsuite train` finds them there. What a recipe measures is a function of a `Run`:
seed, where to go on from, where an adapter goes. It imports what it needs when it is called, so that listing recipes costs nothing.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmsuite_lab.core import records
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import check_output, remove_folder
from llmsuite_lab.core.history import History
from llmsuite_lab.core.paths import cache_dir, data_dir
from llmsuite_lab.core.provenance import commit_now, provenance


@dataclass(frozen=True)
class Outcome:
    """What a recipe came to: the `settings` it ran with and the `results`, plain data both; the `history` when something was trained."""

    settings: dict[str, Any]
    results: Any
    history: History | None = None


@dataclass(frozen=True)
class Recipe:
    """One thing that `llmsuite train <name>` makes: `makes` says what in a line, `measure` does it, `seeds` are those that the course records.

    `ships`: what the first seed trains, named before it was run, lies in data/<shelf>/<name>; the other seeds give the spread. `large`: it needs the t4
    or gpu profile, and the course, which runs on two cores, has no record of it.
    """

    name: str
    makes: str
    measure: Callable[["Run"], Outcome]
    seeds: tuple[int, ...] = (0,)
    ships: bool = False
    shelf: str = "adapters"
    large: bool = False

    def __post_init__(self) -> None:
        for seed in self.seeds:
            records.file_name(self.name, seed)
        if not self.seeds or not re.fullmatch(r"\S[^\n]*", self.makes):
            raise ValueError(f"the recipe {self.name!r} needs a seed, and one line that says what it makes")


@dataclass(frozen=True)
class Run:
    """One `recipe` with one `seed`; `out`: the folder for all that it makes, None for data/ (what does not ship: the cache folder)."""

    recipe: Recipe
    seed: int = 0
    out: Path | None = None
    commit: str = field(default_factory=commit_now)

    @property
    def label(self) -> str:
        """<name>_seed<seed>: what its files are called."""
        return Path(records.file_name(self.recipe.name, self.seed)).stem

    @property
    def adapter(self) -> Path:
        """The folder for the adapter, or whatever else stands on its shelf, that it trains."""
        if self.out is not None:
            return self.out / self.label
        ships = self.recipe.ships and self.seed == self.recipe.seeds[0]
        return data_dir() / self.recipe.shelf / self.recipe.name if ships else cache_dir() / self.recipe.shelf / self.label

    @property
    def checkpoint(self) -> Path:
        """The folder a training keeps its state in, to go on from."""
        return cache_dir() / "training" / self.label

    def provenance(self, wall_s: float) -> dict[str, Any]:
        """How it was made, after `wall_s` seconds."""
        return provenance(records.command(self.recipe.name, self.seed), self.seed, wall_s, self.commit)

    def finished(self, history: History) -> History:
        """`history`, when its training is whole. Raises LabError that says how to go on when it was stopped."""
        if history.interrupted or history.steps < history.planned_steps:
            where = f"the same command goes on from there ({self.checkpoint})"
            raise LabError(f"stopped after {history.steps} of {history.planned_steps} steps: {where}")
        return history


def make(recipe: Recipe, seed: int = 0, out: Path | None = None) -> Path:
    """Run `recipe` with `seed` and write its record to data/runs, or to `out`; returns the record's file.

    Raises ValueError for a seed below zero, LabError for a training that was stopped, and, before anything runs, when a file that is not its
    record has the record's place, and for a large one on the cpu profile.
    """
    run = Run(recipe, seed, out)
    from llmsuite_lab.core.runtime import profile  # imports torch, which a list of recipes does not need

    if recipe.large and profile().name == "cpu":
        raise LabError(f"{recipe.name} is for the t4 and gpu profiles, and this is cpu: run it on a GPU (LLMSUITE_PROFILE=t4)")
    if out is not None:
        check_output(out / f"{run.label}.json")
    began = time.perf_counter()
    done = recipe.measure(run)
    if done.history is None:
        made, trained = run.provenance(time.perf_counter() - began), {}
    else:
        history = run.finished(done.history)
        made, trained = run.provenance(history.wall_s), {"tokens": sum(history.tokens), "history": history}
    file = records.write(records.Record(recipe.name, **made, settings=done.settings, results=done.results, **trained), out)
    remove_folder(run.checkpoint)  # the same command trains anew
    return file
