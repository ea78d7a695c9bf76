"""Encyclopedias of another author for the ReAct agent: subjects, pages and questions of their own.

Two are for the test ("sea" in prose, "stage" in labels and values), "valley" is for validation. Kinds of question: `one`, `two`, `three` relations in a
row, `compare` and `same` over two pages; and what nothing answers: `not stated` (a page that leaves out a thing others say), `foreign` (a thing that no
page says) and `no page`. The right answer to those is NOT_ENOUGH.
"""

import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from llmsuite_lab.core.errors import within
from llmsuite_lab.world.almanac import Almanac, Page
from llmsuite_lab.world.almanac_claims import LABELS, Claim
from llmsuite_lab.world.almanac_questions import Hop, Question

NOT_ENOUGH = LABELS[2]
KINDS = ("one", "two", "three", "compare", "same", "not stated", "foreign", "no page")
ANSWERED = KINDS[:5]
_MISSING = 0.3  # share of the facts behind a Lookup that a page leaves out


@dataclass(frozen=True)
class World:
    """One encyclopedia with what is asked of it. `role`: "test" or "validation"."""

    name: str
    role: str
    pages: Almanac
    questions: tuple[Question, ...]
    claims: tuple[Claim, ...]


def load(name: str, per_kind: int = 8, seed: int = 0) -> World:
    """The world "sea", "stage" or "valley" with `per_kind` questions of each of KINDS and claims of each label.

    Raises ValueError for another name, and for more items than the world holds.
    """
    if name not in texts():
        raise ValueError(f"world {name!r}: there are {', '.join(texts())}")
    within("per_kind", per_kind, 1, 20)
    maker = _Maker(name, seed)
    questions = [q for kind in KINDS for q in maker.several(per_kind, lambda kind=kind: maker.question(kind))]
    claims = [c for label in LABELS for c in maker.several(per_kind, lambda label=label: maker.claim(label))]
    return World(name, texts()[name]["role"], maker.almanac, tuple(questions), tuple(claims))


def names(role: str = "test") -> list[str]:
    """The worlds with this role."""
    return [name for name, text in texts().items() if text["role"] == role]


