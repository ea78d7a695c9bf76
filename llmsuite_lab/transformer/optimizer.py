"""AdamW with float32 masters, gradient clipping and the cosine schedule with warm-up, written out: what every training of the course uses.

    m ← β₁ m + (1 - β₁) g            v ← β₂ v + (1 - β₂) g²                 running mean of the gradient and of its square
    m̂ = m / (1 - β₁ᵗ)                v̂ = v / (1 - β₂ᵗ)                      both start at 0, so early values are divided up
    θ ← θ - lr · λ θ - lr · m̂ / (√v̂ + ε)                                    weight decay acts on θ itself, not through the gradient

    clip      g ← g · min(1, c / ‖g‖₂)                 ‖g‖₂ over all parameters together
    schedule  lr(t) = peak · t / w                     for t < w, then
              lr(t) = floor + (peak - floor) · ½ (1 + cos π (t - w) / (T - w))

bfloat16 holds 8 significant bits, so an update below about 1/256 of a weight would be rounded away: w + Δw = w. A model in bfloat16 therefore
computes with copies while AdamW moves float32 masters, whose rounding is written back after each step ("mixed precision").

Sources: Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2; 2017, "SGDR" (cosine);
Micikevicius et al. 2018 (masters). Production: `torch.optim.AdamW`, `torch.nn.utils.clip_grad_norm_`,
`transformers.get_cosine_schedule_with_warmup`; `accelerate`, `deepspeed` and FSDP's MixedPrecision keep the same masters.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llmsuite_lab.core.errors import LabError

CACHED = (
    2**19
)  # elements updated in one go: few enough to stay in the processor's cache from line to line, which saves a quarter of the time


def adamw_update(
    theta: list[Float[Tensor, "*shape"]],
    g: list[Float[Tensor, "*shape"]],
    m: list[Float[Tensor, "*shape"]],
    v: list[Float[Tensor, "*shape"]],
    t: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> None:
    """One step of the equation above, in place on the tensors of θ, m and v; `t` counts steps from 1. ε stands outside the root.

    The four lists run in parallel, one entry a tensor: torch's `_foreach_` operations take a whole list at once, which is what makes the update
    of hundreds of small LoRA matrices quick.
    """
    beta_1, beta_2 = betas
    if not (0 <= beta_1 < 1 and 0 <= beta_2 < 1 and t >= 1):
        raise ValueError(f"{betas=} must lie in [0, 1), and {t=} counts from 1")
    torch._foreach_mul_(theta, 1 - lr * weight_decay)
    torch._foreach_lerp_(m, g, 1 - beta_1)  # β₁ m + (1 - β₁) g
    torch._foreach_mul_(v, beta_2)
    torch._foreach_addcmul_(v, g, g, 1 - beta_2)
    denominator = torch._foreach_div(v, 1 - beta_2**t)  # v̂
    torch._foreach_sqrt_(denominator)
    torch._foreach_add_(denominator, eps)
    torch._foreach_addcdiv_(theta, m, denominator, -lr / (1 - beta_1**t))


class AdamW(torch.optim.Optimizer):
    """AdamW over parameters or parameter groups, with torch's interface, so that training loops and torch's schedulers take it as torch's own.

    A parameter in float32 or float64 is its own master. One in bfloat16 or float16 gets a float32 master: `param_groups` hold the masters, and
    `step` moves them and rounds them into the parameters. `masters` (parameter → its value in float32) says where the masters start, when
    the parameter is a rounding already. Gradients of several backward passes are collected in float32 (`gather`).

    Raises:
        ValueError: no parameters, a negative learning rate, ε or decay, or a β outside [0, 1).
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        *,
        masters: Mapping[nn.Parameter, Tensor] | None = None,
    ) -> None:
        if not (lr >= 0 and eps >= 0 and weight_decay >= 0 and all(0 <= beta < 1 for beta in betas)):
            raise ValueError(f"AdamW needs lr, eps, weight_decay >= 0 and betas in [0, 1); got {lr=}, {eps=}, {weight_decay=}, {betas=}")
        given = list(params)
        groups = [{**g, "params": list(g["params"])} for g in given] if given and isinstance(given[0], dict) else [{"params": given}]
        self.parameters: list[nn.Parameter] = [p for group in groups for p in group["params"]]
        start = masters or {}
        for group in groups:
            if not 0 <= (decay := group.get("weight_decay", weight_decay)) < math.inf:
                raise ValueError(f"weight_decay={decay} must be 0 or more, and finite")
        own = (torch.float32, torch.float64)
        for group in groups:
            group["params"] = [p if p.dtype in own else nn.Parameter(start.get(p, p.detach()).float()) for p in group["params"]]
        self.masters: list[nn.Parameter] = [m for group in groups for m in group["params"]]
        self.copies = {m: p for p, m in zip(self.parameters, self.masters, strict=True) if p is not m}  # master → what the model computes with
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None) -> Tensor | None:
        """Update every master that has a gradient, then the parameters. `closure`, if given, recomputes the loss first, which is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            options = {name: group[name] for name in ("lr", "betas", "eps", "weight_decay")}
            for t, run in self._runs(group["params"]):
                self.gather(run)
                states = [self.state[theta] for theta in run]
                adamw_update(run, [p.grad for p in run], [s["m"] for s in states], [s["v"] for s in states], t, **options)
                for theta in run:
                    if theta in self.copies:
                        theta.grad = None  # so that one run's float32 gradients are there at a time, not all
        self.write_back()
        return loss

    def _runs(self, masters: Sequence[nn.Parameter]) -> Iterator[tuple[int, list[nn.Parameter]]]:
        """(t, masters to be updated together): those with a gradient, counted one step on, neighbours of the same age up to `CACHED` elements."""
        run: list[nn.Parameter] = []
        age = held = 0
        for theta in masters:
            if theta.grad is None and self.copies.get(theta, theta).grad is None:
                continue
            state = self.state[theta]
            if not state:
                state.update(t=0, m=torch.zeros_like(theta), v=torch.zeros_like(theta))
            state["t"] += 1
            if run and (state["t"] != age or held + theta.numel() > CACHED):
                yield age, run
                run, held = [], 0
            run.append(theta)
            age, held = state["t"], held + theta.numel()
        if run:
            yield age, run

    @torch.no_grad()
    def gather(self, masters: Iterable[nn.Parameter] | None = None) -> None:
        """Add fresh gradients to those of their masters (default: all) and drop the former: call it after every backward pass but the last."""
        for master in self.masters if masters is None else masters:
            parameter = self.copies.get(master)
            if parameter is None or parameter.grad is None:
                continue
            master.grad = parameter.grad.float() if master.grad is None else master.grad.add_(parameter.grad)
            parameter.grad = None

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, of parameters and masters; `set_to_none` as in torch."""
        super().zero_grad(set_to_none)
        for parameter in self.parameters:
            parameter.grad = None if set_to_none or parameter.grad is None else parameter.grad.zero_()

    def set_lr(self, lr: float) -> None:
        """The learning rate of all groups from the next step on."""
        for group in self.param_groups:
            group["lr"] = lr

    def normalise(self, count: float, max_norm: float | None) -> float:
        """Divide the gathered gradients by `count` terms, then clip them to `max_norm` (None: leave them); the norm before clipping.

        It is not finite when a gradient is not: then nothing is clipped, and no step should be taken. Raises ValueError where there is no gradient.
        """
        self.gather()
        gradients = [m.grad for m in self.masters if m.grad is not None]
        if not gradients:
            raise ValueError("no parameter of this optimizer has a gradient: it holds those of another model, or no backward pass came before")
        torch._foreach_div_(gradients, float(count))
        return float(clip_gradients(self.masters, math.inf if max_norm is None else max_norm))

    @torch.no_grad()
    def write_back(self) -> None:
        """Round the masters' values into the parameters the model computes with."""
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            if parameter is not master:
                parameter.copy_(master)

    def state_dict(self) -> dict[str, Tensor]:
        """All that the next step depends on as flat tensors, ready for safetensors: master.i, and t.i, m.i, v.i once i has had a step."""
        tensors: dict[str, Tensor] = {}
        for i, master in enumerate(self.masters):
            tensors[f"master.{i}"] = master.detach()
            if state := self.state.get(master):
                tensors |= {f"t.{i}": torch.tensor(state["t"]), f"m.{i}": state["m"], f"v.{i}": state["v"]}
        return tensors

    @torch.no_grad()
    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Put the state of `state_dict` back, into masters, moments and parameters; learning rates and the rest of the options stay.

        Raises LabError, with nothing changed, when the state belongs to other parameters, naming the first entry that does not fit.
        """
        shapes = {f"{kind}.{i}": m.shape for i, m in enumerate(self.masters) for kind in ("master", "m", "v")}
        shapes |= {f"t.{i}": torch.Size() for i in range(len(self.masters))}
        for name in [f"master.{i}" for i in range(len(self.masters))] + list(tensors):
            if name not in tensors or name not in shapes or tensors[name].shape != shapes[name]:
                found = f"of shape {tuple(tensors[name].shape)}" if name in tensors else "missing"
                wanted = f"{tuple(shapes[name])} is wanted" if name in shapes else "there is no such parameter"
                raise LabError(f"this optimizer state belongs to other parameters: {name} is {found}, and {wanted}")
        for name in tensors:
            i = name.partition(".")[2]
            if any(f"{kind}.{i}" not in tensors for kind in "tmv") and not name.startswith("master."):
                raise LabError(f"this optimizer state is incomplete: {name} is there, but not all of t.{i}, m.{i} and v.{i}")
        for i, master in enumerate(self.masters):
            master.copy_(tensors[f"master.{i}"])
            self.state.pop(master, None)
            if f"t.{i}" in tensors:
                moments = {kind: tensors[f"{kind}.{i}"].to(master, copy=True) for kind in "mv"}
                self.state[master] = {"t": int(tensors[f"t.{i}"]), **moments}
        self.write_back()


def decay_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups in which matrices decay and vectors (gains of norms, biases) do not; an empty group is left out."""
    given = list(parameters)
    matrices, vectors = [p for p in given if p.ndim >= 2], [p for p in given if p.ndim < 2]
    return [{"params": ps, "weight_decay": decay} for ps, decay in ((matrices, weight_decay), (vectors, 0.0)) if ps]


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> Float[Tensor, ""]:
    """g ← g · min(1, max_norm / ‖g‖₂) over all gradients together, in place; returns ‖g‖₂ as it was before.

    A norm that is not finite is returned and nothing is scaled (it would spread the NaN to every weight): check it before you take a step.

    Raises:
        ValueError: max_norm is not positive.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm={max_norm} must be positive")
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros(())
    norm = torch.stack(torch._foreach_norm(gradients)).norm()
    if torch.isfinite(norm) and norm > max_norm:
        torch._foreach_mul_(gradients, float(max_norm / (norm + 1e-6)))  # 1e-6 as torch has it: the clipped norm ends just under max_norm
    return norm


def cosine_with_warmup(t: int, n_steps: int, n_warmup: int, peak: float, floor: float = 0.0) -> float:
    """The learning rate at step t (from 0): straight from 0 up to `peak` over n_warmup steps, then half a cosine down to `floor` at n_steps.

    With floor 0 it is `transformers.get_cosine_schedule_with_warmup` at every t from 0 to n_steps. It is 0 at t = 0 and at t = n_steps: a loop that
    takes n updates and wants none of them lost asks for t = 1 … n of n_steps = n + 1 (`transformer.training_loop`).

    Raises:
        ValueError: a negative step, no steps, or more warm-up steps than steps.
    """
    if t < 0 or n_steps < 1 or not 0 <= n_warmup <= n_steps:
        raise ValueError(f"need t >= 0, n_steps >= 1 and 0 <= n_warmup <= n_steps; got {t=}, {n_steps=}, {n_warmup=}")
    if t < n_warmup:
        return peak * t / n_warmup
    progress = min(1.0, (t - n_warmup) / max(1, n_steps - n_warmup))
    return floor + (peak - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))
