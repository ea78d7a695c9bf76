"""The worlds of another author: their answers are right, their texts stay as they were written before anything was trained for them."""

import hashlib
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from llmsuite_lab.agents.tools import almanac_tools, call
from llmsuite_lab.retrieval.evaluation import says
from llmsuite_lab.world import elsewhere, formulas
from llmsuite_lab.world.elsewhere import corpora, pages, problems

FROZEN = {
    "problems": "0b9f8ae7dc165d2750620ac9b75ae3eb1b34c8f4b1a5762fe4e2de4f73f8c999",
    "pages": "6d6a58bc89b138c48b4e2002ef6a5cccbb5e893858adbc41acf9195b470c48f9",
    "corpora": "5cce37372ec8ce079ed7a7b852aa5f10cd1bdab38d7b2036dd448161b7d41f6b",
}


@pytest.mark.parametrize("name", FROZEN)
def test_the_texts_are_those_that_were_written_first(name):
    text = Path(elsewhere.__file__).with_name(f"{name}.toml").read_text(encoding="utf-8")
    assert hashlib.sha256(text.encode()).hexdigest() == FROZEN[name], "held-out texts do not change: add another file instead"


@pytest.mark.parametrize("which", problems.SETS)
def test_stories_are_told_twice_and_split_once(which):
    tests, validation = problems.load(which), problems.load(which, "validation")
    assert (len(tests), len(validation)) == (96, 24)
    assert not {t.story for t in tests} & {v.story for v in validation}
    assert all("{" not in t.text and t.answer >= 0 for t in [*tests, *validation])
    small = sum(len(str(t.answer)) for t in tests if not t.large)
    assert sum(len(str(t.answer)) for t in tests if t.large) > 1.8 * small
    assert problems.load(which) == tests


def test_an_answer_is_what_the_story_says():
    said = {t.text: t.answer for t in problems.load("single")}
    text, answer = next((text, answer) for text, answer in said.items() if text.startswith("Of ") and "tickets" in text)
    a, b = (int(word) for word in text.replace(",", "").split() if word.isdigit())
    assert answer == a - b


@pytest.mark.parametrize("name", ["sea", "stage", "valley"])
def test_the_pages_say_what_the_questions_need_and_nothing_else(name):
    world = pages.load(name)
    assert Counter(q.kind for q in world.questions) == dict.fromkeys(pages.KINDS, 8)
    assert Counter(c.label for c in world.claims) == {"supports": 8, "refutes": 8, "not enough info": 8}
    for question in world.questions:
        for subject, _, value in question.hops:
            page = world.pages.pages[subject]
            assert value in " ".join((page.opening, *page.details))
        assert bool(question.hops) == (question.answer != pages.NOT_ENOUGH)
    for claim in world.claims:
        found = claim.hops[-1][2]
        assert {"supports": found == claim.claimed, "refutes": found not in (None, claim.claimed), "not enough info": found is None}[claim.label]
    assert 2 <= sum(q.answer == "yes" for q in world.questions if q.kind == "same") <= 6
    for question in world.questions:
        if question.kind == "no page":
            assert not any(title in question.text for title in world.pages.pages)


def test_a_fact_behind_a_lookup_can_be_found_by_a_word_of_the_question():
    """What is needed must be reachable: some word of the question or of the relation's name opens the sentence."""
    for name in pages.texts():
        world = pages.load(name)
        for question in world.questions:
            for subject, relation, value in question.hops:
                page = world.pages.pages[subject]
                if value in page.opening:
                    continue
                tools = {tool.name: tool for tool in almanac_tools(world.pages)}
                call(tools["Search"], subject)
                tried = [word.strip("?,.'").rstrip("s") for word in f"{relation} {question.text}".split() if len(word) > 3]
                assert any(value in call(tools["Lookup"], word).text for word in tried), (question.text, relation)


@pytest.mark.parametrize("name", ["minutes", "questions_and_answers", "log", "cards", "letters"])
def test_a_corpus_holds_its_answers_where_it_says(name):
    book = corpora.load(name)
    for question in book.of_kind("one"):
        holds = [p.id for p in book.passages if says_without_numbers(p.text, question.answer)]
        assert question.gold[0] in holds
        assert says(question.answer, question.answer, question.text)
    assert len(book.of_kind("unanswerable")) >= 12
    assert len({q.text for q in book.questions}) == len(book.questions)


def says_without_numbers(text, answer):
    return answer.casefold() in text.casefold()


def test_validation_is_apart():
    assert (pages.names(), pages.names("validation")) == (["sea", "stage"], ["valley"])
    assert (corpora.names(), corpora.names("validation")) == (["minutes", "questions_and_answers", "log", "cards"], ["letters"])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: problems.load("double"), "single, several"),
        (lambda: pages.load("moon"), "sea, stage, valley"),
        (lambda: pages.load("sea", per_kind=21), "per_kind"),
        (lambda: corpora.load("moon"), "minutes"),
    ],
    ids=["set", "world", "too many", "corpus"],
)
def test_what_is_not_there_is_said(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_quantities_follow_their_formulas():
    rng = Random(3)
    for _ in range(200):
        given = formulas.draw("a=12..95, k:2..9, n=k*a", rng)
        assert 12 <= given["a"] <= 95
        assert 2 <= given["k"] <= 9
        assert given["n"] == given["k"] * given["a"]
        large = formulas.draw("a=12..95, k:2..9, n=k*a", rng, 1000)
        assert 12_000 <= large["a"] <= 95_999
        assert 2 <= large["k"] <= 9
    assert formulas.value("(n - 4) / k * 2", {"n": 10, "k": 4}) == 3
    assert formulas.value("1 / k", {"k": 3}) * 3 == 1


@pytest.mark.parametrize("wrong", ["a ** 2", "a(3)", "b + 1", "a +", "1.5 * a", "-a"])
def test_a_formula_of_another_kind_is_refused(wrong):
    with pytest.raises(ValueError, match="formula|value"):
        formulas.value(wrong, {"a": 4})


@pytest.mark.parametrize("wrong", ["a", "a=b", "a=1..x", "a=3..4, b=a/2/5", "a=9..2"])
def test_a_quantity_of_another_form_is_refused(wrong):
    with pytest.raises(ValueError, match="whole number|neither|no formula|no value|empty"):
        formulas.draw(wrong, Random(0))
