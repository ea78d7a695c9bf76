"""Claims to verify against an almanac, in the form of FEVER (Thorne et al., 2018).

supports: the last fact of the chain has the claimed value;  refutes: it has another;  not enough info: no page states it

A claim without enough information either names something that has no page, or asks for a fact that its page leaves out.
"""

from dataclasses import dataclass
from random import Random

from llmsuite_lab.world.almanac import Almanac
from llmsuite_lab.world.almanac_questions import _sentence, contains_held_out, phrase
from llmsuite_lab.world.almanac_relations import BY_SUBJECT, PAGE_KINDS, Relation
from llmsuite_lab.world.names import Split, names

LABELS: tuple[str, ...] = ("supports", "refutes", "not enough info")


@dataclass(frozen=True)
class Claim:
    """`hops`: (subject, relation, value) in order; the last value is None when no page states it. `claimed`: the value that the claim names."""

    text: str
    label: str
    hops: tuple[tuple[str, str, str | None], ...]
    claimed: str
    page_exists: bool = True


def draw_claim(almanac: Almanac, label: str, rng: Random, phrasing: Split | None = None, hops: int | None = None) -> Claim:
    """A random claim with a known label, over one or two hops. Raises ValueError for an unknown label or hops outside {1, 2}."""
    if label not in LABELS:
        raise ValueError(f"label={label!r}, but the labels are {', '.join(LABELS)}")
    if hops not in (None, 1, 2):
        raise ValueError(f"hops={hops}, but a claim has one or two")
    phrasing = phrasing or almanac.split
    if label == "not enough info" and hops != 2 and rng.random() < 0.4:
        return _claim_without_page(almanac, phrasing, rng)
    while True:
        first = rng.choice([r for kind in PAGE_KINDS for r in BY_SUBJECT[kind]])
        chain = [first]
        if hops == 2 or (hops is None and rng.random() < 0.5):
            if first.leads_to is None:
                continue
            chain.append(rng.choice(BY_SUBJECT[first.leads_to]))
        claim = _claim(almanac, chain, label, phrasing, rng)
        if claim is not None:
            return claim


def _claim(almanac: Almanac, chain: list[Relation], label: str, phrasing: Split, rng: Random) -> Claim | None:
    start = rng.choice(almanac.titles(chain[0].subject))
    known = almanac.follow(start, [step.name for step in chain[:-1]])
    if known is None or contains_held_out([step.name for step in chain]):
        return None
    subject = known[-1][2] if known else start
    last = chain[-1]
    value = almanac.facts.get((subject, last.name))
    if (value is None) != (label == "not enough info") or (known and subject == start):
        return None
    claimed = value if label == "supports" else _another_value(almanac, last, value, rng)
    text = rng.choice(last.statements[phrasing]).format(x=phrase(start, chain[:-1], phrasing, rng), v=claimed)
    return Claim(_sentence(text), label, (*known, (subject, last.name, value)), claimed)


def _another_value(almanac: Almanac, step: Relation, value: str | None, rng: Random) -> str:
    candidates = sorted(
        {v for (title, name), v in almanac.facts.items() if name == step.name and almanac.pages[title].kind == step.subject}
    )
    return rng.choice([v for v in candidates if v != value])


def _claim_without_page(almanac: Almanac, phrasing: Split, rng: Random) -> Claim:
    step = rng.choice([r for kind in PAGE_KINDS for r in BY_SUBJECT[kind]])
    taken = {word for title in almanac.pages for word in title.split()}
    kind_of_name = {"person": "family", "city": "place"}.get(step.subject, "thing")
    root = next(name for name in names(kind_of_name, almanac.split, rng) if len(name) <= 6 and name not in taken)
    model = rng.choice(almanac.titles(step.subject)).split()
    title = {"person": f"{model[0]} {root}", "company": f"{root} {model[-1]}", "magazine": f"{root} {model[-1]}"}.get(step.subject, root)
    claimed = _another_value(almanac, step, None, rng)
    text = rng.choice(step.statements[phrasing]).format(x=title, v=claimed)
    return Claim(_sentence(text), "not enough info", ((title, step.name, None),), claimed, page_exists=False)
