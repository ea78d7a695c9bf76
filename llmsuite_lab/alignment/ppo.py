"""Proximal policy optimisation for language models, whole: write, score, judge the actions, update a little, again.

    1  rollouts: replies to fresh prompts, one score each at the end token                    rollouts.collect
    2  r_t = −β (log π_θ − log π_ref)(a_t), plus the score at the last action                 advantages.token_rewards
    3  Â_t, R_t by generalised advantage estimation; Â whitened over actions                  advantages.gae, whiten
    4  `epochs` passes over `minibatches`: the clipped losses, AdamW                          update, objectives

The same loop runs A2C (one pass, no clip), RLOO and GRPO (`Settings.method`): they differ in steps 3 and 4 only. The table of details with reasons and
sources is in `details.DETAILS`. Rollouts and order are functions of (seed, iteration), so a run that is resumed is the run that was never stopped.

Source: paper 6.1; Schulman et al. 2017, Ziegler et al. 2019, Huang et al. 2024 (the details). trl has no PPO any more: its last, of 1.12.0, is what `parity`
holds this one against, and `llmsuite bench ppo` times. In production: OpenRLHF and verl on many GPUs, with a value model; `trl.RLOOTrainer` and
`trl.GRPOTrainer`, its relatives, without one.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmsuite_lab.alignment.actions import masked_mean, score
from llmsuite_lab.alignment.divergence import estimate, exact
from llmsuite_lab.alignment.rollouts import ActorCritic, Reference, Reward, Rollouts, collect
from llmsuite_lab.alignment.settings import Progress, Settings
from llmsuite_lab.alignment.update import advantages_of, explained, update
from llmsuite_lab.alignment.watch import NOT_FINITE, Watch
from llmsuite_lab.core.errors import LabError, whole
from llmsuite_lab.core.files import check_folder
from llmsuite_lab.core.forks import compute_safely
from llmsuite_lab.core.seeding import torch_state_kept
from llmsuite_lab.lm.batching import fingerprint
from llmsuite_lab.lm.checkpoint import KIND, buffer_states, load_checkpoint, save_checkpoint
from llmsuite_lab.transformer.optimizer import AdamW

SEED_STEP = 1_000_003  # seeds of neighbouring runs do not meet in neighbouring iterations
ADAM_EPS = 1e-5  # larger than usual: gradients of a reward are small and noisy, and m / sqrt(v) must not be noise alone (Huang et al. 2024)


@torch_state_kept()  # a resumed run draws on from the state in its checkpoint
def train(
    model: ActorCritic,
    reference: Reference,
    reward: Reward,
    prompts: Sequence[Sequence[int]],
    settings: Settings | None = None,
    *,
    end_id: int,
    seed: int = 0,
    watch: Watch | None = None,
    exact_kl: bool = False,
    checkpoint: Path | str | None = None,
    checkpoint_every: int = 10,
    resume: bool = False,
    on_iteration: Callable[[int, Progress], None] | None = None,
) -> Progress:
    """Tune `model.policy` (what of it requires a gradient) and the value head in place against a reward; the metrics of every iteration.

    prompts: token ids; an iteration draws `settings.prompts` of them, all of them once before any comes again. end_id: the end token. `exact_kl` costs a
    pass more and is reported only. checkpoint: a folder for the state; `resume=True` goes on from it with the figures of a run that was never stopped.

    Trouble (`watch.Watch`, and losses that are not finite) ends the run: `Progress.stopped` names it, and the weights are those of the last iteration
    before it. The stop button ends it after the last whole iteration, `interrupted`. Raises ValueError for no prompt, fewer than an iteration
    needs, and nothing to train; LabError for a checkpoint of another run.
    """
    settings, watch = settings or Settings(), watch or Watch()
    if len(prompts) < settings.prompts:
        raise ValueError(f"{len(prompts)} prompts, but an iteration takes prompts={settings.prompts}: give more, or take fewer")
    whole("checkpoint_every", checkpoint_every, 1, 1_000_000)
    compute_safely()
    trained = _trained(model, settings)
    optimizer = AdamW(trained, lr=settings.lr, eps=ADAM_EPS, weight_decay=0.0)
    progress, told, at_start = Progress(beta=settings.beta), _told(settings, seed, watch, prompts), buffer_states(model)
    folder = None if checkpoint is None else Path(checkpoint)
    if folder is not None:
        check_folder(folder, KIND, by_name=resume)
        progress = (load_checkpoint(folder, optimizer, told, model, at_start, Progress) if resume else None) or progress
    watch = Watch(watch.kl_limit, watch.patience, dict(progress.counters))
    good = _state(optimizer)  # the weights at the start of the last iteration that was in order: whether they were shows when they have written
    while progress.steps < settings.iterations and progress.stopped is None:
        before = _state(optimizer)
        try:
            row = _iteration(model, reference, reward, prompts, settings, optimizer, progress, end_id, seed, exact_kl)
            progress.rows.append(row)
            progress.stopped = watch.trouble(row)
        except LabError as error:
            progress.stopped = f"{NOT_FINITE}: {error}"
        except KeyboardInterrupt:
            _put_back(optimizer, before)
            progress.interrupted = True
            break
        if progress.stopped is not None:
            _put_back(optimizer, good)
        else:
            good, progress.counters = before, dict(watch.counters)
            if settings.kl_target is not None:
                progress.beta = adapted(progress.beta, row["kl"], settings.kl_target, int(row["reward_calls"]), settings.horizon)
            if folder is not None and (progress.steps % checkpoint_every == 0 or progress.steps == settings.iterations):
                save_checkpoint(folder, optimizer, progress, told, model, at_start)
        if on_iteration is not None:
            on_iteration(progress.steps, progress)
    return progress


def adapted(beta: float, kl: float, target: float, replies: int, horizon: int) -> float:
    """The next price of a nat: raised when the KL of a reply lies above the target, at most by `replies / horizon` of a fifth (Ziegler et al. 2019).

    Raises ValueError for a target that is not above zero.
    """
    if not target > 0:
        raise ValueError(f"target={target} nats must be above zero")
    error = min(max(kl / target - 1, -0.2), 0.2)
    return beta * (1 + error * replies / horizon)


def _trained(model: ActorCritic, settings: Settings) -> list[torch.nn.Parameter]:
    policy = [p for p in model.policy.parameters() if p.requires_grad]
    if not policy:
        raise ValueError("no parameter of the policy requires a gradient, so there is nothing to train: add a LoRA, or unfreeze it")
    return policy if settings.grouped else [*policy, *model.value.parameters()]


def _told(settings: Settings, seed: int, watch: Watch, prompts: Sequence[Sequence[int]]) -> dict[str, Any]:
    """What a checkpoint must agree in. More iterations are no other run."""
    knobs = {name: value for name, value in asdict(settings).items() if name != "iterations"}
    return knobs | {"seed": seed, "kl_limit": watch.kl_limit, "examples": fingerprint(prompts)}


def _state(optimizer: AdamW) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in optimizer.state_dict().items()}


def _put_back(optimizer: AdamW, good: dict[str, Tensor]) -> None:
    optimizer.zero_grad()
    optimizer.load_state_dict(good)


def drawn(prompts: Sequence[Sequence[int]], count: int, iteration: int, seed: int) -> list[Sequence[int]]:
    """The prompts of an iteration: a new shuffle for each pass over all of them, and none twice in one iteration."""
    each_pass = len(prompts) // count
    order = torch.randperm(len(prompts), generator=torch.Generator().manual_seed(seed * SEED_STEP + iteration // each_pass))
    place = iteration % each_pass * count
    return [prompts[i] for i in order[place : place + count].tolist()]


def _iteration(
    model: ActorCritic, reference: Reference, reward: Reward, prompts: Sequence[Sequence[int]], settings: Settings, optimizer: AdamW,
    progress: Progress, end_id: int, seed: int, exact_kl: bool,
) -> dict[str, float]:  # fmt: skip
    began, iteration = time.perf_counter(), progress.steps
    chosen = drawn(prompts, settings.prompts, iteration, seed)
    options = {"k": settings.replies, "max_new_tokens": settings.max_new_tokens, "temperature": settings.temperature}
    rollouts = collect(model, reference, reward, chosen, end_id=end_id, seed=seed * SEED_STEP + iteration, **options)
    gained = rollouts.scores - settings.missing_end * (~rollouts.ended).float()
    k1 = estimate(rollouts.logprobs, rollouts.reference).where(rollouts.mask, 0.0)
    kl = k1.sum(1)
    row = {
        "score": float(rollouts.scores.mean()), "score_sd": float(rollouts.scores.std(unbiased=False)),
        "return": float((gained - progress.beta * kl).mean()), "kl": float(kl.mean()), "kl_exact": math.nan, "beta": progress.beta,
        "entropy": float(masked_mean(rollouts.entropy, rollouts.mask)), "length": rollouts.tokens / len(rollouts.replies),
        "empty": float((rollouts.ended & (rollouts.mask.sum(1) == 1)).float().mean()), "ended": float(rollouts.ended.float().mean()),
        "tokens": rollouts.tokens, "reward_calls": len(rollouts.replies),
    }  # fmt: skip
    if exact_kl:
        row["kl_exact"] = exact_divergence(model, reference, rollouts)
    advantages, returns = advantages_of(rollouts, gained, kl, k1, settings, progress.beta)
    written = time.perf_counter()
    row |= explained(rollouts, returns, settings) | {"rollout_s": written - began}
    row |= update(model, rollouts, advantages, returns, settings, optimizer, seed * SEED_STEP + iteration, progress.beta)
    return row | {"update_s": time.perf_counter() - written}


@torch.no_grad()
def exact_divergence(model: ActorCritic, reference: Reference, rollouts: Rollouts) -> float:
    """KL(π ‖ π_ref) over the vocabulary, summed over a reply's states, mean over replies, nats: under the policy as it is now."""
    now = score(model.policy, rollouts.replies, distribution=True)
    then = reference.score(rollouts.replies, distribution=True)
    return float(exact(now.distribution, then.distribution).where(now.mask, 0.0).sum(1).mean())
