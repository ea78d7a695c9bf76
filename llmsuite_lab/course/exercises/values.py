"""Values as a check sees them: copied before a call, compared whatever type they come in, shown in a line.

Two floating values agree when |got - want| <= ATOL + RTOL |want|, both taken as float64: ten times what float32 loses in a sum of a few hundred
terms. Where whole numbers are wanted (Python's int, integer arrays) they have to be those, whatever type they come in.
"""

from collections.abc import Iterator, Mapping, MappingView, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
import torch

RTOL, ATOL = 1e-4, 1e-5
HALF_RTOL = 1e-2  # for results in float16 or bfloat16, which has eight bits
_WIDEST = 160  # characters of a value in a message
_FEW = 24  # entries of an array that are shown one by one


def cloned(value: Any) -> Any:
    """A copy that an answer may change: arrays, tensors, numpy generators and containers of them. Functions and other objects stay the same."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, np.random.Generator):
        bits = type(value.bit_generator)()
        bits.state = value.bit_generator.state
        return np.random.Generator(bits)
    if isinstance(value, dict):
        return {key: cloned(item) for key, item in value.items()}
    if type(value) in (list, tuple, set):
        return type(value)(cloned(item) for item in value)
    return value


def array(value: Any) -> np.ndarray | None:
    """`value` as an array of float64 or bool, whatever numbers it is made of; None when it is not made of numbers or is ragged."""
    if isinstance(value, torch.Tensor):
        if value.is_complex():
            return None
        value = value.detach().to("cpu").to_dense()
        return value.numpy() if value.dtype == torch.bool else value.double().numpy()
    if isinstance(value, list | tuple | range):
        parts = [array(item) for item in value]
        if any(part is None or part.shape != parts[0].shape or part.dtype != parts[0].dtype for part in parts):
            return None
        return np.stack(parts) if parts else np.zeros(0)
    if isinstance(value, Real | Decimal) and not isinstance(value, bool | np.generic):
        return np.array(float(value))  # fractions and integers of any size
    if not isinstance(value, bool | np.generic | np.ndarray):
        return None
    found = np.asarray(value)
    return found if found.dtype == bool else found.astype(np.float64) if found.dtype.kind in "iuf" else None


def agrees(got: Any, want: Any, rtol: float = RTOL, atol: float = ATOL) -> bool:
    """Whether `got` is the value `want`.

    Numbers, arrays and tensors of any numeric type agree by shape and value, booleans with booleans only; where one number is wanted, an array
    of one entry will do. A list or tuple agrees with any sequence of the same entries, those of a tuple each in its own form; a dictionary with one of
    the same keys, a set with a set.
    """
    if want is None:
        return got is None
    if isinstance(want, str):
        return isinstance(got, str) and got == want
    if isinstance(want, Mapping):
        return isinstance(got, Mapping) and set(got) == set(want) and all(agrees(got[key], want[key], rtol, atol) for key in want)
    if isinstance(want, set | frozenset):
        return isinstance(got, set | frozenset) and got == want
    right, found = array(want), array(got)
    if right is None or isinstance(want, tuple) or isinstance(want, list) and not len(want):
        if not isinstance(want, list | tuple):
            return type(got) is type(want) and bool(got == want)
        items = _items(got)
        return items is not None and len(items) == len(want) and all(agrees(g, w, rtol, atol) for g, w in zip(items, want))
    if found is None or (found.dtype == bool) != (right.dtype == bool):
        return False
    if right.shape == () and found.size == 1:
        found = found.reshape(())
    if getattr(getattr(got, "dtype", None), "itemsize", 0) == 2:
        rtol = max(rtol, HALF_RTOL)
    return found.shape == right.shape and bool(_near(found, right, want, rtol, atol).all())


def shown(value: Any) -> str:
    """`value` in one short line: numbers to five digits, long texts and lists cut, large arrays by their shape."""
    if isinstance(value, torch.Tensor | np.ndarray):
        few = np.prod(value.shape) <= _FEW
        return _cut(_rounded(value.tolist())) if few else f"an array of shape {tuple(value.shape)}"
    if isinstance(value, np.random.Generator):
        return "rng"
    return _cut(_rounded(value))


def call_text(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> str:
    """The call as a reader would write it, in one line."""
    given = [shown(arg) for arg in args] + [f"{name}={shown(arg)}" for name, arg in (kwargs or {}).items()]
    return f"{getattr(function, '__name__', 'answer')}({', '.join(given)})"


def difference(got: Any, want: Any, rtol: float = RTOL, atol: float = ATOL) -> str:
    """ "expected …, got …": for large arrays the first entry that differs, for others the values; what gives its values one by one is named."""
    if got is None and want is not None:
        return f"expected {shown(want)}, got None. (A path without a `return` gives None, too; a `print` gives nothing back.)"
    if isinstance(got, Iterator | MappingView) and _items(want) is not None:
        return f"expected {shown(want)}, got {shown(got)}, which is no list yet: put `list(…)` around it."
    right, found = array(want), array(got)
    if right is not None and found is not None and right.ndim and not (right.size == 0 == found.size):
        in_a_line = right.ndim == found.ndim == 1 or (isinstance(want, list | tuple) and isinstance(got, list | tuple))
        if found.shape != right.shape and not (in_a_line and max(right.size, found.size) <= _FEW):
            return f"expected the shape {right.shape}, got {found.shape}."
        if found.dtype != right.dtype:
            return "expected booleans, got numbers." if right.dtype == bool else "expected numbers, got booleans."
        if right.size > _FEW:
            off = np.argwhere(~_near(found, right, want, rtol, atol))
            place = tuple(int(i) for i in off[0])
            return (
                f"at {list(place)} expected {shown(right[place])}, got {shown(found[place])} ({len(off)} of {right.size} entries differ)."
            )
    kind = f" ({type(got).__name__})" if shown(got) == shown(want) else ""
    return f"expected {shown(want)}, got {shown(got)}{kind}."


def _items(value: Any) -> list | None:
    if isinstance(value, list | tuple | range):
        return list(value)
    return list(value) if isinstance(value, np.ndarray | torch.Tensor) and value.ndim else None


def _near(found: np.ndarray, right: np.ndarray, want: Any, rtol: float, atol: float) -> np.ndarray:
    return np.isclose(found, right, *((0, 0) if _whole(want) else (rtol, atol)), equal_nan=True)


def _whole(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return not value.is_floating_point()
    if isinstance(value, list | tuple):
        return all(map(_whole, value))
    return value.dtype.kind in "iub" if isinstance(value, np.ndarray | np.generic) else isinstance(value, int)


def _rounded(value: Any) -> str:
    if isinstance(value, torch.Tensor | np.ndarray):
        return shown(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_rounded, value)) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_rounded, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_rounded(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Real) and not isinstance(value, bool | int):
        return str(value)
    if value is None or isinstance(value, bool | int | str | bytes | complex | set | frozenset | range):
        return repr(value)
    if isinstance(value, Iterator):
        return f"a {type(value).__name__}"  # a generator bears its function's name
    return getattr(value, "__name__", f"a {type(value).__name__}")  # its repr may hold an address, which differs from run to run


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else text[: _WIDEST - 2] + " …"
