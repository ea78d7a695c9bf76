"""Errors a person can act on: what was given, what is allowed, what to do."""

import difflib


class LabError(RuntimeError):
    """An expected failure (no network, broken file, missing package) whose message is a complete sentence with the remedy."""


def unknown(kind: str, name: object, known: list[str]) -> str:
    """The sentence for an unknown name: the nearest known one, then all of them."""
    near = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.3)
    return f"unknown {kind} {str(name)!r}{f'; did you mean {near[0]!r}?' if near else '.'} Known: {', '.join(sorted(known)) or 'none yet'}"
