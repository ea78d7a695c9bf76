"""The C++ kernel of `ternary.cpp` behind ctypes: AVX-512 VNNI, AVX2 or plain C++, chosen when it is loaded, on several threads.

    exact[b, i] = Σ_k T[i, k] q[b, k]        y = exact · (s_b γ)

Generating one token reads every weight once, so its time is that of the memory: a sixteenth or a twentieth of float32's bytes. Meant for a matrix
times one vector or a few; prompts of many tokens are right too, but there a library's matrix product is the better tool.
"""

import ctypes
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmsuite_lab.bitnet.packing import Ternary, check_packed, rows_a_byte
from llmsuite_lab.bitnet.quantize import EPSILON, Q_MAX
from llmsuite_lab.core.errors import LabError, unknown, whole
from llmsuite_lab.core.forks import compute_safely
from llmsuite_lab.core.native import load
from llmsuite_lab.transformer.step_engine import HEADER, PATHS

SOURCE = Path(__file__).with_name("ternary.cpp")
HEADERS = (SOURCE.with_suffix(".h"), SOURCE.with_name("rounding.h"), HEADER)
MOST_THREADS = 1024


@lru_cache
def library() -> ctypes.CDLL:
    """The compiled kernel. Raises LabError where it cannot be had, with the reason."""
    found = load(SOURCE, *HEADERS)
    p, n, i, f = ctypes.c_void_p, ctypes.c_longlong, ctypes.c_int, ctypes.c_float
    found.ternary_multiply.argtypes = [p, p, f, p, n, n, n, n, f, i, i, i]
    found.ternary_integers.argtypes = [p, p, p, n, n, n, i, i, i]
    found.ternary_multiply.restype = found.ternary_integers.restype = None
    return found


def paths() -> list[str]:
    """What this processor can run, slowest first: "portable", then "avx2" and "vnni" where it has them. Raises LabError as `library`."""
    best = library().ternary_best()
    return [name for name, number in PATHS.items() if number <= best]


def multiply(W: Ternary, x: Float[Tensor, "*batch d_in"], path: str | None = None, threads: int | None = None) -> Float[Tensor, "*batch d_out"]:
    """y = (q Tᵀ) · s γ in float32, x quantised to int8 token by token on the way; equal to `linear.BitLinear`'s to the bit.

    Args:
        x: floats on the CPU, after the norm. A token with nan or infinity gives nan.
        path: one of `paths()`; by default the fastest instructions there are.
        threads: by default torch's. Any number gives the same integers.

    Raises:
        TypeError: a W that is not packed. ValueError: x of another width, type or device; a path that is not here; threads below 1. LabError: as `library`.
    """
    check_packed(W)
    number, threads = _path(path), _threads(threads)
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.device.type != "cpu" or x.dim() == 0 or x.shape[-1] != W.shape[1]:
        raise ValueError(f"x must be floats (…, d_in={W.shape[1]}) on the CPU; got {_what(x)}")
    d_out, d_in = W.shape
    flat = x.detach().reshape(-1, d_in).float().contiguous()
    packed, y = _bytes(W), torch.empty(len(flat), d_out)
    sizes, rows = (d_out, d_in, packed.shape[1], len(flat)), rows_a_byte(W.form)
    library().ternary_multiply(packed.data_ptr(), flat.data_ptr(), W.scale, y.data_ptr(), *sizes, EPSILON, rows, number, threads)
    return y.view(*x.shape[:-1], d_out).to(x.dtype)


def integers(W: Ternary, q: Int[Tensor, "n d_in"], path: str | None = None, threads: int | None = None) -> Int[Tensor, "n d_out"]:
    """q Tᵀ exactly, int32, for int8 activations from -127 to 127: what the fuzz tests compare. Arguments and errors as `multiply`."""
    check_packed(W)
    number, threads = _path(path), _threads(threads)
    if not isinstance(q, Tensor) or q.dtype != torch.int8 or q.dim() != 2 or q.shape[1] != W.shape[1] or q.device.type != "cpu":
        raise ValueError(f"q must be int8 (n, d_in={W.shape[1]}) on the CPU; got {_what(q)}")
    if bool((q < -Q_MAX).any()):
        raise ValueError(f"q holds -128, and int8 activations lie between -{Q_MAX} and {Q_MAX}")
    padded = torch.zeros(len(q), W.bytes.shape[1], dtype=torch.int8)
    padded[:, : q.shape[1]] = q
    exact = torch.empty(len(q), W.shape[0], dtype=torch.int32)
    packed, sizes = _bytes(W), (W.shape[0], W.bytes.shape[1], len(q))
    library().ternary_integers(packed.data_ptr(), padded.data_ptr(), exact.data_ptr(), *sizes, rows_a_byte(W.form), number, threads)
    return exact


def _bytes(W: Ternary) -> Tensor:
    if W.bytes.device.type != "cpu":
        raise ValueError(f"the packed weights lie on {W.bytes.device}, and this kernel runs on the CPU")
    return W.bytes.contiguous()


def _path(path: str | None) -> int:
    here = paths()
    if path is None:
        return PATHS[here[-1]]
    if path not in here:
        raise ValueError(unknown("path", path, here) if path not in PATHS else f"path={path!r}: this processor has {', '.join(here)} only")
    return PATHS[path]


def _threads(threads: int | None) -> int:
    compute_safely()
    if threads is None:
        return torch.get_num_threads()
    whole("threads", threads, 1, MOST_THREADS)
    return int(threads)


def _what(value: object) -> str:
    return f"{value.dtype} {tuple(value.shape)} on {value.device}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def why_not() -> str | None:
    """Why the kernel does not run here, or None where it does with vector instructions: without them torch's product is faster."""
    try:
        return None if paths()[-1] != "portable" else "this processor has neither AVX2 nor AVX-512"
    except LabError as error:
        return str(error)
