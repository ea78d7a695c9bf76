"""Instruction tuning: prompt–completion pairs from templates, and the loss on the completions alone.

    L(θ) = −(1/N) Σ_t log P_θ(y_t | x, y_<t)        x the prompt with its instruction, y the completion, N supervised tokens

One task (single-task tuning) or several in one mixture (multitask tuning) differ in nothing but the pairs. A mixture asks all its tasks of the same
dialogues, so that what differs is what is asked. Source: paper 5.1 and 5.2; Wei et al. 2022 (FLAN). In production: `trl.SFTTrainer`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmsuite_lab.core.errors import unknown, within
from llmsuite_lab.finetuning import templates
from llmsuite_lab.finetuning.templates import TASKS, Pair
from llmsuite_lab.lm.lora import LoraSettings, train_lora
from llmsuite_lab.lm.training import History
from llmsuite_lab.world import support_desk

SINGLE = "summary"  # the task that is tuned alone, as the paper's example is
OTHERS = tuple(task for task in TASKS if task != SINGLE)


@dataclass(frozen=True)
class Settings(LoraSettings):
    """What a run is made of (`lm.lora`), and its pairs: `dialogues` of the support desk, each asked every one of `tasks`, the instruction drawn from the
    first `phrasings` of the task (None: all that are trained)."""

    steps: int = 150
    lr: float = 2e-3
    dialogues: int = 120
    tasks: tuple[str, ...] = TASKS
    phrasings: int | None = None


def pairs(settings: Settings, seed: int = 0) -> list[Pair]:
    """The training pairs of a run. Raises ValueError for no or an unknown task, and for more phrasings than there are."""
    if not settings.tasks:
        raise ValueError(f"tasks is empty: name one or more of {', '.join(TASKS)}")
    within("dialogues", settings.dialogues, 1, 100_000)
    chosen = support_desk.dialogues(settings.dialogues, "train", seed)
    return [pair for task in settings.tasks for pair in templates.render(chosen, task, phrasings(task, settings.phrasings), seed)]


def phrasings(task: str, count: int | None = None) -> list[str]:
    """The first `count` training phrasings of a task (None: all). Raises ValueError for an unknown task or more than there are."""
    if task not in TASKS:
        raise ValueError(unknown("task", task, TASKS))
    known = templates.training(task)
    within("count", len(known) if count is None else count, 1, len(known))
    return known[:count]


def train(seed: int = 0, settings: Settings | None = None, **options: Any) -> tuple[Any, History, dict[str, Any]]:
    """Tune a LoRA on the run's pairs: (the peft model, the history, the settings as data). `options` and errors as `lm.lora.train_lora`."""
    settings = settings or Settings()
    chosen = pairs(settings, seed)
    return train_lora(settings, lambda tokenizer: templates.examples(chosen, tokenizer), seed, **options)


def mixture(chosen: Sequence[Pair], extra: Sequence[Pair], share: float) -> list[Pair]:
    """`chosen` with so many of `extra` that `chosen` makes `share` of all. Raises ValueError for a share outside (0, 1] and too few of `extra`."""
    within("share", share, 1e-9, 1)
    wanted = round(len(chosen) * (1 - share) / share)
    if wanted > len(extra):
        raise ValueError(f"share={share} asks for {wanted} pairs of the other tasks beside {len(chosen)}, and there are {len(extra)}")
    return [*chosen, *extra[:wanted]]
