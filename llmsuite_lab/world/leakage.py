"""Whether what is trained on holds what is measured on: runs of words that both have, numbers made alike.

    grams_n(text) = its n-word runs, "12" and "3,400" both "#"        leaks(text) ⇔ grams_n(text) ∩ grams_n(training) ≠ ∅

Two authors who write about apples share short runs ("how many apples does"); eight words in a row are shared by those who copied. A text that is
shorter than n words leaks when the whole of it stands in the training. Source: Brown et al. 2020, "Language Models are Few-Shot Learners", appendix C,
who use runs of eight to thirteen words.
"""

from collections.abc import Iterable, Sequence

from llmsuite_lab.core.errors import whole
from llmsuite_lab.core.text import words

WORDS = 8  # a run of so many words is no coincidence


def grams(text: str, n: int = WORDS) -> set[tuple[str, ...]]:
    """The runs of `n` words of a text; a shorter text is one run. Raises ValueError for n below 1."""
    whole("n", n, 1, 1000)
    listed = ["#" if word[0].isdigit() else word for word in words(text)]
    return {tuple(listed[i : i + n]) for i in range(max(1, len(listed) - n + 1))} - {()}


def leaks(training: Iterable[str], held_out: Sequence[str], n: int = WORDS) -> list[tuple[str, str]]:
    """(held-out text, a run of words it shares with a training text), for each held-out text that shares one; [] when none does.

    Raises TypeError for a single string in the place of texts, ValueError as `grams`.
    """
    if isinstance(training, str) or isinstance(held_out, str):
        raise TypeError("one string was given where a list of texts is wanted: put it in a list")
    runs = {text: grams(text, n) for text in held_out}
    wanted = set().union(*runs.values()) if runs else set()
    lengths = sorted({len(run) for run in wanted})
    found: set[tuple[str, ...]] = set()
    for text in training:
        for length in lengths:
            found |= grams(text, length) & wanted
    return [(text, " ".join(sorted(own & found)[0])) for text, own in runs.items() if own & found]
