"""The figures of notebooks 12 and 13 and their decks, from the recorded runs; one message each, said in the title."""

from statistics import mean
from typing import Any

from llmsuite_lab.alignment import records
from llmsuite_lab.alignment.settings import Progress
from llmsuite_lab.core.diagrams import from_records
from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.core.plots import COLOURS, CYCLE, bars_with_intervals, figure, lines_with_bands

NAMES = {
    "ppo": "PPO", "a2c": "A2C", "rloo": "RLOO", "grpo": "GRPO", "rest": "ReST", "rest_weighted": "ReST, weighted", "dpo": "DPO", "q_learning": "Q-learning",
}  # fmt: skip
PENALTIES = ("accent", "baseline", "tuned")
LABELS = {
    "sure": "never wrong", "human": "fog", "human, 15 % flipped": "fog, 15 % flipped", "human, 30 % flipped": "fog, 30 % flipped", "tossed": "a coin's",
}  # fmt: skip


INKS = dict(zip(("ppo", "rest", "dpo", "a2c", "rloo", "rest_weighted", "grpo"), CYCLE))  # a method has one colour in all figures


@from_records
def gold_against_kl(name: str = records.METHODS) -> Any:
    """Gold score against the distance from the start, along each method's run; best of n by the same reward model is the line to beat."""
    drawn, ax = figure(9.6, 5.6)
    start = mean_interval(records.scores("start", name=name, temperature=1.0))
    for method, label in NAMES.items():
        rows = records.path(method, name)
        ink, dash = INKS.get(method, COLOURS["text"]), "-" if method in INKS else ":"
        ax.plot([0, *(kl for _, kl, _, _ in rows)], [start.mean, *(gold.mean for _, _, gold, _ in rows)], marker="o", ms=4, color=ink, ls=dash, label=label)
        _, kl, gold, _ = rows[-1]
        ax.errorbar([kl], [gold.mean], yerr=[[gold.mean - gold.low], [gold.high - gold.mean]], fmt="o", ms=8, capsize=4, color=ink)
    line = records.path("best of n", name)
    ax.plot([kl for _, kl, _, _ in line], [gold.mean for _, _, gold, _ in line], color=COLOURS["bound"], ls="--", label="best of n (bound of KL)")
    colder = records.temperatures(name)
    distance = [records.figure_of("start", "kl", name=name, temperature=t) for t in colder]
    worth = [mean(records.scores("start", name=name, temperature=t)) for t in colder]
    ax.plot(distance, worth, color=COLOURS["bound"], ls=":", marker="s", ms=5, label="start, colder")
    ax.set(xlabel="KL from the start (nats a reply)", ylabel="gold score")
    ax.set_title("What a nat of distance buys")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=12)
    return drawn


@from_records
def without_knowledge(name: str = records.METHODS) -> Any:
    """Gold gained against the reward model and against one that was never trained, bars over prompts, a dot for each seed."""
    drawn, ax = figure(7.2, 4.4)
    start = records.by_seed("start", name=name, temperature=1.0)
    whose = (("", "baseline", "reward model"), (", random reward", "base", "never trained"))
    for place, method in enumerate(("ppo", "a2c")):
        for side, (suffix, ink, label) in enumerate(whose):
            x, gain = place + 0.4 * (side - 0.5), records.gain(method + suffix, name=name)
            ax.bar(x, gain.mean, 0.36, color=COLOURS[ink], label=None if place else label)
            ax.errorbar(x, gain.mean, yerr=[[gain.mean - gain.low], [gain.high - gain.mean]], color=COLOURS["text"], capsize=5)
            each = [worth - start[seed] for seed, worth in records.by_seed(method + suffix, name=name).items()]
            ax.plot([x + 0.11] * len(each), each, "o", ms=4.5, color=COLOURS["text"], alpha=0.6, label="a seed" if not place and side else None)
    ax.axhline(0, color=COLOURS["bound"], linewidth=1)
    ax.set_xticks([0, 1], [NAMES["ppo"], NAMES["a2c"]])
    ax.set(ylabel="gold score gained", ylim=(-0.5, 1.05))
    ax.grid(axis="x", visible=False)
    ax.set_title("A reward that knows nothing gains gold, too")
    ax.legend(fontsize=12, ncols=3, loc="upper center")
    return drawn


def live(progress: Progress) -> Any:
    """A run as it went: the score that it was paid by, and how far the policy has gone, exactly."""
    drawn, axes = figure(9.6, 3.8, ncols=2)
    for ax, column, ink, title, label in (
        (axes[0], "score", "baseline", "The reward rises …", "score by the reward model (sd)"),
        (axes[1], "kl_exact", "tuned", "… and so does the distance", "KL (nats a reply)"),
    ):  # fmt: skip
        ax.plot(range(1, progress.steps + 1), progress.column(column), color=COLOURS[ink])
        ax.set(xlabel="iteration", ylabel=label)
        ax.locator_params(axis="x", integer=True)
        ax.set_title(title)
    return drawn


