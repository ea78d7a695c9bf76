"""Direct preference optimisation: the policy is its own reward model, and no reply is ever written in training.

    R̂(x, y) = β log(π_θ(y | x) / π_ref(y | x))                                the reward under which π_θ would be the KL-tuned optimum
    L = − mean log σ(R̂(x, y_w) − R̂(x, y_l))                                   Bradley–Terry in that reward

log π(y | x) is the *sum* over the reply's tokens, the end token too, none of the prompt. Averaged instead, the reply's length would change what a nat costs;
`average=True` is here to show that. The reference's figures are taken once, before training, by the very arithmetic that the policy is trained in, and
dropout is off for both: at the start every implicit reward is 0. A pair's margin is not read.

Source: paper 6.1, where it is cited to two earlier papers; it is Rafailov et al. 2023. In production: `trl.DPOTrainer`.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from llmsuite_lab.alignment.actions import reply_logprobs
from llmsuite_lab.alignment.pairs import Pair, PairBatch, check_pairs, collate_pairs
from llmsuite_lab.alignment.rollouts import Reference
from llmsuite_lab.core.errors import LabError, whole, within
from llmsuite_lab.core.history import History
from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.lm.batching import Example
from llmsuite_lab.lm.training import computing_in, fit, training_dtype
from llmsuite_lab.lm.training_attention import plain_attention

PairValues = Float[Tensor, " pairs"]
METRICS = {
    "loss": "− log σ of the difference of the implicit rewards, mean over pairs, nats: ln 2 at the start",
    "accuracy": "share of pairs whose chosen reply has the higher implicit reward; a tie is half right",
    "reward_chosen": "implicit reward of the chosen replies, mean, β times nats",
    "reward_rejected": "that of the rejected",
    "reward_margin": "the first minus the second",
    "logprob_chosen": "log π(y | x) of the chosen replies, mean, nats a reply: it often falls while the margin grows",
    "logprob_rejected": "that of the rejected",
}


def dpo_loss(
    chosen: PairValues, rejected: PairValues, reference_chosen: PairValues, reference_rejected: PairValues, beta: float = 0.1, label_smoothing: float = 0.0
) -> PairValues:
    """The loss of each pair, nats, from summed log-probabilities. label_smoothing: share of labels believed to be wrong, 0 to below ½.

    Raises ValueError for a beta that is not above zero, and a smoothing outside its range.
    """
    if not 0 < beta < math.inf:
        raise ValueError(f"beta={beta} must be above zero, and finite")
    within("label_smoothing", label_smoothing, 0, 0.499)
    difference = beta * ((chosen - reference_chosen) - (rejected - reference_rejected))
    return -(1 - label_smoothing) * F.logsigmoid(difference) - label_smoothing * F.logsigmoid(-difference)


@dataclass(frozen=True)
class Referenced:
    """A pair with what the reference thinks of its two replies."""

    pair: Pair
    chosen: float
    rejected: float


@dataclass
class ReferencedBatch(PairBatch):
    """A batch of pairs with the reference's figures, [chosen, rejected]."""

    reference: Float[Tensor, "2 pairs"]


def _collate(items: Sequence[Referenced]) -> ReferencedBatch:
    batch = collate_pairs([item.pair for item in items])
    return ReferencedBatch(batch.replies, batch.margin, torch.tensor([[item.chosen for item in items], [item.rejected for item in items]]))


@torch.no_grad()
def referenced(reference: Reference, pairs: Sequence[Pair], batch_size: int = 32, *, average: bool = False) -> list[Referenced]:
    """Pairs with log π_ref of both replies. Raises ValueError for none."""
    whole("batch_size", batch_size, 1, 1_000_000)
    found = []
    for start in range(0, len(pairs), batch_size):
        part = pairs[start : start + batch_size]
        batch = collate_pairs(part)
        chosen, rejected = batch.halves(_logprobs(reference, batch.replies, average))
        found += [Referenced(pair, w, l) for pair, w, l in zip(part, chosen.tolist(), rejected.tolist())]
    if not found:
        raise ValueError("there is no pair: the list is empty")
    return found


def _logprobs(model: nn.Module | Reference, replies: Sequence[Example], average: bool) -> Tensor:
    summed = model.logprobs(replies) if isinstance(model, Reference) else reply_logprobs(model, replies)
    return summed / torch.tensor([len(r.completion_ids) for r in replies], device=summed.device) if average else summed


