"""How far a policy has gone from its reference: the exact Kullback–Leibler divergence, and the estimates from the one token that was drawn.

    KL(π ‖ π_ref) at s_t = Σ_a π(a | s_t) log(π(a | s_t) / π_ref(a | s_t))      exact, over the vocabulary; never negative
    k1 = log(π / π_ref)(a_t)              unbiased, negative where the reference liked the token better
    k2 = ½ k1²                            biased, small variance
    k3 = (π_ref / π)(a_t) − 1 + k1        unbiased, never negative

The estimates are unbiased for replies drawn from π itself: at temperature 1, with nothing cut off. Drawn otherwise they measure something else.
PPO charges k1 an action, as its reward must know which token was to blame; what is reported is the exact figure beside it.

Source: Schulman 2020 ("Approximating KL divergence"). In production: `trl`'s `kl_estimator`.
"""

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from llmsuite_lab.core.errors import unknown

Estimator = Literal["k1", "k2", "k3"]


def estimate(logprobs: Float[Tensor, "*actions"], reference: Float[Tensor, "*actions"], kind: Estimator = "k1") -> Float[Tensor, "*actions"]:
    """The estimate at each action, in nats, from log-probabilities of what was drawn. Differentiable. Raises ValueError for an unknown kind."""
    k1 = logprobs - reference
    if kind == "k1":
        return k1
    if kind == "k2":
        return k1.square() / 2
    if kind == "k3":
        return torch.expm1(-k1) + k1
    raise ValueError(unknown("estimator", kind, list(get_args(Estimator))))


def exact(distribution: Float[Tensor, "*actions vocabulary"], reference: Float[Tensor, "*actions vocabulary"]) -> Float[Tensor, "*actions"]:
    """KL(π ‖ π_ref) at each state, in nats, from log-probabilities over the vocabulary; not below 0 by rounding. Raises ValueError for shapes that differ."""
    if distribution.shape != reference.shape:
        raise ValueError(f"distributions of shape {list(distribution.shape)} and {list(reference.shape)}: one vocabulary and the same actions are needed")
    p = distribution.exp()
    return (p * (distribution - reference).where(p > 0, 0.0)).sum(-1).clamp(min=0.0)
