"""Multi-hop questions over an almanac, each with its exact answer and the facts that lead to it.

chain:      value = r_n(… r_2(r_1(title)))       "Which river runs through the city in which the founder of … was born?"
comparison: argmin or argmax of r(a), r(b)       "Of the magazines … and …, which one was started first?"  (the paper's example)
same:       r(a) = r(b)                          "Were … and … born in the same city?"

TRAINED kinds appear in training in other words and about other names. UNTRAINED kinds never do: their relations occur, their combination does not.
"""

from dataclasses import dataclass, replace
from random import Random

from llmsuite_lab.core.errors import within
from llmsuite_lab.world.almanac import Almanac
from llmsuite_lab.world.almanac_relations import BY_SUBJECT, MORE_FOR_TRAINING, PAGE_KINDS, Relation, chain_of
from llmsuite_lab.world.names import Split

Hop = tuple[str, str, str]  # subject, relation, value


@dataclass(frozen=True)
class Question:
    """`hops` are the facts in the order in which they can be found; `reason` is the conclusion a comparison needs, else empty."""

    kind: str
    text: str
    answer: str
    hops: tuple[Hop, ...]
    reason: str = ""


@dataclass(frozen=True)
class Pair:
    """A question about two pages of one kind: `goal` is "low", "high" (compare the values) or "same"."""

    subject: str
    relations: tuple[str, ...]
    goal: str
    templates: dict[Split, tuple[str, ...]]


CHAINS: dict[str, tuple[str, tuple[str, ...]]] = {
    "publisher_product": ("magazine", ("publisher", "product")),
    "editor_birth_year": ("magazine", ("editor", "birth year")),
    "founder_birthplace": ("company", ("founder", "birthplace")),
    "headquarters_mayor": ("company", ("headquarters", "mayor")),
    "birthplace_river": ("person", ("birthplace", "river")),
    "founder_birthplace_river": ("company", ("founder", "birthplace", "river")),
    "publisher_headquarters_mayor": ("magazine", ("publisher", "headquarters", "mayor")),
    "editor_birthplace_founding": ("magazine", ("editor", "birthplace", "founding year")),
}
_PAIRS: dict[str, Pair] = {
    "compare_magazines": Pair("magazine", ("start year",), "low", {
        "train": ("Which magazine was started first, {a} or {b}?", "Which was started first, {a} or {b}?", "Which magazine is older, {a} or {b}?"),
        "test": ("Of the magazines {a} and {b}, which one was started first?", "Was {a} or {b} the magazine that was started first?"),
    }),
    "compare_rivers": Pair("river", ("length",), "high", {
        "train": ("Which river is longer, {a} or {b}?", "Which is the longer river, {a} or {b}?"),
        "test": ("Of the rivers {a} and {b}, which one is longer?", "Is {a} or {b} the longer river?"),
    }),
    "same_birthplace": Pair("person", ("birthplace",), "same", {
        "train": ("Were {a} and {b} born in the same city?", "Do {a} and {b} have the same birthplace?"),
        "test": ("Is it true that {a} and {b} were born in the same city?", "Is the birthplace of {a} and {b} the same city?"),
    }),
    "compare_people": Pair("person", ("birth year",), "low", {
        "train": ("Who was born first, {a} or {b}?", "Which person is older, {a} or {b}?"),
        "test": ("Of {a} and {b}, who was born first?",),
    }),
    "same_publisher": Pair("magazine", ("publisher",), "same", {
        "train": ("Are {a} and {b} published by the same company?", "Do {a} and {b} have the same publisher?"),
        "test": ("Is it the same company that publishes {a} and {b}?",),
    }),
    "same_river": Pair("city", ("river",), "same", {
        "train": ("Are {a} and {b} on the same river?", "Do {a} and {b} stand on the same river?"),
        "test": ("Is it one river that {a} and {b} are on?",),
    }),
    "compare_founders": Pair("company", ("founder", "birth year"), "low", {
        "train": ("Which company has the older founder, {a} or {b}?", "Which company was founded by the older person, {a} or {b}?"),
        "test": ("Of {a} and {b}, which company has the older founder?",),
    }),
    "compare_publishers": Pair("magazine", ("publisher", "founding year"), "low", {
        "train": ("Which magazine does the company publish that was founded earlier, {a} or {b}?",),
        "test": ("Of the magazines {a} and {b}, which one has the older publisher?", "Which magazine has the older publisher, {a} or {b}?"),
    }),
}  # fmt: skip
LONGEST_CHAIN = 8
PAIRS = {
    kind: replace(pair, templates=pair.templates | {"train": (*pair.templates["train"], *MORE_FOR_TRAINING["pairs"].get(kind, ()))})
    for kind, pair in _PAIRS.items()
}