def train(
    policy: nn.Module, reference: Reference, pairs: Sequence[Pair], *, beta: float = 0.1, label_smoothing: float = 0.0, average: bool = False,
    epochs: float = 1, batch_size: int = 16, lr: float = 3e-4, seed: int = 0, **options: Any,
) -> History:  # fmt: skip
    """Tune what of the policy requires a gradient on pairs, in place; the history's losses are nats a pair. `options` and errors as `lm.training.fit`, and
    `pairs.check_pairs`."""
    dpo_loss(*(torch.zeros(1) for _ in range(4)), beta, label_smoothing)  # refuse what cannot work before anything runs
    check_pairs(pairs, policy)
    with plain_attention(reference.model), computing_in(reference.model, options.get("dtype") or training_dtype(policy)):  # as `fit` computes
        items = referenced(reference, pairs, options.get("micro_batch_size") or 32, average=average)
    loss_fn = functools.partial(_loss, beta=beta, label_smoothing=label_smoothing, average=average)  # a checkpoint is told these
    return fit(policy, items, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed, loss_fn=loss_fn, collate_fn=_collate, **options)


def _loss(model: nn.Module, batch: ReferencedBatch, beta: float, label_smoothing: float, average: bool) -> tuple[Float[Tensor, ""], int]:
    chosen, rejected = batch.halves(_logprobs(model, batch.replies, average))
    losses = dpo_loss(chosen, rejected, *batch.reference.to(chosen.device), beta, label_smoothing)
    return losses.sum(), len(losses)


def measure(policy: nn.Module, reference: Reference, pairs: Sequence[Pair], beta: float = 0.1, batch_size: int = 64) -> dict[str, float]:
    """`METRICS` over pairs, held-out ones best; dropout off. Raises ValueError for none, LabError for log-probabilities that are not finite."""
    return {name: float(values.double().mean()) for name, values in each(policy, reference, pairs, beta, batch_size).items()}


@torch.no_grad()
def each(policy: nn.Module, reference: Reference, pairs: Sequence[Pair], beta: float = 0.1, batch_size: int = 64) -> dict[str, PairValues]:
    """`METRICS` of each pair, in order: what an interval is taken over. Raises as `measure`."""
    batch = collate_pairs(pairs)
    now = _batched(lambda part: reply_logprobs(policy, part), batch.replies, batch_size)
    (chosen, rejected), then = batch.halves(now), batch.halves(_batched(reference.logprobs, batch.replies, batch_size))
    losses = dpo_loss(chosen, rejected, *then, beta)
    won, lost = beta * (chosen - then[0]), beta * (rejected - then[1])
    return {
        "loss": losses, "accuracy": (1 + (won - lost).sign()) / 2, "reward_chosen": won, "reward_rejected": lost, "reward_margin": won - lost,
        "logprob_chosen": chosen, "logprob_rejected": rejected,
    }  # fmt: skip


def _batched(logprobs: Callable[[Sequence[Example]], Tensor], replies: Sequence[Example], batch_size: int) -> Float[Tensor, " replies"]:
    whole("batch_size", batch_size, 1, 1_000_000)
    if len(replies) == 0:
        raise ValueError("there is no reply to score: the list is empty")
    found = torch.cat([logprobs(replies[start : start + batch_size]) for start in range(0, len(replies), batch_size)])
    if not bool(found.isfinite().all()):
        bad = int((~found.isfinite()).nonzero()[0])
        raise LabError(f"reply {bad} has a log-probability of {float(found[bad])}: the model's training diverged, or its dtype is too narrow")
    return found


@torch.no_grad()
def implicit_rewards(policy: nn.Module, reference: Reference, replies: Sequence[Example], beta: float = 0.1, batch_size: int = 64) -> Float[Tensor, " replies"]:
    """R̂(x, y) of replies, in nats times β: a DPO policy read as a reward model. Raises ValueError for none, LabError as `measure`."""
    now = _batched(lambda part: reply_logprobs(policy, part), replies, batch_size)
    return beta * (now - _batched(reference.logprobs, replies, batch_size))


def accuracy(policy: nn.Module, reference: Reference, pairs: Sequence[Pair]) -> Interval:
    """Share of pairs whose chosen reply has the higher implicit reward; a tie is half right. Over pairs. Raises as `measure`."""
    batch = collate_pairs(pairs)
    chosen, rejected = batch.halves(implicit_rewards(policy, reference, batch.replies, 1.0))
    return mean_interval([0.5 if d == 0 else float(d > 0) for d in (chosen - rejected).tolist()])
