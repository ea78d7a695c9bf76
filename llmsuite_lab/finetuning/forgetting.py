"""Catastrophic forgetting, measured along the training: how well the new task is learnt against how much of the old ones is left.

    start      the model tuned on four tasks (intent, sentiment, entities, answer), which it can do
    then       summaries alone, by every method and rate alike, or summaries mixed with the old tasks
    learnt(t)  fact F1 of the summaries after t updates;  kept(t)  mean score of the four tasks;  and the general abilities beside them

One rate says nothing about a method: a rate at which it learns little keeps everything. So each is trained at several, and read as a curve of kept
against learnt. Source: paper 5.1; McCloskey & Cohen 1989 (who named it); Biderman et al. 2024 (LoRA learns less and forgets less).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from llmsuite_lab.core.errors import within
from llmsuite_lab.core.files import as_json, check_folder, remove_folder, write_output
from llmsuite_lab.core.runs import Outcome, Run
from llmsuite_lab.finetuning import instruct, measuring, templates
from llmsuite_lab.finetuning.instruct import OTHERS, SINGLE
from llmsuite_lab.finetuning.templates import Pair
from llmsuite_lab.lm.adapters import CONFIG, KIND, add_lora, write_adapter
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.lm.training import fit


@dataclass(frozen=True)
class Way:
    """One way to go on from the start: `method` "full" or "lora", learning rate, and the share of summaries among the pairs (1.0: nothing else).

    A mixture takes 1 / share as many updates, so that every way reads as many summaries."""

    method: str
    lr: float
    share: float = 1.0

    @property
    def name(self) -> str:
        """What the record calls it: "lora 0.002", "lora 0.002 mixed"."""
        return f"{self.method} {self.lr:g}" + (" mixed" if self.share < 1 else "")


WAYS = (Way("full", 1e-4), Way("full", 2e-5), Way("lora", 2e-3), Way("lora", 5e-4), Way("full", 1e-4, 0.5))


@dataclass(frozen=True)
class Settings:
    """The start (`instruct.Settings` on the other four tasks), the summaries tuned on, updates and when to look, items looked at."""

    start: instruct.Settings = field(default_factory=lambda: instruct.Settings(steps=120, rank=16, alpha=32, dialogues=120, tasks=OTHERS))
    summaries: int = 160
    steps: int = 40
    batch_size: int = 4
    looks: tuple[int, ...] = (10, 40)
    items: int = 24
    ways: tuple[Way, ...] = WAYS


def measure(run: Run, settings: Settings | None = None) -> Outcome:
    """One seed of the whole experiment. A stopped run goes on behind the last way it finished: `run.adapter` keeps the start, `run.checkpoint` the ways."""
    settings = settings or Settings()
    start = run.adapter
    check_folder(start, KIND)
    if not (start / CONFIG).is_file():
        model, history, made = instruct.train(run.seed, settings.start)
        write_adapter(start, model, run.provenance(run.finished(history).wall_s), base=made["model"])
    found = {"start": look(LanguageModel.load(adapter=start), settings.items)}
    found |= by_way(run, {way.name: partial(_along, start, way, settings, run.seed) for way in settings.ways})
    remove_folder(start)  # the same command trains anew
    return Outcome(asdict(settings), found)


def by_way(run: Run, ways: Mapping[str, Callable[[], list[dict[str, Any]]]]) -> dict[str, Any]:
    """The rows of each way, by its name: run, or read where a stopped run left them in `run.checkpoint`."""
    found = {}
    for name, rows in ways.items():
        file = run.checkpoint / f"{name.replace(' ', '_')}.json"
        if not file.is_file():
            write_output(file, as_json(rows()))
        found[name] = json.loads(file.read_text(encoding="utf-8"))
    return found


def training_pairs(settings: Settings, way: Way, seed: int) -> list[Pair]:
    """The pairs of one way: the same summaries for all, and for a mixture pairs of the old tasks about dialogues of the start."""
    alone = instruct.pairs(instruct.Settings(dialogues=settings.summaries, tasks=(SINGLE,)), seed + 1_000)
    old = instruct.pairs(settings.start, seed)
    return instruct.mixture(alone, old[:: max(len(old) // len(alone), 1)], way.share)


def _along(start: Path, way: Way, settings: Settings, seed: int) -> list[dict[str, Any]]:
    """Tune by one way and look at the updates of `settings.looks`: rows as `along`'s, "step" counted as if on summaries alone."""
    steps, looks = (round(settings.steps / way.share), {round(look / way.share): look for look in settings.looks})
    lm = LanguageModel.load(adapter=start)
    model = add_lora(lm.model, seed) if way.method == "lora" else lm.model.requires_grad_(True)
    chosen = {"steps": steps, "batch_size": settings.batch_size, "lr": way.lr, "seed": seed, "dtype": _dtype()}
    return along(LanguageModel(model, lm.tokenizer, lm.name), training_pairs(settings, way, seed), looks, settings.items, **chosen)


def along(lm: LanguageModel, pairs: Sequence[Pair], looks: Mapping[int, int], items: int, *, steps: int, **options: Any) -> list[dict[str, Any]]:
    """Tune what requires a gradient in `lm` by `fit`, and look at the updates that are the keys of `looks`: rows as `look`'s with "step" (its value),
    "updates", "loss" and "tokens" read so far. Raises ValueError for a look behind the last step; `options` are `fit`'s."""
    within("looks", max(looks), 1, steps)
    rows: list[dict[str, Any]] = []

    def on_step(step: int, history: Any) -> None:
        if step in looks:
            rows.append({"step": looks[step], "updates": step, "loss": history.losses[-1], "tokens": sum(history.tokens)} | look(lm, items))

    fit(lm.model, templates.examples(pairs, lm.tokenizer), steps=steps, warmup=0.08, on_step=on_step, **options)
    return rows


def look(lm: LanguageModel, items: int) -> dict[str, Any]:
    """All five tasks on so many frozen test dialogues, and what nobody tuned: {"answers", "facts", "prose"}."""
    return {"answers": measuring.answers(lm, measuring.frozen_dialogues(items))} | measuring.abilities(lm)


def _dtype() -> Any:
    from llmsuite_lab.core.runtime import profile

    return profile().train_dtype


def mean(rows: Sequence[dict[str, Any]], tasks: Sequence[str]) -> float:
    """Mean score over the rows of these tasks, each task weighing the same. Raises ValueError when one has no row."""
    scores = {task: [row["score"] for row in rows if row["task"] == task] for task in tasks}
    if empty := [task for task, values in scores.items() if not values]:
        raise ValueError(f"no answers to {empty[0]} among the {len(rows)} rows")
    return sum(sum(values) / len(values) for values in scores.values()) / len(scores)
