"""What the almanac knows about its five kinds of page: one `Relation` per kind of fact, with the ways to ask for it.

A relation leads from a subject to a value. When the value has a page of its own (`leads_to`), relations chain:
river(birthplace(founder(company))) is the three-hop question "Which river flows through the city where the founder of … was born?".
Each relation has training phrasings and test phrasings that share no template; `{x}` stands for a title or for another noun phrase. More training
phrasings stand in `almanac_phrasings.toml`: what a model is to understand in other words, it must have met in several.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PageKind = Literal["person", "city", "river", "company", "magazine"]
PAGE_KINDS: tuple[PageKind, ...] = ("person", "city", "river", "company", "magazine")


MORE_FOR_TRAINING = tomllib.loads(Path(__file__).with_name("almanac_phrasings.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Relation:
    """One kind of fact. `name` is how a thought calls it; `keyword` is what Lookup needs, None when the page's opening states the fact."""

    name: str
    subject: PageKind
    leads_to: PageKind | None
    questions: dict[str, tuple[str, ...]]  # split -> templates
    phrases: dict[str, tuple[str, ...]]  # split -> noun phrases for the value, empty when the value has no page
    statements: dict[str, tuple[str, ...]]  # split -> templates of a claim with {x} and {v}
    keyword: str | None = None


def _relation(name, subject, leads_to, questions, phrases, statements, keyword=None) -> Relation:
    more = MORE_FOR_TRAINING["relations"].get(f"{subject} {name}", {})

    def both(pair: tuple[str, str], what: str) -> dict[str, tuple[str, ...]]:
        train, test = (tuple(filter(None, text.split(" | "))) for text in pair)
        return {"train": (*train, *more.get(what, ())), "test": test}

    return Relation(name, subject, leads_to, both(questions, "questions"), both(phrases, "phrases"), both(statements, "statements"), keyword)


_NO_PAGE = ("", "")
_FOUNDED_Q = ("When was {x} founded? | In which year was {x} founded?", "What is the founding year of {x}? | In what year was {x} founded?")
_FOUNDED_S = ("{x} was founded in {v}. | The founding year of {x} is {v}.", "It was in {v} that {x} was founded.")

