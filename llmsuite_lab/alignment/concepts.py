"""RLHF as pictures: the loop, a pair of replies through a reward model, what each action is paid, what it was worth, how far an update may go.

Numbers in them are worked out by the functions that the notebooks teach. Source: paper 6 and 6.1.
"""

from typing import Any

import torch

from llmsuite_lab.alignment.advantages import gae, token_rewards
from llmsuite_lab.alignment.divergence import estimate, exact
from llmsuite_lab.alignment.objectives import clipped_loss
from llmsuite_lab.alignment.reward_model import bradley_terry
from llmsuite_lab.core.diagrams import WIDE, arrow, box, canvas, cells, say
from llmsuite_lab.core.plots import COLOURS, figure

REPLY = ("You", "paid", "$", "35", ".", "end")
PAID_BETA, PAID_SCORE = 0.5, 2.0
_LOGPROBS = torch.tensor([[-0.2, -0.4, -0.1, -0.9, -0.3, -0.2]])  # of REPLY, under the policy
_REFERENCE = torch.tensor([[-0.4, -0.4, -0.3, -2.1, -0.1, -0.4]])
_VALUES = torch.tensor([[0.5, 0.6, 0.6, 0.9, 1.4, 1.6]])


def the_loop() -> Any:
    """Four models, of which policy and value head are trained: the policy writes, the reward model scores, the reference sets the price, the value head says
    what was expected."""
    drawn, ax = canvas("Write, score, compare, update a little, again", *WIDE)
    box(ax, 1.15, 3.3, 1.9, 0.8, "prompts", "from the desk", fill="base")
    box(ax, 3.75, 3.3, 2.2, 1.1, "policy π_θ", "trained", fill="tuned", size=15)
    box(ax, 6.4, 3.3, 1.7, 0.8, "replies", "drawn, T = 1", fill="base", outline=True)
    for y, name, words, fill in (
        (4.35, "reward model R", "one score a reply", "accent"), (3.3, "reference π_ref", "price of a nat: β", "baseline"),
        (2.25, "value head V", "what was expected", "third"),
    ):  # fmt: skip
        box(ax, 9.35, y, 2.7, 0.8, name, words, fill=fill)
        arrow(ax, (7.28, 3.3 + 0.22 * (y - 3.3)), (7.97, y))
        ax.plot([10.72, 10.98], [y, y], color=COLOURS["bound"], linewidth=1.8)
    ax.plot([10.98, 10.98], [0.85, 4.35], color=COLOURS["bound"], linewidth=1.8)
    arrow(ax, (10.98, 0.85), (10.72, 0.85))
    arrow(ax, (2.13, 3.3), (2.62, 3.3))
    arrow(ax, (4.88, 3.3), (5.52, 3.3))
    box(ax, 9.35, 0.85, 2.7, 0.8, "advantage Â", "better than expected?", fill="base", outline=True)
    box(ax, 5.6, 0.85, 3.0, 0.8, "clipped update", "a few passes, small steps", fill="bound")
    arrow(ax, (7.97, 0.85), (7.13, 0.85))
    arrow(ax, (4.08, 0.95), (3.75, 2.72), bend=-0.35, ink="tuned", width=2.4)
    say(ax, 0.2, 0.85, "only the policy and its\nvalue head move", size=13, italic=True, across="left")
    return drawn


def a_pair_through_the_reward_model() -> Any:
    """Two replies to one prompt, one trunk, one number at each end token; only the difference meets the label."""
    drawn, ax = canvas("Only the difference of two scores is learnt", *WIDE)
    rewards = (1.4, -0.3)
    pieces = (("What did I pay?", "You", "paid", "$35", ".", "end"), ("What did I pay?", "Read", "it", "yourself", ".", "end"))
    for y, texts, R, name, fill in zip((3.75, 2.15), pieces, rewards, ("y_w, preferred", "y_l, the other"), ("accent", "tuned")):
        say(ax, 0.2, y + 0.52, name, size=13.5, bold=True, across="left", ink=fill)
        centres = cells(ax, 0.2, y, texts, ["grid"] * 5 + ["bound"], width=[2.05, 0.62, 0.62, 1.05, 0.35, 0.62], height=0.5)
        arrow(ax, (centres[-1] + 0.36, y), (6.95, y), "h, here", size=13)
        box(ax, 7.75, y, 1.5, 0.66, f"R = {R:+.1f}", fill=fill, size=15)
        arrow(ax, (8.55, y), (9.1, 2.95 + 0.28 * (1 if R > 0 else -1)))
    box(ax, 10.05, 2.95, 1.85, 0.9, "R_w − R_l", f"{rewards[0] - rewards[1]:.1f}", fill="bound", size=15)
    loss = float(bradley_terry(torch.tensor([rewards[0]]), torch.tensor([rewards[1]])))
    say(ax, 0.2, 0.95, "P(y_w ≻ y_l) = σ(R_w − R_l)", size=15, mono=True, across="left")
    say(ax, 0.2, 0.4, "read at the end token alone; both scores raised by 100: nothing changes", size=13, italic=True, across="left")
    say(ax, 11.0, 0.95, f"σ = {2.718281828**-loss:.2f}   loss = −log σ = {loss:.2f}", size=14, bold=True, across="right")
    return drawn


