"""The handbook of an invented company: passages no model can have read, and questions whose answers are known exactly.

Everything is drawn from a seed. The handbook holds near-duplicates (variants of one product), passages that name a subject without saying
anything of it, and texts in an old and a new version that contradict each other: the newer one counts. Questions need one passage, two,
or cannot be answered (a subject that does not exist; a thing the handbook does not say of one that does). Names, phrasings and rule
topics of the two splits are disjoint; `load()` reads the frozen test split, `generate("train", seed)` makes as many companies to develop
on as are wanted.
"""

import json
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from random import Random

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import write_output
from llmsuite_lab.core.paths import data_dir
from llmsuite_lab.world.handbook_values import CONTRACTS, NOUNS, POLICIES, VARIANTS, draw_value
from llmsuite_lab.world.names import SPLITS, Split, names

_TEXT = Path(__file__).with_name("handbook_text.toml")
_SECTIONS = {
    "product": "Products",
    "person": "People",
    "site": "Sites",
    "project": "Projects",
    "policy": "Policies",
    "contract": "Contracts",
    "notice": "Notices",
}
_STATED = {"product": ((0, 1, 2, 6), (3, 4, 5)), "person": ((0, 1, 2, 3, 4),)}  # attributes by position: which share a passage
_SECOND_HOPS = {"designer": "the designer of {s}", "manager": "the manager of {s}", "lead": "the leader of {s}"}


@dataclass(frozen=True)
class Passage:
    """One passage. Versions of one text share `document`; `dated` is its ISO date, and the latest one counts.

    `status` is what the margin of a versioned text says about its validity ("Valid from 2030-03-01."), else "".
    """

    id: str
    document: str
    title: str
    text: str
    dated: str
    status: str = ""


@dataclass(frozen=True)
class Question:
    """A question with its truth: `kind` is "one", "two" (passages needed) or "unanswerable"; `answer` is None when there is none.

    `gold` holds the ids of the passages that answer it; `note` says what is special: "updated" (an older text contradicts),
    "near-duplicate", "unknown subject", "not stated", or "".
    """

    id: str
    text: str
    answer: str | None
    kind: str
    gold: tuple[str, ...]
    attribute: str
    note: str = ""


@dataclass(frozen=True)
class Handbook:
    """One company's handbook: its name, split and seed, its passages and its questions."""

    company: str
    split: Split
    seed: int
    passages: tuple[Passage, ...]
    questions: tuple[Question, ...]

    def passage(self, passage_id: str) -> Passage:
        """The passage with this id. Raises KeyError for an unknown one."""
        return {p.id: p for p in self.passages}[passage_id]

    def of_kind(self, *kinds: str) -> list[Question]:
        """The questions of the given kinds ("one", "two", "unanswerable"), in order."""
        return [q for q in self.questions if q.kind in kinds]


@dataclass
class _Subject:
    """What the generator knows of one subject: its full and short name, the values stated, and where each is stated."""

    kind: str
    name: str
    short: str
    values: dict[str, str] = field(default_factory=dict)
    gold: dict[str, str] = field(default_factory=dict)  # attribute -> passage id
    changed: bool = False
    siblings: bool = False


@cache
def _phrasings() -> dict:
    with _TEXT.open("rb") as file:
        return tomllib.load(file)


def _side(phrases: list[str], split: Split) -> list[str]:
    """The phrasings that belong to `split`: even positions train, odd positions test."""
    return phrases[SPLITS.index(split) :: 2]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


