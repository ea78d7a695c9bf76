"""The course's own training pages told anew, in the sentences that its training claims use: the same facts, another telling."""

from dataclasses import replace
from random import Random

from llmsuite_lab.world.almanac import DETAILS, Almanac, Page
from llmsuite_lab.world.almanac_relations import BY_SUBJECT
from llmsuite_lab.world.varied.pages import capital
from llmsuite_lab.world.varied.relations import texts

_SAID_OF = ("teacher", "mayor", "editor")  # relations that the frames of drawn worlds can tell


def retold(almanac: Almanac, rng: Random) -> Almanac:
    """A training almanac with every page told in the sentences of its training claims; the words that Lookup needs stay.

    Raises ValueError for an almanac of the test split, whose pages have a telling of their own (`almanac_reworded`).
    """
    if almanac.split != "train":
        raise ValueError(f"an almanac of the split {almanac.split!r}: only training pages are retold so")
    return replace(almanac, pages={title: _retold(page, almanac, rng) for title, page in almanac.pages.items()})


def _retold(page: Page, almanac: Almanac, rng: Random) -> Page:
    first, later = [], []
    for r in BY_SUBJECT[page.kind]:
        value = almanac.facts.get((page.title, r.name))
        if value is None:
            continue
        ways = [way for way in r.statements["train"] if r.keyword is None or r.keyword in way]
        ways = [way for way in ways if not way.startswith("{v}") or value[0].isupper()]  # "potter", not "Potter", is what is asked for
        if r.name in _SAID_OF:
            ways += [way.replace("{rel}", r.name) for way in texts()["frames"]["says"]]
        (later if r.keyword else first).append(capital(rng.choice(ways).format(x=page.title, v=value)))
    told = tuple(said for said in page.details if not any(_written(said, name, page.title) for name in DETAILS if (page.title, name) in almanac.facts))
    later += told  # what plays no part: population, staff, circulation
    rng.shuffle(first)
    rng.shuffle(later)
    return Page(page.title, page.kind, " ".join(first), tuple(later))


def _written(said: str, name: str, title: str) -> bool:
    before, _, after = DETAILS[name].format(x=title, v="{v}").partition("{v}")
    return said.startswith(before) and said.endswith(after)
