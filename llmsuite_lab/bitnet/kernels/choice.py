"""Which product runs here: the compiled kernel on a CPU that has one, Triton's on a GPU, else torch's, and the reason said once."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from llmsuite_lab.bitnet.kernels import cpu
from llmsuite_lab.bitnet.kernels.plain import Unpacked
from llmsuite_lab.bitnet.packing import Ternary, check_packed

_said: set[str] = set()


def product(W: Ternary, dtype: torch.dtype = torch.float32) -> Callable[[Tensor], Tensor]:
    """A callable x → (q Tᵀ) · s γ. The kernel of the weights' device where it runs; else `plain.Unpacked` in `dtype`, with one warning that says why and
    that it is slower.

    Raises TypeError for a W that is not packed; ValueError for a dtype that is no float.
    """
    check_packed(W)
    device = W.bytes.device.type
    if device == "cpu":
        reason, multiply = cpu.why_not(), cpu.multiply
    else:
        from llmsuite_lab.bitnet.kernels import gpu  # imports triton

        reason, multiply = gpu.why_not(W.bytes.device), gpu.multiply
    if reason is None:
        return lambda x: multiply(W, x)
    if reason not in _said:
        _said.add(reason)
        warnings.warn(f"ternary products run in torch, slower than the compiled kernel and with the weights unpacked: {reason}", stacklevel=2)
    return Unpacked(W, dtype)
