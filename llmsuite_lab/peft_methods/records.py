"""What this section reads off its recorded runs: rows of `comparing.measured`, one a method and task (or an option), one record a seed.

    peft_rates       rows of `comparing.tune`: every method, four rates, on summaries
    peft_summary, peft_entities, peft_answer    every method at its best rate on one task
    lora_ranks, prompt_lengths    one method on summaries, a row an option
    desk_forgetting  of the fine-tuning section: full tuning and LoRA along a training, two rates each
    prompt_sizes     rows of `sizes.measured`: full and prompt tuning at four sizes, an item is a message

An item is a test dialogue; its score is averaged over the seeds first, and methods are compared item by item. A summary that states no fact has no
precision: it is left out of that mean, and counted by `silent`.
"""

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch

from llmsuite_lab.core import records
from llmsuite_lab.core.errors import unknown
from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.core.records import Record, mean_over_seeds, paired_differences, per_seed
from llmsuite_lab.finetuning import evaluation
from llmsuite_lab.finetuning import records as forgetting_records
from llmsuite_lab.finetuning.instruct import OTHERS
from llmsuite_lab.peft_methods.comparing import TASKS
from llmsuite_lab.peft_methods.neighbours import share_within

HYBRID_RANK = 4  # of the LoRA in `methods.METHODS["hybrid"]`


def seeds(name: str = "peft_summary") -> list[int]:
    """The recorded seeds, in order. Raises LabError when there is none."""
    return [run.seed for run in records.read_all(name)]


def methods() -> list[str]:
    """The methods that were compared, in their order."""
    return list(dict.fromkeys(row["method"] for row in _of(TASKS[0])[0].results))


def swept() -> dict[str, dict[float, float]]:
    """Method → rate → mean validation loss over the tasks, nats a token."""
    rows = records.read("peft_rates").results
    found: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        found.setdefault(row["method"], {}).setdefault(row["lr"], []).append(row["loss"])
    return {name: {lr: sum(losses) / len(losses) for lr, losses in rates.items()} for name, rates in found.items()}


def scores(method: str, task: str, part: str = "score") -> dict[str, float]:
    """Dialogue → a part of its score by a method on a task, averaged over the seeds. Raises ValueError for a method or task that was not run."""
    return mean_over_seeds(_of(task), lambda run: _by_item(_row(run, method=method, task=task), part))


def silent(method: str) -> tuple[int, int]:
    """Of a method's summaries in all seeds: how many state no fact at all, and how many there are. Raises ValueError for a method that was not run."""
    rows = [answer for run in _of("summary") for answer in _row(run, method=method, task="summary")["answers"]]
    return evaluation.silent(rows), len(rows)


def difference(ours: str, theirs: str, task: str, part: str = "score") -> Interval:
    """One method minus another on a task: paired by dialogue, averaged over the seeds."""
    return mean_interval(paired_differences(scores(ours, task, part), scores(theirs, task, part)), differences=True)


def quality(part: str = "score") -> dict[str, dict[str, Interval]]:
    """Task → method → mean score with its interval over dialogues."""
    return {task: {name: mean_interval(list(scores(name, task, part).values())) for name in methods()} for task in TASKS}


def cost(method: str, key: str) -> float:
    """A figure of cost, averaged over tasks and seeds: "trainable", "step_s", "prose" (perplexity afterwards). Raises ValueError for another.

    Perplexities are averaged as losses, e to the mean of ln x: a run that came apart counts, and does not drown the others.
    """
    values = [row[key] for task in TASKS for run in _of(task) for row in run.results if row["method"] == method and key in row]
    if not values:
        raise ValueError(f"no row of {method!r} holds {key!r}: ask for trainable, step_s or prose, of {', '.join(methods())}")
    return math.exp(sum(map(math.log, values)) / len(values)) if key == "prose" else sum(values) / len(values)


