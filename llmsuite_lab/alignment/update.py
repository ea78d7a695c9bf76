"""One iteration's updates: what each action was worth, then a few passes over the rollouts.

    PPO, A2C   r_t = −β k1_t, plus the score at the last action → GAE → whitened Â        RLOO, GRPO   scores of one prompt's replies against each other

Every method's loss is handed to `transformer.training_loop.training_step`, the update that trains everything else of this course. Dropout stays off:
the ratio must be 1 before the first update, exactly.
"""

import math

import torch
from torch import Tensor

from llmsuite_lab.alignment import objectives
from llmsuite_lab.alignment.actions import score
from llmsuite_lab.alignment.advantages import gae, grpo, rloo, token_rewards, whiten
from llmsuite_lab.alignment.rollouts import ActorCritic, Rollouts
from llmsuite_lab.alignment.settings import Settings
from llmsuite_lab.transformer.optimizer import AdamW
from llmsuite_lab.transformer.training_loop import training_step


def advantages_of(rollouts: Rollouts, gained: Tensor, kl: Tensor, k1: Tensor, settings: Settings, beta: float) -> tuple[Tensor, Tensor]:
    """(Â, R): grids for PPO and A2C, one number a reply for RLOO and GRPO, whose returns are not used."""
    if settings.grouped:
        paid = gained if settings.method == "grpo" else gained - beta * kl  # GRPO pays the KL in its loss
        groups = paid.view(-1, settings.replies)
        return (grpo(groups) if settings.method == "grpo" else rloo(groups)).flatten(), torch.zeros_like(rollouts.values)
    rewards = token_rewards(gained, beta * k1, rollouts.mask)
    advantages, returns = gae(rewards, rollouts.values, rollouts.mask, settings.gamma, settings.lam)
    return whiten(advantages, rollouts.mask) if settings.whiten else advantages, returns


def explained(rollouts: Rollouts, returns: Tensor, settings: Settings) -> dict[str, float]:
    """{"return_variance", "explained"} of `settings.METRICS`; both 0 where no value head learns."""
    if settings.grouped:
        return {"return_variance": 0.0, "explained": 0.0}
    held, left = returns[rollouts.mask], (returns - rollouts.values)[rollouts.mask]
    variance = float(held.var(unbiased=False))
    return {"return_variance": variance, "explained": 1 - float(left.var(unbiased=False)) / max(variance, 1e-8)}


def update(
    model: ActorCritic, rollouts: Rollouts, advantages: Tensor, returns: Tensor, settings: Settings, optimizer: AdamW, seed: int, beta: float
) -> dict[str, float]:
    """`epochs` passes over the rollouts in shuffled minibatches; the means of what the updates saw."""
    seen: list[dict[str, float]] = []
    generator = torch.Generator().manual_seed(seed)
    passes = 1 if settings.method == "a2c" else settings.epochs
    parts = 1 if settings.method == "a2c" else settings.minibatches
    for _ in range(passes):
        for chosen in torch.randperm(len(rollouts.replies), generator=generator).tensor_split(parts):
            batch = rollouts.rows(chosen.tolist())
            width = batch.mask.shape[1]
            now = (advantages[chosen], returns[chosen][:, :width]) if settings.grouped else (advantages[chosen][:, :width], returns[chosen][:, :width])
            found: dict[str, float] = {}
            loss_fn = lambda m, b, now=now, found=found: _loss(m, b, *now, settings, beta, found)  # noqa: E731
            _, norm, _ = training_step(model, [batch], optimizer, loss_fn, lr=settings.lr, clip=settings.max_norm)
            seen.append(found | {"gradient": norm})
            if settings.step_kl_limit is not None and found["step_kl"] > settings.step_kl_limit:
                return _means(seen)
    return _means(seen)


def _means(seen: list[dict[str, float]]) -> dict[str, float]:
    row = {name: sum(found[name] for found in seen) / len(seen) for name in ("policy_loss", "value_loss", "clipped", "gradient")}
    return row | {"step_kl": seen[-1]["step_kl"], "ratio_max": max(found["ratio_max"] for found in seen), "updates": len(seen)}


def _loss(
    model: ActorCritic, batch: Rollouts, advantages: Tensor, returns: Tensor, settings: Settings, beta: float, found: dict[str, float]
) -> tuple[Tensor, int]:
    """The method's loss times the number of actions, and that number: what `training_step` divides by. `found` is told what was seen."""
    now = score(model.policy, batch.replies)
    mask, value_loss = batch.mask, torch.zeros((), device=batch.mask.device)
    if settings.method == "rloo":
        policy_loss = objectives.rloo_loss(now.logprobs, batch.logprobs, advantages, mask, settings.clip)
    elif settings.method == "grpo":
        policy_loss = objectives.grpo_loss(now.logprobs, batch.logprobs, batch.reference, advantages, mask, settings.clip, beta)
    elif settings.method == "a2c":
        policy_loss = objectives.a2c_loss(now.logprobs, advantages, mask)
    else:
        policy_loss = objectives.clipped_loss(now.logprobs, batch.logprobs, advantages, mask, settings.clip)
    if not settings.grouped:
        clip = None if settings.method == "a2c" else settings.value_clip
        value_loss = objectives.clipped_value_loss(model.values(now), batch.values, returns, mask, clip)
    loss = policy_loss + settings.value_weight * value_loss - settings.entropy_weight * objectives.entropy_bonus(now.entropy, mask)
    with torch.no_grad():
        log_ratio = (now.logprobs - batch.logprobs)[mask]
        ratio, outside = log_ratio.exp(), settings.clip or math.inf
        found |= {
            "policy_loss": float(policy_loss), "value_loss": float(value_loss), "clipped": float(((ratio - 1).abs() > outside).float().mean()),
            "step_kl": float((torch.expm1(log_ratio) - log_ratio).mean()), "ratio_max": float(ratio.max()),
        }  # fmt: skip
    count = int(mask.sum())
    return loss * count, count