@cache
def texts() -> dict:
    """The file as it stands."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


class _Maker:
    """Draws facts, writes pages, then asks about them."""

    def __init__(self, name: str, seed: int):
        self.text = texts()[name]
        self.rng = Random(f"elsewhere {name} {seed}")
        self.relations = {(r["of"], r["name"]): r for r in self.text["relation"]}
        self.kind = {title: kind for kind, titles in self.text["titles"].items() for title in titles}
        self.facts: dict[tuple[str, str], str] = {}
        pages = {title: self._page(title, kind) for title, kind in self.kind.items()}
        self.almanac = Almanac("test", seed, pages, dict(self.facts))

    def several(self, count: int, draw: Callable[[], Any]) -> list[Any]:
        """`count` different items; raises ValueError where the world does not hold so many."""
        found: dict[str, Any] = {}
        for _ in range(200 * count):
            if len(found) == count:
                break
            item = draw()
            found.setdefault(item.text, item)
        if len(found) < count:
            raise ValueError(f"only {len(found)} different items, {count} wanted")
        return list(found.values())

    def _page(self, title: str, kind: str) -> Page:
        first, later = [self.rng.choice(self.text["first"][kind]).format(x=title)], [self.rng.choice(self.text["aside"][kind])]
        for (of, name), r in self.relations.items():
            if of != kind or (r["stands"] == "later" and self.rng.random() < _MISSING):
                continue
            self.facts[title, name] = self._value(r["value"])
            said = self.rng.choice(r["says"]).format(x=title, v=self.facts[title, name])
            (first if r["stands"] == "first" else later).append(said)
        self.rng.shuffle(later)
        return Page(title, kind, " ".join(first), tuple(later))  # type: ignore[arg-type]

    def _value(self, value: Any) -> str:
        if isinstance(value, list):
            return self.rng.choice(value)
        low, dots, high = value.partition("..")
        return str(self.rng.randint(int(low), int(high))) if dots else self.rng.choice(self.text["titles"][value])

    def _chains(self, hops: int) -> Iterator[tuple[str, list[dict]]]:
        """All (title, relations) of this length whose facts are stated."""
        for title, kind in self.kind.items():
            yield from ((title, chain) for chain in self._from(title, kind, hops))

    def _from(self, title: str, kind: str, hops: int) -> Iterator[list[dict]]:
        for (of, name), r in self.relations.items():
            if of == kind and (title, name) in self.facts:
                if hops == 1:
                    yield [r]
                elif isinstance(r["value"], str) and r["value"] in self.text["titles"]:
                    yield from ([r, *rest] for rest in self._from(self.facts[title, name], r["value"], hops - 1))

    def _hops(self, title: str, chain: list[dict]) -> tuple[Hop, ...]:
        hops = []
        for r in chain:
            hops.append((title, r["name"], self.facts[title, r["name"]]))
            title = hops[-1][2]
        return tuple(hops)

    def _named(self, title: str, chain: list[dict]) -> str:
        """ "the harbour of the island that Old Maud Light stands on" """
        for r in chain:
            title = r["noun"].format(x=title)
        return title

    def question(self, kind: str) -> Question:
        """One question of this kind."""
        rng = self.rng
        if kind in ("one", "two", "three"):
            title, chain = rng.choice(list(self._chains(("one", "two", "three").index(kind) + 1)))
            text, hops = rng.choice(chain[-1]["asks"]).format(x=self._named(title, chain[:-1])), self._hops(title, chain)
            return Question(kind, text, hops[-1][2], hops)
        if kind == "compare":
            return self._compare()
        if kind == "same":
            return self._same(rng.choice(("yes", "no")))
        if kind == "not stated":
            left_out = [(t, r) for (of, n), r in self.relations.items() for t, k in self.kind.items() if k == of and (t, n) not in self.facts]
            title, r = rng.choice(left_out)
            return Question(kind, rng.choice(r["asks"]).format(x=title), NOT_ENOUGH, ())
        if kind == "foreign":
            title = rng.choice(list(self.kind))
            return Question(kind, rng.choice(self.text["foreign"][self.kind[title]]).format(x=title), NOT_ENOUGH, ())
        asked = rng.choice([ask for (of, _), r in self.relations.items() if of == next(iter(self.text["titles"])) for ask in r["asks"]])
        return Question(kind, asked.format(x=rng.choice(self.text["nowhere_titles"])), NOT_ENOUGH, ())

    def _two(self, r: dict, wanted: Callable[[str, str], bool]) -> tuple[str, str] | None:
        stated = [t for t, kind in self.kind.items() if kind == r["of"] and (t, r["name"]) in self.facts]
        pairs = [(a, b) for a in stated for b in stated if a != b and wanted(self.facts[a, r["name"]], self.facts[b, r["name"]])]
        return self.rng.choice(pairs) if pairs else None

    def _compare(self) -> Question:
        while True:
            r = self.rng.choice([r for r in self.relations.values() if "high" in r or "low" in r])
            if pair := self._two(r, lambda a, b: a != b):
                values = [int(self.facts[t, r["name"]]) for t in pair]
                answer = pair[values.index(max(values) if "high" in r else min(values))]
                hops = tuple((t, r["name"], self.facts[t, r["name"]]) for t in pair)
                return Question("compare", r.get("high", r.get("low")).format(x=pair[0], y=pair[1]), answer, hops)

    def _same(self, answer: str) -> Question:
        while True:
            r = self.rng.choice([r for r in self.relations.values() if "same" in r])
            if pair := self._two(r, lambda a, b: (a == b) == (answer == "yes")):
                hops = tuple((t, r["name"], self.facts[t, r["name"]]) for t in pair)
                return Question("same", r["same"].format(x=pair[0], y=pair[1]), answer, hops)

    def claim(self, label: str) -> Claim:
        """One claim with this label, over one relation or two."""
        rng = self.rng
        title, chain = rng.choice(list(self._chains(rng.choice((1, 2)))))
        hops = self._hops(title, chain)
        last, r = hops[-1], chain[-1]
        if label == NOT_ENOUGH:
            left_out = [(t, one) for (of, n), one in self.relations.items() for t, k in self.kind.items() if k == of and (t, n) not in self.facts]
            title, r = rng.choice(left_out)
            said = self._value(r["value"])
            return Claim(f"{_capital(r['noun'].format(x=title))} is {said}.", label, ((title, r["name"], None),), said)
        said = last[2]
        while label == "refutes" and said == last[2]:
            said = self._value(r["value"])
        return Claim(f"{_capital(self._named(title, chain))} is {said}.", label, hops, said)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
