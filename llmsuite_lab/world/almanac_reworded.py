"""The almanac's pages in sentences of their own: the same facts, told as no training page tells them.

Training and test pages are written by the same templates (`almanac`). An agent that has learnt to read may have learnt those sentences; over these pages
one sees how much. The words by which Lookup finds a sentence ("editor", "mayor", …) stay in it: what is exchanged is the telling, not the search.
"""

import re
from dataclasses import replace

from llmsuite_lab.world.almanac import DETAILS, OPENINGS, Almanac, Page

_OPENINGS = {
    "person": "Born in {birthplace} in {birth year}, {x} earned a living as a {occupation}.",
    "city": "On the banks of the {river} lies {x}, which dates from {founding year}.",
    "river": "After {length} km the water of {x} reaches {lake}.",
    "company": "In {founding year} {founder} set up {x}, where they make {product}.",
    "magazine": "Since {start year} {publisher} has brought out {x}, which tells of {subject}.",
}
_DETAILS = {
    "teacher": "As a pupil, {x} had {v} for a teacher.",
    "mayor": "In {x} they have chosen {v} as mayor.",
    "population": "Some {v} people live in {x}.",
    "bridge year": "People have crossed {x} by bridge since {v}.",
    "headquarters": "From its headquarters in {v} the whole of {x} is run.",
    "staff": "There are {v} people at work for {x}.",
    "editor": "At {x} it is {v} who is editor.",
    "circulation": "Each issue of {x} sells {v} copies.",
}


def reworded(almanac: Almanac) -> Almanac:
    """The almanac with every page told anew. Raises ValueError for a sentence that no template of `almanac` has written."""
    return replace(almanac, pages={title: _page(page) for title, page in almanac.pages.items()})


def _page(page: Page) -> Page:
    opening = _OPENINGS[page.kind].format(x=page.title, **_read(OPENINGS[page.kind], page.opening, page.title))
    return replace(page, opening=opening, details=tuple(_detail(sentence, page.title) for sentence in page.details))


def _detail(sentence: str, title: str) -> str:
    for name, template in DETAILS.items():
        if found := _match(template, sentence, title):
            return _DETAILS[name].format(x=title, **found)
    raise ValueError(f"no template has written {sentence!r}")


def _read(template: str, sentence: str, title: str) -> dict[str, str]:
    if (found := _match(template, sentence, title)) is None:
        raise ValueError(f"{sentence!r} is not of the form {template!r}")
    return found


def _match(template: str, sentence: str, title: str) -> dict[str, str] | None:
    """What stands in the blanks of `template`, {x} being the title; None for another sentence."""
    pieces = re.split(r"\{([^}]+)\}", template)
    names = pieces[1::2]
    pattern = re.escape(pieces[0]) + "".join(
        (re.escape(title) if name == "x" else "(.+)") + re.escape(after) for name, after in zip(names, pieces[2::2], strict=True)
    )
    found = re.fullmatch(pattern, sentence)
    return dict(zip((name for name in names if name != "x"), found.groups(), strict=True)) if found else None
