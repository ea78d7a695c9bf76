"""A reader and a gate on corpora of many forms: pairs tell the truth about what is shown, corpora are whole, one record holds all of it."""

import json
import re
from dataclasses import replace
from itertools import islice

import pytest

from llmsuite_lab.lm.language_model import Completion
from llmsuite_lab.retrieval import varied
from llmsuite_lab.retrieval.pipeline import NOT_STATED
from llmsuite_lab.world import handbook, leakage
from llmsuite_lab.world.elsewhere import corpora as elsewhere
from llmsuite_lab.world.varied import corpora

SMALL = varied.VariedSettings(steps=10, companies=1, corpora=2, encyclopedias=1)


@pytest.fixture
def made(embedder):
    return varied.pairs(embedder, 120, 3, SMALL)


def test_answers_stand_in_their_passages_or_are_declined(made):
    declined = [prompt for prompt, completion in made if completion == f" {NOT_STATED}\n"]
    assert 20 < len(declined) < 80
    for prompt, completion in made:
        context, _, asked = prompt.rpartition("\nQuestion: ")
        assert context.startswith("Context: ")
        assert re.search(r"[?.]\nAnswer:$", asked)
        if completion.strip() != NOT_STATED:
            assert completion.strip().casefold() in context.casefold()


def test_pairs_depend_on_the_seed_and_end_where_the_corpora_do(embedder, made):
    assert varied.pairs(embedder, 120, 3, SMALL) == made
    assert varied.pairs(embedder, 120, 4, SMALL) != made
    with pytest.raises(ValueError, match="take more of them"):
        varied.pairs(embedder, 10_000, 3, SMALL)


def test_what_a_corpus_answers_stands_in_the_gold_passage_and_what_it_does_not_stands_nowhere():
    for seed in range(12):
        book = corpora.generate(seed)
        assert len({p.title for p in book.passages}) == len(book.passages)
        said = {}
        for question in book.of_kind("one"):
            assert question.answer in book.passage(question.gold[0]).text
            said[question.text] = question.answer
        nothing = book.of_kind("unanswerable")
        assert {q.note for q in nothing} == {"not stated", "unknown subject"}
        assert not {q.text for q in nothing} & set(said), "asked and answered elsewhere in the corpus"
        assert not any("{" in text for p in book.passages for text in (p.title, p.text))
        assert not any("{" in q.text for q in book.questions)


def test_corpora_repeat_by_seed_and_differ_in_kind():
    assert corpora.generate(5) == corpora.generate(5)
    kinds = [{q.attribute for q in corpora.generate(seed).questions} for seed in range(6)]
    assert len({frozenset(kind) for kind in kinds}) >= 4
    with pytest.raises(ValueError, match="one"):
        corpora.generate(0, one=101)


def test_pages_of_an_encyclopedia_are_passages_with_questions_of_both_sorts():
    book = varied.encyclopedia(4)
    assert len(book.of_kind("one")) >= 20
    assert len(book.of_kind("unanswerable")) >= 12
    for question in book.of_kind("one"):
        assert question.answer.casefold() in book.passage(question.gold[0]).text.casefold()


def test_nothing_of_the_test_corpora_is_trained_on():
    trained = [p.text for seed in range(30) for p in corpora.generate(seed).passages] + [q.text for seed in range(30) for q in corpora.generate(seed).questions]
    for name in elsewhere.texts():
        book = elsewhere.load(name)
        assert leakage.leaks(trained, [p.text for p in book.passages] + [q.text for q in book.questions]) == [], name
    test = handbook.load()
    assert leakage.leaks(trained, [q.text for q in test.questions]) == []


def test_settings_say_how_many_corpora_a_run_asks_about():
    names = [book.company.split()[0] for book in islice(varied.books(0, replace(SMALL, corpora=1)), 9)]
    assert names[1:] == ["varied", "encyclopedia"]
    assert not {book.seed for book in varied.books(0, SMALL)} & set(varied.DEVELOPED)


def test_one_record_holds_home_and_away(embedder, monkeypatch, copycat):
    monkeypatch.setattr(copycat, "complete", lambda prompts, *a, **k: [Completion(f" {NOT_STATED}", 1, 2, "stop", 0.0) for _ in prompts], raising=False)
    for module in (varied, varied.measuring):
        monkeypatch.setattr(module.LanguageModel, "load", lambda adapter=None: copycat)
        monkeypatch.setattr(module.Embedder, "load", lambda: embedder)
    monkeypatch.setattr(varied, "gate", lambda embedder, lm, gate=varied.gate: gate(embedder, lm, (9_000,)))
    found = varied.read_by("adapter")
    assert set(found) == {"home", "gate", *elsewhere.names()}
    for name in elsewhere.names():
        asked = elsewhere.load(name).of_kind("one", "unanswerable")
        assert found[name]["answerable"] == [q.answer is not None for q in asked]
        assert found[name]["verdicts"]["top-1"] == ["declined"] * len(asked)
        assert len(found[name]["gate declines"]) == len(asked)
        assert not all(found[name]["gate declines"])
    json.dumps(found)
