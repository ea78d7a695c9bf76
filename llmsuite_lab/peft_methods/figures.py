"""The figures of notebooks 09 to 11 and their decks, from the recorded runs; one message each, said in the title."""

import re
from typing import Any

import numpy as np

from llmsuite_lab.core import records as core_records
from llmsuite_lab.core.diagrams import from_records
from llmsuite_lab.core.labels import name_points
from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.core.plots import COLOURS, CYCLE, bars_with_intervals, figure, heat_map, lines_with_bands
from llmsuite_lab.finetuning import records as forgetting_records
from llmsuite_lab.finetuning.figures import said_nothing
from llmsuite_lab.finetuning.records import untuned
from llmsuite_lab.peft_methods import records

SCORES = {"summary": "summaries: fact F1", "entities": "entities: F1 of the fields", "answer": "answers: exact match"}
LORA_COLOURS = {"untuned, four examples": "base", "full": "baseline", "LoRA": "tuned"}


@from_records
def ranks(part: str = "score") -> Any:
    """Summaries by rank of the LoRA, averaged over seeds."""
    found = {rank: mean_interval(list(items.values())) for rank, items in records.by_option("lora_ranks", "rank", part).items()}
    return lines_with_bands(
        list(found), {"LoRA": list(found.values())}, title="Facts by rank, each at its own rate", xlabel="rank", ylabel="fact F1 of the summaries",
        colours={"LoRA": "tuned"}, log_x=True, ylim=(0, 1.0),
    )  # fmt: skip


@from_records
def lora_against_full() -> Any:
    """Summaries of the untuned model after four solved examples, of full tuning and of LoRA, each of the two at its best rate, averaged over seeds."""
    parts = {"words shared (ROUGE-L)": "rougeL", "facts kept (recall)": "recall", "facts true (precision)": "precision"}
    groups: dict[str, dict[str, Interval]] = {}
    for words, part in parts.items():
        full, lora = (records.scores(name, "summary", part) for name in ("full", "lora"))
        shots = {item: score for (_, item), score in untuned("shots", part, ("summary",)).items() if item in full}
        groups[words] = {name: mean_interval(list(items.values())) for name, items in zip(LORA_COLOURS, (shots, full, lora))}
    silent = said_nothing(records.silent("full")[0] + records.silent("lora")[0])
    return bars_with_intervals(groups, title="LoRA beside full tuning", xlabel=silent, ylabel="share", ylim=(0, 1.15), colours=LORA_COLOURS)


@from_records
def lengths(part: str = "score") -> Any:
    """Summaries by number of vectors in the soft prompt, averaged over seeds."""
    found = {length: mean_interval(list(items.values())) for length, items in records.by_option("prompt_lengths", "length", part).items()}
    return lines_with_bands(
        list(found), {"soft prompt": list(found.values())}, title="What a longer prompt adds", xlabel="vectors in front", ylabel="fact F1 of the summaries",
        colours={"soft prompt": "tuned"}, log_x=True, ylim=(0, 1.0),
    )  # fmt: skip


@from_records
def written_or_learned() -> Any:
    """Summaries of the same dialogues: asked for in words, by a chat message or after four solved examples, and behind the shipped prompt's vectors."""
    learned = core_records.read("desk_prompt").results["answers"]
    values: dict[str, dict[str, Interval]] = {}
    for label, part in (("facts kept", "recall"), ("fact F1", "f1"), ("ROUGE-L", "rougeL")):
        vectors = {row["item"]: row[part] for row in learned}
        chat, shots = ([score for (_, item), score in untuned(form, part, ("summary",)).items() if item in vectors] for form in ("chat", "shots"))
        rows = {"asked by chat": chat, "four solved examples": shots, "twenty learned vectors": list(vectors.values())}
        values[label] = {name: mean_interval(scores) for name, scores in rows.items()}
    return bars_with_intervals(
        values, title="Summaries: asked for in words, or by vectors", ylabel="score", ylim=(0, 1.15),
        colours={"asked by chat": "base", "four solved examples": "baseline", "twenty learned vectors": "tuned"},
    )  # fmt: skip


@from_records
def sizes(part: str = "answers") -> Any:
    """Full against prompt tuning at four sizes, averaged over seeds; "unseen" for wordings that no training has seen."""
    series = {name: list(records.by_size(method, part).values()) for name, method in (("full tuning", "full"), ("prompt tuning", "prompt"))}
    weights = [round(count / 1e6, 1 if count < 1e7 else None) for count in records.by_size("full", part)]
    return lines_with_bands(
        weights, {name: [mean_interval(list(items.values())) for items in found] for name, found in series.items()},
        title=f"A prompt beside full tuning, by size{', untrained wordings' if part == 'unseen' else ''}",
        xlabel="millions of weights", ylabel="accuracy on the intent",
        colours={"full tuning": "baseline", "prompt tuning": "tuned"}, log_x=True, ylim=(0, 1.05),
    )  # fmt: skip


