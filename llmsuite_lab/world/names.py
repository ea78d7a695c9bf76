"""Invented names, disjoint between the splits by construction: `split_of(name)` is a fixed function of the name alone.

Drawing syllables from one pool per split is not enough: "ba" + "ran" and "bar" + "an" spell the same name. Here a name belongs to the
split that the checksum of its spelling says, whoever asks and whatever it names, so no name can be in two splits. A name that holds a rude word
of some language (`rude_words`) gives way to another, drawn aside: what is drawn after it stays as it was.
"""

import zlib
from collections.abc import Iterator
from random import Random
from typing import Literal

from llmsuite_lab.world.rude_words import rude

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
    return SPLITS[_checksum(name) % 2]


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
        name = _draw(kind, rng)
        if name not in seen and split_of(name) == split:
            seen.add(name)
            if rude(name):
                name = _instead_of(name, kind, seen)
                seen.add(name)
            yield name


def _draw(kind: str, rng: Random) -> str:
    name = rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_MIDDLES)
    if rng.random() < 0.4:
        name += rng.choice(_VOWELS[:5]) + rng.choice(_MIDDLES)
    return (name + rng.choice(_ENDINGS[kind])).capitalize()


def _instead_of(name: str, kind: str, seen: set[str]) -> str:
    """Another name of the same length and the same last three bits of the checksum, which is what the splits of all data sets are told by."""
    rng = Random(f"instead of {name}")
    while True:
        other = _draw(kind, rng)
        if len(other) == len(name) and _checksum(other) % 8 == _checksum(name) % 8 and other not in seen and not rude(other):
            return other


def _checksum(name: str) -> int:
    return zlib.crc32(name.lower().encode("utf-8"))
