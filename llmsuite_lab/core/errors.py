"""Errors a person can act on: what was given, what is allowed, what to do."""


class LabError(RuntimeError):
    """An expected failure (no network, broken file, missing package) whose message is a complete sentence with the remedy."""
