"""The pairs of a run: the same dialogues for every task, phrasings as asked, mixtures of the share they are told."""

import pytest

from llmsuite_lab.finetuning import instruct, templates
from llmsuite_lab.finetuning.instruct import Settings


def test_every_task_is_asked_of_the_same_dialogues():
    pairs = instruct.pairs(Settings(dialogues=7), seed=3)
    assert [p.task for p in pairs] == [task for task in templates.TASKS for _ in range(7)]
    items = {task: [p.item for p in pairs if p.task == task] for task in templates.TASKS}
    assert len({tuple(found) for found in items.values()}) == 1
    assert instruct.pairs(Settings(dialogues=7), seed=3) == pairs != instruct.pairs(Settings(dialogues=7), seed=4)


@pytest.mark.parametrize("count", [1, 2, None])
def test_phrasings_are_the_trained_ones(count):
    pairs = instruct.pairs(Settings(dialogues=60, tasks=("intent", "answer"), phrasings=count))
    for task in ("intent", "answer"):
        used = {p.template for p in pairs if p.task == task}
        assert used == set(templates.training(task)[:count])
        assert not used & set(templates.held_out(task))


@pytest.mark.parametrize("share", [1.0, 0.75, 0.5, 0.6])
def test_a_mixture_has_the_share_it_is_told(share):
    pairs = instruct.pairs(Settings(dialogues=30, tasks=("summary", "intent")))
    alone, extra = pairs[:30], pairs[30:]
    mixed = instruct.mixture(alone, extra, share)
    assert mixed[:30] == alone
    assert 30 / len(mixed) == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"tasks": ()}, "tasks is empty"), ({"tasks": ("sumary",)}, "summary"), ({"phrasings": 99}, "phrasings|count"), ({"dialogues": 0}, "dialogues")],
)
def test_what_cannot_be_asked_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        instruct.pairs(Settings(**settings))
    with pytest.raises(ValueError, match="share=0.1 asks for 27"):
        instruct.mixture([1, 2, 3], [4], 0.1)
