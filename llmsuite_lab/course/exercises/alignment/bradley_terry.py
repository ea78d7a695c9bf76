"""What a reward model is trained on: which of two replies somebody preferred, and by how much."""

import math

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def bradley_terry(chosen: torch.Tensor, rejected: torch.Tensor, margin: torch.Tensor) -> torch.Tensor:
    """The solution: the difference, less the margin, and the logarithm of its sigmoid in one step."""
    difference = chosen - rejected - margin
    return -torch.nn.functional.logsigmoid(difference).mean()


def _loss(difference):
    return torch.nn.functional.softplus(-difference)


def _swapped(chosen, rejected, margin):
    return _loss(rejected - chosen - margin).mean()


def _positive(chosen, rejected, margin):
    return -bradley_terry(chosen, rejected, margin)


def _no_log(chosen, rejected, margin):
    return -torch.sigmoid(chosen - rejected - margin).mean()


def _error(chosen, rejected, margin):
    return 1 - torch.sigmoid(chosen - rejected - margin).mean()


def _margin_added(chosen, rejected, margin):
    return _loss(chosen - rejected + margin).mean()


def _margin_outside(chosen, rejected, margin):
    return (_loss(chosen - rejected) + margin).mean()


def _no_margin(chosen, rejected, margin):
    return _loss(chosen - rejected).mean()


def _margin_as_factor(chosen, rejected, margin):
    return _loss((chosen - rejected) * margin).mean()


def _mean_margin(chosen, rejected, margin):
    return _loss(chosen - rejected - margin.mean()).mean()


def _summed(chosen, rejected, margin):
    return _loss(chosen - rejected - margin).sum()


def _of_the_mean(chosen, rejected, margin):
    return _loss((chosen - rejected - margin).mean())


def _log_of_the_mean(chosen, rejected, margin):
    return -torch.sigmoid((chosen - rejected - margin).double()).mean().log()


def _overflows(chosen, rejected, margin):
    return -torch.sigmoid(chosen - rejected - margin).log().mean()


def _overflows_by_exp(chosen, rejected, margin):
    return torch.log(1 + torch.exp(-(chosen - rejected - margin))).mean()


def _clamped(chosen, rejected, margin):
    return -torch.sigmoid(chosen - rejected - margin).clamp(1e-9).log().mean()


def _clipped(chosen, rejected, margin):
    return _loss((chosen - rejected - margin).clamp(-30, 30)).mean()


def _hinge(chosen, rejected, margin):
    return torch.relu(margin - (chosen - rejected)).mean()


def _apart(chosen, rejected, margin):
    return (_loss(chosen - margin) + _loss(-rejected)).mean()


def _chosen_alone(chosen, rejected, margin):
    return _loss(chosen - margin).mean()


def _squared(chosen, rejected, margin):
    return (chosen - rejected - margin).square().mean()


def _in_bits(chosen, rejected, margin):
    return bradley_terry(chosen, rejected, margin) / math.log(2)


def _share_right(chosen, rejected, margin):
    return (chosen - rejected > margin).double().mean()


def _per_pair(chosen, rejected, margin):
    return _loss(chosen - rejected - margin)


def _first_pair(chosen, rejected, margin):
    return _loss(chosen - rejected - margin)[0]


def _by_softplus_in_double(chosen, rejected, margin):
    return torch.nn.Softplus()(rejected.double() + margin.double() - chosen.double()).mean()


def _in_numpy(chosen, rejected, margin):
    return np.logaddexp(0, rejected.numpy().astype(float) + margin.numpy() - chosen.numpy()).mean()


def _by_loops(chosen, rejected, margin):
    losses = []
    for c, r, m in zip(chosen.tolist(), rejected.tolist(), margin.tolist()):
        d = c - r - m
        losses.append(math.log1p(math.exp(-d)) if d > 0 else math.log1p(math.exp(d)) - d)
    return sum(losses) / len(losses)


def _as_two_classes(chosen, rejected, margin):
    logits = torch.stack([chosen - margin, rejected], dim=1)
    return torch.nn.functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))


def _as_labels(chosen, rejected, margin):
    return torch.nn.BCEWithLogitsLoss()(chosen - (rejected + margin), torch.ones_like(chosen)).reshape(1)


def _in_place(chosen, rejected, margin):
    chosen -= rejected
    chosen -= margin
    return [-torch.nn.LogSigmoid()(chosen).sum().item() / chosen.numel()]


def _by_log_softmax(chosen, rejected, margin):
    return -torch.stack([chosen, rejected + margin]).log_softmax(0)[0].mean()


def _by_a_stable_sigmoid(chosen, rejected, margin):
    d = chosen - rejected - margin
    return (d.neg().relu() + torch.log1p(torch.exp(-d.abs()))).mean()


