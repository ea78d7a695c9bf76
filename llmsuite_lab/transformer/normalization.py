"""Bring every token's vector to unit scale, then let the model choose a scale per feature.

    LayerNorm   y = (x - μ) / √(σ² + ε) ⊙ g + b      μ, σ² = mean and (biased) variance over the features of one token
    RMSNorm     y = x / √(mean(x²) + ε) ⊙ g           no centring, no bias: half the work, as good in practice

ε stands inside the root. Outside it (x / (σ + ε)) a constant vector still divides by ε instead of √ε, and no published weights reproduce.

Sources: Ba et al. 2016, "Layer Normalization", eq. 3-4; Zhang & Sennrich 2019, "Root Mean Square Layer Normalization", eq. 4.
Production: `torch.nn.functional.layer_norm`, `torch.nn.functional.rms_norm`.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llmsuite_lab.transformer.fused import fused


def layer_norm(
    x: Float[Tensor, "*batch d_model"], g: Float[Tensor, " d_model"], b: Float[Tensor, " d_model"] | None, eps: float = 1e-5
) -> Float[Tensor, "*batch d_model"]:
    """y = (x - μ) / √(σ² + ε) ⊙ g + b over the last axis. Raises ValueError where g does not have x's width."""
    _check_width("layer_norm", x, g)
    mu = x.mean(-1, keepdim=True)
    var = (x - mu).square().mean(-1, keepdim=True)
    y = (x - mu) * torch.rsqrt(var + eps) * g
    return y if b is None else y + b


def rms_norm(x: Float[Tensor, "*batch d_model"], g: Float[Tensor, " d_model"], eps: float = 1e-6) -> Float[Tensor, "*batch d_model"]:
    """y = x / √(mean(x²) + ε) ⊙ g over the last axis. Raises ValueError where g does not have x's width."""
    _check_width("rms_norm", x, g)
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * g


class LayerNorm(nn.Module):
    """LayerNorm with its gain `weight` and `bias` (None when `bias=False`), named as in torch.nn.LayerNorm."""

    def __init__(self, d_model: int, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model)) if bias else None
        self.eps = eps

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Normalise the last axis of x."""
        if fused():
            return nn.functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)
        return layer_norm(x, self.weight, self.bias, self.eps)


class RMSNorm(nn.Module):
    """RMSNorm with its gain `weight`."""

    def __init__(self, d_model: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Normalise the last axis of x."""
        if fused():
            return nn.functional.rms_norm(x, self.weight.shape, self.weight, self.eps)
        return rms_norm(x, self.weight, self.eps)


def _check_width(name: str, x: Tensor, g: Tensor) -> None:
    if x.shape[-1:] != g.shape:
        raise ValueError(
            f"{name}: x {tuple(x.shape)} ends in {x.shape[-1] if x.dim() else 'no'} features but the gain has shape {tuple(g.shape)}"
        )
