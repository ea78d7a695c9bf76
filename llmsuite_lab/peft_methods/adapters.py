"""Bottleneck adapters: a small two-layer network behind each sub-layer of a frozen model.

    y = h + W_up σ(W_down h + b_down) + b_up,      h = W_0 x the sub-layer's output,  W_down ∈ R^{m×d},  W_up ∈ R^{d×m},  m ≪ d

It stands where the attention's and the feed-forward network's output is projected back to d, before the residual is added: two a block, 2 m d + d + m
numbers each. W_up = 0 at first, so that the model starts as it was (Houlsby draws both very small). Unlike LoRA's update this one is not linear, so it
can never be merged: it stays, and every token pays for it.

Source: Houlsby et al. 2019. In production: the `adapters` library, `BnConfig`.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from llmsuite_lab.core.errors import whole
from llmsuite_lab.peft_methods.lora import LoRALinear
from llmsuite_lab.peft_methods.targets import dimensions, find_targets, freeze, put

ADAPTER_TARGETS = ("o_proj", "down_proj")


class Bottleneck(nn.Module):
    """A frozen sub-layer's last linear layer, `base_layer`, and the network behind it, in float32 under a base of fewer bits."""

    def __init__(self, base_layer: nn.Module, W_down: Float[Tensor, "m d"]) -> None:
        super().__init__()
        m, d = W_down.shape
        self.base_layer, self.enabled = base_layer, True
        like = {"dtype": W_down.dtype, "device": W_down.device}
        self.W_down, self.b_down = nn.Parameter(W_down), nn.Parameter(torch.zeros(m, **like))
        self.W_up, self.b_up = nn.Parameter(torch.zeros(d, m, **like)), nn.Parameter(torch.zeros(d, **like))

    @property
    def weight(self) -> Tensor:
        """The base's weight, for code that asks for its dtype. The layer computes more than that."""
        return self.base_layer.weight

    @property
    def bias(self) -> Tensor | None:
        """The base's bias."""
        return self.base_layer.bias

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d"]:
        h = self.base_layer(x)
        if not self.enabled:
            return h
        z = F.gelu(F.linear(h.to(self.W_down.dtype), self.W_down, self.b_down))
        return (h + F.linear(z, self.W_up, self.b_up)).to(h.dtype)

    def extra_repr(self) -> str:
        """m and d."""
        return f"m={self.W_down.shape[0]}, d={self.W_down.shape[1]}"


def add_adapters(model: nn.Module, targets: Sequence[str] = ADAPTER_TARGETS, size: int = 16, seed: int = 0) -> nn.Module:
    """Put a bottleneck of `size` (m) behind the target layers, in place; they alone are trained. Returns the model.

    targets: linear layers as `targets.find_targets`; the attention's and the feed-forward network's last. Raises ValueError, with the model as it was,
    for a target that matches nothing or carries an adapter already, and a size below 1 or over a layer's output.
    """
    layers = find_targets(model, targets)
    if any(isinstance(module, Bottleneck | LoRALinear) for module in model.modules()):
        raise ValueError("the model carries an adapter already: unload that one first, or load the base again")
    whole("size", size, 1, min(dimensions(layer)[0] for layer in layers.values()))
    generator = torch.Generator().manual_seed(seed)
    freeze(model)
    for name, layer in layers.items():
        d = dimensions(layer)[0]
        like = next((t for t in (*layer.parameters(), *layer.buffers()) if t.is_floating_point()), next(model.parameters()))
        W_down = torch.randn(size, d, generator=generator) / d**0.5
        put(model, name, Bottleneck(layer, W_down.to(like.device, torch.float64 if like.dtype == torch.float64 else torch.float32)))
    return model


def unload(model: nn.Module) -> nn.Module:
    """The base model as it was, in place. Raises ValueError where there is no bottleneck."""
    found = {name: module for name, module in model.named_modules() if isinstance(module, Bottleneck)}
    if not found:
        raise ValueError("the model carries no bottleneck adapter: there is nothing to take out")
    for name, module in found.items():
        put(model, name, module.base_layer)
    return model
