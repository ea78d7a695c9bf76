"""Many tensors as one: laid end to end, padded, cut into n equal parts, of which rank r owns part r.

    parameters   [ A A A A A | B B | C C C ]                    sizes 5, 2, 3; n = 4 ranks: parts of ⌈10 / 4⌉ = 3
    flat         [ A A A | A A B | B C C | C 0 0 ]              rank 1 owns the end of A and the start of B; the last part is padded
    pieces       rank 1: A[3:5], B[0:1]                         views of its part, and all that its optimizer knows

One collective moves a whole flat buffer, however many tensors lie in it, and every rank has the same amount of work. The optimizer gets pieces and no bare
part because AdamW is told per tensor whether there is a gradient and a decay.

Production: FSDP's flat parameters, DeepSpeed's contiguous buffers, DDP's buckets.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from llmsuite_lab.core.errors import LabError

BUCKET_BYTES = 25 * 2**20  # torch DDP's: large enough that a collective's start-up costs little, small enough that the first starts early

all_gather = getattr(dist, "all_gather_single", None) or getattr(dist, "all_gather_into_tensor", None)  # torch 2.13's name; it warns of the old one
reduce_scatter = getattr(dist, "reduce_scatter_single", None) or getattr(dist, "reduce_scatter_tensor", None)


def world() -> tuple[int, int]:
    """(rank, number of ranks) of this process. Raises LabError outside a process group."""
    if not dist.is_initialized():
        raise LabError("this process belongs to no group: call it inside a function that `launch.ranks` runs, or within `launch.process_group()`")
    return dist.get_rank(), dist.get_world_size()


def local_rows(batch: Tensor) -> Tensor:
    """This rank's rows of a global batch: every n-th, from its own number on. Where n does not divide, the first ranks have one more; none is lost.

    The mean of the ranks' losses is then no longer the mean over the rows: scale the local sum by n / (rows in all), as `local_loss` does.
    """
    rank, n = world()
    return batch[rank::n]


def local_loss(total: Tensor, count: float) -> Tensor:
    """n · total / count: this rank's sum of the loss, scaled so that the mean over n ranks is the mean over all `count` terms of the global batch."""
    if not count > 0:
        raise ValueError(f"count={count}, but the global batch must hold a term to average over")
    return total * (world()[1] / count)


class Layout:
    """Where each parameter lies in the flat buffer, and which part of the buffer each rank owns. All have one dtype and one device."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.rank, self.n = world()
        self.parameters = list(parameters)
        if len({(p.dtype, p.device, p.requires_grad) for p in self.parameters}) != 1:
            raise ValueError("a flat buffer needs at least one parameter, all of one dtype, on one device, and all trained or none: use `layouts`")
        self.shapes = [p.shape for p in self.parameters]
        ends = torch.tensor([p.numel() for p in self.parameters]).cumsum(0).tolist()
        self.spans = list(zip([0, *ends[:-1]], ends, strict=True))
        self.part = -(-ends[-1] // self.n)  # elements that a rank owns, padding included

    def buffer(self, parts: int | None = None) -> Tensor:
        """A new flat buffer of zeros: all n parts, or as many as asked for."""
        return self.parameters[0].new_zeros(self.part * (self.n if parts is None else parts), requires_grad=False)

    def views(self, flat: Tensor) -> list[Tensor]:
        """The parameters' places in a full buffer, in their own shapes."""
        return [flat[a:b].view(shape) for (a, b), shape in zip(self.spans, self.shapes, strict=True)]

    def own(self, flat: Tensor) -> Tensor:
        """This rank's part of a full buffer, as a view."""
        return flat[self.rank * self.part : (self.rank + 1) * self.part]

    def pieces(self, part: Tensor) -> dict[nn.Parameter, Tensor]:
        """What of each parameter lies in this rank's part: flat views of `part`; a parameter that lies elsewhere is missing."""
        low = self.rank * self.part
        inside = [(p, max(a - low, 0), min(b - low, self.part)) for p, (a, b) in zip(self.parameters, self.spans, strict=True)]
        return {p: part[a:b] for p, a, b in inside if a < b}

    def starts(self) -> dict[nn.Parameter, int]:
        """At which of a parameter's own elements this rank's piece of it begins."""
        return {p: max(self.rank * self.part - a, 0) for p, (a, _) in zip(self.parameters, self.spans, strict=True)}


