"""`llmsuite train`: what the sections can make again. Every section folder that has a `recipes.py` is found by itself; none is named here."""

import importlib
import importlib.util
import pkgutil
from types import ModuleType
from typing import Any

import llmsuite_lab
from llmsuite_lab.core import records
from llmsuite_lab.core.errors import unknown
from llmsuite_lab.core.runs import Recipe


def find(package: ModuleType = llmsuite_lab) -> dict[str, tuple[str, Recipe]]:
    """All recipes by name, each with its section: the RECIPES of every `<package>/<section>/recipes.py`, sections in the order of their names.

    Raises ValueError when a recipes.py has no RECIPES, or two recipes share a name.
    """
    found: dict[str, tuple[str, Recipe]] = {}
    for section in sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.ispkg):
        module = f"{package.__name__}.{section}.recipes"
        if importlib.util.find_spec(module) is None:
            continue
        listed = getattr(importlib.import_module(module), "RECIPES", None)
        if not isinstance(listed, tuple) or not all(isinstance(one, Recipe) for one in listed):
            raise ValueError(f"{module} has no tuple RECIPES of `core.runs.Recipe`: list there what the section can make")
        for one in listed:
            if one.name in found:
                raise ValueError(f"the sections {found[one.name][0]} and {section} both have a recipe {one.name!r}: rename one")
            found[one.name] = (section, one)
    return found


def recipe(name: str) -> Recipe:
    """The recipe with this name. Raises ValueError for an unknown one, with the nearest known."""
    known = find()
    if name not in known:
        raise ValueError(unknown("recipe", name, list(known)))
    return known[name][1]


def listing() -> list[dict[str, Any]]:
    """One row a recipe: name, section, makes, minutes (of the first recorded seed; None when none is recorded or it did not say), seeds recorded,
    shipped (what it trains lies in data/). Raises LabError for a damaged record."""
    rows = []
    for name, (section, one) in find().items():
        seeds = records.seeds(name)
        minutes = records.read(name, seeds[0]).minutes if seeds else None
        rows.append({"name": name, "section": section, "makes": one.makes, "minutes": minutes, "seeds": seeds, "shipped": one.ships})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows of `listing` for a terminal."""
    lines = [f"{'name':<20} {'section':<11} {'minutes':>12}  {'seeds':<8} {'shipped':<8} makes"]
    for row in rows:
        minutes = records.NOT_RECORDED if row["minutes"] is None else f"{row['minutes']:.1f}"
        seeds, shipped = ", ".join(map(str, row["seeds"])) or "none", "yes" if row["shipped"] else "no"
        lines.append(f"{row['name']:<20} {row['section']:<11} {minutes:>12}  {seeds:<8} {shipped:<8} {row['makes']}")
    return "\n".join(lines)
