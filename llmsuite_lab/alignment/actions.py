"""A reply as a row of actions: what the policy thought of each, in one pass.

    state s_t = prompt and the reply so far      action a_t = the next token, the end token included      log π_θ(a_t | s_t), H[π_θ(· | s_t)], h_t

Replies differ in length. They lie in a grid of [replies, actions], left-aligned, and `mask` says which cells hold an action: every mean, every advantage
and every loss of this package is taken over those cells and no other. h_t, the hidden state before a_t, is what a value head reads.
Dropout is off here: the log-probabilities of sampling and of training must be of one and the same policy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from llmsuite_lab.lm.batching import Example, collate
from llmsuite_lab.lm.supervised import hidden_and_logits, supervised_logits
from llmsuite_lab.transformer.evaluating import evaluating

Grid = Float[Tensor, "replies actions"]
Mask = Bool[Tensor, "replies actions"]


@dataclass
class Actions:
    """What a policy thinks of some replies. `logprobs` (nats) and `entropy` (nats) are 0 where there is no action.

    `distribution` is log π(· | s_t) over the vocabulary, kept only when it was asked for: the exact KL needs it.
    """

    logprobs: Float[Tensor, "replies actions"]
    entropy: Float[Tensor, "replies actions"]
    hidden: Float[Tensor, "replies actions d"]
    mask: Bool[Tensor, "replies actions"]
    distribution: Float[Tensor, "replies actions vocabulary"] | None = None


def score(model: nn.Module, replies: Sequence[Example], *, distribution: bool = False) -> Actions:
    """The model's opinion of replies (`prompt_ids`, and as `completion_ids` all that was chosen, the end token too). Differentiable, float32.

    Raises ValueError for no replies, an empty prompt or reply (an empty reply is the end token alone), TypeError as `lm.supervised.hidden_and_logits`.
    """
    check_replies(replies)
    batch = collate(replies).to(next(model.parameters()).device)
    with evaluating(model):
        hidden, logits = hidden_and_logits(model, batch)
    logp = logits.float().log_softmax(-1)  # (actions of all replies, vocabulary)
    chosen = logp.gather(1, batch.targets[:, None])[:, 0]
    mask = action_mask([len(reply.completion_ids) for reply in replies]).to(logp.device)
    return Actions(
        grid(chosen, mask), grid(entropies(logp), mask), grid(hidden.float(), mask), mask, grid(logp, mask) if distribution else None
    )  # fmt: skip


def entropies(logp: Float[Tensor, "*states vocabulary"]) -> Float[Tensor, "*states"]:
    """H[π(· | s)] = −Σ_a π(a | s) log π(a | s) of each state, nats, from log-probabilities over the vocabulary; a token that is ruled out adds nothing."""
    return -(logp.exp() * logp).nan_to_num().sum(-1)  # 0 · −∞ is 0


def reply_logprobs(model: nn.Module, replies: Sequence[Example]) -> Float[Tensor, " replies"]:
    """log π(y | x) = Σ_t log π(y_t | x, y_<t) of each reply, nats: summed, not averaged. Differentiable; dropout off. Raises as `score`."""
    check_replies(replies)
    batch = collate(replies).to(next(model.parameters()).device)
    with evaluating(model):
        each = -F.cross_entropy(supervised_logits(model, batch).float(), batch.targets, reduction="none")
    mask = action_mask([len(reply.completion_ids) for reply in replies]).to(each.device)
    return grid(each, mask).sum(1)


def check_replies(replies: Sequence[Example]) -> None:
    """Raises ValueError for no replies, and for one with an empty prompt or without an action."""
    if len(replies) == 0:
        raise ValueError("there is no reply to score: the list is empty")
    for n, reply in enumerate(replies):
        if not len(reply.prompt_ids) or not len(reply.completion_ids):
            part = "prompt" if not len(reply.prompt_ids) else "reply"
            raise ValueError(f"reply {n} has an empty {part}: the first action needs a state, and a reply at least its end token")


def action_mask(lengths: Sequence[int]) -> Bool[Tensor, "replies actions"]:
    """True for the first `lengths[i]` cells of row i; as wide as the longest. Raises ValueError for no length, or one below 1."""
    if len(lengths) == 0 or min(lengths) < 1:
        raise ValueError(f"lengths={list(lengths)}: every reply has at least one action, its end token")
    return torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]


def grid(flat: Float[Tensor, "total *rest"], mask: Bool[Tensor, "replies actions"]) -> Float[Tensor, "replies actions *rest"]:
    """Values in reading order laid into the cells of `mask`, 0 elsewhere. Differentiable. Raises ValueError when their number is another."""
    if len(flat) != int(mask.sum()):
        raise ValueError(f"{len(flat)} values for {int(mask.sum())} actions")
    return flat.new_zeros(*mask.shape, *flat.shape[1:]).index_put((mask,), flat)


def masked_mean(values: Float[Tensor, "replies actions"], mask: Bool[Tensor, "replies actions"]) -> Float[Tensor, ""]:
    """The mean over actions, all replies together: a long reply weighs more. What lies outside the mask, even a nan, is not looked at."""
    return values.where(mask, 0.0).sum() / mask.sum()
