"""A corpus small enough to read, and a model that copies a number out of it."""

import re
from dataclasses import dataclass

import pytest

from llmsuite_lab.lm.language_model import Completion, Score


@dataclass(frozen=True)
class Page:
    """A passage for the tests."""

    id: str
    document: str
    title: str
    text: str
    dated: str = ""


PAGES = (
    Page("a", "kettle", "Products: the Huxum kettle", "The Huxum kettle costs 67 crowns. It weighs 900 grams."),
    Page("b", "kettle-mini", "Products: the Huxum Mini kettle", "The Huxum Mini kettle costs 41 crowns. It weighs 520 grams."),
    Page("c", "leave", "Policies: study leave", "Study leave allows up to 5 days a year. In force from 2027-02-01.", "2027-02-01"),
    Page("d", "leave", "Policies: study leave", "Study leave allows up to 9 days a year. In force since 2031-03-01.", "2031-03-01"),
    Page("e", "lemell", "People: Skara Lemell", "Skara Lemell answers the phone on extension 5006 and speaks Welsh."),
    Page("f", "site", "Sites: Mizdale", "The Mizdale site has 44 desks. Lunch is served from 11:45."),
    Page("g", "notice", "Notices", "At the party someone sang about the weather and the popcorn ran out."),
)


@pytest.fixture
def pages():
    return list(PAGES)


@dataclass
class Copycat:
    """Answers with the first number after the examples; one word is one token; sure of itself when there is one."""

    def count_tokens(self, text):
        return len(text.split())

    def complete(self, prompts, max_new_tokens=64, stop=(), **options):
        found = [re.search(r"\d+(?: crowns| days)?", p.rpartition("\n\n")[2]) for p in prompts]
        return [Completion(f" {m[0]}" if m else "", len(p.split()), 1, "stop", 0.0) for m, p in zip(found, prompts)]

    def score(self, prompts, continuations):
        return [Score(-0.1, 1, 0.0) for _ in prompts]


@pytest.fixture
def copycat():
    return Copycat()
