"""Weights of three values and activations of eight bits, and how a gradient gets past the rounding.

    weights       γ = mean |W|,            T = clip(round(W / (γ + ε)), -1, 1)           W ≈ γ T        one γ a matrix
    activations   s = max_i |x_i| / 127,   q = round(x / s)                              x ≈ s q        one s a token
    straight-through:                      forward T, backward ∂T/∂(W/γ) := 1

A weight then holds log2(3) = 1.58 bits, and the product q Tᵀ needs no multiplication: each activation is added, subtracted or skipped.

Sources: Ma et al. 2024, "The Era of 1-bit LLMs", section 2, eq. 1-3 (weights); Wang et al. 2023, "BitNet", eq. 4-5, without the zero point
(activations, per token; ±127 as in the authors' "Training Tips, Code and FAQ", where 1e-5 guards an empty token); Bengio et al. 2013 (straight-through).
Production: the `bitnet` quantisation of `transformers`, `torchao`.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

EPSILON = 1e-5  # ε: the papers name no value; this one is the authors' code's
Q_MAX = 127  # the largest int8 whose negative is one too
BITS_PER_TRIT = math.log2(3)
MAX_COLUMNS = 2**24 // (Q_MAX + 1)  # Σ |q| of a row stays below 2²⁴, so that float32 adds up whole numbers exactly, in any order


def ternary_weights(W: Float[Tensor, "d_out d_in"], eps: float = EPSILON) -> tuple[Float[Tensor, "d_out d_in"], Float[Tensor, ""]]:
    """(T, γ): T = clip(round(W / (γ + ε)), -1, 1) with γ = mean |W|, so that W ≈ γ T. T is in W's dtype and holds -1, 0 and 1 only.

    Rounding is to the nearest, halves to even. Raises ValueError for a W that is no matrix with weights, or holds nan or infinity, or ε that is not above 0.
    """
    check_matrix("W", W)
    if not 0 < eps < math.inf:
        raise ValueError(f"eps={eps} must be above zero and finite: it keeps a matrix of zeros from a division by zero")
    gamma = W.abs().mean()
    if not bool(torch.isfinite(gamma)):
        raise ValueError(f"W {tuple(W.shape)} holds nan or infinity (or its sum overflows): train with a lower rate, or look at what made it")
    return (W / (gamma + eps)).round().clamp(-1, 1), gamma


def int8_activations(x: Float[Tensor, "*batch d"], eps: float = EPSILON) -> tuple[Float[Tensor, "*batch d"], Float[Tensor, "*batch 1"]]:
    """(q, s): q = round(x · 127/m), s = m/127 with m = max(max_i |x_i|, ε) of each token, so that x ≈ s q. q is in x's dtype and holds whole numbers
    from -127 to 127.

    Raises ValueError for an x without features, or ε that is not above 0. A token with nan or infinity becomes nan, as in any other layer.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() == 0 or x.shape[-1] == 0:
        raise ValueError(f"x must be a tensor of floats (…, features) with at least one feature; got {_what(x)}")
    if not 0 < eps < math.inf:
        raise ValueError(f"eps={eps} must be above zero and finite: it keeps a token of zeros from a division by zero")
    m = x.abs().amax(-1, keepdim=True).clamp(min=eps)
    return (x * (Q_MAX / m)).round(), m / Q_MAX


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value: Tensor, rounded: Tensor) -> Tensor:
        return rounded.view_as(rounded)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def straight_through(value: Float[Tensor, "*shape"], rounded: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """`rounded`, to the bit, whose gradient goes to `value` as if nothing had been rounded.

    The usual one-liner, value + (rounded - value).detach(), gives the same gradient, but a forward value that is off by a rounding error.
    Raises ValueError where the shapes differ.
    """
    if value.shape != rounded.shape:
        raise ValueError(f"straight_through: value {tuple(value.shape)} and rounded {tuple(rounded.shape)} must have one shape")
    return _StraightThrough.apply(value, rounded.detach())


def check_matrix(name: str, W: Tensor) -> None:
    """Raise ValueError unless W is a matrix (d_out, d_in) of floats with at least one weight and rows that are not too long to add up exactly."""
    if not isinstance(W, Tensor) or W.dim() != 2 or not W.numel() or not W.is_floating_point():
        raise ValueError(f"{name} must be a matrix (d_out, d_in) of floats with at least one weight; got {_what(W)}")
    check_columns(W.shape[1])


def check_columns(columns: int) -> None:
    """Raise ValueError for more inputs than MAX_COLUMNS: their sums would no longer be exact in float32."""
    if columns > MAX_COLUMNS:
        raise ValueError(f"a layer with {columns:,} inputs: sums of int8 values are exact up to {MAX_COLUMNS:,}; split the layer")


def _what(value: object) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