@from_records
def rates() -> Any:
    """Validation loss of every method at its four rates: each is compared at its own best. A loss over the picture's top is written out."""
    drawn, ax = figure(9.6, 5.6)
    others = [colour for colour in CYCLE if colour not in (COLOURS["baseline"], COLOURS["tuned"])]
    swept = records.swept()
    rest = [name for name in swept if name not in ("full", "lora")]
    top = 1.08 * max(next(iter(losses.values())) for losses in swept.values())  # the lowest rates: none of them diverges
    for name, losses in swept.items():
        n = rest.index(name) if name in rest else 0
        ink = COLOURS["baseline" if name == "full" else "tuned"] if name not in rest else others[n % len(others)]
        ax.plot(list(losses), list(losses.values()), marker="o", color=ink, linestyle="--" if n >= len(others) else "-", label=name)
        best = min(losses, key=lambda lr: losses[lr])
        ax.plot([best], [losses[best]], marker="o", markersize=15, markerfacecolor="none", markeredgewidth=2, color=ink)
    if over := [f"{name} {loss:.1f}" for name, losses in swept.items() for loss in losses.values() if loss > top]:
        ax.text(0.99, 0.04, "off the top, one rate on:\n" + "\n".join(over), transform=ax.transAxes, ha="right", va="bottom", fontsize=11)
    ax.set_xscale("log")
    ax.set_ylim(0.9 * min(min(losses.values()) for losses in swept.values()), top)
    ax.set(xlabel="peak learning rate", ylabel="validation loss (nats per token)")
    ax.set_title("Every method goes on at its own best rate")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return drawn


@from_records
def quality() -> Any:
    """Scores of every method on the three tasks, averaged over seeds: a panel a task, a row a method, full tuning's mean as a line through all rows."""
    found = records.quality()
    drawn, axes = figure(11.0, 4.6, ncols=len(found), sharex=True, sharey=True)
    for ax, (task, scores) in zip(axes, found.items()):
        ax.axvline(scores["full"].mean, color=COLOURS["baseline"], linestyle="--", linewidth=1.5)
        for row, (name, interval) in enumerate(scores.items()):
            reach = [[interval.mean - interval.low], [interval.high - interval.mean]]
            ax.errorbar([interval.mean], [row], xerr=reach, fmt="o", markersize=9, capsize=4, color=_colour(name))
        ax.set(xlabel=SCORES[task], xlim=(0, 1), xticks=(0, 0.2, 0.4, 0.6, 0.8))
        ax.set_yticks(range(len(scores)), [_words(name) for name in scores])
        ax.tick_params(axis="y", length=0)
    axes[0].invert_yaxis()
    axes[0].set_title("What each method reaches at its best rate")
    return drawn


@from_records
def pareto(task: str | None = None) -> Any:
    """Score against trained numbers, a point a method, of one task or of all three: a line joins those that no other beats in both."""
    drawn, ax = figure(9.6, 5.4)
    points = {}
    for name in records.methods():
        interval = mean_interval(list((records.over_tasks(name) if task is None else records.scores(name, task)).values()))
        points[name] = numbers, score = records.cost(name, "trainable"), interval.mean
        reach = [[score - interval.low], [interval.high - score]]
        ax.errorbar([numbers], [score], yerr=reach, fmt="o", markersize=8, capsize=4, color=_colour(name))
    x, y = (np.repeat(ends, 2) for ends in zip(*(points[name] for name in records.front(task))))
    ax.plot(x[1:], y[:-1], color=COLOURS["accent"], linewidth=1.6, zorder=0, label="beaten by none in both")  # as stairs: there is nothing between two methods
    ax.set_xscale("log")
    decades = {10**n: words for n, words in ((3, "1,000"), (4, "10,000"), (5, "100,000"), (6, "1 million"), (7, "10 million"), (8, "100 million"))}
    ax.set_xticks(list(decades), list(decades.values()))
    ax.minorticks_off()
    numbers = [at[0] for at in points.values()]
    ax.set(xlabel="trained numbers", ylabel=SCORES[task] if task else "mean score of three tasks", xlim=(min(numbers) / 2.5, max(numbers) * 2.5))
    ax.margins(y=0.12)
    ax.set_title("Quality against what is trained")
    ax.legend(loc="lower right")
    name_points(ax, {_words(name): at for name, at in points.items()}, 13, below=("adapter",))
    return drawn


@from_records
def forgetting() -> Any:
    """Perplexity on other people's prose after the tuning against the score of the tasks, a point a method at its best rate."""
    drawn, ax = figure(9.6, 5.4)
    points = {}
    for name in records.methods():
        scores = list(records.over_tasks(name).values())
        points[name] = at = sum(scores) / len(scores), records.cost(name, "prose")
        ax.plot(*at, "o", markersize=8, color=_colour(name))
    ax.axhline(core_records.read("desk_untuned").results["general"]["prose"], color=COLOURS["bound"], linestyle="--", linewidth=1.5, label="untuned")
    ax.set_yscale("log")
    ax.margins(x=0.15, y=0.12)
    low, high = ax.get_ylim()
    ticks = [tick for tick in (10, 15, 20, 25, 30, 40, 50, 70, 100, 150, 200, 500, 1000) if low <= tick <= high]
    ax.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.minorticks_off()
    ax.set(xlabel="learnt: mean score of three tasks", ylabel="perplexity on people's prose")
    ax.set_title("What each method has learnt, and what it cost")
    ax.legend(loc="upper left")
    name_points(ax, {_words(name): at for name, at in points.items()}, 13)
    return drawn


