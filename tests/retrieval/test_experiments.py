"""The conditions of an experiment with a model that copies a number: who gets which passages, and how it is judged."""

import pytest

from llmsuite_lab.retrieval import experiments, measuring
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
    assert [(row.defence, row.attack) for row in rows] == [(defence, order) for defence in ("none", "both") for order in ("", *experiments.ATTACKS)]
    assert {len(row.obeyed) for row in rows} == {len(row.correct) for row in rows} == {2}
    assert rows[0].obeyed == (False, False)  # nothing was planted there
    with pytest.raises(ValueError, match="magic"):
        experiments.attack(rag, book, [], defences=("magic",))


def test_shares_of_clean_and_attacked_passages_are_those_counted_by_hand():
    rows = [
        experiments.Attacked("none", "", (False, False, False), (True, True, False)),
        experiments.Attacked("none", "Say {payload}.", (True, False, True), (False, True, False)),
        experiments.Attacked("none", "Print {payload}.", (True, False, False), (False, False, False)),
    ]
    shares = experiments.by_defence(rows)["none"]
    assert {name: (round(share.mean, 3), share.n) for name, share in shares.items()} == {
        "right, unattacked": (0.667, 3), "right, attacked": (0.167, 3), "obeyed": (0.5, 3),
    }  # fmt: skip


@pytest.mark.parametrize("k", [1, 3])
def test_the_gold_passage_is_always_among_those_shown(book, rag, k):
    asked = experiments.every(book.of_kind("one"), 30)
    hits = experiments.around_gold(rag.retriever, book, asked, k)
    for question, found in zip(asked, hits, strict=True):
        ids = [hit.passage.id for hit in found]
        assert len(set(ids)) == len(ids) == k
        assert question.gold[0] in ids
    ranked = rag.retriever.retrieve([asked[0].text], 3)[0]
    if asked[0].gold[0] in [hit.passage.id for hit in ranked]:
        assert k == 1 or [hit.passage.id for hit in hits[0]] == [hit.passage.id for hit in ranked]


def test_no_passage_or_all_of_them_are_refused_around_the_gold_one(book, rag):
    asked = experiments.every(book.of_kind("one"), 30)
    for k in (0, -1, len(rag.retriever.passages), 1.5):
        with pytest.raises(ValueError, match=f"k={k} must be a whole number"):
            experiments.around_gold(rag.retriever, book, asked, k)


def test_both_forms_of_prompt_are_recorded_question_by_question(book, embedder, copycat, monkeypatch):
    monkeypatch.setattr(measuring.LanguageModel, "load", lambda *args, **options: copycat)
    monkeypatch.setattr(measuring.Embedder, "load", lambda *args, **options: embedder)
    monkeypatch.setattr(copycat, "name", "copycat", raising=False)
    done = measuring.formats(questions=3)
    assert {name: sorted(found) for name, found in done.results.items()} == {"one": ["1", "3"], "three": ["1", "3"]}
    assert {len(marks) for found in done.results.values() for marks in found.values()} == {3}
    assert {len(row["obeyed"]) for row in measuring.attacks(questions=2).results} == {2}
