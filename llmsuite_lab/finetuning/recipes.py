"""What takes long in this section, for `llmsuite train`: five tasks in one adapter, summaries from 50 to 1,000 examples, and what tuning forgets."""

from functools import partial
from typing import Any

from llmsuite_lab.core.runs import Outcome, Recipe, Run


def _adapter(run: Run, *, held_out: bool = False, **changed: Any) -> Outcome:
    from llmsuite_lab.finetuning import instruct, measuring
    from llmsuite_lab.lm.runs import trained

    settings = instruct.Settings(**changed)
    score = partial(measuring.tuned, tasks=settings.tasks, held_out=held_out)
    return trained(run, partial(instruct.train, settings=settings), score)


def _untuned(run: Run) -> Outcome:
    from llmsuite_lab.finetuning import measuring

    return measuring.untuned()


def _forgetting(run: Run) -> Outcome:
    from llmsuite_lab.finetuning import forgetting

    return forgetting.measure(run)


def _public(run: Run) -> Outcome:
    from llmsuite_lab.finetuning import public_summaries

    return public_summaries.measured()


def _flan(run: Run) -> Outcome:
    from llmsuite_lab.finetuning import flan

    return flan.measure(run.seed)


SEEDS = (0, 1, 2)
_SUMMARIES = {"tasks": ("summary",)}

RECIPES = (
    Recipe("desk_multitask", "adapter: five tasks of the support desk in one mixture", partial(_adapter, held_out=True), seeds=SEEDS, ships=True),
    Recipe("desk_one_phrasing", "the same with one phrasing a task", partial(_adapter, held_out=True, phrasings=1), seeds=SEEDS),
    Recipe("desk_summary", "adapter: summaries, 500 examples", partial(_adapter, dialogues=500, steps=125, **_SUMMARIES), seeds=SEEDS, ships=True),
    Recipe("desk_summary_50", "the same from 50 examples", partial(_adapter, dialogues=50, steps=60, **_SUMMARIES), seeds=SEEDS),
    Recipe("desk_summary_1000", "the same from 1,000", partial(_adapter, dialogues=1000, steps=250, **_SUMMARIES), seeds=SEEDS),
    Recipe("desk_untuned", "the untuned model on the five tasks: after four examples, and by chat", _untuned),
    Recipe("desk_public", "its summaries adapter on DialogSum and SAMSum (LLMSUITE_REAL_DATA names their folder)", _public),
    Recipe("desk_forgetting", "what summaries alone cost a model tuned on four tasks, by method and rate", _forgetting, seeds=SEEDS),
    Recipe("desk_flan", "on t4 or gpu: FLAN-T5 on DialogSum, from the hub", _flan, large=True),
)
