"""Scores are strict, and every method is scored on the same questions."""

import pytest

from llmsuite_lab.agents import evaluation as ev
from llmsuite_lab.agents.demonstrations import demonstrate, opening_text, render_turn
from llmsuite_lab.core import records
from llmsuite_lab.world.almanac_frozen import load_questions
from llmsuite_lab.world.names import split_of


@pytest.mark.parametrize(
    ("reference", "answer", "correct"),
    [
        ("yes", "Yes", True), ("yes", "yes, both", False), ("no", "not", False), ("no", "no", True), ("yes", None, False), ("yes", "yes.", False),
        ("Ada Bly", "ada bly", True), ("Ada Bly", "Ada Bly and Co", False), ("1904", "1904", True), ("1904", "in 1904", False), ("1904", "", False),
    ],
)  # fmt: skip
def test_scores_are_strict(reference, answer, correct):
    assert ev.is_correct(reference, answer) is correct


def test_recorded_verdicts_are_those_of_the_scorer():
    """Every stored answer, scored again: a change of the rules that would change a figure shows here first."""
    rows = [row for name in ("react", "short_react", "react_baselines", "react_two_hop", "react_one_three_hop") for row in stored_answers(name)]
    assert len(rows) > 800
    assert [ev.is_correct(row["reference"], row["answer"]) for row in rows] == [row["correct"] for row in rows]


def stored_answers(name):
    def rows(value):
        if isinstance(value, dict) and "reference" in value:
            yield value
        elif isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                yield from rows(inner)

    return [row for run in records.read_all(name) for row in rows(run.results)]


class Fixed:
    """Completes every prompt with one text."""

    context_length = 9000

    def __init__(self, text):
        self.text, self.seen = text, []

    def count_tokens(self, text):
        return len(text.split())

    def complete(self, prompts, max_new_tokens=64, stop=()):
        from types import SimpleNamespace

        self.seen += prompts
        return [SimpleNamespace(text=self.text, prompt_tokens=3, completion_tokens=2, finish_reason="stop") for _ in prompts]


def test_without_a_tool_the_answer_is_read_off_the_right_place():
    questions = load_questions(("same_birthplace",))
    yes = sum(q.answer == "yes" for q in questions)
    model = Fixed(" yes")
    answers = ev.direct(model, questions)
    assert sum(a.correct for a in answers) == yes
    assert all(p.endswith(f"Question: {q.text}\nAnswer:") for p, q in zip(model.seen, questions))
    reasoned = ev.chain_of_thought(Fixed(" The birthplace is no. Hence.\nAnswer: yes\nmore"), questions)
    assert sum(a.correct for a in reasoned) == yes
    assert not any(a.correct for a in ev.chain_of_thought(Fixed(" yes yes yes"), questions))


def test_prompts_hold_training_names_only():
    for question, world in ev.shots():
        assert world.split == "train"
        for title, _, _ in question.hops:
            invented = [
                word
                for word in title.split()
                if word not in ("Works", "Mills", "Brothers", "Group", "Review", "Journal", "Weekly", "Courier")
            ]
            assert {split_of(word) for word in invented} == {"train"}
    assert ev.react_shots().count("Question:") == len(ev.SHOT_KINDS)
    assert ev.react_shots().count("Action: Finish[") == len(ev.SHOT_KINDS)
    with pytest.raises(ValueError, match="there are 1 to 4"):
        ev.shots(9)


def test_react_is_scored_with_its_cost(scripted, frozen):
    questions = load_questions(per_kind=2)
    model = scripted({opening_text(q): [render_turn(t) for t in demonstrate(q, frozen)] for q in questions})
    answers, trajectories = ev.react_answers(model, questions, frozen)
    assert ev.accuracy(answers).mean == 1.0
    assert set(ev.by_kind(answers)) == {q.kind for q in questions}
    assert ev.cost(answers)["tool_calls"] == sum(t.tool_calls for t in trajectories) / len(questions)
    assert ev.problems(trajectories)["finish"] == len(questions)
    assert all(a.refusals == 0 for a in answers)


def test_gains_are_paired_and_bad_input_is_refused():
    questions = load_questions(("same_birthplace",))
    yes, no = ev.direct(Fixed("yes"), questions), ev.direct(Fixed("no"), questions)
    share = sum(q.answer == "yes" for q in questions) / len(questions)
    assert ev.paired_gain(yes, no).mean == pytest.approx(2 * share - 1)
    with pytest.raises(ValueError, match="items: they cannot be paired"):
        ev.paired_gain(yes, no[1:])
    with pytest.raises(ValueError, match="no answers"):
        ev.cost([])
    with pytest.raises(ValueError, match="none of the"):
        ev.accuracy(yes, ["compare_rivers"])