def prose(method: str) -> dict[str, list[float]]:
    """Task → perplexity on other people's prose after the training of each seed."""
    return {task: [_row(run, method=method, task=task)["prose"] for run in _of(task)] for task in TASKS}


def by_seed(method: str) -> dict[int, float]:
    """Each seed's own mean score of the three tasks: the spread that training adds, which an interval over items does not hold."""
    found = [per_seed(_of(task), lambda run, task=task: _by_item(_row(run, method=method, task=task), "score")) for task in TASKS]
    return {seed: sum(means[seed] for means in found) / len(found) for seed in found[0]}


def over_tasks(method: str) -> dict[tuple[str, str], float]:
    """(task, dialogue) → score by a method on the three tasks, averaged over the seeds."""
    return {(task, item): score for task in TASKS for item, score in scores(method, task).items()}


def table() -> list[dict[str, Any]]:
    """A row a method: {"method", "trained", "step_s", each task's mean score, "minus full" (the mean of the three tasks), "prose" (perplexity)}."""
    means = {name: {task: found.mean for task, found in ((task, quality()[task][name]) for task in TASKS)} for name in methods()}
    over = {name: sum(found.values()) / len(found) for name, found in means.items()}
    return [
        {"method": name, "trained": round(cost(name, "trainable")), "step_s": cost(name, "step_s"), **means[name]}
        | {"minus full": over[name] - over["full"], "prose": cost(name, "prose")}
        for name in methods()
    ]


def front(task: str | None = None) -> list[str]:
    """The methods that no other beats in trained numbers and score at once, fewest numbers first; of one task, or of the mean of all three."""
    reached = {name: over_tasks(name) if task is None else scores(name, task) for name in methods()}
    points = {name: (cost(name, "trainable"), sum(found.values()) / len(found)) for name, found in reached.items()}
    kept = [name for name, (n, s) in points.items() if not any(m <= n and t >= s and (m, t) != (n, s) for m, t in points.values())]
    return sorted(kept, key=lambda name: points[name][0])


def hybrid_and_parts() -> dict[str, dict[str, float]]:
    """Dialogue → fact F1 of the summaries: "hybrid", and its parts alone, a LoRA of the hybrid's rank ("LoRA") and the longest prompt that was trained
    ("prompt")."""
    lengths = by_option("prompt_lengths", "length")
    return {"hybrid": scores("hybrid", "summary"), "LoRA": by_option("lora_ranks", "rank")[HYBRID_RANK], "prompt": lengths[max(lengths)]}


def equal_learning(*names: str) -> float:
    """The most that each of these methods ("full", "lora") has learnt of the summaries in `desk_forgetting`, by whichever rate: fact F1."""
    return min(max(learnt for curve in _curves(name) for learnt, _ in curve) for name in names)


def kept_at(level: float, name: str) -> dict[tuple[str, str], float]:
    """(task, dialogue) → score of the four other tasks where a method has learnt the summaries to this level, by the rate that keeps most there.

    Between two looks both axes go in a straight line. Raises ValueError for a level that no rate of the method reached.
    """
    reached = [found for curve in _curves(name) if (found := _where(curve, level)) is not None]
    if not reached:
        raise ValueError(f"no rate of {name!r} has learnt the summaries to {level:.2f}: ask for {equal_learning(name):.2f} at most")
    return max(reached, key=lambda found: sum(found.values()))


Curve = list[tuple[float, dict[tuple[str, str], float]]]  # learnt, and the other tasks' items, look by look


def _curves(name: str) -> list[Curve]:
    """One a rate, without the mixtures. Raises ValueError for a method that has none."""
    ways = [way for way in forgetting_records.ways() if way.startswith(f"{name} ") and not way.endswith("mixed")]
    if not ways:
        raise ValueError(unknown("method of desk_forgetting", name, sorted({way.split()[0] for way in forgetting_records.ways()})))
    learnt = {way: [look["learnt"] for look in forgetting_records.looks(way)] for way in ways}
    return [list(zip(learnt[way], forgetting_records.along(way, OTHERS), strict=True)) for way in ways]


