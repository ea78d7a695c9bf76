"""What the recipes of this section measure: a model's answers to the five tasks of the support desk, and what it keeps besides (`general`).

A row is one answer: {"task", "item", "said", "score", and the parts of the score}. The frozen test dialogues have names, products, numbers and wordings
that no training saw; the instruction is a trained phrasing, or one that is held out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmsuite_lab.core.runs import Outcome
from llmsuite_lab.finetuning import evaluation, general, instruct, templates
from llmsuite_lab.finetuning.templates import TASKS
from llmsuite_lab.lm.adapters import adapter_path
from llmsuite_lab.lm.language_model import Completion, LanguageModel
from llmsuite_lab.world import support_desk
from llmsuite_lab.world.support_desk import Dialogue

EVALUATED = 60  # frozen test dialogues a run is scored on, each with its five tasks
SHOTS = 4
TOKENS = {"summary": 90, "entities": 70}  # most new tokens; the other tasks answer in a few words
BRIEF = 24


def frozen_dialogues(count: int = EVALUATED) -> list[Dialogue]:
    """The first `count` dialogues of the frozen test split."""
    return support_desk.frozen("test")[:count]


def answers(
    lm: LanguageModel, chosen: Sequence[Any], tasks: Sequence[str] = TASKS, *, phrasings: Sequence[str] | None = None, shots: int = 0, seed: int = 0
) -> list[dict[str, Any]]:
    """The model's answers about these dialogues as rows, task by task, scored by `evaluation.scores`; greedy, one line.

    phrasings: the instructions drawn from, by item; None takes the trained ones of each task. With `shots`, so many solved training dialogues come
    first in the same form, the same for all: the form of an untuned model.
    """
    rows = []
    for task in tasks:
        wordings = list(phrasings) if phrasings is not None else instruct.phrasings(task)
        prefix = ""
        if shots:
            wordings = wordings[:1]  # the examples and the question in one form
            shown = templates.render(support_desk.dialogues(shots, "train", 77), task, wordings, seed)
            prefix = "".join(f"{pair.prompt}{pair.completion}\n\n" for pair in shown)
        prompts = [prefix + pair.prompt for pair in templates.render(chosen, task, wordings, seed)]
        rows += _scored(task, chosen, lm.complete(prompts, max_new_tokens=TOKENS.get(task, BRIEF), stop=["\n"]))
    return rows


def tuned(adapter: Path | str, tasks: Sequence[str] = TASKS, *, held_out: bool = False) -> dict[str, Any]:
    """An adapter's answers on the frozen test dialogues, by form of the instruction ("trained", and with `held_out` "held out")."""
    lm, chosen = LanguageModel.load(adapter=adapter_path(adapter)), frozen_dialogues()
    found = {"trained": answers(lm, chosen, tasks)}
    if held_out:
        found["held out"] = [row for task in tasks for row in answers(lm, chosen, [task], phrasings=templates.held_out(task))]
    return found


def untuned() -> Outcome:
    """The untuned model on the same: after four solved examples ("shots"), and by a chat message without any ("chat"); and its general abilities."""
    lm, chosen = LanguageModel.load(), frozen_dialogues()
    found = {"shots": answers(lm, chosen, shots=SHOTS), "chat": by_chat(lm, chosen)}
    return Outcome({"items": EVALUATED, "shots": SHOTS}, found | {"general": abilities(lm)})


def abilities(lm: LanguageModel) -> dict[str, Any]:
    """{"facts": right or wrong for each, "prose": perplexity} of `general`."""
    return {"facts": general.facts(lm), "prose": general.prose(lm)}


def by_chat(lm: LanguageModel, chosen: Sequence[Any], tasks: Sequence[str] = TASKS) -> list[dict[str, Any]]:
    """The answers to a chat message without any example, in the first trained phrasing of each task, as `answers` gives them."""
    rows = []
    for task in tasks:
        prompts = [pair.prompt for pair in templates.render(chosen, task, instruct.phrasings(task)[:1], 0)]
        rows += _scored(task, chosen, lm.chat(prompts, max_new_tokens=TOKENS.get(task, BRIEF)))
    return rows


def _scored(task: str, chosen: Sequence[Any], completions: Sequence[Completion]) -> list[dict[str, Any]]:
    said = [completion.text.strip() for completion in completions]
    parts = evaluation.scores(task, said, chosen)
    return [{"task": task, "item": templates.item_of(d), "said": text} | part for d, text, part in zip(chosen, said, parts, strict=True)]
