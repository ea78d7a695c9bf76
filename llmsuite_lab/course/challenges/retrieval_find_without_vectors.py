"""How far does one find without an embedding? A searcher over the held-out handbook, scored by the mean reciprocal rank."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import log
from typing import Any

from llmsuite_lab.core.text import words
from llmsuite_lab.course.challenges import Challenge
from llmsuite_lab.course.exercises import expect
from llmsuite_lab.retrieval.evaluation import reciprocal_ranks
from llmsuite_lab.retrieval.lexical import BM25
from llmsuite_lab.retrieval.retriever import Retriever, indexed_text
from llmsuite_lab.world import handbook

FIRST = 10


def rare_words(passages: Sequence[Any]) -> Callable[[str], list[str]]:
    """An example: shared words count the more the fewer passages hold them; of a document only its newest version is returned."""
    newest: dict[str, Any] = {}
    for passage in passages:
        if passage.document not in newest or passage.dated > newest[passage.document].dated:
            newest[passage.document] = passage
    held = {p.id: set(words(indexed_text(p))) for p in newest.values()}
    in_passages = Counter(word for found in held.values() for word in found)

    def search(question: str) -> list[str]:
        asked = set(words(question))
        scores = {i: sum(log(len(held) / in_passages[word]) for word in asked & found) for i, found in held.items()}
        return sorted(scores, key=scores.__getitem__, reverse=True)

    return search


def _asked() -> tuple[handbook.Handbook, list[handbook.Question]]:
    book = handbook.load()
    return book, book.of_kind("one")


def _mrr(rankings: Sequence[Sequence[str]], questions: Sequence[handbook.Question]) -> float:
    ranks = reciprocal_ranks([list(ranking)[:FIRST] for ranking in rankings], [q.gold for q in questions])
    return sum(ranks) / len(ranks)


def _measure(searcher: Callable, retriever: Retriever | None = None) -> float:
    book, questions = _asked()
    search = searcher(list(book.passages))
    expect(callable(search), f"your searcher returned {type(search).__name__}; it must return a function of the question.")
    known, rankings = {p.id for p in book.passages}, []
    for question in questions:
        found = search(question.text)
        expect(isinstance(found, (list, tuple)), f"your search returned {type(found).__name__}; it must return a list of ids, best first.")
        expect(set(found) <= known, f"your search returned {[i for i in found if i not in known][:1]}, which is no passage's id.")
        expect(len(set(found[:FIRST])) == len(found[:FIRST]), "an id stands twice among the first ten: a passage has one rank.")
        rankings.append(found)
    return _mrr(rankings, questions)


def _marks(retriever: Retriever | None = None) -> Mapping[str, float]:
    book, questions = _asked()
    texts = [q.text for q in questions]
    index = BM25([p.id for p in book.passages], [indexed_text(p) for p in book.passages])
    marks = {"BM25, all versions": _mrr([[i for i, _ in found] for found in index.search(texts, FIRST)], questions)}
    for name, mode in (("BM25, newest versions", "bm25"), ("vectors, newest versions", "dense"), ("both, newest versions", "hybrid")) if retriever else ():
        marks[name] = _mrr([[hit.passage.id for hit in hits] for hits in retriever.retrieve(texts, FIRST, mode=mode)], questions)
    return marks


CHALLENGE = Challenge(
    id="retrieval.find_without_vectors",
    notebook="02_retrieval_augmented_generation",
    title="how far does one find without an embedding?",
    statement=(
        "Write `searcher(passages)`. It reads the passages once (each has `id`, `document`, `title`, `text` and `dated`) and returns a function: given a "
        "question, it returns the ids of passages, best first. No embedding, no model. The score is the mean reciprocal rank of the passage that answers, "
        f"on the held-out handbook's questions over one passage; only the first {FIRST} ids count, and larger is better. Develop on "
        "`handbook.generate(\"train\", seed)`: other names, other wordings. There is no mark to pass: BM25 and this notebook's retriever stand beside you."
    ),
    name="searcher",
    starter="def searcher(passages):\n    ...",
    measure=_measure,
    marks=_marks,
    unit="mean reciprocal rank",
    difficulty=3,
    minutes=45,
    ideas=(
        "rare words count more than common ones; the title belongs to the passage",
        "of a document that stands there twice, only one version can be right",
        "price and cost, weigh and weight: what would let two such words meet without a vector?",
        "fuse two of your rankings as the notebook does; are their mistakes different ones?",
    ),
    example=rare_words,
    smaller_is_better=False,
)
