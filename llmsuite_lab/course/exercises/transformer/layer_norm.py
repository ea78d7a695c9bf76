"""LayerNorm: each token's vector to mean 0 and variance 1, and where the epsilon stands."""

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def layer_norm(x: torch.Tensor, g: torch.Tensor, b: torch.Tensor, eps: float) -> torch.Tensor:
    """The solution: the biased variance over the features, epsilon inside the root."""
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + eps) * g + b


def _outside(x, g, b, eps):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
    return (x - mean) / (torch.sqrt(variance) + eps) * g + b


def _unbiased(x, g, b, eps):
    mean = x.mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(x.var(-1, keepdim=True) + eps) * g + b


def _over_positions(x, g, b, eps):
    mean, variance = x.mean(-2, keepdim=True), x.var(-2, unbiased=False, keepdim=True)
    return (x - mean) / torch.sqrt(variance + eps) * g + b


def _no_mean(x, g, b, eps):
    return x / torch.sqrt((x**2).mean(-1, keepdim=True) + eps) * g + b


def _no_root(x, g, b, eps):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
    return (x - mean) / (variance + eps) * g + b


def _no_gain(x, g, b, eps):
    return layer_norm(x, torch.ones_like(g), torch.zeros_like(b), eps)


def _torchs_std(x, g, b, eps):
    return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + eps) * g + b


def _without(x, g, b, eps, *, gain=1, bias=1, epsilon=1):
    return layer_norm(x, g if gain else torch.ones_like(g), b if bias else torch.zeros_like(b), eps * epsilon)


def _no_bias(x, g, b, eps):
    return _without(x, g, b, eps, bias=0)


def _no_gain_alone(x, g, b, eps):
    return _without(x, g, b, eps, gain=0)


def _no_eps(x, g, b, eps):
    return _without(x, g, b, eps, epsilon=0)


def _own_eps(x, g, b, eps):
    return layer_norm(x, g, b, 1e-5)


def _bias_first(x, g, b, eps):
    return (layer_norm(x, torch.ones_like(g), torch.zeros_like(b), eps) + b) * g


def _swapped(x, g, b, eps):
    return layer_norm(x, b, g, eps)


def _over_text(x, g, b, eps):
    mean, variance = x.mean((-2, -1), keepdim=True), x.var((-2, -1), unbiased=False, keepdim=True)
    return (x - mean) / torch.sqrt(variance + eps) * g + b


def _over_everything(x, g, b, eps):
    return (x - x.mean()) / torch.sqrt(x.var(unbiased=False) + eps) * g + b


def _squared_eps(x, g, b, eps):
    return layer_norm(x, g, b, eps**2)


def _library(x, g, b, eps):
    return torch.nn.functional.layer_norm(x, g.shape, g, b, eps)


def _in_place(x, g, b, eps):
    x -= x.mean(-1, keepdim=True)
    x *= (x.square().mean(-1, keepdim=True) + eps).rsqrt()
    return x.mul_(g).add_(b)


def _in_numpy(x, g, b, eps):
    x, g, b = np.asarray(x), np.asarray(g), np.asarray(b)
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * g + b


def _in_double(x, g, b, eps):
    variance, mean = torch.var_mean(x.double(), dim=2, correction=0, keepdim=True)
    return (x - mean) / (variance + eps) ** 0.5 * g + b


def _by_loops(x, g, b, eps):
    result = torch.empty_like(x)
    for text, out in zip(x, result):
        for t, token in enumerate(text):
            mean = sum(token) / len(token)
            variance = sum((value - mean) ** 2 for value in token) / len(token)
            out[t] = (token - mean) / (variance + eps) ** 0.5 * g + b
    return result


def _bias_moved(x, g, b, eps):
    centred = x - x.mean(2)[:, :, None]
    return (torch.addcmul(b, g, centred / torch.sqrt(centred.pow(2).sum(2) / x.size(2) + eps)[..., None])).tolist()


