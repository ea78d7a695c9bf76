"""The relatives of PPO as pictures: ReST's two loops, DPO as a classifier, baselines without a value head, best of n, and the reward that is pushed too far.

Numbers in them are worked out by the functions that the notebooks teach. Source: paper 6 and 6.1; Gao et al. 2023 for over-optimisation.
"""

from typing import Any

import torch

from llmsuite_lab.alignment.advantages import grpo, rloo
from llmsuite_lab.alignment.best_of_n import best, kl_bound
from llmsuite_lab.alignment.dpo import dpo_loss
from llmsuite_lab.alignment.q_learning import expectile_loss
from llmsuite_lab.alignment.rest import keep
from llmsuite_lab.core.diagrams import WIDE, arrow, box, canvas, cells, colour, say
from llmsuite_lab.core.plots import COLOURS, figure

_PROXY = torch.tensor([-0.4, 1.1, 0.2, 2.3, -1.2, 1.6, 0.7, 0.1])  # of eight replies to one prompt
_GOLD = torch.tensor([-0.6, 1.4, 0.6, 0.3, -1.5, 2.0, 1.0, 0.4])


def grow_and_improve(shares: tuple[float, ...] = (0.5, 0.7, 0.9)) -> Any:
    """Grow writes a dataset once; every Improve step learns from the part above its bar, and the bar rises."""
    drawn, ax = canvas("Write once, learn several times from the better part", *WIDE)
    scores = torch.linspace(-2.0, 2.0, 20) + 0.12 * torch.sin(torch.arange(20.0) * 5)
    box(ax, 1.25, 3.6, 2.0, 1.0, "policy π_θ", "writes", fill="tuned", size=15)
    box(ax, 1.25, 1.6, 2.0, 0.8, "reward model", "scores, once", fill="accent")
    arrow(ax, (1.25, 3.08), (1.25, 2.03), "", ink="bound")
    say(ax, 1.25, 4.35, "Grow", size=16, bold=True)
    say(ax, 5.1, 1.05, "the dataset,\nby score", size=14, bold=True)
    arrow(ax, (2.28, 1.6), (2.95, 2.2))
    places = [(3.2 + 0.13 * n, 2.4 + 0.75 * float(score)) for n, score in enumerate(scores)]
    for x, y in places:
        ax.plot([x], [y], "o", color=colour("base"), markersize=8, zorder=3)
    for n, share in enumerate(shares):
        kept, bar = keep(scores, share)
        y = 2.4 + 0.75 * bar
        ax.plot([3.05, 5.95], [y, y], color=colour("bound"), linestyle="--", linewidth=1.4)
        say(ax, 6.0, y, f"τ{'₁₂₃₄'[n]}", size=14, across="left", bold=True)
        at = 1.2 + 1.3 * n
        box(ax, 8.2, at, 2.5, 0.85, f"Improve {n + 1}", f"learns from {len(kept)} of {len(scores)}", fill="baseline")
        arrow(ax, (6.4, y), (6.92, at), ink="base")
        if n:
            arrow(ax, (8.2, at - 0.85), (8.2, at - 0.45))
    say(ax, 8.2, 4.55, "Improve", size=16, bold=True)
    say(ax, 9.65, 2.5, "no reply is\nwritten here", size=13, italic=True, across="left")
    arrow(ax, (8.2, 4.28), (2.3, 4.0), bend=0.14, ink="tuned", dashed=True)
    say(ax, 0.25, 0.35, "then, if there is budget, Grow again from the improved policy", size=13, italic=True, across="left")
    return drawn


