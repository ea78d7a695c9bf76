"""Rollouts: the policy writes replies, each is scored once, and everything an update needs is put beside them.

    y ~ π_θ(· | x)        log π_θ(a_t | s_t),  log π_ref(a_t | s_t),  V(s_t)        R(x, y) once, at the end token

The reference π_ref is the policy with its adapters switched off, so that no second copy of a model is held; a policy that is tuned whole needs a frozen
copy of its start. The value head stands on the policy's own hidden states. A reply that was cut at the limit has no end token: its score is
lowered by `missing_end`, not replaced, so that a good cut reply still ranks above a bad one.

Source: paper 6 and 6.1; Ziegler et al. 2019, Stiennon et al. 2020. In production: the rollout half of `trl.GRPOTrainer`, with vLLM.
"""

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from llmsuite_lab.alignment.actions import Actions, reply_logprobs, score
from llmsuite_lab.core.errors import LabError, whole
from llmsuite_lab.lm.batching import Example
from llmsuite_lab.peft_methods.switching import adapters_off
from llmsuite_lab.transformer.generation import generate
from llmsuite_lab.transformer.sampling import Sampling

Reward = Callable[[Sequence[Example]], Float[Tensor, " replies"]]  # prompt and reply as token ids, the end token among the reply's, → one number each


class ActorCritic(nn.Module):
    """A policy, and beside it a value head V(s) = w · h(s) + b that starts at zero. `policy` is used as it is, not copied.

    Raises TypeError as `width_of`.
    """

    def __init__(self, policy: nn.Module) -> None:
        super().__init__()
        self.policy = policy
        device = next(policy.parameters()).device
        self.value = nn.utils.skip_init(nn.Linear, width_of(policy), 1, device=device)
        nn.init.zeros_(self.value.weight)
        nn.init.zeros_(self.value.bias)

    def values(self, actions: Actions) -> Float[Tensor, "replies actions"]:
        """V(s_t) before each action; 0 where there is none."""
        return self.value(actions.hidden).squeeze(-1).where(actions.mask, 0.0)


def width_of(policy: nn.Module) -> int:
    """How many numbers its hidden states have. Raises TypeError when it does not tell."""
    config = getattr(policy, "config", None)
    for name in ("d_model", "hidden_size", "n_embd"):
        if isinstance(width := getattr(config, name, None), int):
            return width
    raise TypeError(f"{type(policy).__name__} does not tell its width (config.d_model or config.hidden_size): take a causal language model")


class Reference:
    """π_ref, fixed. `Reference.frozen(policy)` copies the policy as it is now; `Reference.without_adapters(policy)` is its base, at no memory."""

    def __init__(self, model: nn.Module, off: bool) -> None:
        self.model, self._off = model, off

    @classmethod
    def frozen(cls, policy: nn.Module) -> "Reference":
        """A copy that no training moves. It holds the policy's weights a second time."""
        return cls(copy.deepcopy(policy).eval().requires_grad_(False), False)

    @classmethod
    def without_adapters(cls, policy: nn.Module) -> "Reference":
        """The policy's base. Raises ValueError when it carries no adapter of `peft_methods`, or trains a weight outside its adapters."""
        with adapters_off(policy):
            pass
        wrappers = [m for m in policy.modules() if isinstance(getattr(m, "enabled", None), bool)]
        inside = {p for m in wrappers for name, p in m.named_parameters() if not name.startswith(("base_layer.", "base."))}
        if outside := [name for name, p in policy.named_parameters() if p.requires_grad and p not in inside]:
            raise ValueError(f"{outside[0]} is trained and lies outside the adapters, so their base would move: freeze it, or take Reference.frozen(policy)")
        return cls(policy, True)

    @torch.no_grad()
    def logprobs(self, replies: Sequence[Example]) -> Float[Tensor, " replies"]:
        """As `actions.reply_logprobs`, under π_ref, without a gradient."""
        with self._fixed():
            return reply_logprobs(self.model, replies)

    @torch.no_grad()
    def score(self, replies: Sequence[Example], *, distribution: bool = False) -> Actions:
        """As `actions.score`, under π_ref, without a gradient."""
        with self._fixed():
            return score(self.model, replies, distribution=distribution)

    def _fixed(self) -> AbstractContextManager[None]:
        return adapters_off(self.model) if self._off else nullcontext()


