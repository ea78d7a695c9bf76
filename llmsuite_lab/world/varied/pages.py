"""Training encyclopedias that differ from world to world: other kinds of page, other relations, facts told in other sentences and other places.

A seed draws a world: a few relations for each sort of page (person, place, building, work, group), which of them Search shows and which stand behind a
Lookup, how the pages are written (sentences or records), what they leave out. Questions and claims come with their hops; an item that no page
answers has a last hop without a value.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from llmsuite_lab.core.errors import within
from llmsuite_lab.world.almanac import Almanac, Page
from llmsuite_lab.world.almanac_claims import LABELS, Claim
from llmsuite_lab.world.almanac_questions import Question
from llmsuite_lab.world.varied.relations import SORTS, Relation, relations_of, texts, titles_of

KINDS = ("one", "two", "three", "compare", "same", "not stated", "foreign", "no page", *LABELS)
SHARES = {
    "one": 0.10, "two": 0.22, "three": 0.14, "compare": 0.13, "same": 0.08, "not stated": 0.06, "foreign": 0.05, "no page": 0.04,
    "supports": 0.06, "refutes": 0.06, "not enough info": 0.06,
}  # fmt: skip
MISSING, BEHIND, RECORDS = 0.22, 0.5, 0.25  # shares: of facts behind a Lookup left out, of relations behind one, of worlds written as records
NOT_ENOUGH = LABELS[2]


@dataclass(frozen=True)
class Hop:
    """One step: the page, the relation's name, its value (None: no page says it), and the keyword for a Lookup ("" where Search shows it)."""

    subject: str
    name: str
    value: str | None
    keyword: str = ""


@dataclass(frozen=True)
class Item:
    """A question or claim with the `steps` that settle it; `page_exists` is False where its subject has no page."""

    item: Question | Claim
    steps: tuple[Hop, ...]
    page_exists: bool = True


