"""What a training encyclopedia can be about: relations for each sort of page with the sentences, questions and nouns they are told in, and titles.

The words stand in `pages.toml`. A relation with a plain name ("mentor", "year of death") is told by frames that all share; one with a verb has its own.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from llmsuite_lab.world.names import names

SORTS = ("person", "place", "building", "work", "group")
SIZES = {"person": 12, "place": 7, "building": 6, "work": 6, "group": 6}
RELATIONS = 6  # of each sort in a world


@dataclass(frozen=True)
class Relation:
    """One kind of fact of a world: `name` is how a thought calls it, `keyword` what Lookup takes, `value` a sort of page, a range, "year" or words."""

    sort: str
    name: str
    value: Any
    keyword: str
    says: tuple[str, ...]
    asks: tuple[str, ...]
    nouns: tuple[str, ...]
    claims: tuple[str, ...]
    high: tuple[str, ...] = ()
    low: tuple[str, ...] = ()
    same: tuple[str, ...] = ()


@cache
def texts() -> dict[str, Any]:
    """The file as it stands."""
    return tomllib.loads(Path(__file__).with_name("pages.toml").read_text(encoding="utf-8"))


def keyword(name: str) -> str:
    """The word of a relation's name that a sentence about it holds: "death" of "year of death", "crop" of "main crop", "founding" of "founding year"."""
    words = name.split()
    return words[0] if words[-1] == "year" else words[-1]


def relations_of(sort: str, rng: Random) -> tuple[Relation, ...]:
    """RELATIONS of a sort, no two of one name, one with a page for its value at least."""
    frames, verbs = texts()["frames"], texts()["verbs"]
    found: dict[str, Relation] = {}
    for name, value in texts()["relations"][sort]:
        person, year, number = value == "person", value == "year" or name.endswith("year"), isinstance(value, str) and ".." in value
        found[name] = Relation(
            sort, name, value, keyword(name), tuple(frames["says"]), tuple(frames["who" if person else "asks"]),
            tuple(frames["whose" if person else "nouns"]) if value in SORTS else (), tuple(frames["claims"]),
            tuple(frames["high"]) if number else (), tuple(verbs["low"].get(name, frames["low"])) if year else (),
            () if year or number else tuple(frames["same"]),
        )  # fmt: skip
    plain = list(found.values())
    told = [
        Relation(sort, name, value, key, *(tuple(filter(None, part.split(" | "))) for part in (says, asks, nouns, claims)),
                 low=tuple(verbs["low"].get(name, ())), same=tuple(verbs["same"].get(name, ())))
        for of, name, value, key, says, asks, nouns, claims in verbs["rows"] if of == sort
    ]  # fmt: skip
    while True:
        chosen = {r.name: r for r in [*rng.sample(plain, RELATIONS - 2), *rng.sample(told, 2)]}
        if sum(r.value in SORTS for r in chosen.values() if isinstance(r.value, str)) >= 2 and len({r.keyword for r in chosen.values()}) == len(chosen):
            return tuple(chosen.values())


def titles_of(kind: dict[str, str], rng: Random) -> dict[str, list[str]]:
    """SIZES different titles of each sort."""
    pool, made = texts()["titles"], {what: names(what, "train", rng) for what in ("place", "thing")}
    found: dict[str, list[str]] = {}
    taken: set[str] = set()
    for sort in SORTS:
        found[sort] = []
        while len(found[sort]) < SIZES[sort]:
            given, family, adjective, noun = (rng.choice(pool[key]) for key in ("given", "family", "adjective", "noun"))
            slots = {"given": given, "family": family, "adjective": adjective, "noun": noun, "Kind": kind[sort].title()}
            title = rng.choice(pool[sort]).format(**slots, place=next(made["place"]), thing=next(made["thing"]))
            if title not in taken:
                taken.add(title)
                found[sort].append(title)
    return found
