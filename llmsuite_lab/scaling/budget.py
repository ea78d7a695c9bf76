"""A byte budget for each rank: a training that would hold more is stopped by a clear error, as a full GPU would stop it.

    with byte_budget(4_000_000) as account:
        engine.backward(loss); engine.step()          OverBudget at the operation that would hold more
    account.peak                                      the most that was held at once

On a CPU the bytes are counted: after each operation, the storages that its tensors lie in and that still live, each once and with what it holds *now* (a
gathered block that was freed holds nothing). What an operation takes and gives back by itself, such as gloo's copies inside a gather, is not seen. On a GPU
the allocator itself gets the limit.

Production: `torch.cuda.set_per_process_memory_fraction`, which is what a GPU gets here; `torch.distributed._tools.mem_tracker` counts on any device.
"""

import math
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from llmsuite_lab.core.errors import LabError

_REMEDY = "share the states out (zero1 to zero3, torch-fsdp), use more ranks, give each rank fewer rows, or recompute activations (`recomputed`)"


class OverBudget(LabError):
    """A rank would hold more bytes than its budget allows."""


class Account(TorchDispatchMode):
    """Counts the bytes of the storages that operations touch, while they live: `held` now, `peak` so far. Raises OverBudget above `limit`."""

    def __init__(self, limit: float = math.inf) -> None:
        super().__init__()
        self.limit, self.held, self.peak = limit, 0, 0
        self._known: dict[int, tuple[weakref.ref, int]] = {}  # by the storage's own place; its bytes when last looked at

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for t in tree_leaves((args, kwargs, result)):
            if isinstance(t, Tensor):
                t = getattr(t, "_local_tensor", t)  # a sharded tensor of torch's holds this rank's part
                if t.device.type != "meta":
                    self._look_at(t.untyped_storage())
        if self.held > self.peak:
            for reference, _ in list(self._known.values()):  # a storage may have been emptied since, which no operation tells
                if (storage := reference()) is not None:
                    self._look_at(storage)
            self.peak = max(self.peak, self.held)
        if self.held > self.limit:
            what = func._schema.name.partition("::")[2].strip("_")
            raise OverBudget(f"this rank holds {self.held:,} bytes after `{what}`, over its budget of {self.limit:,.0f}: {_REMEDY}")
        return result

    def _look_at(self, storage: torch.UntypedStorage) -> None:
        place, now = storage._cdata, storage.nbytes()
        reference, before = self._known.get(place, (None, 0))
        if reference is None:
            reference = weakref.ref(storage, lambda _: self._gone(place))
        self._known[place] = reference, now
        self.held += now - before

    def _gone(self, place: int) -> None:
        self.held -= self._known.pop(place)[1]


class _Allocator:
    """The same two numbers, from a GPU's allocator."""

    @property
    def held(self) -> int:
        return torch.cuda.memory_allocated()

    @property
    def peak(self) -> int:
        return torch.cuda.max_memory_allocated()


@contextmanager
def byte_budget(limit_bytes: float = math.inf) -> Iterator[Any]:
    """Within this block this rank may hold `limit_bytes` at once (infinity: no limit, only the account); yields what has `held` and `peak` in bytes.

    On a CPU counted by operation, on a GPU kept by the allocator, for the whole process until the block ends. Raises OverBudget, ValueError for a limit
    that is not above 0.
    """
    if not limit_bytes > 0:
        raise ValueError(f"limit_bytes={limit_bytes} must be above 0: nothing trains in no memory")
    if not torch.cuda.is_available():
        with Account(limit_bytes) as account:
            yield account
        return
    whole = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / whole))
    try:
        yield _Allocator()
    except torch.cuda.OutOfMemoryError as error:
        raise OverBudget(f"this rank's GPU allocator refused to go over {limit_bytes:,.0f} bytes: {_REMEDY}") from error
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