@from_records
def hacking() -> Any:
    """Proxy reward and gold score along PPO at each price of a nat."""
    drawn, axes = figure(11.0, 4.4, ncols=2)
    for ink, beta in zip(PENALTIES, sorted(records.prices(), reverse=True)):
        rows = records.path("ppo", "align_kl", beta=beta)
        for ax, values in zip(axes, ([proxy for _, _, _, proxy in rows], [gold for _, _, gold, _ in rows])):
            at = [place for place, *_ in rows]
            ax.plot(at, [v.mean for v in values], marker="o", color=COLOURS[ink], label=f"β = {beta:g}")
            ax.fill_between(at, [v.low for v in values], [v.high for v in values], color=COLOURS[ink], alpha=0.18, linewidth=0)
    for ax, title, part in zip(axes, ("What PPO is tuned against", "What the replies are worth"), ("proxy", "gold")):
        ax.axhline(mean(records.scores("start", part, name="align_kl")), color=COLOURS["base"], ls="--", label="start")
        ax.set(xlabel="iteration", ylabel="proxy reward (sd)" if part == "proxy" else "gold score")
        ax.set_title(title)
    axes[0].legend(fontsize=12, loc="lower right", bbox_to_anchor=(1.0, 0.1))
    return drawn


@from_records
def clipping() -> Any:
    """KL that an iteration moves the policy, with the clip and without, by step size."""
    sizes = records.step_sizes()
    series = {name: [records.moved(lr, clip) for lr in sizes] for name, clip in (("no clip", None), ("clip at 1 ± 0.2", 0.2))}
    return lines_with_bands(
        sizes, series, title="How far an iteration moves the policy", xlabel="step size", ylabel="KL (nats an action)",
        colours={"no clip": "baseline", "clip at 1 ± 0.2": "tuned"}, log_x=True, log_y=True,
    )  # fmt: skip


@from_records
def entropy() -> Any:
    """Variety and gold score of PPO by weight of the entropy term."""
    weights = records.entropy_weights()
    found = {
        "word pairs that differ": {f"weight {w:g}": mean_interval(records.variety(w)) for w in weights},
        "gold score": {f"weight {w:g}": mean_interval(records.scores("ppo", name="align_entropy", entropy_weight=w)) for w in weights},
    }
    inks = dict(zip((f"weight {w:g}" for w in weights), PENALTIES))
    return bars_with_intervals(found, title="What the entropy term keeps, and what it costs", ylabel="share; score", colours=inks)


@from_records
def reward_accuracy() -> Any:
    """Pairs ranked as the judge ranks them, by the noise of the labels that the reward model learnt from."""
    found = {LABELS.get(noise, noise): share for noise, share in records.reward_accuracy().items()}
    return bars_with_intervals(
        found, title="Fog costs a reward model little, wrong labels cost more", ylabel="share ranked rightly", ylim=(0, 1.0), bound=("chance", 0.5)
    )  # fmt: skip


@from_records
def calibration() -> Any:
    """How often the reward model is right against how sure it is, for each noise."""
    drawn, ax = figure(6.4, 5.2)
    for noise in records.reward_accuracy():
        rows = records.calibration(noise)
        ax.plot([sure for sure, _ in rows], [right for _, right in rows], marker="o", label=LABELS.get(noise, noise))
    ax.plot([0.5, 1], [0.5, 1], color=COLOURS["bound"], ls="--", lw=1.5, label="as sure as right")
    ax.set(xlabel="mean confidence", ylabel="share ranked rightly")
    ax.set_title("Is it right as often as it says?")
    ax.legend(fontsize=11)
    return drawn


@from_records
def improve_steps(part: str = "proxy") -> Any:
    """Reward after each Improve step of one Grow step, filtered and weighted."""
    which = 3 if part == "proxy" else 2
    start = mean_interval(records.scores("start", part, temperature=1.0))
    series = {NAMES[name]: [start, *(row[which] for row in records.path(name))] for name in ("rest", "rest_weighted")}
    return lines_with_bands(
        range(len(series["ReST"])), series, title="One Grow step, several Improve steps", xlabel="Improve steps",
        ylabel="proxy reward (sd)" if part == "proxy" else "gold score", colours={NAMES[name]: INKS[name] for name in ("rest", "rest_weighted")},
    )  # fmt: skip


@from_records
def cost() -> Any:
    """Gold score against what was spent for it, tokens and CPU seconds: PPO along its run, ReST by the size of its Grow step."""
    drawn, axes = figure(11.0, 4.4, ncols=2)
    for ax, (spent, label) in zip(axes, (("tokens", "tokens generated in training"), ("cpu_s", "CPU seconds"))):
        for name in ("ppo", "rest"):
            along, gold = records.cost_curve(name, spent)
            ax.plot(along, [g.mean for g in gold], marker="o", color=INKS[name], label=NAMES[name])
            ax.fill_between(along, [g.low for g in gold], [g.high for g in gold], color=INKS[name], alpha=0.18, linewidth=0)
        ax.set(xlabel=label, ylabel="gold score")
        ax.set_title(f"A gold score in {'tokens' if spent == 'tokens' else 'seconds'}")
    axes[0].legend()
    return drawn


@from_records
def toxicity() -> Any:
    """Replies with a word of the judge's lexicon, before and after, from the desk's start and a ruder one."""
    found: dict[str, dict[str, Interval]] = {
        f"start {start}": {NAMES.get(name, name): share for name, share in rows.items()} for start, rows in records.toxicity().items()
    }
    return bars_with_intervals(
        found, title="Rude replies, before and after", ylabel="share of replies", ylim=(0, 1.1),
        colours={"before": "base"} | {NAMES[method]: INKS[method] for method in ("ppo", "rest", "dpo")},
    )  # fmt: skip
