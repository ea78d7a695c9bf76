"""The methods side by side: what each is tried with, what each would have to be given, and how each tunes a fresh copy of the start within the budget.

    method + knobs → tuned policy, where it came to, what it cost            `tuned`; the costs along the run go to a watcher

Each method has four settings to choose from (`GRID`), tried on validation prompts with another reward model. Gold chooses, as if people had read a few
hundred replies: the proxy would choose the setting that pleases it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from llmsuite_lab.alignment import a2c, dpo, pairs, ppo, q_learning, rest
from llmsuite_lab.alignment.benches import Bench, Row
from llmsuite_lab.alignment.rollouts import ActorCritic, Reward, scored_once, write
from llmsuite_lab.alignment.settings import Progress, Settings
from llmsuite_lab.core.errors import unknown
from llmsuite_lab.core.history import History
from llmsuite_lab.lm.batching import Example

Watcher = Callable[[int, nn.Module, Row], None]
METHODS = ("ppo", "a2c", "rloo", "grpo", "rest", "rest_weighted", "dpo", "q_learning")
GRID: dict[str, tuple[Row, ...]] = {
    **{name: tuple({"lr": lr, "beta": beta} for lr in (3e-4, 1e-3) for beta in (0.05, 0.2)) for name in ("ppo", "rloo", "grpo")},
    "a2c": tuple({"lr": lr, "beta": beta} for lr in (1e-3, 3e-3) for beta in (0.05, 0.2)),
    "rest": tuple({"lr": lr, "epochs": epochs} for lr in (3e-4, 1e-3) for epochs in (1, 2)),
    "rest_weighted": tuple({"lr": lr, "weigh": weigh} for lr in (3e-4, 1e-3) for weigh in (0.25, 1.0)),
    "dpo": tuple({"lr": lr, "beta": beta} for lr in (3e-4, 1e-3) for beta in (0.1, 0.5)),
    "q_learning": tuple({"lr": lr, "guidance": guidance} for lr in (1e-3, 3e-3) for guidance in (4.0, 8.0)),
}
_ONLINE = ("iterations", "prompts", "epochs", "minibatches", "lr", "temperature", "beta", "clip", "missing_end", "max_norm")
_CRITIC = ("value_weight", "gamma", "lam", "whiten")
KNOBS: dict[str, tuple[str, ...]] = {
    "ppo": (*_ONLINE, *_CRITIC, "value_clip", "entropy_weight"),
    "a2c": (*(name for name in _ONLINE if name not in ("epochs", "minibatches", "clip")), *_CRITIC, "entropy_weight"),
    "rloo": (*_ONLINE, "replies", "entropy_weight"),
    "grpo": (*_ONLINE, "replies", "entropy_weight"),
    "rest": ("grows", "prompts", "replies", "thresholds", "temperature", "epochs", "batch_size", "lr", "missing_end"),
    "rest_weighted": ("grows", "prompts", "replies", "thresholds", "temperature", "epochs", "batch_size", "lr", "missing_end", "weigh"),
    "dpo": ("epochs", "batch_size", "lr", "beta", "label_smoothing", "average"),
    "q_learning": ("tau", "gamma", "conservative", "slow", "epochs", "batch_size", "lr", "guidance"),
}  # what has to be chosen, tried here or left as it is
GROUP = 4  # replies to a prompt, where they are compared with each other
GROW = 8  # replies to a prompt of a Grow step


def tuned(
    made: Bench, method: str, knobs: Mapping[str, Any], reward: Reward, told: Sequence[pairs.Pair], watch: Watcher
) -> tuple[nn.Module, int, Row]:  # fmt: skip
    """(the tuned policy, iterations or updates made, costs). `watch(at, policy, costs)` is called along the run. Raises ValueError for an unknown method or
    knob."""
    if method not in METHODS:
        raise ValueError(unknown("method", method, METHODS))
    tune = {"dpo": _dpo, "q_learning": _q_learning, "rest": _rest, "rest_weighted": _rest}.get(method, _online)
    return tune(made, method, dict(knobs), reward, told, watch)


def _online(made: Bench, method: str, knobs: Row, reward: Reward, told: Any, watch: Watcher) -> tuple[nn.Module, int, Row]:
    budget, policy = made.budget, made.start.fresh()
    group = GROUP if method in ("rloo", "grpo") else 1
    settings = Settings(method=method, iterations=budget.iterations, prompts=budget.rollouts // group, replies=group, max_new_tokens=budget.max_new_tokens)  # type: ignore[arg-type]
    settings = replace(settings, **knobs)
    model, train = ActorCritic(policy), a2c.train if method == "a2c" else ppo.train
    asked = made.prompts(settings.iterations * settings.prompts)
    told_so_far: Row = {}

    def after(step: int, progress: Progress) -> None:
        told_so_far.update({name: int(progress.total(name)) for name in ("tokens", "reward_calls", "updates")})
        for metric in ("step_kl", "ratio_max"):
            told_so_far[metric] = [value if math.isfinite(value) else None for value in progress.column(metric)]
        watch(step, policy, {name: told_so_far[name] for name in ("tokens", "reward_calls", "updates")})

    progress = train(model, made.start.reference(policy), reward, asked, settings, end_id=made.start.words.eos_token_id, seed=made.seed, on_iteration=after)
    return policy, progress.steps, told_so_far | {"stopped": progress.stopped}


def _rest(made: Bench, method: str, knobs: Row, reward: Reward, told: Any, watch: Watcher) -> tuple[nn.Module, int, Row]:
    budget, policy = made.budget, made.start.fresh()
    settings = replace(rest.Settings(prompts=budget.replies // GROW, replies=GROW, max_new_tokens=budget.max_new_tokens), **knobs)
    written: Row = {"tokens": 0, "reward_calls": 0}
    steps = updates = 0

    def counted(replies: Sequence[Example]) -> torch.Tensor:
        written["tokens"] += sum(len(reply.completion_ids) for reply in replies)
        written["reward_calls"] += len(replies)
        return reward(replies)

    def after(step: int, history: History) -> None:
        nonlocal steps, updates
        updates += 1
        if step == history.planned_steps:
            steps += 1
            watch(steps, policy, written | {"updates": updates})

    ledger = rest.train(policy, counted, made.prompts(settings.prompts), settings, end_id=made.start.words.eos_token_id, seed=made.seed, progress=False,
                        on_step=after)  # fmt: skip
    cost = {"tokens": ledger.tokens, "reward_calls": ledger.reward_calls, "updates": ledger.updates, "reuse": ledger.reuse, "read": ledger.read}
    return policy, steps, cost | {"stopped": ledger.stopped}


def _dpo(made: Bench, method: str, knobs: Row, reward: Reward, told: Sequence[pairs.Pair], watch: Watcher) -> tuple[nn.Module, int, Row]:
    policy = made.start.fresh()
    options = {"epochs": 1, "batch_size": 16, "seed": made.seed, "progress": False} | knobs
    history = dpo.train(policy, made.start.reference(policy), told, on_step=lambda step, _: watch(step, policy, {"updates": step}), **options)
    return policy, history.steps, {"updates": history.steps}


def _q_learning(made: Bench, method: str, knobs: Row, reward: Reward, told: Any, watch: Watcher) -> tuple[nn.Module, int, Row]:
    policy, budget, options = made.start.fresh(), made.budget, dict(knobs)
    guidance = options.pop("guidance", 8.0)
    how = {"end_id": made.start.words.eos_token_id, "max_new_tokens": budget.max_new_tokens, "seed": made.seed}
    replies, _ = write(policy, made.prompts(budget.replies), **how)
    scores = scored_once(reward, replies).tolist()
    log = [q_learning.Logged(reply, value) for reply, value in zip(replies, scores, strict=True)]
    heads = q_learning.QHeads(policy, seed=made.seed)
    history = q_learning.train(heads, log, **({"epochs": 4, "seed": made.seed, "progress": False} | options))
    cost = {"tokens": sum(len(reply.completion_ids) for reply in replies), "reward_calls": len(replies), "updates": history.steps}
    return q_learning.guided(heads, guidance), history.steps, cost
