"""What is minimised: PPO's clipped losses, and those of its relatives that need no value function.

    r_t = π_θ(a_t | s_t) / π_old(a_t | s_t) = exp(log π_θ − log π_old)
    L_policy = − mean_t min(r_t Â_t, clip(r_t, 1 − ε, 1 + ε) Â_t)                         paper 6.1, with the sign of the minimised form
    L_value  = ½ mean_t max((V − R_t)², (clip(V, V_old − ε_V, V_old + ε_V) − R_t)²)
    L = L_policy + c₁ L_value − c₂ mean_t H[π_θ(· | s_t)]
    A2C:  − mean_t Â_t log π_θ(a_t | s_t)                                                 one pass over fresh rollouts: r = 1, nothing to clip
    RLOO: the ratio of whole replies, exp(Σ_t log r_t), Â one number a reply              GRPO: r_t as PPO, mean by reply, + β k3

Advantages, returns and everything "old" are numbers, not functions of θ. Means are over actions (`actions.masked_mean`), RLOO's and GRPO's over replies.

Source: paper 6.1; Schulman et al. 2017, Mnih et al. 2016, Ahmadian et al. 2024, Shao et al. 2024. In production: `trl.RLOOTrainer`, `trl.GRPOTrainer`;
for PPO OpenRLHF and verl, since trl has none any more.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from llmsuite_lab.alignment.actions import Grid, Mask, masked_mean
from llmsuite_lab.alignment.divergence import estimate


def clipped_loss(logprobs: Grid, old: Grid, advantages: Grid, mask: Mask, clip: float | None = 0.2) -> Float[Tensor, ""]:
    """L_policy. `clip` is ε; None takes r Â as it is. A positive advantage gains nothing above 1 + ε, a negative one nothing below 1 − ε."""
    return masked_mean(_surrogate(_log_ratio(logprobs, old, mask), advantages, clip), mask)


def clipped_value_loss(values: Grid, old: Grid, returns: Grid, mask: Mask, clip: float | None = 0.2) -> Float[Tensor, ""]:
    """L_value, in the reward's unit squared: the worse of the two errors, so that a value that moved far is not excused. `clip` is ε_V; None: no clip."""
    error = (values - returns).square()
    if clip is not None:
        near = values.clamp(old.detach() - clip, old.detach() + clip)
        error = torch.maximum(error, (near - returns).square())
    return masked_mean(error, mask) / 2


def a2c_loss(logprobs: Grid, advantages: Grid, mask: Mask) -> Float[Tensor, ""]:
    """The policy gradient as a loss: its gradient is that of `clipped_loss` at θ = θ_old."""
    return -masked_mean(logprobs * advantages.detach(), mask)


def rloo_loss(logprobs: Grid, old: Grid, advantages: Float[Tensor, " replies"], mask: Mask, clip: float = 0.2) -> Float[Tensor, ""]:
    """The clipped loss with a whole reply for an action: one ratio and one advantage a reply, the mean over replies."""
    return _surrogate(_log_ratio(logprobs, old, mask).sum(1), advantages, clip).mean()


def grpo_loss(
    logprobs: Grid, old: Grid, reference: Grid, advantages: Float[Tensor, " replies"], mask: Mask, clip: float = 0.2, beta: float = 0.0
) -> Float[Tensor, ""]:
    """The clipped loss with a reply's advantage at each of its actions and β · k3 to the reference beside it; a mean by reply, then over replies."""
    each = _surrogate(_log_ratio(logprobs, old, mask), advantages[:, None], clip)
    if beta:
        each = each + beta * estimate(logprobs.where(mask, 0.0), reference.detach().where(mask, 0.0), "k3")
    return (each.where(mask, 0.0).sum(1) / mask.sum(1)).mean()


def entropy_bonus(entropy: Grid, mask: Mask) -> Float[Tensor, ""]:
    """Mean entropy of the policy before each action, nats: c₂ times this is taken off the loss."""
    return masked_mean(entropy, mask)


def _log_ratio(logprobs: Tensor, old: Tensor, mask: Tensor) -> Tensor:
    return (logprobs - old.detach()).where(mask, 0.0)


def _surrogate(log_ratio: Tensor, advantages: Tensor, clip: float | None) -> Tensor:
    if clip is not None and not 0 < clip < float("inf"):
        raise ValueError(f"clip={clip} must be above zero, or None for no clipping")
    ratio, advantages = log_ratio.exp(), advantages.detach()
    if clip is None:
        return -ratio * advantages
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