class _Writer:
    """Holds the growing handbook: draws values, words passages, keeps the truth. One instance makes one handbook."""

    def __init__(self, split: Split, seed: int):
        self.split, self.rng = split, Random(f"handbook {split} {seed}")
        self.pools: dict[str, Iterator[str]] = {kind: names(kind, split, self.rng) for kind in ("given", "family", "place", "thing")}
        self.passages: list[Passage] = []
        self.subjects: list[_Subject] = []
        self.towns = [next(self.pools["place"]) for _ in range(16)]
        self.people = [f"{next(self.pools['given'])} {next(self.pools['family'])}" for _ in range(80)]

    def date(self, first_year: int, last_year: int) -> str:
        return f"{self.rng.randint(first_year, last_year)}-{self.rng.randint(1, 12):02d}-{self.rng.randint(1, 28):02d}"

    def value(self, subject: _Subject, attribute: str, taken: set[str]) -> str:
        """A value of `attribute` that is not in `taken` (a sibling's, or the older version's)."""
        while True:
            if attribute in {"factory", "office", "customer"}:
                value = self.rng.choice(self.towns)
            elif attribute in {"designer", "manager", "lead"}:
                value = self.rng.choice(self.people)
            elif attribute == "supplier":
                value = f"{next(self.pools['family'])} {self.rng.choice(('and Sons', 'Works', 'Services', 'Brothers'))}"
            else:
                value = draw_value(attribute, subject.name, self.rng)
            if value not in taken:
                return value

    def write(self, subject: _Subject, attributes: list[str], document: str, dated: str, version: str = "") -> None:
        """Word one passage that states `attributes` of `subject`; `version` is "", "first_version" or "changed"."""
        phrasings = _phrasings()
        self.rng.shuffle(attributes)
        passage_id = f"{self.split[:2]}-{len(self.passages):04d}"
        sentences = []
        for position, attribute in enumerate(attributes):
            statement = self.rng.choice(_side(phrasings[subject.kind][attribute]["statements"], self.split))
            sentences.append(_sentence(statement.format(s=subject.short if position else subject.name, v=subject.values[attribute])))
            subject.gold[attribute] = passage_id
        status = self.rng.choice(_side(phrasings[version], self.split)).format(date=dated) if version else ""
        title = f"{_SECTIONS[subject.kind]}: {subject.name}"
        self.passages.append(Passage(passage_id, document, title, " ".join(sentences), dated, status))

    def add(self, kind: str, name: str, short: str, *, groups=None, changed=False, taken: dict[str, set[str]] | None = None) -> _Subject:
        """Invent a subject and write its passages: one per group of attributes, one attribute of each larger group left unsaid."""
        subject = _Subject(kind, name, short, changed=changed)
        attributes = list(_phrasings()[kind])
        document = f"{kind}/{name.replace(' ', '-').lower()}"
        taken = {} if taken is None else taken
        for number, group in enumerate(groups or (tuple(range(len(attributes))),)):
            stated = [attributes[i] for i in group]
            if len(stated) > 2:
                stated.remove(self.rng.choice(stated))
            for attribute in stated:
                subject.values[attribute] = self.value(subject, attribute, taken.setdefault(attribute, set()))
                taken[attribute].add(subject.values[attribute])
            key = document if number == 0 else f"{document}/{number + 1}"
            if not changed:
                self.write(subject, list(stated), key, self.date(2030, 2032))
                continue
            self.write(subject, list(stated), key, self.date(2027, 2029), "first_version")
            for attribute in stated:
                subject.values[attribute] = self.value(subject, attribute, {subject.values[attribute]})
            self.write(subject, list(stated), key, self.date(2030, 2032), "changed")
        self.subjects.append(subject)
        return subject

    def subjects_of_company(self) -> None:
        """Products in families, people, sites, projects, policies and contracts; then passages that only mention them."""
        rng = self.rng
        for _ in range(30):
            family, noun, taken = next(self.pools["thing"]), rng.choice(NOUNS), {}
            made = VARIANTS[: rng.choice((1, 2, 3, 3))]
            for variant in made:
                subject = self.add("product", product_name(family, variant, noun), f"this {noun}", groups=_STATED["product"], taken=taken)
                subject.siblings = len(made) > 1
        for person in self.people:
            self.add("person", person, person.split()[0], groups=_STATED["person"])
        for town in self.towns:
            self.add("site", f"the {town} site", "this site")
        for number in range(40):
            self.add("project", f"project {next(self.pools['thing'])}", "the project", changed=number % 4 == 0)
        for kind, topics in (("policy", POLICIES), ("contract", CONTRACTS)):
            for number, topic in enumerate(_side(list(topics), self.split)[:16]):
                self.add(kind, f"the {topic} {kind}", f"the {kind}", changed=number % 2 == 0)
        for number, subject in enumerate(rng.sample(self.subjects, 40)):
            text = rng.choice(_side(_phrasings()["distractors"], self.split)).format(s=subject.name)
            passage_id = f"{self.split[:2]}-{len(self.passages):04d}"
            self.passages.append(Passage(passage_id, f"notice/{number}", "Notices: from the staff magazine", text, self.date(2030, 2032)))

    def ask(self, kind: str, attribute: str, name: str) -> str:
        """One of the split's questions about `attribute` of `name`."""
        return _sentence(self.rng.choice(_side(_phrasings()[kind][attribute]["questions"], self.split)).format(s=name))

    def questions(self, one: int, two: int, unanswerable: int) -> list[Question]:
        """The questions, each with its truth: `one`, `two` and `unanswerable` many."""
        rng, asked = self.rng, []
        facts = [(s, a) for s in self.subjects for a in s.values]
        kinds = list(_SECTIONS)[:-1]
        by_kind = {kind: rng.sample(found := [f for f in facts if f[0].kind == kind], len(found)) for kind in kinds}
        for number in range(one):
            subject, attribute = by_kind[kinds[number % len(kinds)]].pop()
            note = "updated" if subject.changed else "near-duplicate" if subject.siblings else ""
            text = self.ask(subject.kind, attribute, subject.name)
            asked.append((text, subject.values[attribute], "one", (subject.gold[attribute],), attribute, note))
        people = {s.name: s for s in self.subjects if s.kind == "person"}
        links = [(s, a) for s, a in facts if a in _SECOND_HOPS and people[s.values[a]].values]
        for subject, link in rng.sample(links, two):
            person = people[subject.values[link]]
            attribute = rng.choice(sorted(person.values))
            text = self.ask("person", attribute, _SECOND_HOPS[link].format(s=subject.name))
            gold = (subject.gold[link], person.gold[attribute])
            asked.append((text, person.values[attribute], "two", gold, attribute, "updated" if subject.changed else ""))
        asked += self._unanswerable(unanswerable)
        return [Question(f"{self.split[:2]}-q{i:03d}", *parts) for i, parts in enumerate(asked)]

    def _unanswerable(self, count: int) -> list[tuple]:
        """Half about subjects that do not exist (some are a missing variant of a real product), half about things left unsaid."""
        unsaid = [(s, a) for s in self.subjects for a in _phrasings()[s.kind] if a not in s.values]
        asked = []
        for subject, attribute in self.rng.sample(unsaid, count // 2):
            asked.append((self.ask(subject.kind, attribute, subject.name), None, "unanswerable", (), attribute, "not stated"))
        families = [s for s in self.subjects if s.kind == "product"]
        for number in range(count - count // 2):
            kind = ("product", "person", "site", "project")[number % 4]
            invented = {
                "product": product_name(next(self.pools["thing"]), self.rng.choice(VARIANTS[:3]), self.rng.choice(NOUNS)),
                "person": f"{next(self.pools['given'])} {next(self.pools['family'])}",
                "site": f"the {next(self.pools['place'])} site",
                "project": f"project {next(self.pools['thing'])}",
            }
            if kind == "product" and number % 8 == 0:
                words = self.rng.choice(families).name.split()
                invented["product"] = product_name(words[1], VARIANTS[-1], words[-1])  # the last variant is never made
            attribute = self.rng.choice(list(_phrasings()[kind]))
            asked.append((self.ask(kind, attribute, invented[kind]), None, "unanswerable", (), attribute, "unknown subject"))
        return asked


def product_name(family: str, variant: str, noun: str) -> str:
    """The full name of a product, such as `the Huxum Mini kettle`."""
    return f"the {family} {variant} {noun}"


def generate(split: Split = "train", seed: int = 0, *, one: int = 120, two: int = 24, unanswerable: int = 60) -> Handbook:
    """Make one company's handbook (some 400 passages) with its questions. Same arguments, same handbook.

    Raises ValueError for an unknown split or for more questions than the facts allow.
    """
    if split not in SPLITS:
        raise ValueError(f"split={split!r}, but the splits are {' and '.join(SPLITS)}")
    if not (0 <= one <= 150 and 0 <= two <= 60 and 0 <= unanswerable <= 100):
        raise ValueError(f"one={one}, two={two}, unanswerable={unanswerable}, but a handbook holds at most 150, 60 and 100 such questions")
    writer = _Writer(split, seed)
    company = f"{next(writer.pools['family'])} and {next(writer.pools['family'])}"
    writer.subjects_of_company()
    return Handbook(company, split, seed, tuple(writer.passages), tuple(writer.questions(one, two, unanswerable)))


def save(book: Handbook, path: Path) -> None:
    """Write a handbook as JSON, one passage or question a line, atomically."""
    head = {"company": book.company, "split": book.split, "seed": book.seed}
    lines = [json.dumps(head)] + [json.dumps(asdict(row), ensure_ascii=False) for row in (*book.passages, *book.questions)]
    write_output(path, "\n".join(lines) + "\n")


def load(path: Path | None = None) -> Handbook:
    """Read a saved handbook; without a path, the frozen held-out one. Raises LabError when the file is missing or broken."""
    path = path or data_dir() / "handbook" / "test.jsonl"
    try:
        head, *rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        passages = tuple(Passage(**row) for row in rows if "document" in row)
        questions = tuple(Question(**{**row, "gold": tuple(row["gold"])}) for row in rows if "document" not in row)
        return Handbook(head["company"], head["split"], head["seed"], passages, questions)
    except FileNotFoundError:
        raise LabError(
            f"No handbook at {path}. The frozen one belongs to the repository: restore data/handbook from a fresh clone."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(f"{path} is not a saved handbook ({error}). Restore data/handbook from a fresh clone.") from None


def as_markdown(book: Handbook) -> str:
    """The whole handbook as one Markdown document, a heading per section and per passage: what a company would really keep."""
    parts = [f"# Handbook of {book.company}"]
    for section in _SECTIONS.values():
        parts.append(f"## {section}")
        parts += [f"### {p.title.split(': ', 1)[1]}\n\n{p.text} {p.status}".rstrip() for p in book.passages if p.title.startswith(section + ":")]
    return "\n\n".join(parts) + "\n"
