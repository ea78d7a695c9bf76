"""The figures of notebook 08 and its deck, from the recorded runs; one message each, said in the title."""

from typing import Any

from llmsuite_lab.core.diagrams import from_records
from llmsuite_lab.core.errors import within
from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.core.plots import COLOURS, bars_with_intervals, figure, heat_map, lines_with_bands, loss_curve
from llmsuite_lab.core.records import read, read_all, seeds
from llmsuite_lab.finetuning import public_summaries as public
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
    silent = sum(records.silent(name)[0] for name in records.SIZES.values())
    xlabel = f"training examples ({said_nothing(silent)})"
    return lines_with_bands(sizes, lines, title="What more examples add to a summary", xlabel=xlabel, ylabel="score", log_x=True, ylim=(0, 1.05))


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
    silent = sum(records.silent(name, form)[0] for name, form in (("desk_untuned", "shots"), ("desk_summary", "trained")))
    title = "Summaries: facts kept, and facts that are true"
    return bars_with_intervals(values, title=title, xlabel=said_nothing(silent), ylabel="mean of the summaries", colours=SERIES, ylim=(0, 1.15))


@from_records
def public_summaries() -> Any:
    """Somebody else's dialogues against summaries that people wrote: words shared, names and numbers kept, names and numbers that are in the dialogue."""
    found = read("desk_public").results
    series = dict(zip(public.WAYS, ("bound", "base", "tuned"), strict=True))
    parts = {"rougeL": "ROUGE-L", "kept": "names kept", "true": "names true"}
    groups = {
        f"{public.TITLES[name]}: {label}" if len(found) > 1 else label: {
            way: mean_interval(public.part(rows, part)) for way, rows in ways.items() if public.part(rows, part)
        }
        for name, ways in found.items()
        for part, label in parts.items()
    }
    title = "Other people's dialogues, against people's summaries"
    xlabel = ", ".join(f"{len(next(iter(ways.values())))} dialogues of {public.TITLES[name]}" for name, ways in found.items())
    xlabel += "; names and numbers"
    return bars_with_intervals(groups, title=title, xlabel=xlabel, ylabel="mean of the dialogues", colours=series, ylim=(0, 1.15))


@from_records
def forgetting_matrix() -> Any:
    """What each tuning does to each task: its score at the end minus at its start; where they are recorded, below summaries alone another task alone."""
    rows = {}
    for name, about in (("desk_forgetting", "summary, "), ("desk_forgetting_more", "")):
        if name == "desk_forgetting" or seeds(name):
            start = records.by_task(records.at_end("start", TASKS, name))
            for way in records.ways(name):
                end = records.by_task(records.at_end(way, TASKS, name))
                rows[f"{about}{records.label(way)}"] = [end[task].mean - start[task].mean for task in TASKS]
    title, label = "What each tuning does to each task", "score after − before"
    named = {"xticks": list(TASKS), "yticks": list(rows), "colour_label": label}
    size = (10.0, 1.7 + 0.5 * len(rows))
    return heat_map(list(rows.values()), title=title, **named, diverging=True, annotate=True, limits=(-1, 1), size=size)


@from_records
def kept_against_learnt() -> Any:
    """The curve of forgetting against learning: a line a way, from the common start, a point a look."""
    drawn, ax = figure(8.4, 5.2)
    for way in records.ways():
        looks = records.looks(way)
        full, mixed = way.startswith("full"), way.endswith("mixed")
        ax.plot(
            [look["learnt"] for look in looks], [look["kept"] for look in looks], color=COLOURS["baseline" if full else "tuned"], label=records.label(way),
            linestyle="--" if mixed else "-", marker="s" if full else "o", alpha=1.0 if mixed or "0.002" in way or "0.0001" in way else 0.55,
        )  # fmt: skip
    ax.set(xlabel="learnt: fact F1 of the summaries", ylabel="kept: mean score of four other tasks", ylim=(-0.03, 0.65))
    ax.set_title("Learning against forgetting")
    ax.legend(loc="lower left")
    return drawn


def said_nothing(count: int) -> str:
    """The words below a figure for what its mean of true facts has left out: so many summaries that state no fact. Raises ValueError below 0."""
    within("count", count, 0, 1_000_000)
    return f"left out of what is true, as they state no fact: {count}" if count else "every summary states some fact"
