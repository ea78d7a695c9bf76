"""The almanac: exact truth, splits that cannot meet, and held-out kinds that training never shows."""

import re
from collections import Counter
from random import Random

import pytest

from llmsuite_lab.agents.training import draw_items
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.world import almanac as alm
from llmsuite_lab.world import almanac_claims, almanac_frozen, almanac_questions
from llmsuite_lab.world.almanac_relations import PAGE_KINDS, RELATIONS, chain_of, relation
from llmsuite_lab.world.names import split_of

NUMBER = re.compile(r"\b\d+\b")


@pytest.fixture(scope="module")
def frozen():
    return almanac_frozen.load_almanac()


@pytest.fixture(scope="module")
def small():
    return alm.build("train", 5, {"person": 31, "city": 13, "river": 7, "company": 17, "magazine": 19})


def page_text(almanac, title):
    page = almanac.pages[title]
    return " ".join((page.opening, *page.details))


def invented_words(almanac):
    words = {word for title in almanac.pages for word in title.split()}
    common = {*alm._VALUES["company"], *alm._VALUES["magazine"]}
    return words - common


def test_the_frozen_files_are_what_freeze_writes(tmp_path):
    almanac_frozen.freeze(tmp_path)
    for name in ("pages.json", "questions.json", "claims.json"):
        assert (tmp_path / name).read_bytes() == (almanac_frozen.folder() / name).read_bytes()


def test_every_word_of_a_title_belongs_to_the_split(frozen, small):
    assert {split_of(word) for word in invented_words(frozen)} == {"test"}
    assert {split_of(word) for word in invented_words(small)} == {"train"}


def test_no_training_almanac_shares_a_name_or_number_with_the_test(frozen):
    for seed in (1, 2, 1001, 2001, 900):
        world = alm.build("train", seed)
        assert not invented_words(world) & invented_words(frozen)
        numbers = {n for title in world.pages for n in NUMBER.findall(page_text(world, title))}
        assert not numbers & {n for title in frozen.pages for n in NUMBER.findall(page_text(frozen, title))}


def test_training_and_test_templates_never_meet():
    for item in RELATIONS:
        for table in (item.questions, item.phrases, item.statements):
            assert not set(table["train"]) & set(table["test"]), item.name
    for kind, pair in almanac_questions.PAIRS.items():
        assert not set(pair.templates["train"]) & set(pair.templates["test"]), kind


def test_each_hop_of_a_question_stands_in_the_text_of_its_page(frozen):
    questions = almanac_frozen.load_questions()
    for question in questions:
        for subject, _, value in question.hops:
            assert re.search(rf"\b{re.escape(value)}\b", page_text(frozen, subject))
        if question.kind in almanac_questions.CHAINS:
            assert question.answer == question.hops[-1][2]
            assert all(a[2] == b[0] for a, b in zip(question.hops, question.hops[1:]))
    counts = Counter(q.kind for q in questions)
    assert len(counts) == 11
    assert set(counts.values()) == {almanac_frozen.PER_KIND}


def test_comparisons_agree_with_the_numbers_read_off_the_pages(frozen):
    pattern = {"compare_magazines": r"started in (\d+)", "compare_rivers": r"of (\d+) km"}
    for question in almanac_frozen.load_questions(tuple(pattern)):
        titles = [subject for subject, _, _ in question.hops]
        read = {title: int(re.search(pattern[question.kind], frozen.pages[title].opening)[1]) for title in titles}
        assert question.answer == (min if question.kind == "compare_magazines" else max)(read, key=read.get)
        assert all(title in question.text for title in titles)


def test_yes_and_no_both_occur_and_are_true(frozen):
    questions = almanac_frozen.load_questions(("same_birthplace",))
    for question in questions:
        a, b = (re.search(r"born in (\w+)", frozen.pages[subject].opening)[1] for subject, _, _ in question.hops)
        assert question.answer == ("yes" if a == b else "no")
    assert min(Counter(q.answer for q in questions).values()) >= 8