def _where(curve: Curve, level: float) -> dict[tuple[str, str], float] | None:
    """The items where the curve first reaches the level, in a straight line from the look before; None where it never does."""
    for n, (learnt, items) in enumerate(curve):
        if learnt >= level:
            if n == 0:
                return items
            before, earlier = curve[n - 1]
            share = (level - before) / (learnt - before)
            return {item: (1 - share) * earlier[item] + share * score for item, score in items.items()}
    return None


def by_option(name: str, option: str, part: str = "score") -> dict[Any, dict[str, float]]:
    """Value of the option ("rank", "length") → dialogue → score, averaged over the seeds."""
    found = records.read_all(name)
    values = [row["options"][option] for row in found[0].results]
    return {value: mean_over_seeds(found, lambda run, v=value: _by_item(_row(run, options={option: v}), part)) for value in values}


def by_size(method: str, part: str = "answers") -> dict[int, dict[str, float]]:
    """Weights of the model → message → score of "full" or "prompt" tuning in trained wordings ("answers") or untrained ones ("unseen")."""
    found = records.read_all("prompt_sizes")
    sizes = {row["weights"]: row["size"] for row in found[0].results}
    return {weights: mean_over_seeds(found, lambda run, s=size: _scored(run, s, method, part)) for weights, size in sizes.items()}


def gaps(part: str = "answers") -> dict[int, dict[str, float]]:
    """Weights of the model → message → full minus prompt tuning, averaged over the seeds."""
    full, prompt = by_size("full", part), by_size("prompt", part)
    return {weights: dict(zip(full[weights], paired_differences(full[weights], prompt[weights]), strict=True)) for weights in full}


def gap_closed(part: str = "answers") -> Interval:
    """The gap at the smallest size minus the gap at the largest, paired by message."""
    found = gaps(part)
    halves = [d / 2 for d in paired_differences(found[min(found)], found[max(found)])]  # a difference of two gaps reaches from -2 to 2
    half = mean_interval(halves, differences=True)
    return replace(half, mean=2 * half.mean, low=2 * half.low, high=2 * half.high)


def neighbour_shares(wanted: Collection[int], when: str = "learned") -> list[float]:
    """Share of the tokens nearest to each vector in front of SmolLM2 that are among the `wanted`, by place in the prompt, averaged over the seeds; of
    the "learned" prompts of `prompt_sizes`, or as they were at the "start"."""
    return mean_over_seeds(records.read_all("prompt_sizes"), lambda run: [share_within(torch.tensor(ids), wanted) for ids in _nearest(run, when)])


def _scored(run: Record, size: str, method: str, part: str) -> dict[str, float | None]:
    rows = [row for row in run.results if row["size"] == size and row["method"] == method and part in row]
    if not rows:
        raise ValueError(f"the run of seed {run.seed} holds no {part!r} of {method!r} at {size!r}")
    return _by_item({"answers": rows[0][part]}, "score")


def _nearest(run: Record, when: str) -> list[list[int]]:
    return next(row["neighbours"][when] for row in run.results if "neighbours" in row and "answers" in row)


def _of(task: str) -> list[Record]:
    if task not in TASKS:
        raise ValueError(unknown("compared task", task, list(TASKS)))
    return records.read_all(f"peft_{task}")


def _row(run: Record, **wanted: Any) -> dict[str, Any]:
    for row in run.results:
        if all(wanted[key].items() <= row[key].items() if key == "options" else row[key] == wanted[key] for key in wanted):
            return row
    raise ValueError(f"the run of seed {run.seed} holds no row with {wanted}")


def _by_item(row: dict[str, Any], part: str) -> dict[str, float | None]:
    return {answer["item"]: evaluation.part_of(answer, part) for answer in row["answers"]}
