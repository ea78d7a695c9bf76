"""Stop strings: where a text ends before the model does, and what must not be shown before that is known."""

from collections.abc import Sequence


def stop_list(stop: str | Sequence[str]) -> list[str]:
    """Stop strings as a list; one string alone is a list of one. Raises ValueError for an empty stop string, TypeError for anything else."""
    if not isinstance(stop, str | Sequence):
        raise TypeError(f"stop takes a string or a list of strings, got {type(stop).__name__}")
    stops = [stop] if isinstance(stop, str) else list(stop)
    for text in stops:
        if not isinstance(text, str):
            raise TypeError(f"stop takes strings, got {type(text).__name__}")
        if not text:
            raise ValueError("stop holds an empty string, which would end every text at once: leave it out")
    return stops


def first_stop(text: str, stop: Sequence[str]) -> int | None:
    """Where the first of the stop strings begins in `text`; None when there is none."""
    return min((at for word in stop if (at := text.find(word)) >= 0), default=None)


def held_back(text: str, stop: Sequence[str]) -> int:
    """How many characters at the end of `text` could be the beginning of a stop string, and must not be shown yet."""
    return max((n for word in stop for n in range(1, min(len(word), len(text) + 1)) if text.endswith(word[:n])), default=0)
