"""What this section reads off its recorded runs.

    desk_multitask, desk_one_phrasing                    results by form of the instruction ("trained", "held out"): rows of `measuring.answers`
    desk_summary_50, desk_summary, desk_summary_1000     the same, "trained" alone
    desk_untuned                                         such rows by form ("shots", "chat"), and "general"
    desk_public                                          rows of `public_summaries.measured`, by set and way
    desk_forgetting                                      "start" and, by way, looks: {"step", "answers", "facts", "prose", "loss"}
    desk_forgetting_more                                 the same of another task alone (`settings["task"]`), from a start that was tuned on all five

An item is a dialogue with a task. Its score is averaged over the seeds first; intervals are over items. A summary that states no fact has no precision: it
is left out there, and counted by `silent`.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from llmsuite_lab.core import records
from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.core.records import Record, mean_over_seeds, paired_differences
from llmsuite_lab.finetuning import evaluation, forgetting, instruct, measuring, templates
from llmsuite_lab.finetuning.instruct import SINGLE
from llmsuite_lab.finetuning.templates import TASKS

FORGETTING = "desk_forgetting"
SIZES = {50: "desk_summary_50", 500: "desk_summary", 1000: "desk_summary_1000"}
Item = tuple[str, str]  # task, dialogue


def by_item(rows: Sequence[dict[str, Any]], part: str = "score", tasks: Sequence[str] = TASKS) -> dict[Item, float | None]:
    """(task, dialogue) → a part of its score, of the rows of these tasks; None where it is undefined (`evaluation.part_of`)."""
    return {(row["task"], row["item"]): evaluation.part_of(row, part) for row in rows if row["task"] in tasks}


def tuned(name: str, form: str = "trained", part: str = "score", tasks: Sequence[str] = TASKS) -> dict[Item, float]:
    """The same of a recipe, averaged over its recorded seeds. Raises LabError when none is recorded."""
    return mean_over_seeds(records.read_all(name), lambda run: by_item(run.results[form], part, tasks))


def untuned(form: str = "shots", part: str = "score", tasks: Sequence[str] = TASKS) -> dict[Item, float]:
    """The same of the untuned model: after four solved examples ("shots") or by a chat message ("chat")."""
    return mean_over_seeds([records.read("desk_untuned")], lambda run: by_item(run.results[form], part, tasks))


def silent(name: str, form: str = "trained") -> tuple[int, int]:
    """Of a recipe's summaries in all its seeds: how many state no fact at all, and how many there are. Raises LabError when none is recorded."""
    rows = [row for run in records.read_all(name) for row in run.results[form] if row["task"] == SINGLE]
    return evaluation.silent(rows), len(rows)


def seeds(name: str) -> list[int]:
    """The recorded seeds of a recipe, in order. Raises LabError when there is none."""
    return [run.seed for run in records.read_all(name)]


def gain(ours: dict[Item, float], theirs: dict[Item, float]) -> Interval:
    """Mean of the paired differences over the items, with its interval."""
    return mean_interval(paired_differences(ours, theirs), differences=True)


def by_task(scores: dict[Item, float]) -> dict[str, Interval]:
    """Mean score of each task, interval over its dialogues."""
    return {task: mean_interval([s for (t, _), s in scores.items() if t == task]) for task in TASKS if any(t == task for t, _ in scores)}


def learning_curve(part: str = "score") -> dict[int, Interval]:
    """Score of the summaries by number of training examples."""
    return {size: mean_interval(list(tuned(name, part=part, tasks=(SINGLE,)).values())) for size, name in SIZES.items()}


def against_others(name: str, form: str = "trained", tasks: Sequence[str] = TASKS) -> dict[Item, float]:
    """Each answer scored against the next dialogue's truth instead of its own: what is had without reading the dialogue. Averaged over seeds."""

    def shifted(run: Record) -> dict[Item, float]:
        return {
            (row["task"], row["item"]): score
            for task in tasks
            for row, score in _shifted([row for row in run.results[form] if row["task"] == task])
        }

    return mean_over_seeds(records.read_all(name), shifted)


def _shifted(rows: list[dict[str, Any]]) -> list[tuple[dict[str, Any], float]]:
    known = {dialogue.id: dialogue for dialogue in measuring.frozen_dialogues(len(rows))}
    following = [known[row["item"]] for row in rows[1:] + rows[:1]]
    return [(row, float(evaluation.score(row["task"], row["said"], other)["score"])) for row, other in zip(rows, following, strict=True)]


def looks(way: str, name: str = FORGETTING) -> list[dict[str, Any]]:
    """Along the training by one way, averaged over seeds: {"step", "learnt", "kept", "facts", "prose"}; the start is step 0. `learnt` is the score of the
    task that was tuned alone, `kept` the mean of the four others; `name`: which of the two experiments."""
    found = records.read_all(name)
    alone = found[0].settings.get("task", SINGLE)
    steps = [[{"step": 0} | run.results["start"], *run.results[way]] for run in found]
    figures = [[_figures(look, alone) for look in same] for same in zip(*steps, strict=True)]
    return [{key: sum(look[key] for look in same) / len(same) for key in same[0]} for same in figures]


def _figures(look: dict[str, Any], alone: str) -> dict[str, float]:
    others = [task for task in TASKS if task != alone]
    return {
        "step": look["step"], "learnt": forgetting.mean(look["answers"], (alone,)), "kept": forgetting.mean(look["answers"], others),
        "facts": sum(look["facts"]) / len(look["facts"]), "prose": look["prose"],
    }  # fmt: skip


def ways(name: str = FORGETTING) -> list[str]:
    """The ways of a recorded experiment, in order."""
    return [way for way in records.read_all(name)[0].results if way != "start"]


def label(way: str) -> str:
    """A way as figures and tables call it, with its rate in one form: "full 2e-05" and "lora 0.002" are "full 2e-5" and "lora 2e-3"."""
    return re.sub(r"0\.\d+|[\d.]+e-\d+", lambda rate: re.sub(r"\.?0*e-0*", "e-", f"{float(rate[0]):e}"), way)


def at_end(way: str, tasks: Sequence[str], name: str = FORGETTING) -> dict[Item, float]:
    """Scores after the last update by one way ("start": before the first), averaged over seeds."""
    return _over_seeds(name, lambda results: results["start"] if way == "start" else results[way][-1], tasks)


def along(way: str, tasks: Sequence[str], name: str = FORGETTING) -> list[dict[Item, float]]:
    """Scores at every look of the training by one way, the start first, averaged over seeds."""
    count = len(records.read_all(name)[0].results[way])
    later = [_over_seeds(name, lambda results, n=n: results[way][n], tasks) for n in range(count)]
    return [at_end("start", tasks, name), *later]


def in_first_phrasing(scores: dict[Item, float]) -> dict[Item, float]:
    """Of scores in the trained phrasings, those whose instruction was each task's first one: what a model tuned on that one alone has seen, too."""
    known = {dialogue.id: dialogue for dialogue in measuring.frozen_dialogues()}

    def asked(task: str, item: str) -> str:
        return templates.render([known[item]], task, instruct.phrasings(task))[0].template  # drawn by id, as `measuring.answers` draws it

    return {(task, item): score for (task, item), score in scores.items() if asked(task, item) == instruct.phrasings(task, 1)[0]}


def _over_seeds(name: str, look: Callable[[dict[str, Any]], dict[str, Any]], tasks: Sequence[str]) -> dict[Item, float]:
    return mean_over_seeds(records.read_all(name), lambda run: by_item(look(run.results)["answers"], tasks=tasks))