def better_than_expected() -> Any:
    """Three replies with rewards 11, 9.5 and 12: weighed by the reward all are pushed up, by the advantage each in its direction."""
    drawn, ax = figure(6.6, 4.4)
    R = torch.tensor([11.0, 9.5, 12.0])
    expected = float((torch.tensor([0.2, 0.5, -0.3]).softmax(0) * R).sum())
    for x, weights in ((0.0, R), (4.0, R - expected)):
        for place, weight in enumerate(weights.tolist()):
            ax.bar(x + place, weight, 0.8, color=COLOURS["tuned" if weight < 0 else "accent"])
            ax.annotate(f"{weight:+.1f}", (x + place, weight), (0, 4 if weight >= 0 else -16), textcoords="offset points", ha="center", fontsize=13)
    ax.axhline(0, color=COLOURS["bound"], linewidth=1)
    ax.set_xticks([1, 5], ["weighed by R", "weighed by R − E[R]"])
    ax.set(ylim=(-3.5, 14.5), ylabel="weight of ∇ log π in a draw")
    ax.grid(axis="x", visible=False)
    ax.set_title("Which reply is to become likelier?")
    return drawn


def where_a_reward_is_read() -> Any:
    """Two replies of unequal length in one batch: the score stands at each one's end token, not in the last column."""
    drawn, ax = canvas("The end token is not the last column", 6.2, 4.3)
    rows = ((3.35, ("It", "is", "sent", ".", "end")), (1.75, ("No", ".", "end", "pad", "pad")))
    for y, texts in rows:
        fills = ["bound" if text == "end" else "grid" if text == "pad" else "base" for text in texts]
        centres = cells(ax, 0.3, y, texts, fills, width=0.98, height=0.56, gap=0.1)
        arrow(ax, (centres[texts.index("end")], y + 0.82), (centres[texts.index("end")], y + 0.32), ink="accent", width=3)
        say(ax, centres[texts.index("end")] - 0.15, y + 0.66, "R", size=16, bold=True, ink="accent", across="right")
    arrow(ax, (centres[-1], 0.93), (centres[-1], 1.43), ink="tuned", width=3)
    say(ax, centres[-1] + 0.4, 0.72, "read here, it is the state behind padding", size=13, italic=True, across="right", ink="tuned")
    return drawn


def _grid(ax: Any, rows: Any, x: float, top: float, wide: float, step: float) -> None:
    for n, (name, values, fill) in enumerate(rows):
        y = top - step * n
        say(ax, x - 0.15, y, name, size=14, across="right", bold=fill != "grid")
        cells(ax, x, y, [v if isinstance(v, str) else f"{v + 0.0:+.2f}" for v in values], fill, width=wide, height=0.44)


def reward_of_every_action() -> Any:
    """−β KL at each action, the score at the end token, and nothing at padding: the sum is the row that the policy is trained on."""
    drawn, ax = canvas("Every action pays its KL, the last one collects the score", *WIDE)
    mask = torch.ones(1, len(REPLY), dtype=torch.bool)
    penalty = PAID_BETA * estimate(_LOGPROBS, _REFERENCE)
    total = token_rewards(torch.tensor([PAID_SCORE]), penalty, mask)[0].tolist()
    empty, n = ["", ""], len(REPLY)
    rows = (
        ("action", [*REPLY, "pad", "pad"], ["bound"] * n + ["grid"] * 2),
        ("log π", [*_LOGPROBS[0].tolist(), *empty], ["grid"] * (n + 2)),
        ("log π_ref", [*_REFERENCE[0].tolist(), *empty], ["grid"] * (n + 2)),
        (f"−β KL, β = {PAID_BETA}", [*(-penalty[0]).tolist(), *empty], ["baseline"] * n + ["grid"] * 2),
        ("score", [*[""] * (n - 1), PAID_SCORE, *empty], ["grid"] * (n - 1) + ["accent"] + ["grid"] * 2),
        ("r", [*total, *empty], ["tuned"] * n + ["grid"] * 2),
    )
    _grid(ax, rows, 2.6, 4.45, 0.98, 0.62)
    say(ax, 2.6, 0.55, "an action that the reference liked better is paid for it: k1 may be negative", size=13, italic=True, across="left")
    return drawn


