"""BitLinear for inference: the norm, and the weights as packed bytes.

    y = (q Tᵀ) · s γ,   (q, s) = int8(RMSNorm(x)),   T and γ fixed when the layer was packed

Equal to `linear.BitLinear` to the bit in float32. It cannot be trained: the full-precision weights are gone.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llmsuite_lab.bitnet.kernels.choice import product
from llmsuite_lab.bitnet.linear import BitLinear
from llmsuite_lab.bitnet.packing import Ternary, check_packed, pack
from llmsuite_lab.bitnet.quantize import ternary_weights
from llmsuite_lab.transformer.generation import Engine
from llmsuite_lab.transformer.normalization import RMSNorm


class PackedLinear(nn.Module):
    """Raises TypeError for weights that are not packed or a norm that is none; ValueError where the norm has another width."""

    def __init__(self, weight: Ternary, norm: RMSNorm) -> None:
        super().__init__()
        check_packed(weight, "weight")
        if not isinstance(norm, RMSNorm):
            raise TypeError(f"norm must be an RMSNorm, got a {type(norm).__name__}")
        if norm.weight.shape != weight.shape[1:]:
            raise ValueError(f"the norm has {norm.weight.numel()} features and the weights take {weight.shape[1]}")
        self.shape, self.form, self.norm = weight.shape, weight.form, norm
        self.register_buffer("packed", weight.bytes)
        self.register_buffer("scale", torch.tensor(weight.scale, dtype=torch.float32, device=weight.bytes.device))
        self._product: tuple[tuple, Callable[[Tensor], Tensor]] | None = None

    @classmethod
    def of(cls, layer: BitLinear, form: str = "two_bits") -> "PackedLinear":
        """The packed form of a trained layer; the norm is shared. Raises TypeError for another layer, ValueError for an unknown form."""
        if not isinstance(layer, BitLinear):
            raise TypeError(f"layer must be a BitLinear, got a {type(layer).__name__}")
        T, gamma = ternary_weights(layer.weight.detach())
        return cls(pack(T, float(gamma), form), layer.norm)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_product": None}  # of this process and its kernel: made again at the first use

    @property
    def weight(self) -> Ternary:
        """The packed weights."""
        return Ternary(self.packed, float(self.scale), self.shape, self.form)

    @staticmethod
    def writer(model: nn.Module, prompts: Sequence[Sequence[int]], room: int) -> Engine | None:
        """The engine that a model of such layers is written with (`generation.engine_for` asks), or None: `bit_engine.engine`."""
        from llmsuite_lab.bitnet.bit_engine import engine  # which knows these layers

        return engine(model, prompts, room)

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """y, without gradients to the weights. Raises ValueError where x has another width."""
        if torch.is_grad_enabled() and x.requires_grad:
            raise ValueError("a packed layer has no gradient: train the BitLinear model, or call this one inside torch.no_grad()")
        x = self.norm(x).detach()
        key = (self.packed.data_ptr(), self.packed._version, self.scale.data_ptr(), self.scale._version, self.packed.device, x.dtype)
        if self._product is None or self._product[0] != key:
            self._product = (key, product(self.weight, x.dtype))
        return self._product[1](x)

    def extra_repr(self) -> str:
        """Sizes and form."""
        return f"in_features={self.shape[1]}, out_features={self.shape[0]}, form={self.form}"
