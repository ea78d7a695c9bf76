"""An invented encyclopedia with links: what a search tool can find and no model can know.

facts: (title, relation) -> value;  a page shows its facts as an opening (what Search returns) and details (what Lookup finds)

Magazines name publishers and editors, companies founders and headquarters, people birthplaces and teachers, cities rivers and mayors: a question
about the end of such a chain needs one page after the other. The truth is exact, because the text is written from the facts. Names are of one
split only (world.names), and so are the numbers: a number divisible by four belongs to the test split.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import as_json, write_output
from llmsuite_lab.core.paths import data_dir
from llmsuite_lab.world.almanac_relations import PAGE_KINDS, PageKind, relation
from llmsuite_lab.world.names import SPLITS, Split, names, split_of

TEST_SEED = 20
SIZES: dict[PageKind, int] = {"person": 44, "city": 22, "river": 16, "company": 26, "magazine": 32}
_GIVEN = (
    "Clara Greta Hugo Ingrid Karl Laura Nils Agnes Bruno Ivan Conrad Flora Jakob Martin Oscar "
    "Anna Boris David Elena Felix Julia Marta Olga Peter Rosa Simon Tina Viktor Edith Frank Helen Alice Diana Emil Gustav Linda Nora"
).split()
_VALUES = {
    "occupation": "baker painter doctor lawyer singer farmer printer sailor weaver tailor dentist potter miller".split(),
    "product": "clocks paint bicycles lamps chairs soap glass boots pianos carpets kites ropes stoves pens".split(),
    "subject": "chess gardening cooking trains music fishing birds poetry sailing maps dance coins bees theatre".split(),
    "company": "Works Mills Brothers Group".split(),
    "magazine": "Review Journal Weekly Courier".split(),
}

OPENINGS: dict[str, str] = {
    "person": "{x} is a {occupation}, born in {birthplace} in {birth year}.",
    "city": "{x} is a city on the river {river}, founded in {founding year}.",
    "river": "{x} is a river of {length} km that flows into {lake}.",
    "company": "{x} is a company that makes {product}, founded by {founder} in {founding year}.",
    "magazine": "{x} is a magazine about {subject}, started in {start year} and published by {publisher}.",
}
DETAILS: dict[str, str] = {
    "teacher": "The teacher of {x} was {v}.",
    "mayor": "The mayor of {x} is {v}.",
    "population": "The population of {x} is {v}.",
    "bridge year": "The oldest bridge over {x} was built in {v}.",
    "headquarters": "The headquarters of {x} are in {v}.",
    "staff": "{x} has a staff of {v}.",
    "editor": "The editor of {x} is {v}.",
    "circulation": "{x} has a circulation of {v}.",
}


@dataclass(frozen=True)
class Page:
    """One entry: `opening` is what Search returns; each of `details` is a sentence that Lookup can find."""

    title: str
    kind: PageKind
    opening: str
    details: tuple[str, ...]


@dataclass(frozen=True)
class Almanac:
    """Pages by title and the facts they are written from. A fact that no page states is absent: claims about it cannot be decided."""

    split: Split
    seed: int
    pages: dict[str, Page]
    facts: dict[tuple[str, str], str]

    def titles(self, kind: PageKind) -> list[str]:
        """All titles of one kind, in order of creation."""
        return [page.title for page in self.pages.values() if page.kind == kind]

    def follow(self, title: str, relations: tuple[str, ...] | list[str]) -> list[tuple[str, str, str]] | None:
        """The hops (subject, relation, value) of a chain from `title`; None when a fact on the way is not recorded. ValueError: no such title."""
        if title not in self.pages:
            raise ValueError(f"title={title!r} has no page in this almanac of {len(self.pages)} pages")
        hops, subject = [], title
        for name in relations:
            value = self.facts.get((subject, name))
            if value is None:
                return None
            hops.append((subject, name, value))
            subject = value
        return hops


def owns_number(split: Split, n: int) -> bool:
    """Whether `split` may print the number n: the test split owns the multiples of four, training the others."""
    return (n % 4 == 0) == (split == "test")


def build(split: Split, seed: int, sizes: dict[PageKind, int] | None = None, missing: float = 0.2) -> Almanac:
    """A new almanac of one split; the same arguments give the same one. `missing`: share of the looked-up facts that go unrecorded.

    Raises ValueError for an unknown split or kind of page, fewer than two pages of a kind, or `missing` outside [0, 1).
    """
    sizes = SIZES | (sizes or {})
    if split not in SPLITS:
        raise ValueError(f"split={split!r}, but the splits are {' and '.join(SPLITS)}")
    if set(sizes) != set(PAGE_KINDS) or min(sizes.values()) < 2:
        raise ValueError(f"sizes={sizes}: give at least two pages for each of {', '.join(PAGE_KINDS)}")
    if not 0 <= missing < 1:
        raise ValueError(f"missing={missing}, but it is a share in [0, 1)")
    rng = Random(f"almanac-{split}-{seed}")
    titles = _titles(split, sizes, rng)
    facts: dict[tuple[str, str], str] = {}
    for kind in PAGE_KINDS:
        for title in titles[kind]:
            facts |= {(title, name): value for name, value in _draw_facts(kind, title, titles, split, rng).items()}
    for title, name in list(facts):
        kind = next(kind for kind in PAGE_KINDS if title in titles[kind])
        if name not in _DISTRACTORS and relation(kind, name).keyword and rng.random() < missing:
            del facts[title, name]
    pages = {title: _write_page(kind, title, facts, rng) for kind in PAGE_KINDS for title in titles[kind]}
    return Almanac(split, seed, pages, {key: value for key, value in facts.items() if key[1] not in _DISTRACTORS})


_DISTRACTORS = ("population", "staff", "circulation")


def _titles(split: Split, sizes: dict[PageKind, int], rng: Random) -> dict[str, list[str]]:
    used: set[str] = set()

    def take(source) -> str:
        word = next(name for name in source if len(name) <= 6 and name not in used)
        used.add(word)
        return word

    family, place, thing = (names(kind, split, rng) for kind in ("family", "place", "thing"))
    given = [name for name in _GIVEN if split_of(name) == split]
    titles = {
        "person": [f"{rng.choice(given)} {take(family)}" for _ in range(sizes["person"])],
        "city": [take(place) for _ in range(sizes["city"])],
        "river": [take(thing) for _ in range(sizes["river"])],
    }
    for kind in ("company", "magazine"):
        titles[kind] = [f"{take(thing)} {rng.choice(_VALUES[kind])}" for _ in range(sizes[kind])]
    titles["lake"] = [f"Lake {take(thing)}" for _ in range(6)]
    return titles


def _draw_facts(kind: PageKind, title: str, titles: dict[str, list[str]], split: Split, rng: Random) -> dict[str, str]:
    def number(low: int, high: int) -> str:
        return str(next(n for n in iter(lambda: rng.randint(low, high), None) if owns_number(split, n)))

    def other(kind: str) -> str:
        return rng.choice([candidate for candidate in titles[kind] if candidate != title])

    if kind == "person":
        drawn = {"occupation": rng.choice(_VALUES["occupation"]), "birthplace": other("city"), "birth year": number(1900, 1979)}
        return drawn | {"teacher": other("person")}
    if kind == "city":
        return {"river": other("river"), "founding year": number(1200, 1899), "mayor": other("person"), "population": number(2000, 99000)}
    if kind == "river":
        return {"length": number(40, 990), "lake": other("lake"), "bridge year": number(1500, 1899)}
    if kind == "company":
        drawn = {"product": rng.choice(_VALUES["product"]), "founder": other("person"), "founding year": number(1900, 1999)}
        return drawn | {"headquarters": other("city"), "staff": number(12, 990)}
    drawn = {"subject": rng.choice(_VALUES["subject"]), "start year": number(1900, 1999), "publisher": other("company")}
    return drawn | {"editor": other("person"), "circulation": number(1000, 90000)}


def _write_page(kind: PageKind, title: str, facts: dict[tuple[str, str], str], rng: Random) -> Page:
    fact = {name: value for (subject, name), value in facts.items() if subject == title}
    details = [text.format(x=title, v=fact[name]) for name, text in DETAILS.items() if name in fact]
    rng.shuffle(details)
    return Page(title, kind, OPENINGS[kind].format(x=title, **fact), tuple(details))


def save(almanac: Almanac, path: Path) -> None:
    """Write the almanac as JSON, atomically. Raises OSError, LabError where somebody else's file stands."""
    facts = [[subject, name, value] for (subject, name), value in almanac.facts.items()]
    pages = [asdict(page) for page in almanac.pages.values()]
    write_output(path, as_json({"split": almanac.split, "seed": almanac.seed, "pages": pages, "facts": facts}))


def load(path: Path | None = None) -> Almanac:
    """Read an almanac; without a path the frozen test one. Raises LabError when the file is missing or is not such a file."""
    path = path or data_dir() / "almanac" / "pages.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        pages = {page["title"]: Page(page["title"], page["kind"], page["opening"], tuple(page["details"])) for page in raw["pages"]}
        return Almanac(raw["split"], raw["seed"], pages, {(subject, name): value for subject, name, value in raw["facts"]})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LabError(f"{path} is not a readable almanac ({type(error).__name__}: {error}); make it again with almanac.save") from error