def a_classifier_of_pairs(beta: float = 0.5) -> Any:
    """DPO: four log-probabilities of whole replies, two log-ratios, one logistic loss."""
    drawn, ax = canvas("The policy is its own reward model", *WIDE)
    now, then = (-12.0, -15.0), (-13.0, -13.0)
    ratios = [a - b for a, b in zip(now, then)]
    for x, name in ((2.9, "log π_θ(y | x)"), (4.9, "log π_ref(y | x)"), (6.75, "difference"), (8.4, f"R̂ = β ·, β = {beta}")):
        say(ax, x, 4.35, name, size=13, bold=True)
    for y, name, fill, a, b, d in zip((3.5, 2.3), ("y_w, preferred", "y_l, the other"), ("accent", "tuned"), now, then, ratios):
        say(ax, 0.2, y, name, size=14, bold=True, across="left", ink=fill)
        for x, text, shade in (
            (2.9, f"{a:.0f}", fill),
            (4.9, f"{b:.0f}", "base"),
            (6.75, f"{d:+.0f}", fill),
            (8.4, f"{beta * d:+.1f}", fill),
        ):
            box(ax, x, y, 1.3, 0.62, text, fill=shade, size=16)
        say(ax, 3.9, y, "−", size=20, bold=True)
        arrow(ax, (5.6, y), (6.05, y))
        arrow(ax, (7.45, y), (7.72, y))
        arrow(ax, (9.1, y), (9.6, 2.9 + 0.2 * (1 if y > 3 else -1)))
    box(ax, 10.3, 2.9, 1.35, 0.8, f"{beta * (ratios[0] - ratios[1]):.1f}", "R̂_w − R̂_l", fill="bound", size=16)
    loss = float(dpo_loss(*(torch.tensor([v]) for v in (now[0], now[1], then[0], then[1])), beta))
    say(ax, 10.95, 1.4, f"loss = −log σ = {loss:.2f}", size=15, bold=True, across="right")
    say(ax, 0.2, 1.4, "summed over the reply's tokens, the end token too", size=13, italic=True, across="left")
    say(ax, 0.2, 0.85, "at the start all differences are 0, and the loss is log 2", size=13, italic=True, across="left")
    say(ax, 0.2, 0.3, "no reply is written, no reward model is asked", size=13, italic=True, across="left")
    return drawn


def two_roads() -> Any:
    """From pairs to a policy: by a reward model and reinforcement learning, by filtering, or directly."""
    drawn, ax = canvas("From preferences to a policy, by three roads", *WIDE)
    box(ax, 1.15, 2.5, 1.9, 1.0, "pairs", "y_w ≻ y_l", fill="base", size=15)
    box(ax, 4.1, 3.3, 2.2, 0.8, "reward model", "one training", fill="accent")
    box(ax, 7.1, 4.05, 2.5, 0.8, "PPO, A2C", "writes all the time", fill="tuned")
    box(ax, 7.1, 2.65, 2.5, 0.8, "ReST, best of n", "writes in one go", fill="baseline")
    box(ax, 5.6, 0.95, 5.5, 0.8, "DPO", "never writes, and asks nobody", fill="third")
    box(ax, 10.2, 2.5, 1.5, 1.0, "policy", fill="bound", size=15)
    for start, end in (
        ((2.13, 2.75), (2.97, 3.2)), ((5.23, 3.5), (5.82, 3.95)), ((5.23, 3.1), (5.82, 2.75)), ((2.13, 2.2), (2.83, 1.25)),
        ((8.38, 3.95), (9.43, 2.9)), ((8.38, 2.65), (9.43, 2.5)), ((8.38, 1.15), (9.43, 2.1)),
    ):  # fmt: skip
        arrow(ax, start, end)
    return drawn


def baselines() -> Any:
    """The same four replies to one prompt, judged against a value head's guess, against the others, and against the group in units of its spread."""
    drawn, ax = canvas("Better than what? Three answers", *WIDE)
    scores = torch.tensor([[1.0, 2.0, 6.0, 3.0]])
    guess = 2.5
    rows = (
        ("score", scores[0], "grid", "four replies to one prompt"),
        ("PPO, A2C", scores[0] - guess, "tuned", f"a value head guessed {guess}: a model to train"),
        ("RLOO", rloo(scores)[0], "accent", "less the mean of the other three"),
        ("GRPO", grpo(scores)[0], "baseline", "less the mean of all, in units of their sd"),
    )
    for n, (name, values, fill, words) in enumerate(rows):
        y = 4.1 - 1.0 * n
        say(ax, 1.9, y, name, size=15, bold=True, across="right")
        cells(ax, 2.1, y, [f"{v:+.2f}" if n else f"{v:.0f}" for v in values.tolist()], fill, width=0.95, height=0.56, size=14)
        say(ax, 6.35, y, words, size=13.5, italic=True, across="left")
    say(
        ax,
        0.3,
        0.3,
        "the last two need several replies to a prompt, and no value head; the ranking is the same",
        size=13,
        italic=True,
        across="left",
    )
    return drawn


