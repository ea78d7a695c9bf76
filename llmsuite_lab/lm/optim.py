"""The optimiser side of training: a float32 master copy of every trainable parameter, AdamW on it, clipping, cosine with warm-up.

bfloat16 holds 8 significant bits, so an update below about 1/256 of a weight would be rounded away: w + Δw = w. The model therefore
computes with bfloat16 copies while AdamW (Loshchilov & Hutter 2019) moves float32 masters, whose rounding is written back after each step
("mixed precision", Micikevicius et al. 2018). In production: `accelerate`, `deepspeed` and FSDP's MixedPrecision keep the same pair.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def cosine_with_warmup(step: int, steps: int, warmup: int, peak: float, floor: float = 0.0) -> float:
    """Learning rate of step 0 … steps−1: a straight line up to `peak` over `warmup` steps, then half a cosine down to `floor`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return floor + (peak - floor) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


class MasterAdamW:
    """AdamW on float32 masters of `parameters`; the parameters themselves are what the model computes with.

    A parameter that is float32 (or float64) already is its own master and costs nothing. Gradients of several backward passes are collected
    in float32 (`gather`), so that accumulation loses no bits either.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        masters: list[Tensor] | None = None,
    ):
        """`masters` gives the float32 values to start from; without it they are taken from the parameters. Decay acts on matrices only."""
        self.parameters = list(parameters)
        given = masters if masters is not None else [p.detach() for p in self.parameters]
        own = (torch.float32, torch.float64)
        self.masters = [p if p.dtype in own else nn.Parameter(m.float()) for p, m in zip(self.parameters, given, strict=True)]
        groups = [
            {"params": [m for m in self.masters if m.ndim >= 2], "weight_decay": weight_decay},
            {"params": [m for m in self.masters if m.ndim < 2], "weight_decay": 0.0},  # norms and biases
        ]
        # foreach keeps the update of hundreds of small LoRA matrices to a few kernel calls
        self.adamw = torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, betas=betas, eps=eps, foreach=True)

    def gather(self) -> None:
        """Add the parameters' fresh gradients to the masters' and drop the former: call it after every backward pass."""
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            if parameter is master or parameter.grad is None:
                continue
            master.grad = parameter.grad.float() if master.grad is None else master.grad.add_(parameter.grad)
            parameter.grad = None

    def zero_grad(self) -> None:
        """Forget all gradients, of parameters and masters."""
        for tensor in (*self.parameters, *self.masters):
            tensor.grad = None

    def normalise(self, count: int, max_norm: float | None) -> float:
        """Divide the summed gradients by `count` tokens, then clip their global L2 norm to `max_norm` (None: leave it).

        Returns the norm before clipping, which is not finite when a gradient is not.
        """
        grads = [m.grad for m in self.masters if m.grad is not None]
        torch._foreach_div_(grads, float(count))
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads))) if grads else torch.zeros(())
        value = float(norm)
        if max_norm is not None and math.isfinite(value) and value > max_norm:
            torch._foreach_mul_(grads, max_norm / (value + 1e-6))
        return value

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """One AdamW update at learning rate `lr`, then the masters' values rounded into the parameters."""
        for group in self.adamw.param_groups:
            group["lr"] = lr
        self.adamw.step()
        self.write_back()

    @torch.no_grad()
    def write_back(self) -> None:
        """Copy the masters into the parameters the model computes with."""
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            if parameter is not master:
                parameter.copy_(master)