RELATIONS: tuple[Relation, ...] = (
    _relation(
        "occupation", "person", None,
        ("What is the occupation of {x}? | What does {x} work as?", "What is {x} by occupation? | Which occupation does {x} have?"),
        _NO_PAGE,
        ("{x} is a {v}. | {x} works as a {v}.", "The occupation of {x} is {v}."),
    ),
    _relation(
        "birthplace", "person", "city",
        (
            "Where was {x} born? | In which city was {x} born? | What is the birthplace of {x}?",
            "Which city is the birthplace of {x}? | Which city was {x} born in?",
        ),
        (
            "the city where {x} was born | the birthplace of {x} | the city of birth of {x}",
            "the city in which {x} was born | the place where {x} was born",
        ),
        ("{x} was born in {v}. | The birthplace of {x} is {v}.", "{x} comes from {v} by birth. | The city where {x} was born is {v}."),
    ),
    _relation(
        "birth year", "person", None,
        ("When was {x} born? | In which year was {x} born?", "What is the birth year of {x}? | In what year was {x} born?"),
        _NO_PAGE,
        ("{x} was born in {v}. | The birth year of {x} is {v}.", "It was in {v} that {x} was born."),
    ),
    _relation(
        "teacher", "person", "person",
        ("Who was the teacher of {x}? | Who taught {x}?", "Who is named as the teacher of {x}? | By whom was {x} taught?"),
        ("the teacher of {x} | the person who taught {x}", "the person by whom {x} was taught"),
        ("{x} was taught by {v}. | The teacher of {x} was {v}.", "{v} was the teacher of {x}."),
        "teacher",
    ),
    _relation(
        "river", "city", "river",
        (
            "Which river flows through {x}? | On which river does {x} stand? | What is the river of {x}?",
            "Which river runs through {x}? | What river is {x} on?",
        ),
        (
            "the river that flows through {x} | the river on which {x} stands | the river of {x}",
            "the river that runs through {x} | the river at {x}",
        ),
        ("{x} stands on the river {v}. | The river of {x} is {v}.", "The river that runs through {x} is {v}."),
    ),
    _relation("founding year", "city", None, _FOUNDED_Q, _NO_PAGE, _FOUNDED_S),
    _relation(
        "mayor", "city", "person",
        (
            "Who is the mayor of {x}? | Which person is the mayor of {x}?",
            "Who serves as mayor of {x}? | What is the name of the mayor of {x}?",
        ),
        ("the mayor of {x} | the person who is mayor of {x}", "the person who serves as mayor of {x}"),
        ("The mayor of {x} is {v}. | {v} is the mayor of {x}.", "{v} serves as mayor of {x}."),
        "mayor",
    ),
    _relation(
        "length", "river", None,
        ("How long is {x}? | What is the length of {x}?", "How many kilometres long is {x}? | Which length does {x} have?"),
        _NO_PAGE,
        ("{x} is {v} km long. | The length of {x} is {v} km.", "{x} has a length of {v} km."),
    ),
    _relation(
        "lake", "river", None,
        (
            "Into which lake does {x} flow? | Which lake does {x} flow into?",
            "What lake does {x} flow into? | Which lake takes the water of {x}?",
        ),
        _NO_PAGE,
        ("{x} flows into {v}. | The lake of {x} is {v}.", "The lake that {x} flows into is {v}."),
    ),
    _relation(
        "bridge year", "river", None,
        (
            "When was the oldest bridge over {x} built? | In which year was the bridge over {x} built?",
            "What is the year of the oldest bridge over {x}?",
        ),
        _NO_PAGE,
        (
            "The oldest bridge over {x} was built in {v}. | The bridge over {x} was built in {v}.",
            "The oldest bridge over {x} dates from {v}.",
        ),
        "bridge",
    ),
    _relation(
        "product", "company", None,
        ("What does {x} make? | What is the product of {x}?", "What does {x} produce? | Which product does {x} make?"),
        _NO_PAGE,
        ("{x} makes {v}. | The product of {x} is {v}.", "{x} is a maker of {v}."),
    ),
    _relation(
        "founder", "company", "person",
        ("Who founded {x}? | Who is the founder of {x}?", "By whom was {x} founded? | Which person founded {x}?"),
        ("the founder of {x} | the person who founded {x}", "the person by whom {x} was founded | the one who founded {x}"),
        ("{x} was founded by {v}. | The founder of {x} is {v}.", "{v} founded {x}."),
    ),
    _relation("founding year", "company", None, _FOUNDED_Q, _NO_PAGE, _FOUNDED_S),
    _relation(
        "headquarters", "company", "city",
        (
            "Where are the headquarters of {x}? | In which city are the headquarters of {x}?",
            "Which city has the headquarters of {x}? | In what city does {x} have its headquarters?",
        ),
        ("the city with the headquarters of {x} | the city where {x} has its headquarters", "the city in which {x} has its headquarters"),
        ("The headquarters of {x} are in {v}. | {x} has its headquarters in {v}.", "{v} is the city with the headquarters of {x}."),
        "headquarters",
    ),
    _relation(
        "subject", "magazine", None,
        ("What is {x} about? | What is the subject of {x}?", "Which subject does {x} write about? | What subject is {x} about?"),
        _NO_PAGE,
        ("{x} is a magazine about {v}. | The subject of {x} is {v}.", "{x} writes about {v}."),
    ),
    _relation(
        "start year", "magazine", None,
        ("When was {x} started? | In which year was {x} started?", "What is the start year of {x}? | In what year was {x} started?"),
        _NO_PAGE,
        ("{x} was started in {v}. | The start year of {x} is {v}.", "It was in {v} that {x} was started."),
    ),
    _relation(
        "publisher", "magazine", "company",
        (
            "Who publishes {x}? | Which company publishes {x}? | Who is the publisher of {x}?",
            "By which company is {x} published? | Which company is the publisher of {x}?",
        ),
        ("the publisher of {x} | the company that publishes {x}", "the company by which {x} is published | the company publishing {x}"),
        ("{x} is published by {v}. | The publisher of {x} is {v}.", "{v} publishes {x}."),
    ),
    _relation(
        "editor", "magazine", "person",
        ("Who is the editor of {x}? | Who edits {x}?", "Which person edits {x}? | What is the name of the editor of {x}?"),
        ("the editor of {x} | the person who edits {x}", "the person by whom {x} is edited"),
        ("The editor of {x} is {v}. | {x} is edited by {v}.", "{v} edits {x}."),
        "editor",
    ),
)  # fmt: skip

BY_SUBJECT: dict[str, tuple[Relation, ...]] = {kind: tuple(r for r in RELATIONS if r.subject == kind) for kind in PAGE_KINDS}


def relation(subject: str, name: str) -> Relation:
    """The relation `name` of a kind of page. Raises ValueError with the kind's relations when there is none."""
    if subject not in BY_SUBJECT:
        raise ValueError(f"subject={subject!r} is no kind of page; the kinds are {', '.join(PAGE_KINDS)}")
    for candidate in BY_SUBJECT[subject]:
        if candidate.name == name:
            return candidate
    raise ValueError(f"a {subject} has no relation {name!r}; it has {', '.join(r.name for r in BY_SUBJECT[subject])}")


def chain_of(subject: str, names: list[str] | tuple[str, ...]) -> list[Relation]:
    """The relations of a chain that starts at a page of kind `subject`. Raises ValueError where the chain breaks."""
    chain: list[Relation] = []
    for name in names:
        if chain and chain[-1].leads_to is None:
            raise ValueError(f"the value of {chain[-1].name!r} has no page, so {name!r} cannot follow it")
        chain.append(relation(chain[-1].leads_to if chain else subject, name))
    return chain
