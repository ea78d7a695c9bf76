"""The conditions of an experiment with a model that copies a number: who gets which passages, and how it is judged."""

import pytest

from llmsuite_lab.retrieval import experiments
from llmsuite_lab.retrieval.abstention import SIGNALS, fit_gate
from llmsuite_lab.retrieval.pipeline import RAG
from llmsuite_lab.retrieval.retriever import Retriever
from llmsuite_lab.world import handbook


@pytest.fixture(scope="module")
def book():
    return handbook.load()


@pytest.fixture
def rag(book, embedder, copycat):
    return RAG(Retriever(book.passages, embedder), copycat)


def test_items_are_spread_over_the_list():
    assert experiments.every(list(range(100)), 4) == [0, 25, 50, 75]
    assert experiments.every([1, 2], 5) == [1, 2]
    assert experiments.every(list(range(7)), 7) == list(range(7))


def test_gold_passages_are_the_ones_that_answer(book):
    two = book.of_kind("two")[:5]
    assert [tuple(h.passage.id for h in hits) for hits in experiments.gold_hits(book, two)] == [q.gold for q in two]


def test_a_truncated_passage_no_longer_holds_its_answer(book, copycat, monkeypatch):
    seen, complete = [], copycat.complete
    monkeypatch.setattr(copycat, "complete", lambda prompts, *args, **options: seen.extend(prompts) or complete(prompts))
    asked = book.of_kind("one")[:40]
    run = experiments.truncated(copycat, book, asked)
    assert len(run.correct) == 40
    for question, prompt in zip(asked, seen):
        context = prompt.rpartition("\n\n")[2].partition("\nQuestion:")[0]
        assert f" {question.answer}" not in context, prompt[-400:]


def test_closed_book_prompts_hold_no_passage(book, copycat, monkeypatch):
    seen, complete = [], copycat.complete
    monkeypatch.setattr(copycat, "complete", lambda prompts, *args, **options: seen.extend(prompts) or complete(prompts))
    experiments.closed_book(copycat, book.of_kind("one")[:3])
    assert all("Context:" not in prompt for prompt in seen)


def test_retrieval_quality_looks_at_questions_with_one_gold_passage(book, rag):
    quality = experiments.retrieval_quality(rag.retriever, book.questions, mode="bm25")
    assert quality["recall@1"].n == 120
    assert quality["recall@1"].mean <= quality["recall@3"].mean <= quality["recall@10"].mean
    assert quality["recall@1"].mean <= quality["MRR"].mean <= quality["recall@10"].mean


def test_signals_come_with_the_truth_and_a_gate_can_be_fitted_on_them(book, rag):
    questions = [*book.of_kind("one")[:20], *book.of_kind("unanswerable")[:20]]
    signals, answerable = experiments.gate_signals(rag, questions)
    assert answerable == [True] * 20 + [False] * 20
    assert {len(row) for row in signals} == {len(SIGNALS)}
    refused = [d for d, a in zip(fit_gate(signals, answerable, max_refused=0.1).declines(signals), answerable) if a]
    assert sum(refused) <= 2


def test_attacks_are_planted_once_per_question_and_order(book, rag):
    rows = experiments.attack(rag, book, book.of_kind("one")[:2], defences=("none", "both"))
    assert [row.defence for row in rows] == ["none", "both"]
    assert rows[0].obeyed.n == 2 * len(experiments.ATTACKS)
    with pytest.raises(ValueError, match="magic"):
        experiments.attack(rag, book, [], defences=("magic",))