TWO_PAGE_KINDS: tuple[str, ...] = (
    "compare_magazines", "compare_rivers", "same_birthplace",
    "publisher_product", "editor_birth_year", "founder_birthplace", "headquarters_mayor", "birthplace_river",
)  # fmt: skip
TRAINED_KINDS = TWO_PAGE_KINDS
UNTRAINED_KINDS: tuple[str, ...] = ("founder_birthplace_river", "publisher_headquarters_mayor", "compare_publishers")
KINDS: tuple[str, ...] = (*CHAINS, *PAIRS)
HELD_OUT_CHAINS: tuple[tuple[str, ...], ...] = tuple(CHAINS[kind][1] for kind in UNTRAINED_KINDS if kind in CHAINS)


def phrase(start: str, relations: list[Relation], phrasing: Split, rng: Random) -> str:
    """The noun phrase that leads from the title `start` along `relations`, innermost first: "the river at the birthplace of …"."""
    for step in relations:
        start = rng.choice(step.phrases[phrasing]).format(x=start)
    return start


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def chain_question(
    almanac: Almanac, kind: str, start: str, names: tuple[str, ...], rng: Random, phrasing: Split | None = None
) -> Question | None:
    """The question that follows `names` from the page `start`; None when a fact is missing or the chain comes back to a page."""
    phrasing = phrasing or almanac.split
    hops = almanac.follow(start, names)
    if hops is None or len({hop[0] for hop in hops} | {hops[-1][2]}) <= len(hops):
        return None
    relations = chain_of(almanac.pages[start].kind, names)
    text = rng.choice(relations[-1].questions[phrasing]).format(x=phrase(start, relations[:-1], phrasing, rng))
    return Question(kind, _sentence(text), hops[-1][2], tuple(hops))


def pair_question(almanac: Almanac, kind: str, a: str, b: str, rng: Random, phrasing: Split | None = None) -> Question | None:
    """The question of kind `kind` about the pages `a` and `b`; None when a fact is missing or the two cannot be told apart."""
    pair = PAIRS[kind]
    hops_a, hops_b = almanac.follow(a, pair.relations), almanac.follow(b, pair.relations)
    if a == b or hops_a is None or hops_b is None:
        return None
    left, right = hops_a[-1][2], hops_b[-1][2]
    text = rng.choice(pair.templates[phrasing or almanac.split]).format(a=a, b=b)
    if pair.goal == "same":
        same = left == right
        reason = f"{left} and {right} are the same, so yes." if same else f"{left} and {right} are not the same, so no."
        return Question(kind, text, "yes" if same else "no", (*hops_a, *hops_b), reason)
    if left == right or (len(pair.relations) > 1 and hops_a[0][2] == hops_b[0][2]):
        return None
    pick = (min if pair.goal == "low" else max)((left, a), (right, b), key=lambda item: int(item[0]))
    other = right if pick[1] == a else left
    word = "before" if pair.goal == "low" else "more than"
    return Question(kind, text, pick[1], (*hops_a, *hops_b), f"{pick[0]} is {word} {other}, so it is {pick[1]}.")


def draw_question(almanac: Almanac, kind: str, rng: Random, phrasing: Split | None = None) -> Question:
    """A random question of one kind; yes and no come equally often. Raises ValueError for an unknown kind or an almanac too small for it."""
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is unknown; the kinds are {', '.join(KINDS)}")
    wanted = rng.choice(("yes", "no")) if kind in PAIRS and PAIRS[kind].goal == "same" else None
    subject = CHAINS[kind][0] if kind in CHAINS else PAIRS[kind].subject
    for _ in range(5000):
        if kind in CHAINS:
            question = chain_question(almanac, kind, rng.choice(almanac.titles(subject)), CHAINS[kind][1], rng, phrasing)
        else:
            question = pair_question(almanac, kind, *rng.sample(almanac.titles(subject), 2), rng, phrasing)
        if question and wanted in (None, question.answer):
            return question
    raise ValueError(f"no {kind} question with its facts recorded in this almanac of {len(almanac.pages)} pages; build a larger one")


def draw_chain(almanac: Almanac, hops: int, rng: Random, phrasing: Split | None = None) -> Question:
    """A question along a random chain of `hops` relations in which no held-out combination occurs. Raises ValueError for hops < 1."""
    if hops < 1:
        raise ValueError(f"hops={hops}, but a chain has at least one")
    within("hops", hops, 1, LONGEST_CHAIN)
    while True:
        start = kind = rng.choice(PAGE_KINDS)
        names: list[str] = []
        for position in range(hops):
            last = position == hops - 1
            options = [r for r in BY_SUBJECT[kind] if last or r.leads_to] if kind else []
            if not options:
                break
            step = rng.choice(options)
            names.append(step.name)
            kind = step.leads_to
        if len(names) < hops or contains_held_out(names):
            continue
        question = chain_question(almanac, f"chain_{hops}", rng.choice(almanac.titles(start)), tuple(names), rng, phrasing)
        if question:
            return question


def contains_held_out(names: list[str] | tuple[str, ...]) -> bool:
    """Whether a held-out combination of relations occurs anywhere in the chain `names`."""
    return any(tuple(names[i : i + len(held)]) == held for held in HELD_OUT_CHAINS for i in range(len(names)))
