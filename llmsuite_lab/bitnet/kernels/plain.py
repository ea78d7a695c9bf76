"""The same product in torch alone, for any machine: the weights are unpacked once, and that gives back the memory that packing saved.

    float32 (and any other dtype)   q Tᵀ as floats: whole numbers below 2²⁴, so exactly the kernel's
    bfloat16                        oneDNN's prepacked layout (`transformer.packing`): faster, and y rounded to 8 bits as all of bfloat16

A loop over packed bytes in portable C++ was slower than this. It is a fallback: 16 or 32 bits a weight instead of 2, and slower than the kernel.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from llmsuite_lab.bitnet.packing import Ternary, check_packed
from llmsuite_lab.bitnet.quantize import int8_activations
from llmsuite_lab.transformer.packing import Packed, choose_layout


class Unpacked:
    """`unpacked(x)` is (q Tᵀ) · s γ for x (…, d_in) in `dtype`, on the device of W's bytes.

    Raises TypeError for a W that is not packed, ValueError for a dtype that is no float.
    """

    def __init__(self, W: Ternary, dtype: torch.dtype = torch.float32) -> None:
        check_packed(W)
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise ValueError(f"dtype={str(dtype)[:40]} must be a float dtype of torch")
        self.scale, self.shape, self.dtype = W.scale, W.shape, dtype
        layout = choose_layout(dtype, W.bytes.device) if dtype == torch.bfloat16 else "plain"
        self.product = Packed(W.unpack().to(dtype), None, layout)

    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """y in x's dtype. Raises ValueError for an x of another width or no floats."""
        q, s = int8_activations(x)
        if x.shape[-1] != self.shape[1]:
            raise ValueError(f"x must be (…, d_in={self.shape[1]}); got {tuple(x.shape)}")
        y = self.product(q.reshape(-1, self.shape[1]).to(self.dtype)).view(*x.shape[:-1], self.shape[0])
        return (y * (s * self.scale)).to(x.dtype)
