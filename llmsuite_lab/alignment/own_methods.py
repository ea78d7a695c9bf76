"""One policy, three ways to its preferences: what DPO, PPO and ReST each do with the same pairs, prompts and LoRA.

    dpo     the pairs themselves, no reply written            ppo, rest     replies to the pairs' prompts, scored by a reward model learnt from the pairs

A run that diverges ends with the last weights that were in order, and says what was wrong; one that the stop button ended raises, and its state stays in
`state`. Source: paper 6. In production: `trl.DPOTrainer`; `trl.RLOOTrainer` and `trl.GRPOTrainer`; sampling with vLLM and `trl.SFTTrainer`.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from llmsuite_lab.alignment import dpo, ppo, rest
from llmsuite_lab.alignment.pairs import Pair
from llmsuite_lab.alignment.rollouts import ActorCritic, Reference, Reward
from llmsuite_lab.alignment.run_log import HELD_OUT, RunLog
from llmsuite_lab.alignment.settings import Progress
from llmsuite_lab.alignment.settings import Settings as PPOSettings
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.history import History
from llmsuite_lab.peft_methods.own_run import unfinished

DEFAULTS: dict[str, dict[str, Any]] = {  # None: steps come from epochs
    "dpo": {"steps": None, "epochs": 1.0, "batch_size": 8, "lr": 5e-4, "beta": 0.1, "label_smoothing": 0.0},
    "ppo": {"steps": 20, "batch_size": 16, "lr": 5e-4, "beta": 0.05, "reward_epochs": 1.0},
    "rest": {"steps": 2, "batch_size": 16, "lr": 5e-4, "replies": 4, "reward_epochs": 1.0},
}
TOKENS = 2048  # read in one pass of a training: what keeps a small model's activations, and a large vocabulary's logits, within some GB
GROW_PROMPTS, THRESHOLDS = 64, (0.5, 0.75)  # of a Grow step; shares of its replies
LOOKS, LOOKED = 6, 32  # how often a DPO run is measured on its way, and on how many held-out pairs


@dataclass
class Work:
    """What a method is given: a policy whose LoRA is trained, its reference, pairs of both sides, different prompts to write to, `settings` (`DEFAULTS` and
    what was asked for), where its state stands, and who is told."""

    policy: nn.Module
    reference: Reference
    end_id: int
    train: Sequence[Pair]
    held: Sequence[Pair]
    prompts: Sequence[Sequence[int]]
    settings: dict[str, Any]
    seed: int
    state: Path
    log: RunLog
    progress: bool = False


@dataclass(frozen=True)
class Run:
    """What it took: `steps` done in `wall_s` seconds; `stopped`: why it ended early, None when it did not."""

    steps: int
    wall_s: float
    stopped: str | None = None


def micro(pairs: Sequence[Pair]) -> int:
    """Pairs in one pass, so that at most about `TOKENS` are read at once. Raises ValueError for no pair."""
    if len(pairs) == 0:
        raise ValueError("there is no pair: the list is empty")
    return max(1, TOKENS // (2 * max(max(len(pair.chosen), len(pair.rejected)) for pair in pairs)))


class LastGood:
    """The weights under which the last loss was finite: those before the latest update, since what an update did shows when the next loss is taken."""

    def __init__(self, model: nn.Module) -> None:
        self._trained = [p for p in model.parameters() if p.requires_grad]
        self._good = self._latest = self._now()

    def updated(self, *_: Any) -> None:
        """To be called after each update."""
        self._good, self._latest = self._latest, self._now()

    @torch.no_grad()
    def put_back(self) -> None:
        """Give the model these weights."""
        for parameter, value in zip(self._trained, self._good, strict=True):
            parameter.copy_(value)

    def _now(self) -> list[torch.Tensor]:
        return [p.detach().clone() for p in self._trained]


def run_dpo(work: Work) -> Run:
    """Tune the policy on the pairs. Raises LabError when it diverged at once, and when it was stopped."""
    s, last = work.settings, LastGood(work.policy)
    planned = s["steps"] or max(1, round(s["epochs"] * math.ceil(len(work.train) / s["batch_size"])))
    seen = {row["step"]: {n: v for n, v in row.items() if n.startswith(HELD_OUT)} for row in work.log.before() if isinstance(row.get("step"), int)}
    looks = {round(planned * look / LOOKS) for look in range(1, LOOKS + 1)} | {1}
    done = History()

    def on_step(step: int, history: History) -> None:
        nonlocal done
        last.updated()
        done = history
        if step not in looks:
            return
        measured = dpo.measure(work.policy, work.reference, work.held[:LOOKED], s["beta"], 2 * micro(work.held))
        seen[step] = {HELD_OUT + name: value for name, value in measured.items()}
        columns = zip(history.losses, history.grad_norms, history.lrs, strict=True)
        rows = [{"loss": a, "gradient": b, "lr": c} | seen.get(n, {}) for n, (a, b, c) in enumerate(columns, start=1)]
        work.log.update(rows, planned)

    stopped = None
    try:
        done = dpo.train(
            work.policy, work.reference, work.train, beta=s["beta"], label_smoothing=s["label_smoothing"], epochs=None, steps=planned, lr=s["lr"],
            batch_size=s["batch_size"], micro_batch_size=min(micro(work.train), s["batch_size"]), seed=work.seed, checkpoint=work.state / "dpo", resume=True,
            progress=work.progress, on_step=on_step,
        )  # fmt: skip
    except LabError as error:
        if done.steps < 2:
            raise
        stopped = str(error)
        last.put_back()
    if done.interrupted:
        raise unfinished(done.steps, planned, "updates", work.state)
    return Run(done.steps - (1 if stopped else 0), done.wall_s, stopped)


def run_ppo(work: Work, reward: Reward) -> Run:
    """Tune the policy against the reward on the prompts. Raises as `run_dpo`."""
    s, prompts, began = work.settings, min(work.settings["batch_size"], len(work.prompts)), time.perf_counter()
    longest = max(map(len, work.prompts)) + s["max_tokens"]
    settings = PPOSettings(
        iterations=s["steps"], prompts=prompts, max_new_tokens=s["max_tokens"], lr=s["lr"], beta=s["beta"],
        minibatches=min(prompts, max(2, math.ceil(prompts * longest / TOKENS))),
    )  # fmt: skip
    s |= {"minibatches": settings.minibatches, "epochs of an iteration": settings.epochs, "missing_end": settings.missing_end}

    def on_iteration(step: int, progress: Progress) -> None:
        if progress.rows:
            work.log.update(progress.rows, settings.iterations)

    progress = ppo.train(
        ActorCritic(work.policy), work.reference, reward, work.prompts, settings, end_id=work.end_id, seed=work.seed, checkpoint=work.state / "ppo",
        checkpoint_every=1, resume=True, on_iteration=on_iteration,
    )  # fmt: skip
    if progress.interrupted:
        raise unfinished(progress.steps, settings.iterations, "iterations", work.state)
    if progress.stopped is not None and progress.steps < 2:
        raise LabError(f"nothing was learnt, as the first iteration already ended the run: {progress.stopped}")
    return Run(progress.steps, time.perf_counter() - began, progress.stopped)


def run_rest(work: Work, reward: Reward) -> Run:
    """Tune the policy on the better part of what it writes. Raises as `run_dpo`."""
    s, last, began, rows = work.settings, LastGood(work.policy), time.perf_counter(), 0
    settings = rest.Settings(
        grows=s["steps"], prompts=min(GROW_PROMPTS, len(work.prompts)), replies=s["replies"], thresholds=THRESHOLDS, max_new_tokens=s["max_tokens"],
        batch_size=s["batch_size"], lr=s["lr"],
    )  # fmt: skip
    s |= {"prompts of a Grow step": settings.prompts, "thresholds": list(THRESHOLDS), "missing_end": settings.missing_end}
    planned, stopped = settings.grows * len(THRESHOLDS), None

    def on_improve(ledger: rest.Ledger) -> None:
        nonlocal rows
        rows = len(ledger.rows)
        work.log.update(ledger.rows, planned)

    longest = max(map(len, work.prompts)) + s["max_tokens"]
    try:
        ledger = rest.train(
            work.policy, reward, work.prompts, settings, end_id=work.end_id, seed=work.seed, checkpoint=work.state / "rest", resume=True,
            on_improve=on_improve, on_step=last.updated, progress=work.progress, micro_batch_size=min(settings.batch_size, max(1, TOKENS // longest)),
        )  # fmt: skip
    except LabError as error:
        if rows == 0:
            raise
        stopped = str(error)
        last.put_back()
    else:
        rows, stopped = len(ledger.rows), ledger.stopped
        if ledger.interrupted:
            raise unfinished(ledger.grows, settings.grows, "Grow steps", work.state)
        if not any(row["kept"] for row in ledger.rows):
            raise LabError(f"nothing was learnt: {stopped or 'no reply was above a threshold, as all were scored alike'}")
    return Run(rows, time.perf_counter() - began, stopped)


RUNS: dict[str, Callable[..., Run]] = {"dpo": run_dpo, "ppo": run_ppo, "rest": run_rest}
