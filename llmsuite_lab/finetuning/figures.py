"""The figures of notebook 08 and its deck, from the recorded runs; one message each, said in the title."""

from typing import Any

from llmsuite_lab.core.diagrams import from_records
from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.core.plots import COLOURS, bars_with_intervals, figure, heat_map, lines_with_bands, loss_curve
from llmsuite_lab.core.records import read_all
from llmsuite_lab.finetuning import records
from llmsuite_lab.finetuning.instruct import SINGLE
from llmsuite_lab.finetuning.templates import TASKS

SERIES = {"untuned, by chat": "bound", "untuned, four examples": "base", "tuned": "tuned"}
PARTS = {"recall": "facts kept", "precision": "facts that are true", "rougeL": "ROUGE-L"}


@from_records
def losses() -> Any:
    """Training loss of the multitask adapter, a line a seed."""
    histories = {f"seed {run.seed}": run.history for run in read_all("desk_multitask")}
    return loss_curve(histories, title="Most of the fall is over after a fifth of the tokens")


@from_records
def five_tasks() -> Any:
    """Each task's score: the untuned model by chat and after four examples, and tuned on all five, averaged over seeds."""
    found = {"untuned, by chat": records.untuned("chat"), "untuned, four examples": records.untuned("shots"), "tuned": records.tuned("desk_multitask")}
    by_task = {name: records.by_task(scores) for name, scores in found.items()}
    values = {task: {name: intervals[task] for name, intervals in by_task.items()} for task in TASKS}
    return bars_with_intervals(values, title="One small adapter, five tasks", ylabel="score", colours=SERIES, ylim=(0, 1.15))


@from_records
def learning_curve() -> Any:
    """Summaries by number of training examples: facts kept, facts that are true, ROUGE-L."""
    sizes = list(records.SIZES)
    lines = {label: list(records.learning_curve(part).values()) for part, label in PARTS.items()}
    return lines_with_bands(
        sizes, lines, title="What more examples add to a summary", xlabel="training examples", ylabel="score", log_x=True, ylim=(0, 1.05)
    )


@from_records
def phrasings() -> Any:
    """Five tasks together, tuned on one phrasing a task or on all six, asked in the six and in two that no training saw."""
    values = {
        form: {
            label: mean_interval(list(records.tuned(name, which).values()))
            for name, label in (("desk_one_phrasing", "one phrasing trained"), ("desk_multitask", "several trained"))
        }
        for which, form in (("trained", "in the six trained phrasings"), ("held out", "in two never trained"))
    }
    colours = {"one phrasing trained": "baseline", "several trained": "tuned"}
    return bars_with_intervals(values, title="Tuned on one phrasing, or on six", ylabel="mean score of five tasks", colours=colours, ylim=(0, 1.15))


@from_records
def domain() -> Any:
    """Summaries of unseen dialogues: the untuned model after four examples against the tuned one."""
    values: dict[str, dict[str, Interval]] = {}
    for part, label in PARTS.items():
        values[label] = {
            "untuned, four examples": mean_interval(list(records.untuned(part=part, tasks=(SINGLE,)).values())),
            "tuned": mean_interval(list(records.tuned("desk_summary", part=part, tasks=(SINGLE,)).values())),
        }
    return bars_with_intervals(values, title="Facts kept, and facts invented", ylabel="summaries", colours=SERIES, ylim=(0, 1.15))


@from_records
def forgetting_matrix() -> Any:
    """What each way of going on does to each task: its score at the end minus at the start."""
    start = records.by_task(records.at_end("start", TASKS))
    ways = records.ways()
    rows = [[records.by_task(records.at_end(way, TASKS))[task].mean - start[task].mean for task in TASKS] for way in ways]
    title, label = "Tuned on summaries: what the other tasks lose", "score after − before"
    named = {"xticks": list(TASKS), "yticks": [way.replace("0.0001", "1e-4") for way in ways], "colour_label": label}
    return heat_map(rows, title=title, **named, diverging=True, annotate=True, limits=(-1, 1), size=(10.0, 4.2))


@from_records
def kept_against_learnt() -> Any:
    """The curve of forgetting against learning: a line a way, from the common start, a point a look."""
    drawn, ax = figure(8.4, 5.2)
    for way in records.ways():
        looks = records.looks(way)
        full, mixed = way.startswith("full"), way.endswith("mixed")
        ax.plot(
            [look["learnt"] for look in looks], [look["kept"] for look in looks], color=COLOURS["baseline" if full else "tuned"], label=way,
            linestyle="--" if mixed else "-", marker="s" if full else "o", alpha=1.0 if mixed or "0.002" in way or "0.0001" in way else 0.55,
        )  # fmt: skip
    ax.set(xlabel="learnt: fact F1 of the summaries", ylabel="kept: mean score of four other tasks", ylim=(-0.03, 0.65))
    ax.set_title("Learning against forgetting")
    ax.legend(loc="lower left")
    return drawn
