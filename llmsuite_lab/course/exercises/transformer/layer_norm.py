"""LayerNorm: each token's vector to mean 0 and variance 1, and where the epsilon stands."""

import torch

from llmsuite_lab.course.exercises import Exercise, Mistake, Wrong, expect


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


def _check(answer) -> None:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(2, 5, 6, generator=generator) * 0.3 + 1.0
    g, b = torch.rand(6, generator=generator) + 0.5, torch.randn(6, generator=generator)
    eps = 0.5  # large, so that its place shows
    result = answer(x, g, b, eps)
    expect(isinstance(result, torch.Tensor) and result.shape == x.shape, "The result must have the shape of x.")

    def is_like(wrong) -> bool:
        return torch.allclose(result, wrong(x, g, b, eps), atol=1e-5)

    if is_like(_outside):
        raise Mistake("Epsilon stands outside the root. Inside it (variance + eps) it bounds the divisor from below by its own root.")
    if is_like(_unbiased):
        raise Mistake("Your variance divides by n - 1 (torch's default for var). LayerNorm takes the plain mean of the squared deviations.")
    if is_like(_over_positions):
        raise Mistake("You normalise over the positions. Each token is normalised on its own, over its features, the last axis.")
    if is_like(_no_mean):
        raise Mistake("The mean is not subtracted: that is RMSNorm, with a bias.")
    if is_like(_no_root):
        raise Mistake("You divide by the variance; the root is missing.")
    if is_like(_no_gain):
        raise Mistake("Gain g and bias b are not applied.")
    right = torch.nn.functional.layer_norm(x, (6,), g, b, eps)
    expect(torch.allclose(result, right, atol=1e-5), "The values differ from (x - mean) / sqrt(variance + eps) * g + b.")


EXERCISE = Exercise(
    id="transformer.layer_norm",
    notebook="01_transformers_from_scratch",
    title="LayerNorm, and where epsilon stands",
    statement=(
        "Write `layer_norm(x, g, b, eps)`. `x` is `(batch, seq, d_model)`, `g` and `b` are `(d_model,)`. Return "
        "$(x-\\mu)/\\sqrt{\\sigma^2+\\varepsilon}\\cdot g+b$ with mean and (biased) variance over the features of each token."
    ),
    name="layer_norm",
    starter="def layer_norm(x, g, b, eps):\n    ...",
    check=_check,
    hints=(
        "Which numbers belong to one token? The mean and the variance go over those, and keep their axis (`keepdim=True`).",
        "Biased means: the mean of the squared deviations, not divided by n - 1.",
        "`(x - mean) / torch.sqrt(variance + eps) * g + b`.",
    ),
    solution=layer_norm,
    wrong=(
        Wrong(_outside, "outside the root"),
        Wrong(_unbiased, "n - 1"),
        Wrong(_over_positions, "over the positions"),
        Wrong(_no_mean, "RMSNorm"),
        Wrong(_no_root, "root is missing"),
        Wrong(_no_gain, "not applied"),
    ),
)
