"""Word problems of another author: sixty stories of one operation, sixty of several, each told with small and with large numbers.

Every fifth story is for validation. Items of one story are not independent: intervals are over stories.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Literal, TypeAlias

from llmsuite_lab.world.formulas import draw, value

Role: TypeAlias = Literal["test", "validation"]
ROLES: tuple[Role, ...] = ("test", "validation")
SETS = ("single", "several")
LARGE = 1000  # how many times larger the large numbers are
_VALIDATION = 5  # every fifth story


@dataclass(frozen=True)
class Told:
    """One problem: its text, its answer, which `story` of its set it is, and whether it is told with `large` numbers."""

    text: str
    answer: int
    story: int
    large: bool


def load(which: str, role: Role = "test") -> list[Told]:
    """The problems of the set "single" or "several": each story with small numbers, then each with large ones. Raises ValueError for another set or role."""
    if which not in SETS or role not in ROLES:
        raise ValueError(f"set {which!r} with role {role!r}: the sets are {', '.join(SETS)}, the roles {', '.join(ROLES)}")
    chosen = [i for i in range(len(texts()[which])) if (i % _VALIDATION == _VALIDATION - 1) == (role == "validation")]
    return [_told(which, i, large) for large in (False, True) for i in chosen]


@cache
def texts() -> dict:
    """The file as it stands."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def _told(which: str, number: int, large: bool) -> Told:
    text, quantities, answer = texts()[which][number]
    rng = Random(f"elsewhere {which} {number} {large}")
    given = draw(quantities, rng, LARGE if large else 1)
    one, other = rng.sample(texts()["people"], 2)
    exact = value(answer, given)
    if exact.denominator != 1 or exact < 0:
        raise ValueError(f"story {number} of {which} comes to {exact}: it must be a whole number, zero or above")
    return Told(text.format(P=one, Q=other, **given), int(exact), number, large)
