"""Adaptive ranks: every layer begins with more rank-one terms than can be kept, and the terms of all layers compete for one budget.

    h = W_0 x + s Σ_i g_i b_i (a_iᵀ x)                                        g_i the term's gate, b_i a column of B, a_i a row of A
    I_i = |g_i ∇g_i| + mean_j |A_ij ∇A_ij| + mean_j |B_ji ∇B_ji|             how much the loss would change without the term, to first order
    Ī ← β₁ Ī + (1 − β₁) I,      Ū ← β₂ Ū + (1 − β₂) |I − Ī|,      score = Ī Ū  one batch is noise; a term that is still moving gets its chance
    b(t) = b_T + (b_0 − b_T) (1 − (t − t_i) / (T − t_i − t_f))³               budget: all at first, the final one for the last t_f updates

After each update the best terms that b(t) can pay for act, the others are gated off; they keep their numbers and come back if their score rises.
The budget counts trained numbers, d_out + d_in a term, so that what is left never costs more than the same rank everywhere. `finish` makes an
ordinary LoRA of it, with a rank of its own in each layer.

Taken from AdaLoRA: importance, smoothing, schedule. Not taken: its SVD form (g = 0, A and B drawn, a penalty that keeps them orthogonal); here g = 1 and
B = 0, so that it learns at LoRA's rates. Source: Zhang et al. 2023. In production: `peft.AdaLoraConfig`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from llmsuite_lab.core.errors import whole, within
from llmsuite_lab.peft_methods import lora
from llmsuite_lab.peft_methods.lora import LORA_TARGETS
from llmsuite_lab.peft_methods.targets import check_rank, dimensions, find_targets, freeze, put

BETAS = (0.85, 0.85)


class GatedLinear(nn.Module):
    """A frozen linear layer with rank-one terms that can be gated off. `scaling`: s; `rank`: the terms it is to keep on average.

    Buffers, which a checkpoint keeps: `mask`, which terms act (1 or 0), Ī and Ū of each.
    """

    def __init__(self, base_layer: nn.Module, A: Float[Tensor, "r d_in"], rank: int, scaling: float) -> None:
        super().__init__()
        r, like = len(A), {"dtype": A.dtype, "device": A.device}
        self.base_layer, self.enabled, self.rank, self.scaling = base_layer, True, rank, scaling
        self.A, self.B, self.g = nn.Parameter(A), nn.Parameter(torch.zeros(dimensions(base_layer)[0], r, **like)), nn.Parameter(torch.ones(r, **like))
        for name, start in (("mask", torch.ones(r, **like)), ("mean", torch.zeros(r, **like)), ("spread", torch.zeros(r, **like))):
            self.register_buffer(name, start)

    @property
    def weight(self) -> Tensor:
        """The base's weight, for code that asks for its dtype."""
        return self.base_layer.weight

    @property
    def cost(self) -> int:
        """Numbers a term takes: d_out + d_in."""
        return sum(dimensions(self.base_layer))

    @property
    def kept(self) -> int:
        """How many terms act."""
        return int(self.mask.sum())

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        h = self.base_layer(x)
        if not self.enabled:
            return h
        gate = self.g + (self.g * (self.mask.to(self.g.dtype) - 1)).detach()  # g ⊙ mask, and its gradient as if nothing were gated off
        z = F.linear(x.to(self.A.dtype), self.A) * gate
        return (h + self.scaling * F.linear(z, self.B)).to(h.dtype)


def add_adaptive(
    model: nn.Module, targets: Sequence[str] = LORA_TARGETS, rank: int = 8, spare: float = 1.5, alpha: float = 16, seed: int = 0
) -> nn.Module:
    """Put `rank` × `spare` gated terms into each target layer, in place, as far as its dimensions go; they alone are trained. Returns the model.

    rank: what is left on average, weighed by cost. Give `fit` an `on_step=RankBudget(model, steps)`, then call `finish`. Raises ValueError, with the model
    as it was, for a target that matches nothing, a rank over a layer's dimensions, spare below 1, alpha not above zero, and a model that carries an adapter.
    """
    layers = find_targets(model, targets)
    check_rank(rank, layers)
    within("spare", spare, 1, 16)
    lora.check_new(model, "default", alpha, 0.0)
    if any(hasattr(module, "base_layer") for module in model.modules()):
        raise ValueError("the model carries an adapter already: unload that one first, or load the base again")
    generator = torch.Generator().manual_seed(seed)
    freeze(model)
    for name, layer in layers.items():
        d_out, d_in = dimensions(layer)
        like = next((t for t in (*layer.parameters(), *layer.buffers()) if t.is_floating_point()), next(model.parameters()))
        A = (torch.rand(min(round(rank * spare), d_out, d_in), d_in, generator=generator) * 2 - 1) / d_in**0.5  # as `lora.add_lora`
        A = A.to(like.device, torch.float64 if like.dtype == torch.float64 else torch.float32)
        put(model, name, GatedLinear(layer, A, rank, alpha / rank))
    return model


