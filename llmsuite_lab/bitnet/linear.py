"""BitLinear: the layer that stands where a one-bit model had a linear one.

    x̂ = RMSNorm(x),   (q, s) = int8(x̂),   (T, γ) = ternary(W),   y = (q Tᵀ) · s γ

The norm belongs to the layer ("SubLN"): quantisation wants activations of one scale, and the norms in front of attention and feed-forward go in return
(`model`). Training keeps W in full precision, rounds it anew in every forward pass and lets the gradient through as if nothing had been rounded:

    ∂L/∂W = (∂L/∂y)ᵀ (s q),      ∂L/∂x̂ = ∂L/∂y · γ T

q Tᵀ is a sum of whole numbers below 2²⁴, exact in float32 whatever the order: `packing` and `kernels` compute the same y to the bit.

Sources: Wang et al. 2023, "BitNet", section 2.1 (LN, Quant, eq. 11) and 2.2 (straight-through); Ma et al. 2024, section 2, and their "Training Tips,
Code and FAQ" (RMSNorm inside the layer, no bias, no norm before the block). Production: `transformers.integrations.bitnet.AutoBitLinear`.
"""

from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llmsuite_lab.bitnet.quantize import check_columns, int8_activations, straight_through, ternary_weights
from llmsuite_lab.core.errors import whole
from llmsuite_lab.transformer.layers import Linear
from llmsuite_lab.transformer.normalization import RMSNorm

LARGEST = 2**31  # of d_in and d_out: what torch's sizes hold


class NormedLinear(Linear):
    """y = RMSNorm(x) Wᵀ: all of BitLinear but its rounding, to tell what the rounding does from what the norm does. No bias: the source removes all.

    Args:
        d_in, d_out: widths.
        eps: ε inside the norm's root.

    Raises:
        ValueError: widths below 1, or d_in above `quantize.MAX_COLUMNS`.
    """

    def __init__(self, d_in: int, d_out: int, eps: float = 1e-5) -> None:
        whole("d_in", d_in, 1, LARGEST)
        whole("d_out", d_out, 1, LARGEST)
        check_columns(d_in)
        super().__init__(d_in, d_out, bias=False)
        self.norm = RMSNorm(d_in, eps)

    @classmethod
    def of(cls, layer: nn.Linear, eps: float = 1e-5) -> Self:
        """One that takes the weights of a linear layer (shared, not copied).

        Raises TypeError for another layer, ValueError for one with a bias, which it would lose.
        """
        if not isinstance(layer, nn.Linear):
            raise TypeError(f"layer must be a linear layer, got a {type(layer).__name__}")
        if layer.bias is not None:
            raise ValueError(f"a layer {layer.out_features} × {layer.in_features} with a bias: one-bit layers have none, build the model without (bias=False)")
        with torch.device("meta"):  # no memory and no random numbers for weights that are replaced
            new = cls(layer.in_features, layer.out_features, eps)
        new.weight = layer.weight
        new.norm = RMSNorm(layer.in_features, eps).to(layer.weight.device, layer.weight.dtype)
        return new.train(layer.training)

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """y = RMSNorm(x) Wᵀ. Raises ValueError where x has another width."""
        return nn.functional.linear(self.norm(x), self.weight)


class BitLinear(NormedLinear):
    """y = (q Tᵀ) · s γ with q, s from RMSNorm(x) and T, γ from `weight`. Arguments and errors as `NormedLinear`."""

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """y = (q Tᵀ) · s γ, with straight-through gradients. Raises ValueError where x has another width."""
        x = self.norm(x)
        q, s = int8_activations(x)
        T, gamma = ternary_weights(self.weight)
        s, gamma = s.detach(), gamma.detach()
        q = straight_through(x / s, q)
        T = straight_through(self.weight / gamma.clamp(min=torch.finfo(gamma.dtype).tiny), T)  # a matrix of zeros stays one, with a finite gradient
        return nn.functional.linear(q, T) * (s * gamma)
