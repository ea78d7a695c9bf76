"""The three limits: what is asked, how an answer is judged, and that the measured share can come out either way."""

from dataclasses import dataclass

import pytest

from llmsuite_lab.core.metrics import mean_interval
from llmsuite_lab.course import limits
from llmsuite_lab.world.handbook import Question


@dataclass
class Parrot:
    """Stands in for the model where only the judging is under test: answers by a table, records what it was asked."""

    answers: dict[str, str]
    asked: list[str]

    def complete(self, prompts, **options):
        self.asked += prompts
        return [type("C", (), {"text": next((a for key, a in self.answers.items() if key in p), "")}) for p in prompts]


def question(text, answer):
    return Question("q", text, answer, "one" if answer else "unanswerable", (), "x")


def test_an_answer_is_correct_declined_made_up_or_empty():
    parrot = Parrot({"colour": " Blue.", "height": " I don't know.", "width": " 30 cm", "mass": "  "}, [])
    questions = [question("colour?", "blue"), question("height?", None), question("width?", None), question("mass?", None)]
    rows = limits.ask(parrot, questions)
    assert [(r.correct, r.declined, r.made_up) for r in rows] == [(True, False, False), (False, True, False), (False, False, True), (False, False, False)]
    assert all(prompt.startswith("Question: ") and prompt.endswith("\nAnswer:") for prompt in parrot.asked)


def test_leave_to_decline_is_given_in_words():
    parrot = Parrot({}, [])
    limits.ask(parrot, [question("who?", None)], may_decline=True)
    assert "I do not know" in parrot.asked[0]
    assert parrot.asked[0].endswith("Question: who?\nAnswer:")


@pytest.mark.parametrize("text", ["I don’t know.", "That is not stated in the text.", "Unknown", "I'm sorry, but I can't say", "There is no information"])
def test_usual_refusals_are_recognised(text):
    assert limits.declines(text)


@pytest.mark.parametrize("text", ["The director is Ana Lund.", "It is 45 kg", "Noknown Street", "knowledge"])
def test_definite_statements_are_not_refusals(text):
    assert not limits.declines(text)


def test_calculations_cover_every_size_and_are_reproducible():
    wanted = limits.calculations(3, seed=7)
    assert len(wanted) == 3 * 6 * 2
    assert all(len(str(a)) == len(str(b)) == digits for digits, _, a, b in wanted)
    assert wanted == limits.calculations(3, seed=7) != limits.calculations(3, seed=8)
    with pytest.raises(ValueError, match="per_size=0"):
        limits.calculations(0)


def test_a_calculation_is_exact_or_wrong():
    wanted = [(1, "+", 2, 3), (4, "×", 1000, 2000), (6, "+", 999_999, 1)]
    wanted[2] = (6, "+", 999_999, 100_000)
    rows = limits.calculate(Parrot({"2 + 3": " 5", "1000 × 2000": " 2,000,000.", "999999": " about a million"}, []), wanted)
    assert [r.correct for r in rows] == [True, True, False]
    assert [r.answer for r in rows] == [5, 2_000_000, None]
    said = {" 5.5": None, " −5": -5, " 5e0": 5, " 1 ½": None, " 0x5": None, " 5 or 6": 5, " 1,2": None}
    assert [limits.calculate(Parrot({"2 + 3": text}, []), wanted[:1])[0].answer for text in said] == list(said.values())


def test_accuracy_and_loss_come_from_the_rows():
    rows = [limits.Sum(d, op, 1, 1, 2, 2 if d == 1 or (d == 6 and i == 0) else 3) for op in "+×" for d in limits.DIGITS for i in range(10)]
    by_size = limits.accuracy_by_size(rows)
    assert list(by_size) == ["addition", "multiplication"]
    assert [round(i.mean, 2) for i in by_size["addition"]] == [1, 0, 0, 0, 0, 0.1]
    gap = limits.loss_of_exactness(rows)
    assert gap.mean == pytest.approx(0.9)
    assert gap.n == 40
    assert gap.low < 0.9 < gap.high <= 1.0
    small = mean_interval([True] * 20)
    assert gap.low > small.low - 0.35, "the interval is that of a difference of two shares of twenty"
    with pytest.raises(ValueError):
        limits.loss_of_exactness(rows[:5])


def test_two_samples_are_told_apart_as_the_library_says():
    from sklearn.metrics import roc_auc_score

    low, high = [1.0, 2.5, 2.5, 7.0], [2.5, 3.0, 9.0]
    assert limits.told_apart(low, high) == pytest.approx(roc_auc_score([0] * 4 + [1] * 3, low + high))
    assert limits.told_apart([1, 2], [3]) == 1
    with pytest.raises(ValueError, match="0 and 1"):
        limits.told_apart([], [1.0])
