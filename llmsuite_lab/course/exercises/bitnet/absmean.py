"""Weights of three values, by their mean absolute value."""

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases

EPSILON = 1e-5


def absmean(W: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The solution: one scale for the matrix, then round and clip."""
    gamma = W.abs().mean()
    return (W / (gamma + 1e-5)).round().clamp(-1, 1), gamma


def _by(scale, rounded=torch.round, low=-1, high=1):
    def answer(W):
        gamma = scale(W)
        return rounded(W / (gamma + EPSILON)).clamp(low, high), gamma

    return answer


def _mean_abs(W):
    return W.abs().mean()


_absmax = _by(lambda W: W.abs().max())
_median = _by(lambda W: W.abs().median())
_signed_mean = _by(lambda W: W.mean())
_deviation = _by(lambda W: W.std())
_row_by_row = _by(lambda W: W.abs().mean(1, keepdim=True))
_column_by_column = _by(lambda W: W.abs().mean(0, keepdim=True))
_floored = _by(_mean_abs, torch.floor)
_cut = _by(_mean_abs, torch.trunc)
_unclipped = _by(_mean_abs, low=-1000, high=1000)
_no_negatives = _by(_mean_abs, low=0)
_signs = _by(_mean_abs, torch.sign)


def _without_epsilon(W):
    gamma = W.abs().mean()
    return (W / gamma).round().clamp(-1, 1), gamma


def _scaled_back(W):
    T, gamma = absmean(W)
    return gamma * T, gamma


def _unscaled(W):
    return W.round().clamp(-1, 1), W.abs().mean()


def _the_other_way(W):
    T, gamma = absmean(W)
    return gamma, T


def _no_scale(W):
    return absmean(W)[0]


def _with_epsilon_in_gamma(W):
    gamma = W.abs().mean() + 1e-2
    return (W / gamma).round().clamp(-1, 1), gamma


def _in_loops(W):
    rows = W.tolist()
    gamma = sum(abs(w) for row in rows for w in row) / sum(len(row) for row in rows)
    return [[max(-1, min(1, round(w / (gamma + EPSILON)))) for w in row] for row in rows], gamma


def _in_numpy(W):
    W = W.numpy().astype(np.float64)
    gamma = np.abs(W).mean()
    return np.clip(np.rint(W / (gamma + EPSILON)), -1, 1), gamma


def _by_threshold(W):
    gamma = W.abs().mean()
    return torch.sign(W) * (W.abs() > (gamma + EPSILON) / 2), gamma


def _as_int8(W):
    gamma = W.double().abs().mean()
    return ((W > (gamma + EPSILON) / 2).to(torch.int8) - (W < -(gamma + EPSILON) / 2).to(torch.int8)), gamma


def _in_place(W):
    gamma = W.norm(p=1) / W.numel()
    return W.div_(gamma + EPSILON).round_().clamp_(-1, 1), gamma


def _by_buckets(W):
    gamma = W.abs().mean()
    edge = float(gamma + EPSILON) / 2
    return torch.bucketize(W, torch.tensor([-edge, edge])) - 1, gamma.item()


def _cases() -> list[Case]:
    def case(rows: list, T: list, gamma: float, rule: str) -> Case:
        return Case((torch.tensor(rows),), (T, gamma), rule, atol=1e-7)

    one = "One γ for the whole matrix, the mean of the absolute values."
    clip = "What rounds to 2 or more is clipped to 1, on both sides."
    return [
        case([[0.6, -0.1, 2.0], [0.0, -0.9, 0.3]], [[1, 0, 1], [0, -1, 0]], 0.65, "This is the statement's example."),
        case([[4.0, -4.0, 0.1], [-0.1, 1.0, -1.0]], [[1, -1, 0], [0, 1, -1]], 1.7, clip),
        case([[10.0, -10.0], [1.0, -1.0]], [[1, -1], [0, 0]], 5.5, one),
        case([[-8.0, -2.0], [-7.0, -3.0]], [[-1, 0], [-1, -1]], 5.0, "Matrices of one sign are rounded as all others."),
        case([[1.0, 1.0, 9.0], [2.0, 2.0, 9.0]], [[0, 0, 1], [0, 0, 1]], 4.0, one),
        case([[0.0, 0.0], [0.0, 0.0]], [[0, 0], [0, 0]], 0.0, "A matrix of zeros stays one: ε = 1e-5 is added to γ before dividing."),
        case([[1.2e-5, -1.2e-5, 0.0, 0.0]], [[1, -1, 0, 0]], 6e-6, "ε is added to γ."),
        case([[1.2e-5, -6e-6, 0.0, 0.0]], [[1, 0, 0, 0]], 4.5e-6, "ε is 1e-5, and it is added to γ."),
        case([[3.0]], [[1]], 3.0, "A single weight is its own scale."),
        case([[0.2, 0.7, -1.4], [0.9, -0.2, -0.6]], [[0, 1, -1], [1, 0, -1]], 4.0 / 6, one),
    ]


_MISTAKES = (
    Wrong(_absmax, "You divide by the largest absolute value. That is for activations; weights take the mean."),
    Wrong(_median, "You take the median of the absolute values. The mean is asked for."),
    Wrong(_signed_mean, "Your mean is that of the weights with their signs, where they cancel. Take the absolute values first."),
    Wrong(_deviation, "You divide by the standard deviation."),
    Wrong(_row_by_row, "You have a γ for each row. The whole matrix shares one."),
    Wrong(_column_by_column, "You have a γ for each column. The whole matrix shares one."),
    Wrong(_floored, "You round down. Round to the nearest."),
    Wrong(_cut, "You cut what is behind the point: all below γ becomes 0. Round to the nearest."),
    Wrong(_unclipped, "Some of your values are beyond ±1. Clip after rounding."),
    Wrong(_no_negatives, "Your negative weights have become 0."),
    Wrong(_signs, "You take the sign, so nothing near zero becomes 0."),
    Wrong(_without_epsilon, "A matrix of zeros gives nan: add ε = 1e-5 to γ before you divide."),
    Wrong(_scaled_back, "You give γ T. Give T, whose values are -1, 0 and 1, and γ beside it."),
    Wrong(_unscaled, "You round the weights as they are. Divide by γ + ε first."),
    Wrong(_the_other_way, "T comes first, then γ."),
    Wrong(_no_scale, "Give γ too: without it nobody knows how large the weights were."),
    Wrong(_with_epsilon_in_gamma, "Your γ holds ε, and a large one. Give the mean itself."),
)

EXERCISE = Exercise(
    id="bitnet.absmean",
    notebook="07_one_bit_llms",
    title="weights of three values",
    difficulty=2,
    minutes=10,
    statement=(
        "Write `absmean(W)` for a matrix of floats (a torch tensor): `(T, gamma)` with γ, the mean of |W| over the whole matrix, and T = "
        "clip(round(W / (γ + ε)), -1, 1), ε = 1e-5. `absmean(torch.tensor([[0.6, -0.1, 2.0], [0.0, -0.9, 0.3]]))` is `[[1, 0, 1], [0, -1, 0]]` and 0.65."
    ),
    name="absmean",
    starter="def absmean(W):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "γ is a single number: `W.abs().mean()`.",
        "Divide by γ + 1e-5, round to the nearest, then clip.",
        "`(W / (gamma + 1e-5)).round().clamp(-1, 1)`, and γ beside it.",
    ),
    solution=absmean,
    wrong=_MISTAKES,
    right=(_in_loops, _in_numpy, _by_threshold, _as_int8, _in_place, _by_buckets),
)
