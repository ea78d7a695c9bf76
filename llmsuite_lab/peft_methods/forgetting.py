"""Forgetting by a second single task: a model that can do all five tasks of the support desk is tuned on one of them alone, not on summaries this time.

    start      the course's adapter for all five tasks of the support desk, merged: the same for every way and seed, nothing of it is trained again
    then       the fields of a form ("entities") alone, by full tuning, LoRA and bottleneck adapters, each at the best of its four recorded rates
    looks      all five tasks after few, some and all updates, and the general abilities beside them (`finetuning.forgetting.look`)

With `desk_forgetting`, where summaries are tuned alone, this is the forgetting matrix: a row a tuning, a column a task. A seed draws the training
dialogues, their order, and what a method adds. Source: paper 5.1; Biderman et al. 2024. In production: the same evaluation before and after each tuning.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from llmsuite_lab.core.runs import Outcome, Run
from llmsuite_lab.finetuning import forgetting, instruct
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.peft_methods.comparing import DTYPE
from llmsuite_lab.peft_methods.methods import method


@dataclass(frozen=True)
class Settings:
    """The start (an adapter of the course), the task tuned alone, by which methods, on how many dialogues; updates, when to look, items looked at."""

    start: str = "desk_multitask"
    task: str = "entities"
    methods: tuple[str, ...] = ("full", "lora", "adapter")
    dialogues: int = 96
    steps: int = 24  # as many as the rates were swept with
    batch_size: int = 4
    looks: tuple[int, ...] = (3, 8, 24)
    items: int = 24


def measure(run: Run, rates: Mapping[str, float], settings: Settings | None = None) -> Outcome:
    """One seed: {"start": a look, "entities, lora 0.008": [looks], …}; `rates` by method. A stopped run goes on behind the last way it finished."""
    settings = settings or Settings()
    ways = {f"{settings.task}, {name} {rates[name]:g}": partial(_along, name, rates[name], settings, run.seed) for name in settings.methods}
    found = {"start": forgetting.look(LanguageModel.load(adapter=settings.start, dtype=DTYPE), settings.items)}
    return Outcome(asdict(settings) | {"rates": dict(rates)}, found | forgetting.by_way(run, ways))


def _along(name: str, lr: float, settings: Settings, seed: int) -> list[dict[str, Any]]:
    lm, chosen = LanguageModel.load(adapter=settings.start, dtype=DTYPE), method(name)
    model = chosen.prepare(lm.model, seed, lm.tokenizer)
    pairs = instruct.pairs(instruct.Settings(dialogues=settings.dialogues, tasks=(settings.task,)), seed + 2_000)  # not the start's
    options = {"steps": settings.steps, "batch_size": settings.batch_size, "lr": lr, "seed": seed, "dtype": DTYPE, "progress": False}
    return forgetting.along(LanguageModel(model, lm.tokenizer, lm.name), pairs, {step: step for step in settings.looks}, settings.items, **options)
