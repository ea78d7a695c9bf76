"""How much better an action was than expected: generalised advantage estimation, and the estimates that need no value function.

    δ_t = r_t + γ V(s_{t+1}) − V(s_t)          Â_t = Σ_l (γλ)^l δ_{t+l}          R_t = Â_t + V(s_t)
    RLOO: Â_i = R_i − mean of the other k − 1 replies to the prompt              GRPO: Â_i = (R_i − mean of all k) / (sd of all k + ε)

Nothing follows the last action of a reply, whatever lies behind it in the row: V is 0 there, and padding is in no sum. Rewards come as one number for
a whole reply (`token_rewards` lays it on the last action) and, at each action, as a price for leaving the reference.

Source: paper 6.1; Schulman et al. 2016 (GAE), Ahmadian et al. 2024 (RLOO), Shao et al. 2024 (GRPO). In production: `trl.RLOOTrainer`, `trl.GRPOTrainer`.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from llmsuite_lab.alignment.actions import Grid, Mask
from llmsuite_lab.core.errors import within


def gae(rewards: Grid, values: Grid, mask: Mask, gamma: float = 1.0, lam: float = 0.95) -> tuple[Grid, Grid]:
    """(advantages Â, returns R), both 0 where there is no action, and without a gradient.

    rewards, values: one number an action, in the reward's unit. Raises ValueError for shapes that differ, a mask with a gap or an empty row, and
    gamma or lam outside [0, 1].
    """
    _check(mask, rewards=rewards, values=values)
    within("gamma", gamma, 0, 1)
    within("lam", lam, 0, 1)
    rewards, values = (x.detach().where(mask, 0.0) for x in (rewards, values))
    following = torch.cat([values[:, 1:], values.new_zeros(len(values), 1)], dim=1)  # 0 behind the last action: values are 0 outside the mask
    delta = (rewards + gamma * following - values).where(mask, 0.0)
    advantages, carried = torch.zeros_like(delta), delta.new_zeros(len(delta))
    for t in reversed(range(delta.shape[1])):
        carried = delta[:, t] + gamma * lam * carried
        advantages[:, t] = carried
    advantages = advantages.where(mask, 0.0)
    return advantages, (advantages + values).where(mask, 0.0)


def token_rewards(scores: Float[Tensor, " replies"], penalty: Grid, mask: Mask) -> Grid:
    """r_t = −penalty_t, and the reply's score on top at its last action. penalty: β · KL of each action, in the reward's unit. No gradient.

    Raises ValueError for shapes that differ, and a mask with a gap or an empty row.
    """
    _check(mask, penalty=penalty)
    if scores.shape != (len(mask),):
        raise ValueError(f"scores of shape {list(scores.shape)} for {len(mask)} replies: one number a reply")
    rewards = (-penalty.detach()).where(mask, 0.0)
    last = mask.sum(1) - 1
    rewards[torch.arange(len(mask), device=mask.device), last] += scores.detach().to(rewards.dtype)
    return rewards


def whiten(values: Grid, mask: Mask, shift_mean: bool = True) -> Grid:
    """(x − mean) / sd over the actions of all replies together, 0 elsewhere; `shift_mean=False` keeps the mean. The sd is the unbiased one.

    A batch whose values are all alike has nothing to scale by and comes out as its (shifted) mean. Raises ValueError as `gae`.
    """
    _check(mask, values=values)
    held = values[mask]
    mean, variance = held.mean(), held.var() if held.numel() > 1 else held.new_zeros(())
    scaled = (values - mean) * torch.rsqrt(variance + 1e-8)
    return (scaled if shift_mean else scaled + mean).where(mask, 0.0)


def rloo(scores: Float[Tensor, "prompts k"]) -> Float[Tensor, "prompts k"]:
    """REINFORCE, leave one out: each reply against the mean of the other replies to its prompt. Raises ValueError for fewer than 2 a prompt."""
    k = _group(scores)
    return (scores * k - scores.sum(1, keepdim=True)) / (k - 1)


def grpo(scores: Float[Tensor, "prompts k"], *, scale: bool = True, eps: float = 1e-4) -> Float[Tensor, "prompts k"]:
    """Group-relative: each reply against the mean of its group, in units of the group's sd (unbiased); `scale=False` leaves the sd out (Liu et al. 2025,
    who found that it favours prompts on which all replies are nearly alike). Raises ValueError for fewer than 2 a prompt."""
    _group(scores)
    centred = scores - scores.mean(1, keepdim=True)
    return centred / (scores.std(1, keepdim=True) + eps) if scale else centred


def _group(scores: Tensor) -> int:
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(f"scores of shape {list(scores.shape)}: two or more replies to each prompt are needed, as [prompts, k], or nothing can be compared")
    return scores.shape[1]


def _check(mask: Tensor, **grids: Tensor) -> None:
    if mask.ndim != 2 or mask.dtype != torch.bool:
        raise ValueError(f"the mask is {list(mask.shape)} of {mask.dtype}: it takes [replies, actions] of torch.bool")
    for name, values in grids.items():
        if values.shape != mask.shape:
            raise ValueError(f"{name} of shape {list(values.shape)}, but the mask is {list(mask.shape)}: one number an action")
    if mask.numel() == 0 or not bool(mask[:, 0].all()) or bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        raise ValueError("a row of the mask is empty or has a gap: a reply's actions stand together from the left, its end token is the last")
