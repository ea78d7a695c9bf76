"""A gate for a corpus of one's own: its threshold is chosen on that corpus, with a handful of its user's questions or with none.

    inside:   questions that the corpus answers; without any, sentences of its own, thinned, their passage withheld      outside:  questions about another world
    decline(q)  ⇔  signal(q) < τ,      τ halfway between the two middles

The shipped gate was fitted on handbooks, whose passages are short and whose questions use their words; elsewhere every signal lies lower, and it would
decline everything. Its weights stay, its threshold does not. Where there are no questions, sentences of the corpus stand in for them, with half of their
words left out; their own passage is withheld, since no question copies the sentence that answers it. Questions about an invented company stand for what the
corpus knows nothing of, unless its user names some.

What that comes to on corpora that played no part in choosing the rule, `own_gate_measuring` records and notebook 02 shows: without questions it holds back what
is about something else, and lets through nearly all that the corpus leaves unsaid about its own subjects.
Source of the idea: Chow 1970, "On optimum recognition error and reject tradeoff".
"""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np

from llmsuite_lab.core.errors import within
from llmsuite_lab.core.text import word_spans
from llmsuite_lab.retrieval.abstention import SIGNALS, Gate
from llmsuite_lab.retrieval.chunking import by_sentences
from llmsuite_lab.retrieval.foreign import ForeignRetriever
from llmsuite_lab.retrieval.pipeline import RAG
from llmsuite_lab.world import handbook

SENTENCES = 60  # that stand in for questions
ELSEWHERE = 5  # the seed of the company that questions from elsewhere are about
DEPTH = 12  # passages looked at where the best is withheld


def adapted(gate: Gate, rag: RAG, questions: Sequence[str] = (), unanswerable: Sequence[str] = (), seed: int = 0) -> Gate:
    """`gate` with a threshold for the corpus of `rag`: a few questions that it answers, and if there are, some that it does not.

    Raises TypeError for a bare string, ValueError for an empty question, a corpus of fewer than two passages and a retriever that is not ours.
    """
    if isinstance(questions, str) or isinstance(unanswerable, str):
        raise TypeError("questions is one string; pass a list of questions")
    if any(not question.strip() for question in (*questions, *unanswerable)):
        raise ValueError("a question is empty: leave it out, since it has no words to compare")
    if isinstance(rag.retriever, ForeignRetriever):
        raise ValueError("the threshold is taken from all passages, and another's retriever does not show them: read them with Corpus.read")
    if len(rag.retriever.passages) < 2:
        raise ValueError("a gate compares passages, and the corpus has fewer than two")
    asked = list(questions) or stand_ins(rag, seed)
    known, withheld = signals_with_and_without(rag, asked)
    outside = list(unanswerable) or elsewhere()
    away = rag.signals(outside, rag.retriever.retrieve(outside, rag.wide))
    columns = [SIGNALS.index(name) for name in gate.names]
    middles = [np.median(gate.score([[row[c] for c in columns] for row in rows])) for rows in (known if questions else withheld, away)]
    return replace(gate, threshold=float(np.mean(middles)))


def elsewhere(count: int = 40) -> list[str]:
    """Questions about a company that does not exist: what a corpus of one's own does not answer."""
    within("count", count, 1, 120)
    return [question.text for question in handbook.generate("train", ELSEWHERE).of_kind("one")[:count]]


def signals_with_and_without(rag: RAG, questions: Sequence[str]) -> tuple[list[tuple[float, ...]], list[tuple[float, ...]]]:
    """The gate's signals of each question as it is, and with its best passage withheld."""
    found = rag.retriever.retrieve(list(questions), min(DEPTH, len(rag.retriever.passages)))
    return rag.signals(questions, found), rag.signals(questions, [row[1:] for row in found])


def stand_ins(rag: RAG, seed: int = 0, count: int = SENTENCES) -> list[str]:
    """Sentences of the corpus with every other word left out."""
    rng = Random(f"gate {seed}")
    passages = list(rag.retriever.passages.values())
    chosen = rng.sample(passages, min(count, len(passages)))
    return [_thinned(rng.choice(by_sentences(p.text, 1)).text, rng) for p in chosen if p.text.strip()]


def _thinned(sentence: str, rng: Random) -> str:
    words = [sentence[a:b] for a, b in word_spans(sentence)]
    kept = sorted(rng.sample(range(len(words)), max(1, len(words) // 2)))
    return " ".join(words[i] for i in kept)
