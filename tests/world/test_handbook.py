"""The invented company: same seed, same book; truth really stated; splits disjoint; the frozen split is the generated one."""

import re
from collections import Counter
from itertools import islice
from random import Random

import pytest

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.world import handbook
from llmsuite_lab.world.handbook_values import CONTRACTS, POLICIES
from llmsuite_lab.world.names import KINDS, names, split_of


@pytest.fixture(scope="module")
def book():
    return handbook.load()


@pytest.fixture(scope="module")
def train():
    return handbook.generate("train", 3)


def test_the_frozen_split_is_what_the_generator_makes(book):
    assert book == handbook.generate("test", 0)


def test_same_seed_same_book_and_another_seed_another_company(train):
    assert train == handbook.generate("train", 3)
    assert train.company != handbook.generate("train", 4).company


def test_several_hundred_passages_with_unique_ids(book):
    assert len(book.passages) > 300
    assert len({p.id for p in book.passages}) == len(book.passages)
    assert Counter(q.kind for q in book.questions) == {"one": 120, "two": 24, "unanswerable": 60}


@pytest.mark.parametrize("which", ["book", "train"])
def test_each_answer_stands_in_its_gold_passages_and_no_answer_is_given_where_there_is_none(which, request):
    book = request.getfixturevalue(which)
    text = {p.id: p.text for p in book.passages}
    for question in book.questions:
        if question.kind == "unanswerable":
            assert question.answer is None
            assert question.gold == ()
        else:
            assert re.search(rf"\b{re.escape(question.answer)}\b", text[question.gold[-1]]), question
            assert len(question.gold) == (1 if question.kind == "one" else 2)


def test_the_second_passage_of_a_two_passage_question_is_reached_through_the_first(book):
    for question in book.of_kind("two"):
        first, second = (book.passage(i) for i in question.gold)
        person = second.title.removeprefix("People: ")
        assert person in first.text
        assert person not in question.text


def test_gold_is_the_newest_version_and_the_older_one_says_something_else(book):
    updated = [q for q in book.of_kind("one") if q.note == "updated"]
    assert len(updated) >= 15
    for question in updated:
        gold = book.passage(question.gold[0])
        older = [p for p in book.passages if p.document == gold.document and p.id != gold.id]
        assert len(older) == 1
        assert older[0].dated < gold.dated
        assert not re.search(rf"\b{re.escape(question.answer)}\b", older[0].text)


def test_subjects_of_unknown_subject_questions_are_nowhere_in_the_book(book):
    everything = " ".join(p.text for p in book.passages)
    unknown = [q for q in book.questions if q.note == "unknown subject"]
    assert len(unknown) == 30
    for question in unknown:
        invented = re.findall(r"[A-Z][a-z]+(?: [A-Z][a-z]+)*", question.text)[1:]  # the first one opens the sentence
        assert any(name not in everything for name in invented), question


def test_near_duplicates_share_family_but_no_value(book):
    first = {}
    for passage in book.passages:
        if passage.document.startswith("product/") and not passage.document.endswith("/2"):
            family = passage.title.split()[2]
            first.setdefault(family, []).append(passage)
    families = [group for group in first.values() if len(group) > 1]
    assert len(families) >= 10
    for group in families:
        weights = [re.search(r"\d+ grams", p.text) for p in group]
        found = [w[0] for w in weights if w]
        assert len(found) == len(set(found))


def test_names_topics_and_phrasings_of_the_splits_are_disjoint(book, train):
    people = [{p.title.removeprefix("People: ") for p in b.passages if p.title.startswith("People")} for b in (book, train)]
    assert not {word for name in people[0] for word in name.split()} & {word for name in people[1] for word in name.split()}
    rules = [{p.title for p in b.passages if p.title.startswith(("Policies", "Contracts"))} for b in (book, train)]
    assert not rules[0] & rules[1]

    def shapes(b):  # a question about a policy or contract without the topic
        topics = "|".join(sorted((*POLICIES, *CONTRACTS), key=len, reverse=True))
        return {re.sub(topics, "X", q.text) for q in b.questions if re.search(" (policy|contract)", q.text)}

    assert shapes(book)
    assert not shapes(book) & shapes(train)


def test_a_name_belongs_to_one_split_only():
    made = {split: {n for kind in KINDS for n in islice(names(kind, split, Random(5)), 300)} for split in ("train", "test")}
    assert not made["train"] & made["test"]
    assert all(split_of(n) == split for split, found in made.items() for n in found)
    with pytest.raises(ValueError, match="kinds of name"):
        next(names("river", "test", Random(0)))
    with pytest.raises(ValueError, match="splits are"):
        next(names("place", "dev", Random(0)))


def test_save_and_load_give_the_same_book(tmp_path, train):
    handbook.save(train, tmp_path / "book.jsonl")
    assert handbook.load(tmp_path / "book.jsonl") == train


def test_a_missing_or_broken_file_says_what_to_do(tmp_path):
    with pytest.raises(LabError, match="No handbook at"):
        handbook.load(tmp_path / "none.jsonl")
    (tmp_path / "half.jsonl").write_text('{"company": "A and B", "split": "te')
    with pytest.raises(LabError, match="not a saved handbook"):
        handbook.load(tmp_path / "half.jsonl")


def test_unknown_split_and_too_many_questions_are_refused():
    with pytest.raises(ValueError, match="split='dev'"):
        handbook.generate("dev")
    with pytest.raises(ValueError, match="one=151"):
        handbook.generate("train", one=151)


def test_markdown_holds_every_passage_under_its_heading(book):
    text = handbook.as_markdown(book)
    assert text.startswith(f"# Handbook of {book.company}\n")
    assert text.count("\n### ") == len(book.passages)
    assert all(p.text in text for p in book.passages)
