"""The same y = x Wᵀ + b, with W laid out the way the processor wants to read it.

Generating one token multiplies a few rows with every matrix of the model: the time is spent reading weights, and the layout decides how fast they
stream. Matrices that read the same input (Q, K, V; gate, up) become one; then, measured on an AVX-512 processor (steps a second, float32, one row):

    prepacked     oneDNN's blocked layout, prepared once                                                                        29.5
    transposed    W stored as (d_in, d_out): float32 where oneDNN is not there                                                  25.9
    plain         `torch.nn.functional.linear` on W as it is: accelerators, and bfloat16 where oneDNN is not there              18.6

A layer that is not a plain linear (a quantised one, a LoRA not merged, one with a hook) is called as it is; one that says which plain linear stands for
it now (`plain()`: a merged LoRA) is packed as that.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from llmsuite_lab.transformer.layers import Linear

ROWS = 16  # what the blocked layout is prepared for; it serves any number of rows


class Packed:
    """A fused linear layer: `packed(x)` is x Wᵀ + b for x (rows, d_in), `packed.add(x, y)` is y + x Wᵀ + b."""

    def __init__(self, weight: Tensor, bias: Tensor | None, layout: str) -> None:
        self.layout, self.bias = layout, bias
        if layout == "prepacked":
            self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), ROWS)
        elif layout == "transposed":
            self.weight = weight.t().contiguous()
        else:
            self.weight = weight

    def __call__(self, x: Tensor) -> Tensor:
        """x Wᵀ + b."""
        if self.layout == "prepacked":
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        if self.layout == "transposed":
            return torch.mm(x, self.weight) if self.bias is None else torch.addmm(self.bias, x, self.weight)
        return nn.functional.linear(x, self.weight, self.bias)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """y + x Wᵀ + b: the residual connection, in one call where the layout has one."""
        if self.layout == "prepacked":
            return torch.ops.mkldnn._linear_pointwise(x, y, self.weight, self.bias, "add")
        if self.layout == "transposed" and self.bias is None:
            return torch.addmm(y, x, self.weight)
        return self(x) + y


class Part(nn.Module):
    """One of the `parts` equal outputs of a joint layer: GPT-2's W_QKV, where something stands in its place."""

    def __init__(self, joint: nn.Module, index: int, parts: int) -> None:
        super().__init__()
        self.joint, self.index, self.parts = joint, index, parts

    def forward(self, x: Tensor) -> Tensor:
        """The part's slice of joint(x)."""
        return self.joint(x).chunk(self.parts, -1)[self.index]


class Modules:
    """Layers that only they know how to compute, side by side: concat(layer(x) for each layer)."""

    layout = "modules"

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self.layers = list(layers)
        if all(isinstance(layer, Part) for layer in layers) and len({layer.joint for layer in layers}) == 1 and len(layers) == layers[0].parts:
            self.layers = [layers[0].joint]  # all its parts, in order: one call

    def __call__(self, x: Tensor) -> Tensor:
        """concat of every layer's output."""
        return self.layers[0](x) if len(self.layers) == 1 else torch.cat([layer(x) for layer in self.layers], dim=-1)

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """y + concat(...)."""
        return y + self(x)


def is_plain(layer: nn.Module, kinds: tuple[type, ...] = (Linear, nn.Linear)) -> bool:
    """Whether a layer computes x Wᵀ + b and nothing else: of these exact classes, without a hook or a forward of its own."""
    return type(layer) in kinds and not hooked(layer)


def hooked(layer: nn.Module) -> bool:
    """Whether something happens around this module's forward that its weights do not tell."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer))


def pack(layers: Sequence[nn.Module], layout: str, dtype: torch.dtype) -> Packed | Modules:
    """One callable for layers that read the same input, in `dtype`, laid out as `layout` says."""
    layers = [_stood_for(layer) for layer in layers]
    if not all(is_plain(layer) for layer in layers):
        return Modules(layers)
    weight = torch.cat([layer.weight.detach().to(dtype) for layer in layers]) if len(layers) > 1 else layers[0].weight.detach().to(dtype)
    biases = [layer.bias for layer in layers]
    if all(b is None for b in biases):
        return Packed(weight, None, layout)
    whole = [torch.zeros(len(layer.weight), device=weight.device) if b is None else b.detach() for layer, b in zip(layers, biases)]
    return Packed(weight, torch.cat(whole).to(dtype), layout)


def _stood_for(layer: nn.Module) -> nn.Module:
    """The plain layer that computes the same as `layer` now, where it offers one; `layer` itself elsewhere."""
    offered = layer.plain() if hasattr(layer, "plain") and not hooked(layer) else None
    return offered if offered is not None and is_plain(offered) else layer


def choose_layout(dtype: torch.dtype, device: torch.device) -> str:
    """The layout that streams weights fastest. oneDNN's is probed once with a tiny product and must agree."""
    if device.type != "cpu":
        return "plain"
    return "prepacked" if _onednn(dtype) else "transposed" if dtype == torch.float32 else "plain"


_PROBED: dict[torch.dtype, bool] = {}


def _onednn(dtype: torch.dtype) -> bool:
    if dtype not in _PROBED:
        x, W = torch.arange(12.0).view(3, 4).to(dtype), torch.arange(20.0).view(5, 4).to(dtype)
        probe: Callable[[], Tensor] = lambda: Packed(W, None, "prepacked").add(x, torch.ones(3, 5, dtype=dtype))  # noqa: E731
        try:
            _PROBED[dtype] = torch.backends.mkldnn.is_available() and torch.allclose(probe().float(), (x @ W.T + 1).float(), rtol=0.02)
        except (
            AttributeError,
            RuntimeError,
            NotImplementedError,
        ):  # another build of torch: the layout is not there, `plain` is as right, only slower
            _PROBED[dtype] = False
    return _PROBED[dtype]
