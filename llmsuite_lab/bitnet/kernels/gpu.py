"""The same product on a GPU, by Triton, straight from the packed bytes: one program a few groups of rows and a token.

    exact[b, i] = Σ_k T[i, k] q[b, k]        y = exact · (s_b γ)

A byte is taken apart in registers, by shifts (two bits) or by multiplying by three and looking at what overflows (five trits), and meets one activation
for each of its rows. What it reads is a sixteenth or a twentieth of float32's bytes, which is what a product with one token waits for.

Triton comes with torch on Linux with CUDA. With TRITON_INTERPRET=1 in the environment, set before it is imported, the same kernel runs on a CPU, slowly,
which is how a machine without a GPU can check it. In production: microsoft/BitNet's CUDA kernels, BitBLAS.
"""

from types import SimpleNamespace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmsuite_lab.bitnet.packing import Ternary, check_packed, rows_a_byte
from llmsuite_lab.bitnet.quantize import Q_MAX, int8_activations
from llmsuite_lab.core.errors import LabError

try:
    import triton
    import triton.language as tl
except ImportError:
    triton, tl = None, SimpleNamespace(constexpr=int)  # the kernel's text names it; nothing calls the kernel
GROUPS, COLUMNS = 16, 128  # groups of rows a program, columns a step: what fits into its registers


def _product(held, q, exact, groups, columns, d_out, ROWS: tl.constexpr, GROUPS: tl.constexpr, COLUMNS: tl.constexpr):
    """Σ (digit - 1) q: a0 … a4 add up for the rows of each group."""
    g = tl.program_id(0) * GROUPS + tl.arange(0, GROUPS)
    token = tl.program_id(1)
    a0 = tl.zeros([GROUPS], tl.int32)
    a1 = tl.zeros([GROUPS], tl.int32)
    a2 = tl.zeros([GROUPS], tl.int32)
    a3 = tl.zeros([GROUPS], tl.int32)
    a4 = tl.zeros([GROUPS], tl.int32)
    for start in range(0, columns, COLUMNS):
        k = start + tl.arange(0, COLUMNS)
        inside = k < columns
        b = tl.load(held + g[:, None] * columns + k[None, :], mask=(g[:, None] < groups) & inside[None, :], other=0).to(tl.int32)
        x = tl.load(q + token * columns + k, mask=inside, other=0).to(tl.int32)[None, :]  # 0 beyond the end: whatever the byte says counts nothing
        if ROWS == 4:
            a0 += tl.sum(((b & 3) - 1) * x, axis=1)
            a1 += tl.sum(((b >> 2 & 3) - 1) * x, axis=1)
            a2 += tl.sum(((b >> 4 & 3) - 1) * x, axis=1)
            a3 += tl.sum(((b >> 6 & 3) - 1) * x, axis=1)
        else:
            b = b * 3
            a0 += tl.sum(((b >> 8) - 1) * x, axis=1)
            b = (b & 255) * 3
            a1 += tl.sum(((b >> 8) - 1) * x, axis=1)
            b = (b & 255) * 3
            a2 += tl.sum(((b >> 8) - 1) * x, axis=1)
            b = (b & 255) * 3
            a3 += tl.sum(((b >> 8) - 1) * x, axis=1)
            b = (b & 255) * 3
            a4 += tl.sum(((b >> 8) - 1) * x, axis=1)
    row = exact + token * d_out + g * ROWS
    tl.store(row, a0, mask=g * ROWS < d_out)
    tl.store(row + 1, a1, mask=g * ROWS + 1 < d_out)
    tl.store(row + 2, a2, mask=g * ROWS + 2 < d_out)
    tl.store(row + 3, a3, mask=g * ROWS + 3 < d_out)
    if ROWS == 5:
        tl.store(row + 4, a4, mask=g * ROWS + 4 < d_out)


_KERNEL = None if triton is None else triton.jit(_product)


def why_not(device: torch.device | str) -> str | None:
    """Why the kernel does not run for weights on `device`, or None where it does: the device first, which no package mends."""
    if torch.device(device).type != "cuda" and not (triton is not None and triton.knobs.runtime.interpret):
        return f"the weights lie on {device}, and this kernel runs on CUDA devices"
    if triton is None:
        return "the package triton, which comes with torch for CUDA, is not installed"
    return None


def integers(W: Ternary, q: Int[Tensor, "n d_in"]) -> Int[Tensor, "n d_out"]:
    """q Tᵀ exactly, int32, for int8 activations from -127 to 127 on the device of W's bytes.

    Raises TypeError for a W that is not packed, ValueError for q of another width, type, range or device, LabError where the kernel does not run.
    """
    check_packed(W)
    if (reason := why_not(W.bytes.device)) is not None:
        raise LabError(reason)
    if not isinstance(q, Tensor) or q.dtype != torch.int8 or q.dim() != 2 or q.shape[1] != W.shape[1] or q.device != W.bytes.device:
        given = f"{q.dtype} {tuple(q.shape)} on {q.device}" if isinstance(q, Tensor) else f"a {type(q).__name__}"
        raise ValueError(f"q must be int8 (n, d_in={W.shape[1]}) on {W.bytes.device}; got {given}")
    if bool((q < -Q_MAX).any()):
        raise ValueError(f"q holds -128, and int8 activations lie between -{Q_MAX} and {Q_MAX}")
    return _sums(W, q)


def _sums(W: Ternary, q: Tensor) -> Tensor:
    """q Tᵀ, nothing checked: looking at a number of the GPU would make every product wait for it."""
    groups, columns = W.bytes.shape
    padded = torch.zeros(len(q), columns, dtype=torch.int8, device=q.device)
    padded[:, : q.shape[1]] = q
    exact = torch.empty(len(q), W.shape[0], dtype=torch.int32, device=q.device)
    if len(q):
        grid = (-(-groups // GROUPS), len(q))
        _KERNEL[grid](W.bytes.contiguous(), padded, exact, groups, columns, W.shape[0], ROWS=rows_a_byte(W.form), GROUPS=GROUPS, COLUMNS=COLUMNS)
    return exact


def multiply(W: Ternary, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
    """y = (q Tᵀ) · s γ in float32, x quantised to int8 token by token on the way; equal to `linear.BitLinear`'s. A token with nan or infinity gives nan.

    Raises TypeError for a W that is not packed, ValueError for an x of another width, on another device or no floats, LabError where the kernel does not run.
    """
    check_packed(W)
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() == 0 or x.shape[-1] != W.shape[1]:
        given = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
        raise ValueError(f"x must be floats (…, d_in={W.shape[1]}); got {given}")
    if (reason := why_not(W.bytes.device)) is not None:
        raise LabError(reason)
    if x.device != W.bytes.device:
        raise ValueError(f"x lies on {x.device} and the weights on {W.bytes.device}: bring them together")
    flat = x.detach().reshape(-1, W.shape[1]).float()
    q, s = int8_activations(flat)
    whole = q.isfinite().all(-1, keepdim=True) & s.isfinite()
    exact = _sums(W, torch.where(whole, q, 0).to(torch.int8)).float()
    y = exact * (torch.where(whole, s, torch.nan) * W.scale)
    return y.view(*x.shape[:-1], W.shape[0]).to(x.dtype)