class World:
    """One drawn encyclopedia: `almanac` holds its pages; `draw` asks about them."""

    def __init__(self, seed: int):
        rng = self._rng = Random(f"varied pages {seed}")
        self.kind = {sort: rng.choice(texts()["kinds"][sort]) for sort in SORTS}
        self.relations = {sort: relations_of(sort, rng) for sort in SORTS}
        self.behind = {(sort, r.name) for sort in SORTS for r in self.relations[sort] if rng.random() < BEHIND}
        self.records = rng.random() < RECORDS
        self.titles = titles_of(self.kind, rng)
        self.sort = {title: sort for sort, listed in self.titles.items() for title in listed}
        self.facts: dict[tuple[str, str], str] = {}
        pages = {title: self._page(title) for title in self.sort}
        self.almanac = Almanac("train", seed, pages, dict(self.facts))

    def _page(self, title: str) -> Page:
        rng, sort, frames = self._rng, self.sort[title], texts()["frames"]
        first, later = [capital(rng.choice(frames["intro"]).format(x=title, kind=self.kind[sort]))], []
        for r in self.relations[sort]:
            behind = (sort, r.name) in self.behind
            if behind and rng.random() < MISSING:
                continue
            value = self.facts[title, r.name] = self._value(r, title)
            ways = frames["records"] if self.records and r.keyword in r.name else r.says
            (later if behind else first).append(capital(rng.choice(ways).format(x=title, v=value, rel=r.name)))
        later += [rng.choice(frames["aside"]).format(n=rng.randint(2, 90), year=rng.randint(1500, 1990)) for _ in range(rng.randint(0, 2))]
        rng.shuffle(later)
        return Page(title, sort, " ".join(first), tuple(later))  # type: ignore[arg-type]

    def _value(self, r: Relation, title: str) -> str:
        if isinstance(r.value, list):
            return self._rng.choice(r.value)
        if r.value in SORTS:
            return self._rng.choice([other for other in self.titles[r.value] if other != title])
        low, high = (1200, 1990) if r.value == "year" else map(int, r.value.split(".."))
        return str(self._rng.randint(low, high))

    def draw(self, kind: str, rng: Random) -> Item:
        """One item of a kind. Raises ValueError for an unknown kind, and where the world has none."""
        if kind not in KINDS:
            raise ValueError(f"kind={kind!r}, but the kinds are {', '.join(KINDS)}")
        for _ in range(400):
            made = {"compare": self._compare, "same": self._same, "foreign": self._foreign, "no page": self._no_page}.get(kind)
            found = made(rng) if made else self._claim(kind, rng) if kind in LABELS else self._chain(kind, rng)
            if found is not None:
                return found
        raise ValueError(f"no item of the kind {kind!r} could be drawn from this world")

    def _walk(self, hops: int, rng: Random, stated: bool = True) -> tuple[list[Relation], tuple[Hop, ...], str] | None:
        """Relations from a random page on, their hops, and the noun phrase for the page of the last; the last fact is `stated` or is not."""
        title = start = rng.choice(list(self.sort))
        chain: list[Relation] = []
        steps: list[Hop] = []
        seen, phrase = {start}, start
        for place in range(hops):
            last = place == hops - 1
            options = [r for r in self.relations[self.sort[title]] if last or (r.value in SORTS if isinstance(r.value, str) else False)]
            if not last:
                options = [r for r in options if r.nouns and (title, r.name) in self.facts]
            options = [r for r in options if not last or ((title, r.name) in self.facts) == stated]
            if not options:
                return None
            r = rng.choice(options)
            chain.append(r)
            steps.append(self._hop(title, r))
            if not last:
                title, phrase = steps[-1].value or "", rng.choice(r.nouns).format(x=phrase, rel=r.name)
                if title in seen:
                    return None
                seen.add(title)
        return chain, tuple(steps), phrase

    def _hop(self, title: str, r: Relation) -> Hop:
        value = self.facts.get((title, r.name))
        return Hop(title, r.name, value, r.keyword if (self.sort[title], r.name) in self.behind else "")

    def _chain(self, kind: str, rng: Random) -> Item | None:
        hops = {"one": 1, "two": 2, "three": 3}.get(kind) or rng.choice((1, 1, 2))
        walked = self._walk(hops, rng, stated=kind != "not stated")
        if walked is None:
            return None
        chain, steps, phrase = walked
        answer = steps[-1].value or NOT_ENOUGH
        text = capital(rng.choice(chain[-1].asks).format(x=phrase, rel=chain[-1].name))
        return Item(Question(kind, text, answer, tuple((h.subject, h.name, h.value or "") for h in steps)), steps)

    def _pair(self, rng: Random, usable: str) -> tuple[Relation, str, str] | None:
        able = [(sort, r) for sort in SORTS for r in self.relations[sort] if any(getattr(r, way) for way in usable.split())]
        sort, r = rng.choice(able) if able else ("person", None)
        stated = [title for title in self.titles[sort] if r is not None and (title, r.name) in self.facts]
        return (r, *rng.sample(stated, 2)) if r is not None and len(stated) > 1 else None

    def _compare(self, rng: Random) -> Item | None:
        if (pair := self._pair(rng, "high low")) is None:
            return None
        r, a, b = pair
        left, right = self._hop(a, r), self._hop(b, r)
        if left.value == right.value:
            return None
        low = bool(r.low)
        pick = (min if low else max)((left, right), key=lambda hop: int(hop.value or 0))
        other = right if pick is left else left
        text = rng.choice(r.low or r.high).format(x=a, y=b, rel=r.name)
        reason = f"{pick.value} is {'before' if low else 'more than'} {other.value}, so it is {pick.subject}."
        return Item(Question("compare", text, pick.subject, _plain((left, right)), reason), (left, right))

    def _same(self, rng: Random) -> Item | None:
        wanted = rng.random() < 0.5
        if (pair := self._pair(rng, "same")) is None:
            return None
        r, a, b = pair
        left, right = self._hop(a, r), self._hop(b, r)
        if (left.value == right.value) != wanted:
            return None
        same = "the same, so yes" if wanted else "not the same, so no"
        reason = f"{left.value} and {right.value} are {same}."
        return Item(Question("same", rng.choice(r.same).format(x=a, y=b, rel=r.name), "yes" if wanted else "no", _plain((left, right)), reason), (left, right))

    def _foreign(self, rng: Random) -> Item | None:
        title = rng.choice(list(self.sort))
        _, ask, name, keyword = rng.choice([row for row in texts()["foreign"]["rows"] if row[0] == self.sort[title]])
        if any(name in said or keyword in said for said in self.almanac.pages[title].details + (self.almanac.pages[title].opening,)):
            return None
        return Item(Question("foreign", ask.format(x=title), NOT_ENOUGH, ()), (Hop(title, name, None, keyword),))

    def _no_page(self, rng: Random) -> Item | None:
        sort = rng.choice(SORTS)
        title = rng.choice(titles_of(self.kind, Random(rng.random()))[sort])
        if title in self.sort:
            return None
        r = rng.choice(self.relations[sort])
        text = capital(rng.choice(r.asks).format(x=title, rel=r.name))
        return Item(Question("no page", text, NOT_ENOUGH, ()), (Hop(title, r.name, None),), page_exists=False)

    def _claim(self, label: str, rng: Random) -> Item | None:
        if label == NOT_ENOUGH and rng.random() < 0.35:
            missing = self._no_page(rng)
            if missing is None:
                return None
            hop = missing.steps[0]
            r = next(r for listed in self.relations.values() for r in listed if r.name == hop.name)
            said = self._value(r, "")
            text = capital(rng.choice(r.claims).format(x=hop.subject, v=said, rel=r.name))
            return Item(Claim(text, label, ((hop.subject, hop.name, None),), said, page_exists=False), missing.steps, page_exists=False)
        walked = self._walk(rng.choice((1, 2)), rng, stated=label != NOT_ENOUGH)
        if walked is None:
            return None
        chain, steps, phrase = walked
        value = said = steps[-1].value
        if label != "supports":
            said = self._value(chain[-1], steps[-1].subject)
        if said is None or (label == "refutes" and said == value):
            return None
        text = capital(rng.choice(chain[-1].claims).format(x=phrase, v=said, rel=chain[-1].name))
        return Item(Claim(text, label, tuple((h.subject, h.name, h.value) for h in steps), said), steps)


def items(count: int, seed: int, worlds: int = 40) -> Iterator[tuple[Item, World]]:
    """`count` training items over `worlds` drawn worlds, kinds by SHARES. Raises ValueError for a count or a number of worlds out of range."""
    within("count", count, 0, 1_000_000)
    within("worlds", worlds, 1, 500)
    rng, drawn = Random(f"varied items {seed}"), [World(1000 * seed + i) for i in range(worlds)]
    for i in range(count):
        world = drawn[i % worlds]
        yield world.draw(rng.choices(list(SHARES), list(SHARES.values()))[0], rng), world


def _plain(steps: tuple[Hop, ...]) -> tuple[tuple[str, str, str], ...]:
    return tuple((hop.subject, hop.name, hop.value or "") for hop in steps)


def capital(text: str) -> str:
    """A sentence's beginning, and "an" before a vowel."""
    return re.sub(r"\ba (?=[aeiou])", "an ", text[:1].upper() + text[1:])
