"""The gate that takes its threshold from a corpus (`own_gate`), measured on corpora that played no part when its rule was chosen.

    refused = share of the answerable questions that are declined           declined = share of the unanswerable ones

The rule was chosen on the course's companies and on Python's reference. Here it meets, beside the company of the test split, small corpora of another
author (`world.elsewhere.corpora`) and paragraphs of SQuAD 2.0, whose unanswerable questions were written by people, over the very paragraph, to look
answerable (Rajpurkar et al. 2018, "Know What You Don't Know"; the recorded run has the first seven paragraphs of each of the first two articles of the
development set, "Normans" and "Computational complexity theory", as squad.jsonl), with HotpotQA's questions beside them, which ask about
something else altogether.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.runs import Outcome
from llmsuite_lab.retrieval import experiments, records
from llmsuite_lab.retrieval.abstention import SIGNALS, Gate
from llmsuite_lab.retrieval.documents import from_rows
from llmsuite_lab.retrieval.embedding import Embedder
from llmsuite_lab.retrieval.own_gate import adapted
from llmsuite_lab.retrieval.pipeline import RAG
from llmsuite_lab.retrieval.retriever import PassageLike, Retriever
from llmsuite_lab.world import handbook, readers
from llmsuite_lab.world.elsewhere import corpora

FEW, DRAWS = 5, 3  # questions that the user names, and how many such handfuls are tried; the others are judged
HOME = (120, 60)  # of the test company's questions
GATES = ("shipped", "no questions", "five questions", "five of each")


@dataclass(frozen=True)
class Asked:
    """A corpus with the questions that it answers, those that it does not, and those about something else."""

    form: str
    passages: Sequence[PassageLike]
    answerable: Sequence[str]
    unanswerable: Sequence[str]
    elsewhere: Sequence[str] = ()


class Remembering:
    """An embedder that embeds a text once: every gate here looks at the same sentences."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder, self.identity, self.name, self.dimension = embedder, embedder.identity, embedder.name, embedder.dimension
        self.known: dict[str, np.ndarray] = {}

    def embed(self, texts: Sequence[str], batch_size: int = 32) -> np.ndarray:
        """As `Embedder.embed`."""
        new = list(dict.fromkeys(text for text in texts if text not in self.known))
        self.known |= zip(new, self.embedder.embed(new, batch_size))
        return np.stack([self.known[text] for text in texts]) if texts else self.embedder.embed(list(texts), batch_size)


def measure(folder: Path | None = None, embedder: Embedder | None = None) -> Outcome:
    """Which questions of every corpus each of GATES declines. `folder` holds squad.jsonl and hotpotqa.jsonl (`world.readers`).

    None: the folder that LLMSUITE_REAL_DATA names. Raises LabError when that is not set, or a file is missing or of another format.
    """
    given = folder or os.environ.get("LLMSUITE_REAL_DATA")
    if not given:
        raise LabError("set LLMSUITE_REAL_DATA to the folder that holds squad.jsonl and hotpotqa.jsonl")
    embedder = Remembering(Embedder.load() if embedder is None else embedder)
    found = {}
    for name, asked in {**others_corpora(), "squad": squad(Path(given))}.items():
        rag = RAG(Retriever(asked.passages, embedder), None)  # the model is not asked: a gate looks at passages alone
        sorts = {"answerable": asked.answerable, "unanswerable": asked.unanswerable, "elsewhere": asked.elsewhere}
        sizes = {sort: len(texts) for sort, texts in sorts.items()} | {"passages": len(asked.passages)}
        found[name] = {"form": asked.form, "asked": sizes, "declined": declined(rag, asked)}
    return Outcome({"embedder": embedder.identity, "few": FEW, "draws": DRAWS}, found)


def others_corpora() -> dict[str, Asked]:
    """The test company, and the corpora of another author that are not for validation."""
    home = handbook.load()
    one, nothing = (experiments.every(home.of_kind(kind), count) for kind, count in zip(("one", "unanswerable"), HOME, strict=True))
    found = {"handbook": Asked("the course's own", home.passages, [q.text for q in one], [q.text for q in nothing])}
    for name in corpora.names("test"):
        book = corpora.load(name)
        found[name] = Asked("another author", book.passages, *([q.text for q in book.of_kind(kind)] for kind in ("one", "unanswerable")))
    return found


def squad(folder: Path) -> Asked:
    """The paragraphs of squad.jsonl, cut as anybody's documents are, with their questions, and the questions of hotpotqa.jsonl."""
    rows = readers.read("squad", folder / "squad.jsonl")
    contexts = dict.fromkeys((row.title, row.context) for row in rows)
    passages = from_rows({"id": f"{title} {i}", "title": title, "text": text} for i, (title, text) in enumerate(contexts))
    far = [row.question for row in readers.read("hotpotqa", folder / "hotpotqa.jsonl")]
    return Asked("SQuAD 2.0", passages, [r.question for r in rows if r.answers], [r.question for r in rows if not r.answers], far)


def declined(rag: RAG, asked: Asked) -> dict[str, dict[str, list[float]]]:
    """By gate and sort of question 1 for each that is declined, else 0; over several handfuls of named questions the mean of those that left it out.

    Raises ValueError where there are too few questions for the handfuls.
    """
    least = (DRAWS - 1) * FEW + 1
    if min(len(asked.answerable), len(asked.unanswerable)) < least:
        raise ValueError(f"{len(asked.answerable)} answerable and {len(asked.unanswerable)} unanswerable questions: {least} of each are needed")
    texts = [*asked.answerable, *asked.unanswerable, *asked.elsewhere]
    bounds = [0, len(asked.answerable), len(asked.answerable) + len(asked.unanswerable), len(texts)]
    signals = rag.signals(texts, rag.retriever.retrieve(texts, rag.wide))
    columns = [SIGNALS.index(name) for name in records.gate().names]

    def marks(gate: Gate) -> list[bool]:
        return gate.declines([[row[c] for c in columns] for row in signals])

    found = {"shipped": [[mark] for mark in marks(records.gate())], "no questions": [[mark] for mark in marks(adapted(records.gate(), rag))]}
    for name, sorts in (("five questions", 1), ("five of each", 2)):
        rng = Random(f"handful {name}")
        orders = [rng.sample(range(a, b), b - a) for a, b in list(zip(bounds, bounds[1:]))[:sorts]]
        found[name] = [[] for _ in texts]
        for draw in range(DRAWS):
            named = [order[draw * FEW : (draw + 1) * FEW] for order in orders]
            gate = adapted(records.gate(), rag, *([texts[i] for i in chosen] for chosen in named))
            for i, mark in enumerate(marks(gate)):
                if not any(i in chosen for chosen in named):
                    found[name][i].append(mark)
    means = {name: [sum(row) / len(row) for row in rows] for name, rows in found.items()}
    sorts = ("answerable", "unanswerable", "elsewhere")
    return {name: {sort: row[a:b] for sort, a, b in zip(sorts, bounds, bounds[1:])} for name, row in means.items()}