def _cases() -> list[Case]:
    generator = torch.Generator().manual_seed(4)

    def case(batch: int, seq: int, d_model: int, eps: float, rule: str) -> Case:
        x = torch.randn(batch, seq, d_model, generator=generator) * 0.3 + torch.randn(batch, seq, 1, generator=generator)
        g, b = torch.rand(d_model, generator=generator) + 0.5, torch.randn(d_model, generator=generator)
        return Case((x, g, b, eps), torch.nn.functional.layer_norm(x.double(), (d_model,), g.double(), b.double(), eps), rule)

    equation = "The equation is (x - mean) / sqrt(variance + eps) * g + b, with mean and biased variance over each token's features."
    same = torch.full((1, 2, 3), 7.0)  # every feature equal
    x = torch.tensor([[[1.0, 3.0]]])  # mean 2, variance 1
    return [
        Case(
            (x, torch.tensor([1.0, 1.0]), torch.tensor([0.0, 0.0]), 3.0),
            [[[-0.5, 0.5]]],
            "Mean 2, variance 1, eps 3: (1 - 2) / √4 and (3 - 2) / √4.",
        ),
        case(2, 5, 6, 0.5, equation),
        case(3, 4, 7, 1e-5, equation),
        case(1, 1, 9, 2.0, equation),
        case(4, 2, 5, 0.0, "With eps = 0 it is (x - mean) / standard deviation * g + b."),
        Case(
            (same, torch.tensor([2.0, 3.0, 4.0]), torch.tensor([0.5, -1.0, 0.25]), 1e-5),
            [[[0.5, -1.0, 0.25]] * 2],
            "Equal features have variance 0: eps keeps the division possible, and b is left.",
        ),
    ]


_MISTAKES = (
    Wrong(_outside, "Epsilon stands outside the root. Inside it (variance + eps) it bounds the divisor from below by its own root."),
    Wrong(_unbiased, "Your variance divides by n - 1 (torch's default for var). LayerNorm takes the plain mean of the squared deviations."),
    Wrong(_torchs_std, "Two things: torch's std divides by n - 1, and epsilon belongs inside the root, next to the variance."),
    Wrong(_over_positions, "You normalise over the positions. Each token is normalised on its own, over its features, the last axis."),
    Wrong(_over_text, "You normalise a whole text at once. Each token is normalised on its own, over its features, the last axis."),
    Wrong(_no_mean, "The mean is not subtracted: that is RMSNorm, with a bias."),
    Wrong(_no_root, "You divide by the variance; the root is missing."),
    Wrong(_no_gain, "Gain g and bias b are not applied."),
    Wrong(_no_gain_alone, "The gain g is not applied."),
    Wrong(_no_bias, "The bias b is not added."),
    Wrong(_bias_first, "The bias is added before the gain, which scales it too. Multiply by g first."),
    Wrong(_own_eps, "You use an epsilon of your own. The argument decides."),
)

EXERCISE = Exercise(
    id="transformer.layer_norm",
    notebook="01_transformers_from_scratch",
    title="LayerNorm, and where epsilon stands",
    difficulty=2,
    minutes=10,
    statement=(
        "Write `layer_norm(x, g, b, eps)`. `x` is `(batch, seq, d_model)`, `g` and `b` are `(d_model,)`. Return "
        "$(x-\\mu)/\\sqrt{\\sigma^2+\\varepsilon}\\cdot g+b$ with mean and (biased) variance over the features of each token."
    ),
    name="layer_norm",
    starter="def layer_norm(x, g, b, eps):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Which numbers belong to one token? The mean and the variance go over those, and keep their axis (`keepdim=True`).",
        "Biased means: the mean of the squared deviations, not divided by n - 1.",
        "`(x - mean) / torch.sqrt(variance + eps) * g + b`.",
    ),
    solution=layer_norm,
    wrong=(
        *_MISTAKES,
        Wrong(_no_eps, "expected [[[-0.5, 0.5]]], got [[[-1, 1]]]"),
        Wrong(_swapped, "expected [[[-0.5, 0.5]]], got [[[1, 1]]]"),
        Wrong(_over_everything, "entries differ"),
        Wrong(_squared_eps, "expected [[[-0.5, 0.5]]], got"),
    ),
    right=(_library, _in_place, _in_numpy, _in_double, _by_loops, _bias_moved),
)
