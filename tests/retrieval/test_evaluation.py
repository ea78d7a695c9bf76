"""Metrics against cases worked out by hand."""

import re

import pytest

from llmsuite_lab.retrieval.evaluation import Outcome, grounded, judge, paired_gain, recall_at_k, reciprocal_ranks, says, shares, tally
from llmsuite_lab.world import handbook

TEXT = "The Huxum lamp costs 67 crowns and lunch is at 10:50. Skara Lemell works in Mizdale."


@pytest.mark.parametrize(
    ("answer", "truth", "expected"),
    [
        ("The Huxum lamp costs 67 crowns.", "67 crowns", True),
        ("67 Crowns", "67 crowns", True),
        ("67", "67 crowns", False),
        ("167 crowns", "67 crowns", False),
        ("67 or 76 crowns", "67 crowns", False),
        ("At 10:50am.", "10:50", True),
        ("10:05", "10:50", False),
        ("the head of sales", "head of sales", True),
        ("head of sale", "head of sales", False),
        ("part AD-176", "AD-176", True),
        ("It costs 1,250.50 crowns", "1250.5 crowns", True),
        ("It costs 1,250 crowns", "1,251 crowns", False),
        ("5.67 crowns", "67 crowns", False),
        ("−67 crowns", "67 crowns", False),
        ("٦٧ crowns", "67 crowns", True),
        ("half a litre, ½ litre", "0.5 litre", True),
        ("le cafe\u0301 rouge", "café rouge", True),
        ("кошка Мурка", "МУРКА", True),
        ("बिल्ली", "बिल्ल", False),
        ("猫在沙发上", "沙发", True),
        ("", "67 crowns", False),
    ],
)
def test_says(answer, truth, expected):
    assert says(answer, truth) is expected


def says_as_recorded(answer, truth, question):
    """The rule by which the recorded answers about the handbook were judged: lower-case words and runs of digits."""

    def plain(text):
        return " ".join(re.findall(r"\w+(?:[:-]\w+)*", re.sub(r"(\d)([a-z])", r"\1 \2", text.lower())))

    others = set(re.findall(r"\d+", plain(answer))) - set(re.findall(r"\d+", truth)) - set(re.findall(r"\d+", question))
    return bool(truth) and f" {plain(truth)} " in f" {plain(answer)} " and not others


def test_answers_about_the_handbook_are_judged_as_they_were():
    book = handbook.load()
    asked = [q for q in book.questions if q.answer][::3]
    said = [q.answer for q in asked] + [s for p in book.passages[::9] for s in p.text.split(". ")]
    for q in asked:
        near = [*said, f"It is {q.answer}.", f"{q.answer} or 76", *(s for p in book.passages if p.id in q.gold for s in p.text.split(". "))]
        assert [says(s, q.answer, q.text) for s in near] == [says_as_recorded(s, q.answer, q.text) for s in near]


def test_numbers_of_the_question_do_not_count_against_the_answer():
    assert says("Bus 17 leaves from gate 4", "gate 4", "Where does bus 17 leave?")
    assert not says("Bus 17 leaves from gate 4", "gate 4", "Where does the bus leave?")
    assert not says("4 or 9 days", "9 days", "How many days from 2027-03-04 on?")  # the day of a date excuses no number
    assert says("9 days from 2027-03-04", "9 days", "How many days from 2027-03-04 on?")


def test_grounded_means_its_numbers_and_names_stand_in_the_passages():
    assert grounded("It costs 67 crowns", [TEXT])
    assert not grounded("It costs 76 crowns", [TEXT])
    assert grounded("He is in Mizdale", [TEXT])
    assert not grounded("He is in Ashwood", [TEXT])
    assert grounded("It costs 67.0 crowns", [TEXT])
    assert not grounded("He is in Мурино", [TEXT])
    assert not grounded("completely elsewhere", [TEXT])


def test_recall_and_reciprocal_rank_by_hand():
    rankings, gold = [["a", "b", "c"], ["c", "b"], ["x"]], [["b"], ["b", "a"], ["y"]]
    assert recall_at_k(rankings, gold, 1) == [0, 0, 0]
    assert recall_at_k(rankings, gold, 2) == [1, 0.5, 0]
    assert reciprocal_ranks(rankings, gold) == [0.5, 0.5, 0]
    with pytest.raises(ValueError, match="without gold"):
        recall_at_k([["a"]], [[]], 1)
    with pytest.raises(ValueError, match="2 rankings for 1"):
        reciprocal_ranks([["a"], ["b"]], [["a"]])
    with pytest.raises(ValueError, match="twice in one ranking"):
        reciprocal_ranks([["a", "a"]], [["b"]])
    with pytest.raises(ValueError, match="k=0"):
        recall_at_k([["a"]], [["a"]], 0)


def test_an_answer_is_judged_by_what_there_was_to_say():
    question = "How much?"
    assert judge("67 crowns", "67 crowns", question, [TEXT]) == Outcome("correct", True, True)
    assert judge("67 crowns", None, question, [TEXT]) == Outcome("wrong", False, True)
    assert judge("12 crowns", "67 crowns", question, [TEXT]).verdict == "wrong"
    assert judge("67 crowns", "67 crowns", question, [TEXT], declined=True) == Outcome("declined", True, False)
    assert judge("  ", None, question, [TEXT]) == Outcome("declined", False, False)


def test_shares_and_tally_add_up():
    outcomes = [
        Outcome("correct", True, True),
        Outcome("wrong", True, True),
        Outcome("wrong", False, False),
        Outcome("declined", False, False),
    ]
    assert {name: share.mean for name, share in shares(outcomes, answerable=False).items()} == {"correct": 0, "wrong": 0.5, "declined": 0.5}
    assert tally(outcomes) == {"correct": 1, "wrong": 2, "declined": 1, "wrong but grounded": 1}
    with pytest.raises(ValueError, match="no outcomes"):
        shares(outcomes[:2], answerable=False)


def test_a_gain_is_paired():
    gain = paired_gain([True, True, False, True], [False, True, False, False])
    assert gain.mean == 0.5
    assert gain.low <= 0.5 <= gain.high
    with pytest.raises(ValueError, match="1, 0 items"):
        paired_gain([True], [])