def layouts(parameters: Iterable[nn.Parameter], limit_bytes: float = float("inf")) -> list[Layout]:
    """The parameters in their order as layouts of at most `limit_bytes` each (one parameter may be larger), sorted by dtype, device and being trained."""
    if not limit_bytes > 0:
        raise ValueError(f"limit_bytes={limit_bytes} must be above 0: a bucket that holds nothing never fills")
    kinds: dict[Any, list[list[nn.Parameter]]] = {}
    for p in parameters:
        runs = kinds.setdefault((p.dtype, p.device, p.requires_grad), [[]])
        if runs[-1] and sum(q.nbytes for q in runs[-1]) + p.nbytes > limit_bytes:
            runs.append([])
        runs[-1].append(p)
    return [Layout(run) for runs in kinds.values() for run in runs]


@torch.no_grad()
def same_start(model: nn.Module) -> None:
    """Every rank gets rank 0's parameters and buffers. Raises ValueError for a model in which nothing is trained."""
    world()
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("no parameter requires a gradient, so there is nothing to train")
    for tensor in (*model.parameters(), *model.buffers()):
        dist.broadcast(tensor.detach(), src=0)


def used_anywhere(parameters: Sequence[nn.Parameter], used: set[nn.Parameter]) -> set[nn.Parameter]:
    """Those that got a gradient on at least one rank: one byte a parameter travels. The others must not be decayed, nor age in the optimizer."""
    flags = torch.tensor([p in used for p in parameters], dtype=torch.uint8, device=parameters[0].device)
    dist.all_reduce(flags, op=dist.ReduceOp.MAX)
    return {p for p, flag in zip(parameters, flags.tolist(), strict=True) if flag}


@torch.no_grad()
def flat_parameters(flat: Iterable[Layout]) -> list[Tensor]:
    """Move each layout's parameters into a flat buffer of their own: they become views of it, with their values."""
    buffers = []
    for layout in flat:
        buffers.append(values := layout.buffer())
        for p, view in zip(layout.parameters, layout.views(values), strict=True):
            view.copy_(p)
            p.data = view
    return buffers


@torch.no_grad()
def gather(layout: Layout, values: Tensor, part: Tensor) -> None:
    """Give a freed flat buffer its memory again, filled from all ranks' parts, and make the parameters views of it. One that is in memory is left alone."""
    if values.untyped_storage().nbytes() == 0:
        values.untyped_storage().resize_(values.numel() * values.element_size())
        all_gather(values, part)
        for p, view in zip(layout.parameters, layout.views(values), strict=True):
            p.data = view


def free(layout: Layout, values: Tensor) -> None:
    """Give the flat buffer's memory back; its parameters are empty until `gather`."""
    for p in layout.parameters:
        p.data = p.data.new_empty(0)  # a read by mistake is a wrong shape, not freed memory
    values.untyped_storage().resize_(0)


@torch.no_grad()
def move_gradient(p: nn.Parameter, layout: Layout, j: int, full: Tensor | None) -> Tensor:
    """Add p.grad, the layout's j-th, to the layout's full gradient (made now if there is none) and free it."""
    full = layout.buffer() if full is None else full
    layout.views(full)[j].add_(p.grad)
    p.grad = None
    return full


def outer_blocks(model: nn.Module) -> list[nn.Module]:
    """The members of the model's ModuleLists, without those inside another's member: a transformer's blocks."""
    blocks: list[nn.Module] = []
    inside: set[nn.Module] = set()
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and module not in inside:
            blocks += list(module)
            inside |= {part for block in module for part in block.modules()}
    return blocks


def by_block(model: nn.Module, blocks: Sequence[nn.Module]) -> tuple[list[Layout], list[list[int]]]:
    """All parameters as layouts, and for each block the numbers of its own; last, those of what is no block's own: outside of all, or in several."""
    owners: dict[nn.Parameter, set[int]] = {p: set() for p in model.parameters()}
    for k, block in enumerate(blocks):
        for p in block.parameters():
            owners[p].add(k)
    home = {p: min(ks) if len(ks) == 1 else len(blocks) for p, ks in owners.items()}
    flat: list[Layout] = []
    units = []
    for k in range(len(blocks) + 1):
        own = layouts(p for p in owners if home[p] == k)
        units.append(list(range(len(flat), len(flat) + len(own))))
        flat += own
    return flat, units
