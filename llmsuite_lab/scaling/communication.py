"""What travels: bytes of every collective of a step, counted as they are called, ours and the libraries' alike.

    with Traffic() as traffic:
        engine.backward(loss); engine.step()
    traffic.volume / weight_bytes(model)          2.0 for data parallel, ZeRO-1 and -2; 3.0 for ZeRO-3's blocks

The **logical** volume is what the ZeRO paper counts: the bytes of the whole tensor for an all-gather or a reduce-scatter, twice that for an all-reduce (one
after the other). A ring sends (n-1)/n of it from each rank; the paper leaves this factor out, and so do we. What really leaves the process is another number
(`wire`): gloo, the library for CPUs, has no reduce-scatter that is cheaper than its all-reduce, so sharding everything costs 4Ψ on its wire where NCCL
sends 3Ψ. Counted is what torch dispatches to `c10d`, which DDP's reducer and FSDP go through as well.

Source: Rajbhandari et al. 2020, section 7. Production: `torch.distributed.tensor.debug.CommDebugMode` (counts calls), the NCCL and torch profilers.
"""

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from llmsuite_lab.core.errors import LabError, whole

_NAMES = {
    "allreduce_": "all-reduce",
    "allreduce_coalesced_": "all-reduce",
    "_allgather_base_": "all-gather",
    "allgather_": "all-gather",
    "allgather_coalesced_": "all-gather",
    "allgather_into_tensor_coalesced_": "all-gather",
    "_reduce_scatter_base_": "reduce-scatter",
    "reduce_scatter_": "reduce-scatter",
    "reduce_scatter_tensor_coalesced_": "reduce-scatter",
    "broadcast_": "broadcast",
    "reduce_": "reduce",
    "gather_": "gather",
    "scatter_": "scatter",
    "alltoall_": "all-to-all",
    "alltoall_base_": "all-to-all",
    "send": "send",
    "recv_": "receive",
}
TIMES = {"all-reduce": 2}  # a reduce-scatter, then an all-gather; every other collective moves the whole tensor once


class Traffic(TorchDispatchMode):
    """Within `with Traffic() as traffic:` counts this rank's collectives: `calls` and logical `bytes` by name, `volume` in all."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    @property
    def volume(self) -> int:
        """Logical bytes of all collectives together."""
        return sum(self.bytes.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            written = func._schema.name.partition("::")[2]
            if (name := _NAMES.get(written)) is not None:
                # output and input come first, in either order: the larger of the two is the whole tensor
                whole_bytes = max((sum(t.nbytes for t in tree_leaves(a) if isinstance(t, Tensor)) for a in args[:2]), default=0)
                self.calls[name] += 1
                self.bytes[name] += TIMES.get(name, 1) * whole_bytes
        return func(*args, **(kwargs or {}))


def weight_bytes(model: nn.Module, element: int | None = None) -> int:
    """Ψ in bytes: the trained parameters, each once, of `element` bytes (default: their own). Raises ValueError where nothing is trained."""
    if element is not None:
        whole("element", element, 1, 16)
    total = sum(p.numel() * (p.element_size() if element is None else element) for p in model.parameters() if p.requires_grad)
    if not total:
        raise ValueError("no parameter requires a gradient (or, in ZeRO-3, none is in full: ask before the engine is made), so nothing travels")
    return total


def expected_volume(blocks: int, root: int = 0, *, stage: int, micro_batches: int = 1) -> int:
    """Elements that a step moves by the formulas of the stages, for a model of `blocks` parameters inside its blocks and `root` outside.

    Stage 0 (gradients travel once a step, under `no_sync`) and 1: 2Ψ. Stage 2: Ψ for each micro-batch, and Ψ for the new parameters. Stage 3: for each
    micro-batch, three times the blocks and twice the root, which stays gathered from forward to backward.
    """
    whole("stage", stage, 0, 3)
    whole("micro_batches", micro_batches, 1, 10**6)
    whole("blocks", blocks, 0, 10**15)
    whole("root", root, 0, 10**15)
    if stage < 2:
        return 2 * (blocks + root)
    return (micro_batches + 1) * (blocks + root) if stage == 2 else micro_batches * (3 * blocks + 2 * root)


@contextmanager
def wire() -> Iterator[list[int]]:
    """Yields a list that holds, once the block has ended, the bytes that this process wrote in it: what a rank put on gloo's sockets, and what it printed.

    Raises LabError where the system does not count them (it does on Linux).
    """
    count: list[int] = []
    before = wire_bytes()
    yield count
    count.append(wire_bytes() - before)


def wire_bytes() -> int:
    """Bytes that this process has written since it began, sockets included. Raises LabError where the system does not count them."""
    try:
        lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("wchar")).split()[1])
    except (OSError, StopIteration, ValueError) as error:
        raise LabError("this system does not count what a process writes (/proc/self/io, Linux): use Traffic, which counts logical bytes") from error


def ring_bytes(volume: float, ranks: int) -> float:
    """What each rank sends of a logical volume when the collectives go around a ring: (n-1)/n of it."""
    whole("ranks", ranks, 1, 10**6)
    if not 0 <= volume < math.inf:
        raise ValueError(f"volume={volume} must be 0 or more, and finite")
    return volume * (ranks - 1) / ranks


def gradients_are_equal(model: nn.Module) -> bool:
    """Whether all ranks hold the same gradients: False is N independent trainings, whatever the launcher was told. Ask after backward, before the step.

    Two `accelerate` configurations train like that, or as plain DDP, without a word: look also at `measuring.states_held`, which shows what is shared out.
    """
    import torch.distributed as dist

    from llmsuite_lab.scaling.layout import world

    world()
    sums = [p.grad.double().abs().sum() for p in model.parameters() if p.grad is not None]
    if not sums:
        raise ValueError("no parameter has a gradient: call it after a backward pass and before the gradients are dropped")
    mine = torch.stack([torch.stack(sums).sum(), -torch.stack(sums).sum()])
    dist.all_reduce(mine, op=dist.ReduceOp.MAX)
    return bool(mine[0] == -mine[1])
