"""Reinforced self-training: write much once, then learn several times from the better part of it.

    Grow      D = {(x, y): y ~ π_θ(· | x)}, each scored once
    Improve   minimise E_D[F(x, y; τ) L(x, y; θ)],   F = 1[R(x, y) > τ],   τ rising;   L = − Σ_t log π_θ(y_t | x, y_<t)

One Grow step feeds all its Improve steps: the dataset is offline, no reply is written in between, and `Ledger` counts how often a reply is used again.
F may weigh instead of filter: F = exp(R / T), normalised (`weigh`). The thresholds are shares of D by default (τ = 0.9 keeps the best tenth), which any
reward's unit allows; or figures in the reward's unit. A reply that was cut at the limit has `missing_end` taken off its score, as in PPO.

Source: paper 6; Gulcehre et al. 2023. In production: no trainer of `trl`; sampling with vLLM and `trl.SFTTrainer` on what is kept.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llmsuite_lab.alignment.rollouts import Reward, scored_once, write
from llmsuite_lab.alignment.watch import REPLIES_EMPTY
from llmsuite_lab.core.errors import whole, within
from llmsuite_lab.core.files import check_folder
from llmsuite_lab.core.seeding import torch_state_kept
from llmsuite_lab.lm.batching import Example, collate, fingerprint
from llmsuite_lab.lm.checkpoint import KIND, buffer_states, load_checkpoint, save_checkpoint
from llmsuite_lab.lm.supervised import supervised_logits
from llmsuite_lab.lm.training import fit
from llmsuite_lab.transformer.optimizer import AdamW

METRICS = {
    "grow": "which Grow step the Improve step belongs to, from 0",
    "threshold": "τ in the reward's unit, missing ends taken off",
    "kept": "replies above it; 0: no update",
    "ended": "share of the Grow step's replies with an end token",
    "score": "mean of the kept replies, as the reward gave it",
    "loss": "nats a token, last update",
}


@dataclass(frozen=True)
class Settings:
    """grows: Grow steps; prompts, replies: of a Grow step, and to each prompt; thresholds: of its Improve steps, rising. shares: read them as quantiles.

    epochs, batch_size, lr: of an Improve step. weigh: T of F = exp(R / T), in the reward's unit, among what passed; None: F is 0 or 1. missing_end: taken off
    the score of a reply without an end token.
    """

    grows: int = 1
    prompts: int = 256
    replies: int = 8
    thresholds: tuple[float, ...] = (0.5, 0.7, 0.85, 0.95)
    shares: bool = True
    max_new_tokens: int = 40
    temperature: float = 1.0
    epochs: float = 1
    batch_size: int = 32
    lr: float = 1e-3
    weigh: float | None = None
    missing_end: float = 1.0

    def __post_init__(self) -> None:
        for name in ("grows", "prompts", "replies", "max_new_tokens", "batch_size"):
            whole(name, getattr(self, name), 1, 10_000_000)
        if not self.thresholds or list(self.thresholds) != sorted(self.thresholds) or not all(map(math.isfinite, self.thresholds)):
            raise ValueError(f"thresholds={self.thresholds}: at least one finite number is needed, and each at or above the one before")
        if self.shares:
            for threshold in self.thresholds:
                within("threshold", threshold, 0, 1)
        for name in ("epochs", "lr", "temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} must be above zero, and finite")
        within("missing_end", self.missing_end, 0, 1e6)
        if self.weigh is not None and not 0 < self.weigh < math.inf:
            raise ValueError(f"weigh={self.weigh} must be above zero, or None to filter alone")


@dataclass
class Ledger:
    """What it took: tokens generated, replies scored, updates made, replies read in training; and a row for each Improve step.

    A row has `METRICS`. A threshold that keeps nothing is a row with kept 0, and no update.
    grows: Grow steps that are done with all their Improve steps. stopped: why the run ended early, None when it did not; interrupted: by the stop button.
    """

    tokens: int = 0
    reward_calls: int = 0
    updates: int = 0
    read: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)
    grows: int = 0
    stopped: str | None = None
    interrupted: bool = False

    @property
    def reuse(self) -> float:
        """How often a reply that was written has been trained on, on average."""
        return self.read / self.reward_calls if self.reward_calls else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Ledger":
        """The inverse of `as_dict`."""
        return cls(**data)


@dataclass(frozen=True)
class Weighted:
    """A reply with its weight F in the loss."""

    reply: Example
    weight: float


def keep(scores: Float[Tensor, " replies"], threshold: float, *, share: bool = True) -> tuple[list[int], float]:
    """(places of the replies with R > τ, τ in the reward's unit). share: `threshold` is the share of replies that are to lie at or below τ.

    Strictly above: replies that are all alike are kept by no threshold but a share of 0, which keeps everything. Raises ValueError for no or odd scores.
    """
    if scores.ndim != 1 or len(scores) == 0 or not bool(scores.isfinite().all()):
        raise ValueError(f"scores of shape {list(scores.shape)}: one finite number a reply is needed")
    if share:
        within("threshold", threshold, 0, 1)
        if threshold == 0:
            return list(range(len(scores))), -math.inf
        threshold = float(torch.quantile(scores.double(), threshold))
    return (scores.double() > threshold).nonzero().flatten().tolist(), threshold


def weights(scores: Float[Tensor, " replies"], T: float) -> Float[Tensor, " replies"]:
    """F = exp(R / T), with mean 1. Raises ValueError for a T that is not above zero."""
    if not T > 0:
        raise ValueError(f"T={T} must be above zero")
    return torch.softmax(scores.double() / T, 0) * len(scores)


def weighted_loss(model: nn.Module, items: Sequence[Weighted]) -> tuple[Float[Tensor, ""], int]:
    """Σ F · L over the replies' tokens, and the number of tokens: with all weights 1 it is `lm.supervised.supervised_loss`."""
    batch = collate([item.reply for item in items]).to(next(model.parameters()).device)
    each = nn.functional.cross_entropy(supervised_logits(model, batch).float(), batch.targets, reduction="none")
    F = torch.tensor([item.weight for item in items for _ in item.reply.completion_ids], device=each.device)
    return (F * each).sum(), batch.count


@torch_state_kept()  # a resumed run draws on from the state in its checkpoint
def train(
    policy: nn.Module, reward: Reward, prompts: Sequence[Sequence[int]], settings: Settings | None = None, *, end_id: int, seed: int = 0,
    checkpoint: Path | str | None = None, resume: bool = False, on_improve: Callable[[Ledger], None] | None = None, **options: Any,
) -> Ledger:  # fmt: skip
    """Tune what of the policy requires a gradient, in place; what it took, and what each step kept. `options` as `lm.training.fit`.

    prompts: token ids; each Grow step takes the next `settings.prompts` of them, from the front again at their end. checkpoint: a folder for the state after
    each whole Grow step; `resume=True` goes on from it as if the run had not been stopped. The stop button ends the run after the last whole update;
    replies that are all the end token alone end it before any. `on_improve(ledger)` is called after each Improve step.
    Raises ValueError for too few prompts and nothing to train, LabError for a reward or a loss
    that is not finite (the weights are those of the last whole update) and for a checkpoint of another run.
    """
    settings, ledger = settings or Settings(), Ledger()
    if len(prompts) < settings.prompts:
        raise ValueError(f"{len(prompts)} prompts, but a Grow step takes prompts={settings.prompts}: give more, or take fewer")
    if not (trained := [p for p in policy.parameters() if p.requires_grad]):
        raise ValueError("no parameter of the policy requires a gradient, so there is nothing to train: add a LoRA, or unfreeze it")
    if resume and checkpoint is None:
        raise ValueError("resume=True needs a checkpoint: name the folder that the run wrote")
    if checkpoint is not None:
        folder, at_start = Path(checkpoint), buffer_states(policy)
        told = {name: value for name, value in asdict(settings).items() if name != "grows"} | {"seed": seed, "examples": fingerprint(prompts)}
        told["thresholds"] = list(settings.thresholds)  # as JSON has them
        check_folder(folder, KIND, by_name=resume)
        ledger = (load_checkpoint(folder, AdamW(trained), told, policy, at_start, Ledger) if resume else None) or ledger
    while ledger.grows < settings.grows and ledger.stopped is None and not ledger.interrupted:
        try:
            _grow(policy, reward, prompts, settings, ledger, end_id, seed, on_improve, options)
        except KeyboardInterrupt:  # while it wrote: `fit` tells of it itself
            ledger.interrupted = True
        if checkpoint is not None and not ledger.interrupted:
            save_checkpoint(folder, AdamW(trained), ledger, told, policy, at_start)
    return ledger


def _grow(
    policy: nn.Module, reward: Reward, prompts: Sequence[Sequence[int]], settings: Settings, ledger: Ledger, end_id: int, seed: int,
    on_improve: Callable[[Ledger], None] | None, options: dict[str, Any],
) -> None:  # fmt: skip
    """One Grow step and its Improve steps; the ledger is told."""
    grow = ledger.grows
    chosen = [prompts[(grow * settings.prompts + i) % len(prompts)] for i in range(settings.prompts)]
    how = {"max_new_tokens": settings.max_new_tokens, "temperature": settings.temperature}
    replies, ended = write(policy, chosen, end_id=end_id, k=settings.replies, seed=seed * 1009 + grow, **how)
    scores = scored_once(reward, replies).cpu()
    compared = scores - settings.missing_end * (~torch.tensor(ended)).float()
    ledger.tokens += sum(len(reply.completion_ids) for reply in replies)
    ledger.reward_calls += len(replies)
    if all(reply.completion_ids == [end_id] for reply in replies):
        ledger.stopped = f"{REPLIES_EMPTY}: in Grow step {grow + 1} every reply was the end token alone"
        return
    for step, threshold in enumerate(settings.thresholds):
        kept, tau = keep(compared, threshold, share=settings.shares)
        row = {"grow": grow, "threshold": tau, "kept": len(kept), "ended": sum(ended) / len(ended), "score": math.nan, "loss": math.nan}
        if kept:
            F = [1.0] * len(kept) if settings.weigh is None else weights(compared[kept], settings.weigh).tolist()
            items, read = [Weighted(replies[i], f) for i, f in zip(kept, F)], []
            how = {"epochs": settings.epochs, "batch_size": min(settings.batch_size, len(items)), "lr": settings.lr}

            def loss_fn(model: nn.Module, batch: Sequence[Weighted], read: list[int] = read) -> tuple[Tensor, int]:
                read.append(len(batch))
                return weighted_loss(model, batch)

            history = fit(policy, items, seed=seed * 1009 + grow * 101 + step, loss_fn=loss_fn, collate_fn=list, **how, **options)
            ledger.updates += history.steps
            ledger.read += sum(read)
            row |= {"score": float(scores[kept].mean()), "loss": history.losses[-1] if history.losses else math.nan}
            ledger.interrupted = history.interrupted
        ledger.rows.append(row)
        if on_improve is not None:
            on_improve(ledger)
        if ledger.interrupted:
            return
    ledger.grows += 1
