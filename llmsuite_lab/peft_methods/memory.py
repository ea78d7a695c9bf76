"""Where the memory of a training goes, measured on one real pass: what is frozen has weights and activations, but nothing else.

    weights       every parameter and buffer, in the dtype it computes in
    masters       float32 copies of what is trained in fewer bits
    gradients     one a trained parameter
    moments       AdamW's m and v, two float32 numbers a trained parameter
    activations   what the forward pass keeps for the backward pass, each piece of memory once

Full tuning in bfloat16 so holds 2 + 4 + 2 + 8 = 16 bytes a parameter before any activation; LoRA 2, and 16 for each of its few. Activations are another
matter: the gradient still has to pass through the frozen layers. Sources: Rajbhandari et al. 2020, section 3; `torch.autograd.graph.saved_tensors_hooks`.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from llmsuite_lab.lm.batching import Batch
from llmsuite_lab.lm.memory import Kept, held
from llmsuite_lab.lm.supervised import supervised_loss
from llmsuite_lab.lm.training import computing_in
from llmsuite_lab.transformer.evaluating import training
from llmsuite_lab.transformer.optimizer import AdamW


@dataclass(frozen=True)
class Counts:
    """Parameters, each once however many names it has: trained, and in total."""

    trained: int
    total: int

    @property
    def share(self) -> float:
        """Trained of total."""
        return self.trained / self.total


@dataclass(frozen=True)
class Bytes:
    """Bytes by kind."""

    weights: int
    masters: int
    gradients: int
    moments: int
    activations: int

    @property
    def total(self) -> int:
        """All kinds together."""
        return sum(asdict(self).values())

    @property
    def optimizer(self) -> int:
        """Masters and moments: what the optimizer holds."""
        return self.masters + self.moments


def count(model: nn.Module) -> Counts:
    """How many parameters are trained, of how many. Raises ValueError for a model without any."""
    numbers = [(p.numel(), p.requires_grad) for p in model.parameters()]
    if not numbers:
        raise ValueError(f"{type(model).__name__} has no parameters to count")
    return Counts(sum(n for n, trained in numbers if trained), sum(n for n, _ in numbers))


def measure(
    model: nn.Module,
    batch: Batch,
    dtype: torch.dtype | None = None,
    loss_fn: Callable[[nn.Module, Any], tuple[Tensor, int]] = supervised_loss,
) -> Bytes:
    """Bytes by kind of one step of `fit` on this batch, on any device; the model comes back bit for bit as it was.

    dtype: what the model computes in, as in `fit`; None leaves it. Weights that `fit` would have to keep aside in another dtype are not counted: load
    the model in the one it is trained in. Raises ValueError where nothing is trained.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ValueError("no parameter requires a gradient, so a training would hold nothing but weights: prepare the model with a method first")
    before = {p: p.detach().clone() for p in trained}
    try:
        with training(model), computing_in(model, dtype) as masters:
            optimizer = AdamW(trained, lr=0.0, weight_decay=0.0, masters=masters)
            tensors = (*model.parameters(), *model.buffers())
            weights = held(tensors)
            activations = Kept(tensors)
            with activations.counting():
                loss, _ = loss_fn(model, batch)
            loss.backward()
            gradients = held(p.grad for p in trained if p.grad is not None)
            optimizer.step()
            moments = held(t for state in optimizer.state.values() for t in (state["m"], state["v"]))
            copies = held(m for p, m in zip(optimizer.parameters, optimizer.masters, strict=True) if m is not p)
    finally:
        for p, value in before.items():
            p.grad = None
            p.data.copy_(value)  # a step at rate 0 turns -0.0 into 0.0
    return Bytes(weights, copies, gradients, moments, activations.bytes)
