"""Invented names, disjoint between the splits by construction: `split_of(name)` is a fixed function of the name alone.

Drawing syllables from one pool per split is not enough: "ba" + "ran" and "bar" + "an" spell the same name. Here a name belongs to the
split that the checksum of its spelling says, whoever asks and whatever it names, so no name can be in two splits.
"""

import zlib
from collections.abc import Iterator
from random import Random
from typing import Literal

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")

_ONSETS = "b br c d dr f fl g gr h j k kl l m n p pl qu r s sk st t th tr v w z".split()
_VOWELS = "a e i o u ae ei io ou".split()
_MIDDLES = "l ld lm lv m mb n nd nt r rn rv s sk sp st t v x z".split()
_ENDINGS: dict[str, tuple[str, ...]] = {
    "given": ("a", "an", "en", "ia", "in", "o", "on", "ra", "us", "ys"),
    "family": ("berg", "dahl", "ell", "er", "ick", "land", "man", "mund", "sen", "wood"),
    "place": ("bourne", "by", "dale", "ford", "ham", "holm", "mouth", "stead", "ton", "wick"),
    "thing": ("a", "ex", "io", "on", "or", "ra", "ta", "um", "us", "yx"),
}
KINDS: tuple[str, ...] = tuple(_ENDINGS)


def split_of(name: str) -> Split:
    """The split that owns `name` (upper and lower case alike): "train" or "test", by the parity of its CRC-32."""
    return SPLITS[zlib.crc32(name.lower().encode("utf-8")) % 2]


def names(kind: str, split: Split, rng: Random) -> Iterator[str]:
    """Endless capitalised single-word names of one kind ("given", "family", "place", "thing"), none twice, all owned by `split`.

    Raises ValueError for an unknown kind or split.
    """
    if kind not in _ENDINGS:
        raise ValueError(f"kind={kind!r}, but the kinds of name are {', '.join(KINDS)}")
    if split not in SPLITS:
        raise ValueError(f"split={split!r}, but the splits are {' and '.join(SPLITS)}")
    seen: set[str] = set()
    while True:
        name = rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_MIDDLES)
        if rng.random() < 0.4:
            name += rng.choice(_VOWELS[:5]) + rng.choice(_MIDDLES)
        name = (name + rng.choice(_ENDINGS[kind])).capitalize()
        if name not in seen and split_of(name) == split:
            seen.add(name)
            yield name
