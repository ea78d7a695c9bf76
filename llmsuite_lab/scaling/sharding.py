"""What the three stages of ZeRO share: each rank has an optimizer for its pieces of the parameters, and a step that ends with all of them updated.

    stage 1   parameters and gradients in full        optimizer state in parts
    stage 2   parameters in full                      gradients and optimizer state in parts
    stage 3   nothing in full                         parameters, too, in parts: a block's are gathered while it works

A stage is a choice of what a rank keeps in full between two collectives; `layout` says what a part is.

Source: Rajbhandari et al. 2020, "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", section 5.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from llmsuite_lab.scaling.layout import Layout, all_gather, reduce_scatter, used_anywhere


class Sharded:
    """What the stages share: pieces, an optimizer over them, and the step. `backward(loss)` once a micro-batch, then `step()`."""

    def __init__(
        self,
        model: nn.Module,
        make_optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer],
        groups: Iterable[dict[str, Any]] | None,
        flat: Sequence[Layout],
        shards: Sequence[Tensor],
    ) -> None:
        self.model, self.layouts, self.shards = model, list(flat), list(shards)
        self.trained = [p for layout in flat for p in layout.parameters if p.requires_grad]
        pieces = {p: nn.Parameter(piece) for layout, shard in zip(flat, shards, strict=True) for p, piece in layout.pieces(shard).items() if p.requires_grad}
        given = [{"params": self.trained}] if groups is None else [{**g, "params": list(g["params"])} for g in groups]
        if {id(p) for g in given for p in g["params"]} != {id(p) for p in self.trained}:
            raise ValueError("groups must hold each trained parameter of the model, and no other")
        self.pieces = pieces
        self.optimizer = make_optimizer([{**g, "params": [pieces[p] for p in g["params"] if p in pieces]} for g in given])
        self.gradients: list[Tensor | None] = [None] * len(flat)  # this rank's part of the mean gradient, a layout each
        self.used: set[nn.Parameter] = set()

    def backward(self, loss: Tensor) -> None:
        """loss.backward(), after which the gradients lie where the stage keeps them."""
        raise NotImplementedError

    def reduce(self) -> None:
        """Bring this rank's part of the mean gradient into `gradients`, where the stage has not done so during `backward`."""

    def publish(self) -> None:
        """Bring the updated parts to all ranks, where the stage keeps parameters in full."""

    @torch.no_grad()
    def step(self, clip: float | None = None) -> float:
        """Update this rank's pieces from the mean gradient of all ranks (clipped to a global norm of `clip`); returns that norm before clipping."""
        if clip is not None and not clip > 0:
            raise ValueError(f"clip={clip} must be above zero, or None to leave gradients as they are")
        self.reduce()
        anywhere = used_anywhere(self.trained, self.used)
        squares = torch.zeros((), dtype=torch.float64)
        for layout, part in zip(self.layouts, self.gradients, strict=True):
            for p, gradient in layout.pieces(part).items() if part is not None else ():
                self.pieces[p].grad = gradient if p in anywhere else None
                squares += gradient.to(torch.float64, copy=True).square_().sum().cpu()
        squares = squares.to(self.trained[0].device)
        dist.all_reduce(squares)  # a piece's norm is no parameter's: only the sum over all ranks is the gradient's
        norm = float(squares.sqrt())
        if clip is not None and norm > clip:
            for piece in self.pieces.values():
                if piece.grad is not None:
                    piece.grad.mul_(clip / (norm + 1e-6))
        self.optimizer.step()
        self.forget()  # before anything is gathered, which takes memory
        self.publish()
        return norm

    def forget(self) -> None:
        """Drop all gradients."""
        self.optimizer.zero_grad(set_to_none=True)
        self.gradients = [None] * len(self.layouts)
        self.used.clear()

    @torch.no_grad()
    def full(self, parts: Sequence[Tensor | None]) -> dict[str, Tensor]:
        """Put the ranks' parts together: {name: whole tensor} on every rank. `shards` gives the parameters, `gradients` the mean gradients."""
        names, found = {p: name for name, p in self.model.named_parameters()}, {}
        for layout, part in zip(self.layouts, parts, strict=True):
            if part is not None:
                flat = layout.buffer()
                all_gather(flat, part.contiguous().clone())
                found |= {names[p]: view for p, view in zip(layout.parameters, layout.views(flat), strict=True)}
        return found


class Scatter:
    """Reduce-scatters on their way: `send` a full gradient, and its mean's own part ends up in `gradients`, added to what is there."""

    def __init__(self, engine: Sharded, at_once: int = 1) -> None:
        self.engine, self.at_once = engine, at_once
        self.running: list[tuple[int, Any, Tensor, Tensor]] = []

    def send(self, i: int, full: Tensor | None) -> None:
        """Start layout i's reduce-scatter; None: this rank has nothing to add. At most `at_once` full gradients are in memory."""
        layout = self.engine.layouts[i]
        full, part = layout.buffer() if full is None else full, layout.buffer(parts=1)
        self.running.append((i, reduce_scatter(part, full, async_op=True), part, full))
        while len(self.running) > self.at_once:
            self.receive()

    @torch.no_grad()
    def receive(self) -> None:
        """Wait for the oldest and add its part; its full gradient is freed."""
        i, work, part, _ = self.running.pop(0)
        work.wait()
        part.div_(self.engine.layouts[i].n)
        known = self.engine.gradients[i]
        self.engine.gradients[i] = part if known is None else known.add_(part)
