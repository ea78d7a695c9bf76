"""AdamW, gradient clipping and the cosine schedule with warm-up, written out.

    m ← β₁ m + (1 - β₁) g            v ← β₂ v + (1 - β₂) g²                 running mean of the gradient and of its square
    m̂ = m / (1 - β₁ᵗ)                v̂ = v / (1 - β₂ᵗ)                      both start at 0, so early values are divided up
    θ ← θ - lr · λ θ - lr · m̂ / (√v̂ + ε)                                    weight decay acts on θ itself, not through the gradient

    clip      g ← g · min(1, c / ‖g‖₂)                 ‖g‖₂ over all parameters together
    schedule  lr(t) = peak · (t + 1) / w               for the first w steps, then
              lr(t) = floor + (peak - floor) · ½ (1 + cos π (t - w) / (T - w))

Sources: Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2; 2017, "SGDR" (cosine).
Production: `torch.optim.AdamW`, `torch.nn.utils.clip_grad_norm_`, `transformers.get_cosine_schedule_with_warmup`.
"""

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn


def adamw_update(
    theta: Float[Tensor, "*shape"],
    g: Float[Tensor, "*shape"],
    m: Float[Tensor, "*shape"],
    v: Float[Tensor, "*shape"],
    t: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> None:
    """One step of the equation above, in place on theta, m and v; `t` counts steps from 1. ε stands outside the root, unlike in the norms."""
    beta_1, beta_2 = betas
    theta.mul_(1 - lr * weight_decay)
    m.lerp_(g, 1 - beta_1)  # β₁ m + (1 - β₁) g
    v.mul_(beta_2).addcmul_(g, g, value=1 - beta_2)
    denominator = (v / (1 - beta_2**t)).sqrt_().add_(eps)
    theta.addcdiv_(m, denominator, value=-lr / (1 - beta_1**t))


class AdamW(torch.optim.Optimizer):
    """AdamW over parameters or parameter groups, with torch's interface, so that schedulers and training loops take it as they take torch's own.

    Raises:
        ValueError: a negative learning rate, ε or decay, or a β outside [0, 1).
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        if lr < 0 or eps < 0 or weight_decay < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"AdamW needs lr, eps, weight_decay >= 0 and betas in [0, 1); got {lr=}, {eps=}, {weight_decay=}, {betas=}")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None) -> Tensor | None:
        """Update every parameter that has a gradient. `closure`, if given, recomputes the loss first, which is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for theta in group["params"]:
                if theta.grad is None:
                    continue
                state = self.state[theta]
                if not state:
                    state.update(t=0, m=torch.zeros_like(theta), v=torch.zeros_like(theta))
                state["t"] += 1
                options = {name: group[name] for name in ("lr", "betas", "eps", "weight_decay")}
                adamw_update(theta, theta.grad, state["m"], state["v"], state["t"], **options)
        return loss


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Float[Tensor, ""]:
    """g ← g · min(1, max_norm / ‖g‖₂) over all gradients together, in place; returns ‖g‖₂ as it was before.

    Raises:
        ValueError: max_norm is not positive, or the norm is not finite (clipping would spread the NaN to every weight).
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm={max_norm} must be positive")
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros(())
    norm = torch.stack([g.norm() for g in gradients]).norm()
    if not torch.isfinite(norm):
        raise ValueError(
            f"the gradient's norm is {float(norm)} over {len(gradients)} tensors: lower the learning rate, or look for the NaN in the inputs"
        )
    scale = max_norm / (norm + 1e-6)  # 1e-6 as torch has it: the clipped norm ends just under max_norm
    if scale < 1:
        for g in gradients:
            g.mul_(scale)
    return norm


def cosine_with_warmup(step: int, n_steps: int, n_warmup: int, peak: float, floor: float = 0.0) -> float:
    """The learning rate at `step` (from 0): straight up to `peak` over n_warmup steps, then half a cosine down to `floor` at n_steps.

    Raises:
        ValueError: a negative step, or more warm-up steps than steps.
    """
    if step < 0 or not 0 <= n_warmup <= n_steps:
        raise ValueError(f"need step >= 0 and 0 <= n_warmup <= n_steps; got {step=}, {n_warmup=}, {n_steps=}")
    if step < n_warmup:
        return peak * (step + 1) / n_warmup
    progress = min(1.0, (step - n_warmup) / max(1, n_steps - n_warmup))
    return floor + (peak - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))
