"""One method on one task at one learning rate: what every comparison of this section is made of.

    same examples, same updates, same batches for every method; its rate is the best of four by validation loss, swept for all alike (`rates`)
    quality      the task's score on frozen test dialogues           cost        trainable numbers, bytes by kind, seconds a step
    forgetting   perplexity on other people's prose, before and after

Source: paper 5.3; Houlsby et al. 2019 and Hu et al. 2022, whose tables have the same columns. In production: `peft.get_peft_model`, `trl.SFTTrainer`.
"""

import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from typing import Any

import torch

from llmsuite_lab.core import zoo
from llmsuite_lab.core.errors import unknown
from llmsuite_lab.core.runtime import available_cores, profile
from llmsuite_lab.finetuning import general, instruct, measuring, templates
from llmsuite_lab.lm.batching import Example, collate
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.lm.supervised import is_encoder_decoder, supervised_loss
from llmsuite_lab.lm.training import fit
from llmsuite_lab.peft_methods import memory
from llmsuite_lab.peft_methods.methods import method
from llmsuite_lab.transformer.evaluating import evaluating
from llmsuite_lab.world import support_desk

TASKS = ("summary", "entities", "answer")  # one that writes, one that fills a form, one that finds
MODEL = "smollm2-135m-instruct"
DTYPE = torch.float32  # not the machine's fastest: records made on different machines must not differ by their rounding


@dataclass(frozen=True)
class Budget:
    """What every method gets: `dialogues` of one task, `steps` updates of `batch_size`; what it is judged on: `held_out` validation dialogues for the
    rate, `items` frozen test dialogues for the score."""

    dialogues: int = 96
    steps: int = 24
    batch_size: int = 4
    held_out: int = 16
    items: int = 32


def tune(name: str, task: str, lr: float, seed: int = 0, budget: Budget | None = None, **options: Any) -> tuple[LanguageModel, dict[str, Any]]:
    """Tune by a method of `methods.METHODS`: the language model, and a row {"method", "task", "lr", "options", "loss" (validation, nats a token),
    "trainable", "step_s" (median), "train_loss" by step}.

    options: the method's own (`rank`, `length`). Raises ValueError for an unknown method or task, as the method for its options, and LabError for a loss
    that is not finite.
    """
    if task not in templates.TASKS:
        raise ValueError(unknown("task", task, templates.TASKS))
    budget, chosen = budget or Budget(), method(name)
    tokenizer = zoo.load_tokenizer(MODEL)
    model = chosen.prepare(zoo.load_model(MODEL, DTYPE, profile().device), seed, tokenizer, **options)
    pairs = instruct.pairs(instruct.Settings(dialogues=budget.dialogues, tasks=(task,)), seed)
    examples = templates.examples(pairs, tokenizer)
    history = fit(
        model, examples, steps=budget.steps, batch_size=budget.batch_size, lr=lr, warmup=0.08, seed=seed, dtype=DTYPE, progress=False,
        on_step=chosen.on_step(model, budget.steps),
    )  # fmt: skip
    model = chosen.finish(model)
    row = {
        "method": name, "task": task, "lr": lr, "options": options, "loss": validation_loss(model, tokenizer, task, budget.held_out),
        "trainable": memory.count(model).trained, "step_s": statistics.median(history.seconds),
        "train_loss": history.losses,
    }  # fmt: skip
    return LanguageModel(model, tokenizer, MODEL), row


def validation_loss(model: Any, tokenizer: Any, task: str, count: int, batch_size: int = 8) -> float:
    """Mean loss in nats per supervised token on `count` validation dialogues, in the first trained phrasing."""
    pairs = templates.render(support_desk.dialogues(count, "validation", 0), task, templates.training(task)[:1])
    return mean_loss(model, templates.examples(pairs, tokenizer), batch_size)


def mean_loss(model: Any, examples: Sequence[Example], batch_size: int = 8) -> float:
    """Mean loss in nats per supervised token over examples. Raises ValueError for none."""
    if len(examples) == 0:
        raise ValueError("there are no examples to take a loss over: the list is empty")
    total, tokens = 0.0, 0
    ordered = sorted(examples, key=len)
    with torch.no_grad(), evaluating(model):
        for start in range(0, len(ordered), batch_size):
            batch = collate(ordered[start : start + batch_size], separate=is_encoder_decoder(model)).to(next(model.parameters()).device)
            loss, count = supervised_loss(model, batch)
            total, tokens = total + float(loss), tokens + count
    return total / tokens


def measured(name: str, task: str, lr: float, seed: int, budget: Budget | None = None, **options: Any) -> dict[str, Any]:
    """The row of `tune` with the tuned model's "answers" to the frozen test dialogues and its perplexity on "prose"."""
    budget = budget or Budget()
    lm, row = tune(name, task, lr, seed, budget, **options)
    return row | {"answers": measuring.answers(lm, measuring.frozen_dialogues(budget.items), [task]), "prose": general.prose(lm)}


def rates(names: Sequence[str], seed: int = 0, budget: Budget | None = None, known: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """Every method at each of its four rates on the first of `TASKS`: rows as `sweep`'s."""
    return sweep([(name, lr, {}) for name in names for lr in method(name).rates], seed, budget, known)


def sweep(
    wanted: Sequence[tuple[str, float, dict[str, Any]]], seed: int = 0, budget: Budget | None = None, known: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    """A method at a rate with options, on the first of `TASKS`, for each of `wanted`: rows as `tune`'s. On a CPU one process a core, each with one thread.

    known: rows that an earlier sweep with the same seed and budget measured; what they hold is not run again.
    """
    had = {_key(row["method"], row["lr"], row["options"]): row for row in known}
    jobs = [(name, TASKS[0], lr, seed, budget, options) for name, lr, options in wanted if _key(name, lr, options) not in had]
    if profile().device.type != "cpu" or not jobs:
        rows = [_row(*job) for job in jobs]
    else:
        with ProcessPoolExecutor(available_cores(), get_context("spawn"), torch.set_num_threads, (1,)) as pool:
            rows = list(pool.map(_row, *zip(*jobs)))
    had |= {_key(row["method"], row["lr"], row["options"]): row for row in rows}
    return [had[_key(*job)] for job in wanted]


def _key(name: str, lr: float, options: dict[str, Any]) -> tuple[Any, ...]:
    return name, lr, *sorted(options.items())


def _row(name: str, task: str, lr: float, seed: int, budget: Budget | None, options: dict[str, Any]) -> dict[str, Any]:
    return tune(name, task, lr, seed, budget, **options)[1]


def best_rate(rows: Sequence[dict[str, Any]], name: str) -> float:
    """The rate with the lowest validation loss, averaged over the tasks in the rows. Raises ValueError when the rows hold none of that method."""
    losses: dict[float, list[float]] = {}
    for row in rows:
        if row["method"] == name:
            losses.setdefault(row["lr"], []).append(row["loss"])
    if not losses:
        raise ValueError(unknown("method among the rows", name, sorted({row["method"] for row in rows})))
    return min(losses, key=lambda lr: sum(losses[lr]) / len(losses[lr]))


def as_data(budget: Budget) -> dict[str, Any]:
    """The budget as a record's settings."""
    return asdict(budget)