def test_claims_are_what_their_label_says(frozen):
    claims = almanac_frozen.load_claims()
    assert Counter(c.label for c in claims) == dict.fromkeys(almanac_claims.LABELS, almanac_frozen.PER_LABEL)
    for claim in claims:
        subject, name, value = claim.hops[-1]
        assert claim.claimed in claim.text
        assert claim.page_exists == (subject in frozen.pages)
        if claim.label == "not enough info":
            assert value is None
            if claim.page_exists:
                assert relation(frozen.pages[subject].kind, name).keyword not in page_text(frozen, subject)
        else:
            assert value in page_text(frozen, subject)
            assert (claim.claimed == value) == (claim.label == "supports")


@pytest.mark.parametrize("mixture", ["two_hop", "one_three_hop", "varied"])
def test_training_never_shows_a_held_out_kind(mixture):
    held_out = set(almanac_questions.HELD_OUT_CHAINS)
    assert held_out == {("founder", "birthplace", "river"), ("publisher", "headquarters", "mayor")}
    for item, _ in draw_items(mixture, 150, seed=3):
        names = [hop[1] for hop in item.hops]
        triples = {tuple(names[i : i + 3]) for i in range(len(names))}
        assert not triples & held_out
        assert names != ["publisher", "founding year"] * 2
        if mixture == "two_hop":
            assert len(item.hops) <= 2


def test_random_chains_have_the_asked_length_and_never_come_back(small):
    for hops in (1, 2, 3, 4):
        for seed in range(20):
            question = almanac_questions.draw_chain(small, hops, Random(seed))
            pages = [hop[0] for hop in question.hops]
            assert len(set(pages)) == hops
            assert question.answer not in pages


def test_the_same_seed_gives_the_same_almanac_and_saving_keeps_it(small, tmp_path):
    again = alm.build("train", 5, {"person": 31, "city": 13, "river": 7, "company": 17, "magazine": 19})
    assert again == small
    assert alm.build("train", 6).pages != alm.build("train", 5).pages
    alm.save(small, tmp_path / "a.json")
    assert alm.load(tmp_path / "a.json") == small


def test_missing_facts_are_only_those_to_be_looked_up():
    full, thin = (alm.build("train", 8, missing=share) for share in (0.0, 0.5))
    gone = set(full.facts) - set(thin.facts)
    looked_up = {(r.subject, r.name) for r in RELATIONS if r.keyword}
    assert {(full.pages[title].kind, name) for title, name in gone} <= looked_up
    assert 0.3 < len(gone) / sum((full.pages[t].kind, n) in looked_up for t, n in full.facts) < 0.7


def test_bad_input_says_what_is_allowed(small, tmp_path):
    with pytest.raises(ValueError, match="train and test"):
        alm.build("dev", 1)
    with pytest.raises(ValueError, match="at least two pages"):
        alm.build("train", 1, {"river": 1})
    with pytest.raises(ValueError, match="share in"):
        alm.build("train", 1, missing=1.0)
    with pytest.raises(ValueError, match="no page"):
        small.follow("Atlantis", ("river",))
    with pytest.raises(ValueError, match="the kinds are"):
        almanac_questions.draw_question(small, "riddles", Random(0))
    with pytest.raises(ValueError, match="at least one"):
        almanac_questions.draw_chain(small, 0, Random(0))
    tiny = alm.build("train", 1, dict.fromkeys(PAGE_KINDS, 2), missing=0.99)
    with pytest.raises(ValueError, match="build a larger one"):
        almanac_questions.draw_question(tiny, "publisher_headquarters_mayor", Random(0))
    with pytest.raises(ValueError, match="the labels are"):
        almanac_claims.draw_claim(small, "maybe", Random(0))
    with pytest.raises(ValueError, match="one or two"):
        almanac_claims.draw_claim(small, "refutes", Random(0), hops=3)
    with pytest.raises(ValueError, match="has no page"):
        chain_of("city", ("founding year", "river"))
    with pytest.raises(ValueError, match="it has"):
        relation("river", "mayor")
    with pytest.raises(ValueError, match="1 to 25"):
        almanac_frozen.load_questions(per_kind=26)
    with pytest.raises(ValueError, match="not in the frozen split"):
        almanac_frozen.load_questions(("compare_people",))
    (tmp_path / "broken.json").write_text('{"pages": [{"title": "X"}]}')
    with pytest.raises(LabError, match="not a readable almanac"):
        alm.load(tmp_path / "broken.json")
    with pytest.raises(LabError, match="not a readable almanac"):
        alm.load(tmp_path / "absent.json")
