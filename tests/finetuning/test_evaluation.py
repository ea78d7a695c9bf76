"""How the answers of the five tasks are scored."""

from dataclasses import dataclass, field

import pytest

from llmsuite_lab.core.metrics import rouge
from llmsuite_lab.finetuning.evaluation import f1, score, scores
from llmsuite_lab.finetuning.templates import TASKS, completion_of, labels, render
from llmsuite_lab.world import support_desk
from llmsuite_lab.world.rows import read_dialogue


@dataclass(frozen=True)
class Desk:
    """A dialogue whose facts nobody knows."""

    id: str = "d"
    text: str = "Ada: Where is my lamp?"
    summary: str = "Ada asked where her lamp is."
    intent: str = "technical help"
    sentiment: str = "worried"
    question: str = "Who asks?"
    answer: str = "$1,250.50"
    entities: dict = field(default_factory=lambda: {"customer": "Ada Moor", "amount": "$12.50", "date": "3 May"})


@pytest.mark.parametrize(
    ("task", "said", "right", "parsed"),
    [
        ("intent", " Technical help.\n", 1, 1), ("intent", "technical  HELP", 1, 1), ("intent", "refund", 0, 1), ("intent", "technical help, refund", 0, 0),
        ("intent", "The intent is technical help", 0, 0), ("intent", "", 0, 0), ("sentiment", '"worried"', 1, 1), ("sentiment", "not worried", 0, 0),
        ("sentiment", "angry, worried, happy, neutral", 0, 0), ("sentiment", "sad", 0, 0),
    ],
)  # fmt: skip
def test_a_class_is_right_or_wrong_as_a_whole(task, said, right, parsed):
    assert score(task, said, Desk()) == {"score": right, "parsed": parsed}


@pytest.mark.parametrize(("said", "right"), [("1250.5", 1), (" $1250.50.", 1), ("it is $1,250.50", 0), ("", 0), ("$1,250.51", 0)])
def test_an_answer_is_compared_by_value_and_never_contained(said, right):
    assert score("answer", said, Desk()) == {"score": right}


@pytest.mark.parametrize(
    ("said", "recall", "precision", "parsed"),
    [
        ("customer: Ada Moor; amount: $12.50; date: 3 May", 1, 1, 1),
        ("date: 3 may; Customer: ADA MOOR; amount: 12.5", 1, 1, 1),  # order, case and the form of a number do not count
        ("customer: Ada Moor; amount: $21.50", 1 / 3, 1 / 2, 1),
        ("customer: Ada Moor; customer: Ada Moor; date: 3 May", 2 / 3, 2 / 3, 1),  # said twice is said once too often
        ("customer: Ada Moor; I do not know; 3 May", 1 / 3, 1 / 3, 1 / 3),
        ("date: $12.50", 0, 0, 1),
        ("", 0, 0, 0),
        ("none", 0, 0, 1),
    ],
)
def test_entities_are_scored_by_kind_and_value(said, recall, precision, parsed):
    found = score("entities", said, Desk())
    assert found == pytest.approx({"score": f1(recall, precision), "recall": recall, "precision": precision, "parsed": parsed})


def test_a_dialogue_without_entities_wants_none():
    assert score("entities", "none", Desk(entities={}))["score"] == 1
    assert score("entities", "date: 3 May", Desk(entities={})) == {"score": 0, "recall": 0, "precision": 0, "parsed": 1}


def test_rows_of_dialogsum_are_scored_by_rouge_over_all_their_summaries():
    row = read_dialogue({"dialogue": "Ann: Hi\nBen: Bye", "summary1": "They part.", "summary2": "Ann meets Ben.", "summary3": "Nothing."})
    found = score("summary", "Ann meets Ben", row)
    assert found == {"score": 1.0, "rouge1": 1.0, "rougeL": 1.0}
    expected = rouge(["Ben meets Ann"], [list(row.summaries)])
    assert score("summary", "Ben meets Ann", row) == {"score": expected["rougeL"][0], "rouge1": expected["rouge1"][0], "rougeL": expected["rougeL"][0]}
    with pytest.raises(ValueError, match="has no intent"):
        score("intent", "refund", row)


def test_what_is_no_prediction_is_refused():
    with pytest.raises(ValueError, match="did you mean 'summary'"):
        score("summery", "a", Desk())
    with pytest.raises(ValueError, match="2 predictions and 1 dialogues"):
        scores("intent", ["a", "b"], [Desk()])
    with pytest.raises(TypeError, match="a prediction is NoneType"):
        scores("intent", [None], [Desk()])
    assert scores("summary", [], []) == []


def test_the_support_desk_is_scored_with_its_facts():
    chosen = support_desk.dialogues(12, "train", 3)
    for task in TASKS:
        perfect = scores(task, [completion_of(d, task) for d in chosen], chosen)
        assert [row["score"] for row in perfect] == [1.0] * 12
        assert {value for row in perfect for value in row.values()} == {1.0}
        shifted = scores(task, [completion_of(d, task) for d in chosen[1:] + chosen[:1]], chosen)
        assert sum(row["score"] for row in shifted) < 9
    (nothing,) = scores("summary", ["Hello."], chosen[:1])
    assert (nothing["score"], nothing["recall"], nothing["precision"], nothing["states"]) == (0, 0, 0, 0)
    first = completion_of(chosen[0], "summary")
    facts = support_desk.facts_in(first + " Order 98765 too.", chosen[0])
    found = score("summary", first + " Order 98765 too.", chosen[0])
    assert (found["recall"], found["precision"]) == (facts.recall, facts.precision)
    assert found["score"] == f1(facts.recall, facts.precision) < 1


def test_the_labels_are_the_support_desks():
    assert (labels("intent"), labels("sentiment"), labels("entities")) == (support_desk.INTENTS, support_desk.SENTIMENTS, support_desk.ENTITY_KINDS)
    for pair in render(support_desk.dialogues(200, "train", 1), "intent"):
        assert pair.completion.strip() in labels("intent")
