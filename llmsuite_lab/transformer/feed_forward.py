"""The position-wise feed-forward layer: the same two matrices applied to every token on its own.

    FFN(x)     = act(x W_up + b_up) W_down + b_down                     ReLU (2017), GELU (BERT, GPT-2, BART)
    SwiGLU(x)  = (silu(x W_gate) ⊙ (x W_up)) W_down                     Llama; with GELU in place of silu: GEGLU (T5 v1.1)

    relu(x) = max(0, x)      gelu(x) = x Φ(x)      silu(x) = x σ(x)      Φ, σ: the normal and the logistic distribution function

Sources: Vaswani et al. 2017, section 3.3, eq. 2; Hendrycks & Gimpel 2016 (GELU); Shazeer 2020, "GLU Variants Improve Transformer", eq. 6.
Production: `torch.nn.functional.relu`, `gelu`, `silu` between two `torch.nn.Linear`.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llmsuite_lab.transformer.fused import fused
from llmsuite_lab.transformer.layers import Linear


def relu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """max(0, x)."""
    return x.clamp(min=0.0)


def gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """x Φ(x) = x/2 (1 + erf(x/√2)): BERT's and BART's."""
    return 0.5 * x * (1.0 + torch.erf(x / math.sqrt(2.0)))


def gelu_tanh(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """x/2 (1 + tanh(√(2/π)(x + 0.044715 x³))): the approximation that GPT-2 and T5 v1.1 were trained with, so their weights need it."""
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def silu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """x σ(x) = x / (1 + exp(-x)), also called swish."""
    return x * torch.sigmoid(x)


_KERNELS = {
    "relu": (relu, nn.functional.relu),
    "gelu": (gelu, nn.functional.gelu),
    "gelu_tanh": (gelu_tanh, lambda x: nn.functional.gelu(x, approximate="tanh")),
    "silu": (silu, nn.functional.silu),
}
ACTIVATIONS = tuple(_KERNELS)


def activation(name: str, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Apply the activation called `name`: relu, gelu, gelu_tanh or silu. Raises ValueError for another name."""
    if name not in _KERNELS:
        raise ValueError(f"activation={name!r} is not known; choose one of {', '.join(ACTIVATIONS)}")
    written, kernel = _KERNELS[name]
    return kernel(x) if fused() else written(x)


class FeedForward(nn.Module):
    """act(x W_up) W_down, or with `gated` (act(x W_gate) ⊙ x W_up) W_down.

    Args:
        d_model: width of a token's vector.
        d_ff: width of the hidden layer (4·d_model in 2017; about 8/3·d_model when gated, for the same number of weights).
        activation_name: relu, gelu, gelu_tanh or silu.
        gated: one more matrix whose activated output multiplies the hidden layer.
        bias: add b_gate, b_up, b_down.
    """

    def __init__(self, d_model: int, d_ff: int, activation_name: str = "relu", gated: bool = False, bias: bool = True) -> None:
        super().__init__()
        if activation_name not in ACTIVATIONS:
            raise ValueError(f"activation={activation_name!r} is not known; choose one of {', '.join(ACTIVATIONS)}")
        self.activation_name = activation_name
        self.W_gate = Linear(d_model, d_ff, bias=bias) if gated else None
        self.W_up = Linear(d_model, d_ff, bias=bias)
        self.W_down = Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Apply the layer to every token on its own."""
        if self.W_gate is None:
            return self.W_down(activation(self.activation_name, self.W_up(x)))
        return self.W_down(activation(self.activation_name, self.W_gate(x)) * self.W_up(x))