@from_records
def at_equal_learning() -> Any:
    """The curves of kept against learnt of full tuning and LoRA, every rate, from one start, and the level at which the two are compared."""
    drawn, ax = figure(8.4, 5.2)
    for way in forgetting_records.ways():
        if way.endswith("mixed"):
            continue
        looks, full = forgetting_records.looks(way), way.startswith("full")
        ax.plot(
            [look["learnt"] for look in looks], [look["kept"] for look in looks], marker="s" if full else "o", label=forgetting_records.label(way),
            color=COLOURS["baseline" if full else "tuned"], linestyle="-" if way in (_fastest("full"), _fastest("lora")) else ":",
        )  # fmt: skip
    level = records.equal_learning("full", "lora")
    ax.axvline(level, color=COLOURS["bound"], linestyle="--", linewidth=1.5)
    for name, colour in (("full", "baseline"), ("lora", "tuned")):
        kept = records.kept_at(level, name)
        ax.plot([level], [sum(kept.values()) / len(kept)], marker="o", markersize=15, markerfacecolor="none", markeredgewidth=2, color=COLOURS[colour])
    ax.set(xlabel="learnt: fact F1 of the summaries", ylabel="kept: mean score of four other tasks")
    ax.set_ylim(bottom=-0.03)
    ax.set_title("Compared where both have learnt as much")
    ax.legend(loc="lower left")
    return drawn


@from_records
def directions() -> Any:
    """The paper's two directions beside what they are made of: the hybrid and its parts on summaries, adaptive and equal ranks on all three tasks."""
    parts = {"hybrid": "hybrid", "LoRA": "LoRA,\nrank 4", "prompt": "100\nvectors"}
    hybrid = {parts[name]: mean_interval(list(items.values())) for name, items in records.hybrid_and_parts().items()}
    ranks_of = {"adaptive": "adaptive\nranks", "lora": "rank 8\neverywhere"}
    adaptive = {words: mean_interval(list(records.over_tasks(name).values())) for name, words in ranks_of.items()}
    drawn, axes = figure(7.8, 5.0, ncols=2, sharey=True, width_ratios=(3, 2))
    for ax, scores, measure in ((axes[0], hybrid, SCORES["summary"]), (axes[1], adaptive, "mean score of three tasks")):
        for x, interval in enumerate(scores.values()):
            reach = [[interval.mean - interval.low], [interval.high - interval.mean]]
            ax.bar(x, interval.mean, 0.7, color=COLOURS["baseline" if x else "tuned"])
            ax.errorbar(x, interval.mean, yerr=reach, fmt="none", ecolor=COLOURS["text"], elinewidth=1.6, capsize=5)
            ax.annotate(f"{interval.mean:.2f}", (x, interval.high), (0, 5), textcoords="offset points", ha="center", fontsize=13)
        ax.set_xticks(range(len(scores)), list(scores), fontsize=13)
        ax.tick_params(axis="x", length=0)
        ax.grid(axis="x", visible=False)
        ax.set(xlabel=measure, ylim=(0, 1))
    axes[0].set_title("Two directions, each beside its rivals")
    return drawn


def allotted(ranks: dict[str, int], title: str = "Ranks that importance has allotted") -> Any:
    """Rank by layer and matrix, from {"model.layers.3.self_attn.q_proj": 9, …}; a matrix that kept nothing counts 0.

    Raises ValueError when no name holds a layer's number."""
    placed = {(int(found[1]), name.rpartition(".")[2]): rank for name, rank in ranks.items() if (found := re.search(r"\.(\d+)\.", name))}
    if not placed:
        raise ValueError(f"none of {len(ranks)} names has a layer's number in it, as model.layers.3.self_attn.q_proj has")
    kinds = list(dict.fromkeys(kind for _, kind in placed))
    layers = range(max(layer for layer, _ in placed) + 1)
    return heat_map(
        [[placed.get((layer, kind), 0) for layer in layers] for kind in kinds], title=title, xlabel="layer", yticks=kinds,
        xticks=[str(layer) if layer % 5 == 0 else "" for layer in layers], colour_label="rank", size=(9.6, 3.4),
    )  # fmt: skip


def _fastest(name: str) -> str:
    """The way of a method that learns most."""
    ways = [way for way in forgetting_records.ways() if way.startswith(f"{name} ") and not way.endswith("mixed")]
    return max(ways, key=lambda way: forgetting_records.looks(way)[-1]["learnt"])


def _colour(method: str) -> str:
    return COLOURS["baseline" if method == "full" else "tuned"]


def _words(method: str) -> str:
    return method.replace("_", " ")