def _cases() -> list[Case]:
    generator = torch.Generator().manual_seed(12)

    def case(pairs: int, scale: float, margin: float, rule: str) -> Case:
        chosen, rejected = (torch.randn(pairs, generator=generator) * scale for _ in range(2))
        margins = torch.rand(pairs, generator=generator) * margin
        d = (chosen.double() - rejected.double() - margins.double()).tolist()
        want = [max(-x, 0.0) + math.log1p(math.exp(-abs(x))) for x in d]  # log(1 + e^−x), without overflow
        return Case((chosen, rejected, margins), sum(want) / pairs, rule)

    mean = "The loss is the mean over the pairs."
    less = "The margin is taken off the difference: the chosen reply must win by more than it."
    huge = "For differences in the thousands the loss must be finite, and right: take the logarithm of the sigmoid in one step."
    one = torch.ones(1)
    return [
        Case((2 * one, one, one), math.log(2), "2 − 1 − 1 = 0, so the pair's probability is ½ and the loss log 2."),
        case(4, 1.0, 0.0, mean),
        case(7, 2.0, 1.5, less),
        case(3, 0.5, 4.0, less),
        Case((torch.tensor([0.5, 3.0]), torch.tensor([4.0, -1.0]), torch.tensor([0.0, 2.0])), 1.8283890, "A margin is a pair's own."),
        case(5, 3000.0, 1.0, huge),
        Case((torch.tensor([-4000.0, 900.0]), torch.tensor([1000.0, -800.0]), torch.tensor([0.0, 100.0])), 2500.0, huge),
    ]


_MISTAKES = (
    Wrong(_swapped, "Chosen and rejected are swapped: your loss is small where the rejected reply has the higher reward."),
    Wrong(_positive, "The sign is wrong: a loss of this kind is never below zero."),
    Wrong(_no_log, "The logarithm is missing: this is minus the probability itself."),
    Wrong(_error, "That is the probability of being wrong. Minus the logarithm of being right is asked for."),
    Wrong(_margin_added, "You add the margin to the difference: a reply would win before it is better. Take it off."),
    Wrong(_margin_outside, "The margin stands outside the sigmoid: there it is a constant, and nothing is learnt from it."),
    Wrong(_no_margin, "The margin has no effect."),
    Wrong(_margin_as_factor, "You multiply by the margin. It is taken off the difference."),
    Wrong(_mean_margin, "You take one margin for all pairs. Each has its own."),
    Wrong(_summed, "This is the sum; the mean does not grow with the number of pairs."),
    Wrong(_of_the_mean, "You take the mean of the differences first. Each pair has its loss; the mean is over those."),
    Wrong(_log_of_the_mean, "You take the logarithm of the mean probability. Each pair has its loss; the mean is over those."),
    Wrong(_overflows, "Differences in the thousands give inf: the sigmoid is 0 by then, or `exp` too large. Is there a function for log σ in one step?", True),
    Wrong(_hinge, "That is the hinge loss: it stops at the margin. Minus log σ of the difference is asked for."),
    Wrong(_apart, "You judge each reply alone. Only the difference of two rewards has a meaning."),
    Wrong(_chosen_alone, "The rejected reply has no effect."),
    Wrong(_squared, "That is the squared difference: a reply that wins clearly would be punished."),
    Wrong(_in_bits, "Your loss is in bits. The natural logarithm is asked for."),
    Wrong(_share_right, "That is the share of pairs ranked right: it has no gradient. Minus log σ of the difference is asked for."),
    Wrong(_first_pair, "Only the first pair counts in yours."),
)

EXERCISE = Exercise(
    id="alignment.bradley_terry",
    notebook="12_rlhf_ppo",
    title="the loss of a reward model",
    difficulty=2,
    minutes=10,
    statement=(
        "Write `bradley_terry(chosen, rejected, margin)`. `chosen` and `rejected` are `(pairs,)`: the rewards of the preferred reply and of the other. "
        "`margin`, `(pairs,)`, says by how much each chosen reply should win. Return the mean over the pairs of $-\\log\\sigma(R_w - R_l - m)$, "
        "finite for differences in the thousands. For one pair with rewards 2 and 1 and margin 1 it is log 2."
    ),
    name="bradley_terry",
    starter="def bradley_terry(chosen, rejected, margin):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Difference, margin, log-sigmoid, mean, sign: five steps in that order.",
        "`torch.sigmoid(-1000.0)` is 0, and its logarithm minus infinity. `torch.nn.functional.logsigmoid` does both in one step.",
        "`-torch.nn.functional.logsigmoid(chosen - rejected - margin).mean()`.",
    ),
    solution=bradley_terry,
    wrong=(
        *_MISTAKES,
        Wrong(_overflows_by_exp, "Differences in the thousands give inf", True),
        Wrong(_clamped, "must be finite, and right"),
        Wrong(_clipped, "must be finite, and right"),
        Wrong(_per_pair, "The loss is the mean over the pairs."),
    ),
    right=(_by_softplus_in_double, _in_numpy, _by_loops, _as_two_classes, _as_labels, _in_place, _by_log_softmax, _by_a_stable_sigmoid),
)  # fmt: skip
