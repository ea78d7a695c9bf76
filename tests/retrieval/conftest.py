"""A corpus small enough to read, and an embedder without a model: words hashed to directions, so that shared words mean near vectors."""

import re
import zlib
from dataclasses import dataclass

import numpy as np
import pytest

from llmsuite_lab.lm.language_model import Completion, Score
from llmsuite_lab.retrieval.lexical import words


@dataclass(frozen=True)
class Page:
    """A passage for the tests."""

    id: str
    document: str
    title: str
    text: str
    dated: str = ""


@dataclass
class WordEmbedder:
    """Same interface as `Embedder`: every word has a random direction of its own, a text is their normalised sum. Counts what it embeds."""

    dimension: int = 40
    name: str = "words"
    embedded: int = 0

    @property
    def identity(self) -> str:
        return f"{self.name}, {self.dimension} dimensions"

    def embed(self, texts, batch_size: int = 32):
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in words(text) or ["nothing"]:
                vectors[row] += np.random.default_rng(zlib.crc32(word.encode())).standard_normal(self.dimension)
        self.embedded += len(texts)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


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


@pytest.fixture
def embedder():
    return WordEmbedder()


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
