"""What a rank really holds: bytes of parameters, gradients and optimizer state by storage, and the peak of torch's allocator while a step runs.

Sizes of tensors are no measure of memory: tied weights and views share a storage, and a gathered block that was freed is a tensor of its old size over
nothing. So each storage is counted once, by what it holds now. The peak comes from the profiler, which sees every allocation on the CPU; on a GPU
`torch.cuda.max_memory_allocated` tells it. The process's resident memory tells neither: it holds libraries, and what was freed but not given back.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from llmsuite_lab.core.errors import whole
from llmsuite_lab.lm.memory import held
from llmsuite_lab.scaling.layout import all_gather, world


def states_held(model: nn.Module, optimizer: torch.optim.Optimizer, engine: Any = None) -> tuple[int, int, int]:
    """(parameters, gradients, optimizer state) in bytes on this rank, now. `engine`: what trains the model, of `ddp`, `zero1`, `zero2` or `zero3`; without
    one the model's own parameters are all there is (torch's DDP, ZeroRedundancyOptimizer, FSDP2)."""
    own = [*model.parameters(), *getattr(engine, "shards", ()), *getattr(engine, "buffers", ())]
    gradients = [*(p.grad for p in model.parameters()), *getattr(engine, "gradients", ()), *getattr(engine, "sums", ())]
    known = {p.untyped_storage().data_ptr() for p in local(own)}
    optimizer = getattr(optimizer, "optim", optimizer)  # ZeroRedundancyOptimizer keeps this rank's in there
    state = [t for entry in optimizer.state.values() for t in entry.values() if isinstance(t, Tensor) and t.dim()]
    masters = [p for group in optimizer.param_groups for p in group["params"]]
    kept = [t for t in local([*masters, *state]) if t.untyped_storage().data_ptr() not in known]
    return held(local(own)), held(local(g for g in gradients if g is not None)), held(kept)


def local(tensors: Iterable[Tensor]) -> Iterator[Tensor]:
    """This rank's part of torch's sharded tensors; others as they are."""
    return (t.to_local() if hasattr(t, "to_local") else t for t in tensors)


def peak_bytes(work: Callable[[], Any]) -> int:
    """How far torch's allocation rises above its start while work() runs, in bytes, on this device. Costs about 10 ms and slows each operation down."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True)
    with _native_stderr_closed():  # some builds tell there that they start and stop
        profiler.start()
    try:
        work()
    finally:
        with _native_stderr_closed():
            profiler.stop()
    events = sorted((e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns())
    live = top = 0
    for event in events:
        live += event.nbytes()
        top = max(top, live)
    return top


def timed_collectives(sizes: Sequence[int], repeats: int = 7) -> list[tuple[int, int, float, int]]:
    """[(ranks, bytes, seconds, times)] for `cost.fit_link`: an all-gather (times 1) and an all-reduce (times 2) of each size, the median of `repeats` runs.

    Every rank calls it, and gets the slowest rank's times. Raises LabError outside a process group, ValueError for sizes that are no positive counts.
    """
    _, n = world()
    whole("repeats", repeats, 1, 10_000)
    for size in sizes:
        whole("size", size, 1, 2**34)
    samples = []
    for size in sizes:
        part = torch.zeros(-(-size // (4 * n)))
        flat = torch.zeros(len(part) * n)
        for times, call in ((1, lambda flat=flat, part=part: all_gather(flat, part)), (2, lambda flat=flat: dist.all_reduce(flat))):
            call()
            spent = []
            for _ in range(repeats):
                dist.barrier()
                began = time.perf_counter()
                call()
                spent.append(time.perf_counter() - began)
            slowest = torch.tensor(statistics.median(spent), dtype=torch.float64)
            dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
            samples.append((n, flat.nbytes, float(slowest), times))
    return samples


@contextmanager
def _native_stderr_closed() -> Iterator[None]:
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
