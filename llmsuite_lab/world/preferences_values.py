"""What the cases of `preferences` are filled with: names of syllables, numbers of digits, none of them in two splits.

A policy with a closed vocabulary can copy a name that it never saw if it knows its syllables: "Mi" + "ra". Which split a name, a number or a day belongs
to is a fixed function of its spelling, so none can be in two. It must not be a simple one: the parity of a CRC is the exclusive or of its syllables'
parities, so each beginning would have endings that only the test split puts behind it. A policy learns that instead of copying, and then writes a
false ending behind nearly every name of the test split.
"""

import hashlib
import re
import tomllib
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from llmsuite_lab.core.errors import unknown
from llmsuite_lab.world.support_desk_dialogue import SPLITS, Split

FIELDS = ("customer", "product", "order", "status", "day", "sum")
ASKS = ("status", "day", "sum", "order", "product", "cancel", "return")
_SLOT = re.compile(r"\{\w+\}")


@cache
def wordings() -> dict[str, Any]:
    """The file preferences.toml."""
    with Path(__file__).with_name("preferences.toml").open("rb") as file:
        return tomllib.load(file)


def owner(spelling: str) -> Split:
    """The split that owns a name, a number or a day: 7 of 10 are training's, 1 validation's and 2 the test's, by the SHA-256 of the spelling."""
    share = int.from_bytes(hashlib.sha256(spelling.casefold().encode("utf-8", "surrogatepass")).digest()[:8]) % 10
    return "train" if share < 7 else "validation" if share == 7 else "test"


def drawn(kind: str, split: Split, rng: Random) -> str:
    """A value of one field that the split owns: "Mira", "Zenrix lamp", "#472", "packed", "14 May", "$35". (A state belongs to all splits.)

    Raises ValueError for a kind that is no field, and for an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(unknown("split", split, list(SPLITS)))
    if kind not in FIELDS:
        raise ValueError(f"kind={kind!r}, but the fields of a record are {', '.join(FIELDS)}")
    words = wordings()
    if kind == "status":
        return rng.choice(list(words["statuses"]))
    while True:
        noun = ""
        if kind in ("customer", "product"):
            value = rng.choice(words["beginnings"]) + rng.choice(words["endings"])
            noun = f" {rng.choice(words['nouns'])}" if kind == "product" else ""
        elif kind == "order":
            value = f"#{rng.randint(100, 999)}"
        elif kind == "sum":
            value = f"${rng.randint(12, 480)}"
        else:
            value = f"{rng.randint(1, 28)} {rng.choice(words['months'])}"
        if owner(value) == split:
            return value + noun


@cache
def word_pieces() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The closed vocabulary of all prompts and replies of any split: (pieces that begin a word, pieces that go on or follow), each once, in a fixed order.

    Words as they are written ("Your" and "your"), the first syllables of names, digits and the marks # $; the other syllables, digits, and . , ? :
    """
    known = wordings()
    texts = [*known["nouns"], *known["months"], *known["statuses"], *FIELDS, *known["judge"]["topics"], *_texts(known["openers"])]
    texts += [*_texts(known["questions"]), *_texts(known["answers"]), *_texts(known["manners"]), "unknown Reply"]
    spoken = sorted({word for text in texts for word in re.findall(r"[A-Za-z]+", _SLOT.sub(" ", text))})
    first = [*"#$0123456789", *spoken, *known["beginnings"]]
    following = [*".,?:0123456789", *known["endings"]]
    return tuple(dict.fromkeys(first)), tuple(dict.fromkeys(following))


def words() -> tuple[str, ...]:
    """The pieces of `word_pieces`, wherever they stand, each once."""
    first, following = word_pieces()
    return tuple(dict.fromkeys([*first, *following]))


def _texts(value: Any) -> list[str]:
    parts = value.values() if isinstance(value, dict) else value
    return [value] if isinstance(value, str) else [text for part in parts for text in _texts(part)]
