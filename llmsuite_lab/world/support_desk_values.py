"""The names, numbers and days a support-desk dialogue is filled with: disjoint between the splits, whoever asks.

A name, sum, order number or day belongs to the split that the checksum of its spelling says (as in `world.names`), so none can be in two splits.
Each dialogue gets, beside the settled value of every kind, others that are only mentioned: another order, a larger and a smaller sum, an earlier
and a later day, another article, other people.
"""

import re
import tomllib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from llmsuite_lab.world.names import names
from llmsuite_lab.world.support_desk_dialogue import Split

YEAR = 2031  # never spoken of
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
_MONEY = ("${}", "£{}", "€{}", "{} dollars", "{} euros", "{} pounds")
_LONGEST_NAME = 8  # letters: invented names cost a model a token for every two or three
_PLACEHOLDER = re.compile(r"\{\w+\}")


@cache
def wordings(part: str) -> dict[str, Any]:
    """The file support_desk_<part>.toml: "train" (also read for validation), "test" or "lexicon"."""
    with Path(__file__).with_name(f"support_desk_{part}.toml").open("rb") as file:
        return tomllib.load(file)


@cache
def vocabulary() -> frozenset[str]:
    """Every word, in lower case, that the wordings of all splits are made of: no name is spelt like one of them."""
    texts = list(_strings([wordings("train"), wordings("test"), wordings("lexicon")["ordinary"], list(MONTHS)]))
    return frozenset(word for text in texts for word in re.findall(r"[^\W\d_]+", _PLACEHOLDER.sub(" ", text).lower()))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _strings(part)


def owner(spelling: str) -> Split:
    """The split that owns a name or number, by the checksum of its spelling; consistent with `names.split_of`, whose train half is cut in two."""
    checksum = zlib.crc32(spelling.lower().encode("utf-8"))
    return "test" if checksum % 2 else "validation" if checksum // 2 % 4 == 0 else "train"


@dataclass(frozen=True)
class Drawn:
    """The values of one dialogue: `shown` maps each placeholder of the wordings to its text; `date` and `amount` are the settled ones as values."""

    shown: dict[str, str]
    date: date
    amount: Decimal


class Values:
    """Draws the values of one dialogue after another, each owned by `split`."""

    def __init__(self, split: Split, rng: Random):
        self.split, self.rng = split, rng
        pool = "test" if split == "test" else "train"
        self._pools = {kind: self._owned(names(kind, pool, rng)) for kind in ("given", "family", "place", "thing")}
        words = wordings(pool)
        self._nouns: list[str] = words["validation_nouns" if split == "validation" else "nouns"]
        first = date(YEAR, 1, 1)
        self._days = [day for day in (first + timedelta(days=i) for i in range(365)) if owner(f"{day.month}-{day.day}") == split]

    def _owned(self, drawn: Iterator[str]) -> Iterator[str]:
        for name in drawn:
            if owner(name) == self.split and len(name) <= _LONGEST_NAME and name.lower() not in vocabulary():
                yield name

    def draw(self) -> Drawn:
        """New values for one dialogue; the names are used up, the numbers may come again."""
        rng, given, thing = self.rng, self._pools["given"], self._pools["thing"]
        customer, agent, agent2, name2 = (next(given) for _ in range(4))
        noun, noun2 = rng.sample(self._nouns, 2)
        product, product2 = f"{next(thing)} {noun}", f"{next(thing)} {noun2}"
        order, order2 = self._number(), self._number()
        amount3, amount, amount2 = self._amounts()
        day, earlier, other = self._dates()
        money, style = rng.choice(_MONEY), rng.randrange(4)
        shown = {
            "customer": f"{customer} {next(self._pools['family'])}" if rng.random() < 0.4 else customer,
            "given": customer, "agent": agent, "agent2": agent2, "name2": name2, "place": next(self._pools["place"]),
            "noun": noun, "noun2": noun2, "product": product, "product2": product2, "order": order, "order2": order2,
            "amount": money.format(amount), "amount2": money.format(amount2), "amount3": money.format(amount3),
            "date": spell(day, style), "date2": spell(earlier, style), "date3": spell(other, style), "n": str(rng.randint(4, 9)),
        }  # fmt: skip
        return Drawn(shown, day, amount)

    def _number(self) -> str:
        while owner(number := str(self.rng.randint(10_000, 99_999))) != self.split:
            pass
        return number

    def _amounts(self) -> list[Decimal]:
        """Three different sums, from the smallest to the largest."""
        found: set[Decimal] = set()
        while len(found) < 3:
            whole = self.rng.randint(4, 240)
            amount = Decimal(whole) if self.rng.random() < 0.6 else Decimal(f"{whole}.{self.rng.choice(('50', '90', '95', '25', '80'))}")
            if owner(str(amount)) == self.split:
                found.add(amount)
        return sorted(found)

    def _dates(self) -> tuple[date, date, date]:
        """The settled day, one up to seven weeks before it, and one within ten days of it."""
        while True:
            day = self.rng.choice(self._days)
            before = [d for d in self._days if 3 <= (day - d).days <= 50]
            near = [d for d in self._days if 1 <= (d - day).days <= 12]
            if before and near:
                return day, self.rng.choice(before), self.rng.choice(near)


def spell(day: date, style: int) -> str:
    """A day in one of four spellings: "14 March", "March 14", "14th March", "March 14th"."""
    ending = "th" if 10 < day.day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
    number = f"{day.day}{ending if style > 1 else ''}"
    return f"{number} {MONTHS[day.month - 1]}" if style % 2 == 0 else f"{MONTHS[day.month - 1]} {number}"
