"""One equation, two ways to compute it: written out in this package, or by torch's fused kernel for the same equation.

Every part of this package is a function that states its equation and computes it step by step. torch ships kernels that do the same arithmetic in one
pass over memory. Models use the kernels, because training on two cores must not wait; `written_out()` makes the same model run on the equations alone:

    with written_out():
        logits = model(ids)          # every softmax, norm and attention is the code you can read

The tests hold both ways equal, outputs and gradients, so reading the slow one teaches you what the fast one does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_FUSED: ContextVar[bool] = ContextVar("llmsuite_lab_fused_kernels", default=True)


def fused() -> bool:
    """True while modules may call torch's fused kernels (the default), False inside `written_out()`."""
    return _FUSED.get()


@contextmanager
def written_out() -> Iterator[None]:
    """Within this block every module of the package computes its written-out equation instead of calling torch's kernel for it."""
    token = _FUSED.set(False)
    try:
        yield
    finally:
        _FUSED.reset(token)
