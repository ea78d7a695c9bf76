"""After a fork: the child has one thread, the locks as they stood, and an OpenMP pool whose threads are gone.

A product of two large matrices would wait for those threads for ever. So a forked child computes on one thread: right, only slower, and said once.
Where that matters, start processes with `spawn` or `torchrun`.
"""

import os
import threading
import warnings

_forked = False


class ForkSafeLock:
    """A lock, re-entrant, that a child process finds open whatever another thread was doing when it was forked."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def compute_safely() -> None:
    """Call before the first large product: in a forked child it sets torch to one thread, with one warning. Costs nothing elsewhere."""
    global _forked
    if not _forked:
        return
    import torch

    _forked = False
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)
        warnings.warn(
            "this process was forked from one that had used torch: it computes on one thread, since OpenMP's do not survive a fork. "
            "Start it with the spawn method to have them all.",
            stacklevel=3,
        )


def _after_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
