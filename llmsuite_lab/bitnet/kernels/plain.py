"""The same product in torch alone, for any machine: the weights are unpacked once, and that gives back the memory that packing saved.

    float32 (and any other dtype)   q Tᵀ in int8 with sums in int32 (`torch._int_mm`), where oneDNN has it: exactly the kernel's integers, 8 bits a weight;
                                    elsewhere as floats: whole numbers below 2²⁴, so exact as well
    bfloat16                        oneDNN's prepacked layout (`transformer.packing`): y rounded to 8 bits as all of bfloat16

A product of BF16 matrices rounds y to BF16, which the kernel's integers do not fit into: that is why float32 does not take the prepacked BF16 path.
A loop over packed bytes in portable C++ was slower than this. It is a fallback: 8 to 32 bits a weight instead of 2, and slower than the kernel.
"""

import platform
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from llmsuite_lab.bitnet.packing import Ternary, check_packed
from llmsuite_lab.bitnet.quantize import int8_activations
from llmsuite_lab.core.forks import compute_safely
from llmsuite_lab.transformer.packing import Packed, choose_layout


@cache
def int8_products() -> bool:
    """Whether torch multiplies int8 matrices here by oneDNN, not by a loop of its own: on x86 processors; probed once, and it must be exact."""
    if platform.machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkldnn.is_available():
        return False
    q, T = torch.tensor([[127, -127, 5], [0, 1, -2]], dtype=torch.int8), torch.tensor([[1, -1, 0], [0, 1, 1], [-1, 0, 1]], dtype=torch.int8)
    try:
        return torch._int_mm(q, T.t()).tolist() == [[254, -122, -122], [-1, -1, -2]]
    except (AttributeError, RuntimeError, NotImplementedError):  # another build of torch: products of floats are as right, only slower
        return False


class Unpacked:
    """`unpacked(x)` is (q Tᵀ) · s γ for x (…, d_in) in `dtype`, on the device of W's bytes.

    Raises TypeError for a W that is not packed, ValueError for a dtype that is no float.
    """

    def __init__(self, W: Ternary, dtype: torch.dtype = torch.float32) -> None:
        check_packed(W)
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise ValueError(f"dtype={str(dtype)[:40]} must be a float dtype of torch")
        self.scale, self.shape, self.dtype = W.scale, W.shape, dtype
        exact = dtype != torch.bfloat16 and W.shape[1] > 1  # `_int_mm` writes nothing where the inner size is 1: its strides look transposed
        self.int8 = exact and W.bytes.device.type == "cpu" and int8_products()
        if self.int8:
            self.weight = W.unpack().to(torch.int8).t()  # a view: rows of T stay together in memory
        else:
            layout = choose_layout(dtype, W.bytes.device) if dtype == torch.bfloat16 else "plain"
            self.product = Packed(W.unpack().to(dtype), None, layout)

    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """y in x's dtype. Raises ValueError for an x of another width or no floats."""
        compute_safely()
        half = self.int8 and isinstance(x, Tensor) and x.is_floating_point() and x.dtype.itemsize < 4
        q, s = int8_activations(x.float() if half else x)  # as the kernel does: in 16 bits 127 / m is rounded to 128 or more, which is no int8
        if x.shape[-1] != self.shape[1]:
            raise ValueError(f"x must be (…, d_in={self.shape[1]}); got {tuple(x.shape)}")
        q = q.reshape(-1, self.shape[1])
        if self.int8:
            y = torch._int_mm(q.to(torch.int8), self.weight).to(torch.promote_types(self.dtype, torch.float32))
            s = torch.where(s.isfinite(), s, torch.nan)  # nan is no int8: it is told by the scale
        else:
            y = self.product(q.to(self.dtype))
        y = y.view(*x.shape[:-1], self.shape[0])
        return (y * (s * self.scale)).to(x.dtype)