@dataclass
class Rollouts:
    """Replies and what is known of them. Grids are [replies, actions], 0 where `mask` is False.

    replies: prompt and all that was chosen, the end token too; ended: whether the reply has one; scores: R(x, y) as the reward gave it, before
    `missing_end` was taken off; logprobs, reference, values: under the policy that wrote them. `prompts` replies stand together k by k.
    """

    replies: list[Example]
    ended: Bool[Tensor, " replies"]
    scores: Float[Tensor, " replies"]
    mask: Bool[Tensor, "replies actions"]
    logprobs: Float[Tensor, "replies actions"]
    reference: Float[Tensor, "replies actions"]
    values: Float[Tensor, "replies actions"]
    entropy: Float[Tensor, "replies actions"]

    @property
    def tokens(self) -> int:
        """Tokens that were generated."""
        return int(self.mask.sum())

    def rows(self, chosen: Sequence[int]) -> "Rollouts":
        """Some of the replies, in that order, the grids as narrow as these allow. Raises ValueError for none, and a place that is not there."""
        if len(chosen) == 0 or not all(0 <= i < len(self.replies) for i in chosen):
            raise ValueError(f"rows {list(chosen)[:8]} of {len(self.replies)} replies: name at least one, from 0 to {len(self.replies) - 1}")
        replies = [self.replies[i] for i in chosen]
        index = torch.as_tensor(list(chosen), device=self.mask.device)
        width = int(self.mask[index].sum(1).max())
        grids = {name: getattr(self, name)[index, :width] for name in ("mask", "logprobs", "reference", "values", "entropy")}
        return Rollouts(replies, self.ended[index], self.scores[index], **grids)


def write(
    policy: nn.Module, prompts: Sequence[Sequence[int]], *, end_id: int, k: int = 1, max_new_tokens: int = 32, temperature: float = 1.0, seed: int = 0,
    batch_size: int = 512,
) -> tuple[list[Example], list[bool]]:  # fmt: skip
    """(replies, whether each ended by itself): `k` to each prompt, standing together. The same seed and policy give the same replies.

    batch_size: replies written at once; each holds its keys and values in memory, and has its own random numbers whatever their company.

    Raises ValueError as `transformer.generation.generate`, and for a temperature of 0 with k > 1 (k times the same reply).
    """
    if temperature == 0 and k > 1:
        raise ValueError(f"temperature=0 writes the same reply k={k} times: take a temperature above 0, or k=1")
    whole("k", k, 1, 100_000)
    repeated = [list(prompt) for prompt in prompts for _ in range(k)]
    sampling = Sampling(temperature=temperature, seed=seed) if temperature > 0 else Sampling()
    whole("batch_size", batch_size, 1, 1_000_000)
    streams, rows = sampling.streams(repeated), []
    with torch.no_grad():
        for start in range(0, max(len(repeated), 1), batch_size):  # no prompt at all is refused by `generate`
            part = slice(start, start + batch_size)
            rows += generate(policy, repeated[part], max_new_tokens, eos_ids=end_id, sampling=sampling, streams=streams[part])
    return [Example(prompt, row.actions) for prompt, row in zip(repeated, rows)], [row.end_id is not None for row in rows]


@torch.no_grad()
def collect(
    model: ActorCritic, reference: Reference, reward: Reward, prompts: Sequence[Sequence[int]], *, end_id: int, **options: Any
) -> Rollouts:
    """Replies to `prompts` with their scores, and what policy, value head and reference think of them. `options` as `write`.

    Raises LabError for a reward that does not give one finite number a reply.
    """
    replies, ended = write(model.policy, prompts, end_id=end_id, **options)
    scored = score(model.policy, replies)
    scores = scored_once(reward, replies).to(scored.mask.device)
    return Rollouts(
        replies, torch.tensor(ended, device=scored.mask.device), scores, scored.mask, scored.logprobs, reference.score(replies).logprobs,
        model.values(scored), scored.entropy,
    )  # fmt: skip


def scored_once(reward: Reward, replies: Sequence[Example]) -> Float[Tensor, " replies"]:
    """The reward's numbers, float32. Raises LabError when they are not one finite number a reply."""
    scores = torch.as_tensor(reward(replies)).detach().float()
    if scores.shape != (len(replies),):
        raise LabError(f"the reward gave {list(scores.shape)} numbers for {len(replies)} replies: it must give one each")
    if not bool(scores.isfinite().all()):
        bad = int((~scores.isfinite()).nonzero()[0])
        raise LabError(f"the reward of reply {bad} is {scores[bad].item()}: a policy cannot learn from it; look at the reward model")
    return scores