def advantages_as_a_sum(gamma: float = 1.0, lam: float = 0.95) -> Any:
    """δ of every action, and the first action's advantage as the sum of all later ones, each weighing less."""
    drawn, ax = canvas("An advantage is a discounted sum of surprises", *WIDE)
    mask = torch.ones(1, len(REPLY), dtype=torch.bool)
    r = token_rewards(torch.tensor([PAID_SCORE]), PAID_BETA * estimate(_LOGPROBS, _REFERENCE), mask)
    A, _ = gae(r, _VALUES, mask, gamma, lam)
    delta, _ = gae(r, _VALUES, mask, gamma, 0.0)
    n = len(REPLY)
    rows = (
        ("action", [*REPLY, "pad"], ["bound"] * n + ["grid"]),
        ("r", [*r[0].tolist(), ""], ["grid"] * (n + 1)),
        ("V", [*_VALUES[0].tolist(), "0"], ["third"] * n + ["grid"]),
        ("δ = r + γ V′ − V", [*delta[0].tolist(), ""], ["baseline"] * n + ["grid"]),
        ("weight for the first", [f"{(gamma * lam) ** t:.2f}" for t in range(n)] + [""], ["grid"] * (n + 1)),
        ("Â", [*A[0].tolist(), ""], ["tuned"] * n + ["grid"]),
    )
    _grid(ax, rows, 3.0, 4.45, 1.05, 0.62)
    terms = " ".join(f"{'+' if d >= 0 else '−'} {(gamma * lam) ** t:.2f}·{abs(d):.2f}" for t, d in enumerate(delta[0].tolist()))
    say(ax, 0.3, 0.75, f"Â of the first = {terms.removeprefix('+ ')} = {float(A[0, 0]):.2f}", size=12.5, across="left", mono=True)
    say(ax, 0.3, 0.3, "behind the last action V is 0: no surprise comes from padding", size=13, italic=True, across="left")
    return drawn


def the_clip(clip: float = 0.2) -> Any:
    """min(r Â, clip(r) Â) over the ratio, for an action that was good and for one that was bad."""
    drawn, axes = figure(10.6, 4.5, ncols=2)
    ratios = torch.linspace(0.4, 1.6, 121)
    one = torch.ones(1, 1, dtype=torch.bool)
    for ax, sign, title in zip(axes, (1.0, -1.0), ("Good action: nothing to gain above 1 + ε", "Bad action: nothing to gain below 1 − ε")):
        surrogate = [-float(clipped_loss(r.log().view(1, 1), torch.zeros(1, 1), torch.tensor([[sign]]), one, clip)) for r in ratios]
        ax.plot(ratios, sign * ratios, color=COLOURS["base"], linestyle="--", label="r Â, no clip")
        ax.plot(ratios, surrogate, color=COLOURS["tuned"], linewidth=3, label="what is maximised")
        for edge in (1 - clip, 1 + clip):
            ax.axvline(edge, color=COLOURS["bound"], linewidth=1, linestyle=":")
        ax.plot([1], [sign], "o", color=COLOURS["bound"], markersize=9, label="before the update")
        ax.set(xlabel="ratio r = π_θ / π_old", ylabel=f"objective, Â = {'+1' if sign > 0 else '−1'}")
        ax.set_title(title, fontsize=13)
        ax.legend(loc="lower right" if sign > 0 else "lower left", fontsize=12)
    return drawn


def three_estimators() -> Any:
    """k1, k2 and k3 of one drawn token, and over a whole distribution: mean and standard deviation of each beside the exact KL."""
    drawn, (left, right) = figure(10.8, 4.5, ncols=2)
    x = torch.linspace(-1.6, 1.6, 161)
    pi, reference = torch.tensor([0.7, 0.2, 0.1]).log(), torch.tensor([0.2, 0.3, 0.5]).log()
    for n, (kind, colour) in enumerate((("k1", "tuned"), ("k2", "third"), ("k3", "accent"))):
        left.plot(x, estimate(x, torch.zeros(()), kind), color=COLOURS[colour], label=kind, linewidth=2.5)
        each = estimate(pi, reference, kind)
        mean = float((pi.exp() * each).sum())
        sd = float((pi.exp() * (each - mean).square()).sum().sqrt())
        right.bar(n, mean, 0.55, color=COLOURS[colour])
        right.errorbar(n, mean, yerr=sd, color=COLOURS["text"], capsize=6)
        right.annotate(f"{mean:.3f}", (n, mean), (24, 6), textcoords="offset points", fontsize=12.5, fontweight="bold")
    left.axhline(0, color=COLOURS["bound"], linewidth=1)
    left.set(xlabel="log π / π_ref of the token that was drawn", ylabel="estimate, nats", ylim=(-1.7, 3.4))
    left.set_title("One token: k1 goes below zero", fontsize=13)
    left.legend()
    right.axhline(float(exact(pi, reference)), color=COLOURS["bound"], linestyle="--", label="exact KL")
    right.set_xticks(range(3), ["k1", "k2", "k3"])
    right.set_ylabel("mean and spread, nats")
    right.set_title("All tokens: k1 and k3 are right on average", fontsize=13)
    right.legend(loc="upper right")
    return drawn
