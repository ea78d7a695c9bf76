"""Errors a person can act on: what was given, what is allowed, what to do."""

import difflib
from numbers import Integral


class LabError(RuntimeError):
    """An expected failure (no network, broken file, missing package) whose message is a complete sentence with the remedy."""


def within(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError unless low ≤ value ≤ high; nan never is."""
    if not low <= value <= high:
        raise ValueError(f"{name}={value}, but it must lie between {low} and {high}")


def whole(name: str, value: object, low: int, high: int) -> None:
    """Raise ValueError unless value is a whole number (an int of any library, no bool, no 2.0) with low ≤ value ≤ high."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= value <= high:
        raise ValueError(f"{name}={str(value)[:40]} must be a whole number from {low} to {high}")


def no_empty_name(what: str, name: object) -> None:
    """Raise ValueError for a name that is given and holds nothing; None, for one that is left out, is well."""
    if name is not None and not str(name).strip():
        raise ValueError(f"{what}={name!r} is empty: give a name, or leave it out")


def unknown(kind: str, name: object, known: list[str]) -> str:
    """The sentence for an unknown name: the nearest known one, then all of them."""
    near = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.3)
    return f"unknown {kind} {str(name)!r}{f'; did you mean {near[0]!r}?' if near else '.'} Known: {', '.join(sorted(known)) or 'none yet'}"
