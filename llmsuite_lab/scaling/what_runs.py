"""What really trains: independent models, whole replicas, or something shared out. Asked of the ranks, not of the configuration.

    running = what_runs(model, optimizer)      after a step, in which every rank has read rows of its own
    running.name                               "2 independent models", "data parallel", "optimizer state shared out (ZeRO-1)", …
    running.must_share("parameters")           LabError if every rank holds them all

Two configurations of `accelerate` (1.15, on CPUs) are why this exists; neither says a word:

    Accelerator(cpu=True, fsdp_plugin=…)       runs plain DDP: every rank holds everything
    Accelerator(fsdp_plugin=…)                 without a GPU: N independent models, each on its own rows

Any library may do the like when a launcher's variable or a plugin's condition is missing, and the loss falls all the same. Memory and equality tell.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from llmsuite_lab.core.errors import LabError, unknown
from llmsuite_lab.scaling.layout import world
from llmsuite_lab.scaling.measuring import local

KINDS = ("parameters", "gradients", "optimizer")
_WHOLE = 0.75  # of a copy on the average rank: shared out over two or more it is a half or less


@dataclass(frozen=True)
class Running:
    """Shares of a whole copy on the average rank: 1 is a copy each, 1/n is shared out; gradients are None where none are held now."""

    ranks: int
    alike: bool  # whether all ranks hold the same parameters; True where each holds its own part
    parameters: float
    gradients: float | None
    optimizer: float

    @property
    def name(self) -> str:
        """What it is, in words."""
        if self.ranks == 1:
            return "one process"
        if not self.alike:
            return f"{self.ranks} independent models"
        if self.parameters < _WHOLE:
            return "everything shared out (ZeRO-3, FSDP)"
        if self.gradients is not None and self.gradients < _WHOLE:
            return "gradients and optimizer state shared out (ZeRO-2)"
        return "optimizer state shared out (ZeRO-1)" if self.optimizer < _WHOLE else "data parallel"

    def must_share(self, kind: str) -> None:
        """Raise LabError unless `kind` ("parameters", "gradients", "optimizer") is shared out over the ranks."""
        if kind not in KINDS:
            raise ValueError(unknown("kind", kind, list(KINDS)))
        share = getattr(self, kind)
        if not self.alike:
            raise LabError(f"nothing is shared out: these are {self.ranks} independent models, each trained on its own rows; no gradient travels")
        if share is None:
            raise LabError("no gradient is held now: ask after backward and before the gradients are dropped")
        if share >= _WHOLE:
            raise LabError(
                f"{kind} are not shared out: the average rank holds {share:.0%} of a whole copy where 1/{self.ranks} was meant; what runs is {self.name}"
            )


def what_runs(model: nn.Module, optimizer: Any, engine: Any = None) -> Running:
    """Look at what all ranks hold; every rank calls it, after a step. `engine`: of `zero1` to `zero3`, which keep their pieces beside the model.

    Takes DDP, ZeroRedundancyOptimizer, FSDP2, what `accelerate` has prepared, and ours. Raises LabError outside a process group, before any step, and for
    a model whose parameters are freed now (pass the engine).
    """
    _, n = world()
    inner = _inner(optimizer)
    moments = [list(local(v for v in entry.values() if isinstance(v, Tensor) and v.dim())) for entry in inner.state.values()]
    stateful = sum(max((t.numel() for t in entry), default=0) for entry in moments)
    if engine is None:
        parameters, gradients = list(model.parameters()), [p.grad for p in model.parameters()]
        full = {id(p): p.numel() for p in parameters}
    else:
        parameters, gradients = [*model.parameters(), *engine.shards, *getattr(engine, "buffers", ())], [*engine.gradients, *getattr(engine, "sums", ())]
        full = {id(p): shape.numel() for layout in engine.layouts for p, shape in zip(layout.parameters, layout.shapes, strict=True)}
    trained = sum(full[id(p)] for p in model.parameters() if p.requires_grad)
    if not trained:
        raise LabError("no trained parameter is in full here: pass the engine that has freed them (what_runs(model, optimizer, engine))")
    own, grad = _elements(local(parameters)), _elements(local(g for g in gradients if g is not None))
    device = next(local(model.parameters())).device
    sums = torch.tensor([own, grad, stateful], dtype=torch.float64, device=device)
    dist.all_reduce(sums)
    if not sums[2]:
        raise LabError("no rank's optimizer holds a state yet: ask after a step (and of an optimizer that keeps one, such as AdamW)")
    own_share, grad_share, state_share = (sums / n / torch.tensor([sum(full.values()), trained, trained], dtype=torch.float64, device=device)).tolist()
    alike = own_share < _WHOLE or n == 1 or _equal(list(local(model.parameters())))
    return Running(n, alike, own_share, grad_share or None, state_share)


def check_accelerate(model: nn.Module, optimizer: Any) -> None:
    """Raise LabError, on every rank, where what `accelerate` has prepared is not what it was told: independent models, or FSDP that shares nothing out."""
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        return  # DeepSpeed keeps its pieces in buffers of its own
    running = what_runs(model, optimizer)
    if running.ranks > 1 and (not running.alike or os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"):
        running.must_share("parameters")


def _inner(optimizer: Any) -> Any:
    """The optimizer that holds the states, inside accelerate's, DeepSpeed's or ZeroRedundancyOptimizer."""
    for name in ("optim", "optimizer"):
        if isinstance(inner := getattr(optimizer, name, None), torch.optim.Optimizer):
            return _inner(inner)
    return optimizer


def _elements(tensors: Iterable[Tensor]) -> int:
    """Elements behind tensors, each storage once, by what it holds now."""
    found = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() // t.element_size() for t in tensors}
    return sum(found.values())


def _equal(parameters: list[Tensor]) -> bool:
    """Whether all ranks hold the same values: replicas that were updated alike are equal to the last bit."""
    sums = torch.stack([t.detach().double().sum() for t in parameters] + [t.detach().double().square().sum() for t in parameters])
    both = torch.cat([sums, -sums])
    dist.all_reduce(both, op=dist.ReduceOp.MAX)
    return bool(torch.equal(both[: len(sums)], -both[len(sums) :]))
