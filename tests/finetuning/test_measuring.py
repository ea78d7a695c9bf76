"""A model that knows the truth scores 1 everywhere, one that answers another dialogue does not; few-shot examples stand in the question's own form."""

import pytest

from llmsuite_lab.finetuning import measuring, templates
from llmsuite_lab.lm.language_model import Completion

CHOSEN = measuring.frozen_dialogues(5)


class Oracle:
    """Answers each prompt with what the dialogue in it says, or with the next dialogue's (`shift`)."""

    def __init__(self, shift=0):
        self.shift, self.prompts = shift, []

    def complete(self, prompts, max_new_tokens, stop):
        self.prompts += prompts
        assert stop == ["\n"]
        return [Completion(self._answer(prompt), 1, 1, "eos", 0.0) for prompt in prompts]

    def _answer(self, prompt):
        at = max(range(len(CHOSEN)), key=lambda i: prompt.rfind(CHOSEN[i].text))
        asked = next(task for task in templates.TASKS if self._form(prompt, CHOSEN[at], task))
        return f" {templates.completion_of(CHOSEN[(at + self.shift) % len(CHOSEN)], asked)}"

    def _form(self, prompt, dialogue, task):
        return any(prompt.endswith(templates.render([dialogue], task, [wording], 0)[0].prompt) for wording in templates.training(task))


def test_the_truth_scores_one_and_another_dialogues_does_not():
    rows = measuring.answers(Oracle(), CHOSEN)
    assert [(row["task"], row["item"]) for row in rows] == [(task, d.id) for task in templates.TASKS for d in CHOSEN]
    assert all(row["score"] == pytest.approx(1) for row in rows), [row for row in rows if row["score"] < 1]
    others = [row["score"] for row in measuring.answers(Oracle(shift=1), CHOSEN, ["summary", "entities", "answer"])]
    assert sum(others) / len(others) < 0.5


def test_examples_stand_before_the_question_in_its_form():
    oracle = Oracle()
    measuring.answers(oracle, CHOSEN[:2], ["intent"], shots=3)
    first = templates.training("intent")[0]
    for prompt, dialogue in zip(oracle.prompts, CHOSEN, strict=False):
        assert prompt.count(first.split("{")[0]) == 4
        assert prompt.endswith(templates.render([dialogue], "intent", [first], 0)[0].prompt)
        assert all(d.text not in prompt.split(dialogue.text)[0] for d in CHOSEN)