class RankBudget:
    """What `fit` calls after each update: measures every term's importance, and gates off what the budget of that update cannot pay for.

    steps: updates of the whole training. begin, settle: shares of it before the first cut, and after the last. Holds nothing that a resumed run lacks.
    Raises ValueError for a model without gated terms, and shares that leave no update between them.
    """

    def __init__(self, model: nn.Module, steps: int, begin: float = 0.15, settle: float = 0.3) -> None:
        whole("steps", steps, 1, 2**31)
        if not (0 <= begin and 0 <= settle and begin + settle < 1):
            raise ValueError(f"begin={begin} and settle={settle} are shares of the updates: from 0, and below 1 together")
        self.layers, self.steps = _gated(model), steps
        self.begin, self.end = round(begin * steps), steps - round(settle * steps)
        self._gradients: dict[nn.Parameter, Tensor] = {}
        for layer in self.layers.values():
            for p in (layer.A, layer.B, layer.g):
                p.register_hook(lambda grad, p=p: self._collect(p, grad))

    def __call__(self, step: int, history: Any = None) -> None:
        """After update number `step`, from 1."""
        for layer in self.layers.values():
            _smooth(layer, *(_sensitivity(p, self._gradients.get(p)) for p in (layer.A, layer.B, layer.g)))
        self._gradients.clear()
        if self.begin < step <= self.end:
            _cut(self.layers, budget(step, self.begin, self.end, *_costs(self.layers)))

    def _collect(self, p: nn.Parameter, gradient: Tensor) -> None:
        gradient = gradient.detach().float()
        self._gradients[p] = self._gradients[p] + gradient if p in self._gradients else gradient.clone()


def budget(step: int, begin: int, end: int, first: int, last: int) -> int:
    """b(t), rounded down: `first` up to update `begin`, `last` from update `end` on."""
    if step <= begin:
        return first
    return last if step >= end else int(last + (first - last) * (1 - (step - begin) / (end - begin)) ** 3)


def finish(model: nn.Module, name: str = "default") -> nn.Module:
    """An ordinary LoRA, in place, with each layer's own rank, gates and s multiplied into B; a layer that kept nothing is plain again. Returns the model.

    Raises ValueError for a model without gated terms, or one whose terms were never measured.
    """
    layers = _gated(model)
    if not any(bool(layer.mean.any()) for layer in layers.values()):
        raise ValueError("no term was ever measured, so none can be chosen: train with fit(..., on_step=RankBudget(model, steps)) first")
    if sum(layer.kept * layer.cost for layer in layers.values()) > (most := _costs(layers)[1]):  # a training that stopped before the last cut
        _cut(layers, most)
    with torch.no_grad():
        for key, layer in layers.items():
            put(model, key, layer.base_layer)
            if r := layer.kept:
                kept = layer.mask.bool()
                B = layer.B[:, kept] * layer.g[kept] * layer.scaling
                lora.place(model, key, name, layer.A[kept].clone(), B, alpha=r)  # s = α / r = 1
    lora.activate(model, name)
    return model


def ranks(model: nn.Module) -> dict[str, int]:
    """How many terms act in each gated layer."""
    return {name: layer.kept for name, layer in _gated(model).items()}


def _gated(model: nn.Module) -> dict[str, GatedLinear]:
    found = {name: module for name, module in model.named_modules() if isinstance(module, GatedLinear)}
    if not found:
        raise ValueError("the model carries no gated terms: put them in with add_adaptive")
    return found


def _costs(layers: dict[str, GatedLinear]) -> tuple[int, int]:
    """Trained numbers of all terms, and of the ones to be kept."""
    return sum(len(layer.g) * layer.cost for layer in layers.values()), sum(layer.rank * layer.cost for layer in layers.values())


def _sensitivity(p: Tensor, gradient: Tensor | None) -> Tensor:
    return torch.zeros_like(p, dtype=torch.float32) if gradient is None else (p.detach().float() * gradient).abs()


def _smooth(layer: GatedLinear, of_A: Tensor, of_B: Tensor, of_g: Tensor) -> None:
    importance = (of_g + of_A.mean(1) + of_B.mean(0)).to(layer.mean.dtype)
    layer.mean.lerp_(importance, 1 - BETAS[0])
    layer.spread.lerp_((importance - layer.mean).abs(), 1 - BETAS[1])


def _cut(layers: dict[str, GatedLinear], most: int) -> None:
    """Let the terms with the highest scores act, as many as `most` numbers pay for; never one of score 0."""
    scored = [(float(score), name, i) for name, layer in layers.items() for i, score in enumerate((layer.mean * layer.spread).tolist())]
    for layer in layers.values():
        layer.mask.zero_()
    for score, name, i in sorted(scored, reverse=True):
        most -= layers[name].cost
        if most < 0 or score <= 0:
            break
        layers[name].mask[i] = 1