def expectiles(values: tuple[float, ...] = (-1.0, 0.0, 2.0)) -> Any:
    """V by τ for three values of Q: the mean at one half, the largest towards one."""
    drawn, ax = figure(6.2, 4.4)
    Q, candidates = torch.tensor(values), torch.linspace(min(values), max(values), 2001)
    taus = torch.linspace(0.5, 0.995, 40)
    V = [float(candidates[expectile_loss(Q[None] - candidates[:, None], float(tau)).mean(1).argmin()]) for tau in taus]
    ax.plot(taus, V, color=COLOURS["tuned"], linewidth=3, label="V, the expectile")
    for value in values:
        ax.axhline(value, color=COLOURS["baseline"], linestyle=":", linewidth=1.6, label="Q of what was written" if value == values[0] else None)
    ax.plot([0.5], [V[0]], "o", color=COLOURS["bound"], markersize=9, label="the mean")
    ax.set(xlabel="τ", ylabel="value, in the reward's unit")
    ax.set_title("From the mean to the best that was written")
    ax.legend(loc="center right")
    return drawn


def the_best_of_n() -> Any:
    """Eight replies, the proxy's favourite, what it is worth; and how far choosing goes from the policy."""
    drawn, (left, right) = figure(10.8, 4.5, ncols=2)
    n = len(_PROXY)
    chosen = int(best(_PROXY[None])[0])
    for place in range(n):
        left.bar(place - 0.2, float(_PROXY[place]), 0.38, color=COLOURS["tuned"], alpha=1.0 if place == chosen else 0.45)
        left.bar(place + 0.2, float(_GOLD[place]), 0.38, color=COLOURS["accent"], alpha=1.0 if place == chosen else 0.45)
    left.bar(0, 0, color=COLOURS["tuned"], label="reward model")
    left.bar(0, 0, color=COLOURS["accent"], label="gold judge")
    left.axhline(0, color=COLOURS["bound"], linewidth=1)
    left.annotate(
        "chosen", (chosen - 0.2, float(_PROXY[chosen])), (0, 8), textcoords="offset points", ha="center", fontsize=13, fontweight="bold"
    )
    left.set(xlabel="reply", ylabel="score", xticks=range(n), xticklabels=[str(i + 1) for i in range(n)], ylim=(-1.9, 3.6))
    left.set_title("Chosen by one, judged by the other", fontsize=13)
    left.legend(loc="upper left", ncols=2, fontsize=12)
    ns = [2**i for i in range(8)]
    right.plot(ns, [kl_bound(i) for i in ns], marker="o", color=COLOURS["baseline"])
    right.set_xscale("log", base=2)
    right.set_xticks(ns, [str(i) for i in ns])
    right.set(xlabel="n", ylabel="log n − (n − 1) / n, nats")
    right.set_title("Doubling n costs at most log 2 more", fontsize=13)
    return drawn


def pushed_too_far() -> Any:
    """Over-optimisation as a sketch: with distance from the reference the proxy rises on, and the gold reward turns (the forms of Gao et al. 2023)."""
    drawn, ax = figure(7.2, 4.6)
    d = torch.linspace(0.01, 6.0, 200)
    gold = d * (1.0 - 0.75 * d.log())
    ax.plot(d, 1.15 * d**0.85, color=COLOURS["tuned"], linewidth=3, label="reward model, trained against")
    ax.plot(d, gold, color=COLOURS["accent"], linewidth=3, label="gold, never seen")
    top = int(gold.argmax())
    ax.plot([d[top]], [gold[top]], "o", color=COLOURS["bound"], markersize=10)
    ax.annotate("stop here", (float(d[top]), float(gold[top])), (10, 12), textcoords="offset points", fontsize=13, fontweight="bold")
    ax.text(5.9, 0.1, "a sketch", ha="right", fontsize=12, style="italic")
    ax.set(xlabel="√KL to the reference →", ylabel="reward →", xticks=[], yticks=[])
    ax.set_title("A measure that is pushed too far")
    ax.legend(loc="upper left")
    return drawn
