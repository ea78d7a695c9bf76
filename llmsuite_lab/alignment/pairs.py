"""Preferences as token ids: one prompt, the reply that was preferred, the reply that was not.

    (x, y_w, y_l)      each reply ends with the end token: it is there that a reward is read, and ending is a choice like any other

What does not fit is cut from the prompt's left end, where it matters least; a reply is never cut, or the model would be taught to break off.
Source: paper 6; Christiano et al. 2017, Bai et al. 2022. In production: `trl`'s preference format.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llmsuite_lab.core.errors import whole
from llmsuite_lab.lm import text
from llmsuite_lab.lm.batching import Example, check_examples
from llmsuite_lab.lm.training import limits


class Preferred(Protocol):
    """A preference in words, such as `world.preferences.Preference`. `margin` says by how much (None: not said)."""

    prompt: str
    chosen: str
    rejected: str
    margin: float | None


@dataclass(frozen=True)
class Pair:
    """Token ids; the replies with their end token. `margin`, in the reward's unit, is how far apart the two rewards should be at least."""

    prompt_ids: Sequence[int]
    chosen_ids: Sequence[int]
    rejected_ids: Sequence[int]
    margin: float = 0.0

    @property
    def chosen(self) -> Example:
        """Prompt and preferred reply."""
        return Example(self.prompt_ids, self.chosen_ids)

    @property
    def rejected(self) -> Example:
        """Prompt and the other reply."""
        return Example(self.prompt_ids, self.rejected_ids)


@dataclass
class PairBatch:
    """Some pairs: `replies` are all the chosen ones, then all the rejected in the same order."""

    replies: list[Example]
    margin: Float[Tensor, " pairs"]

    @property
    def tokens(self) -> int:
        """Tokens that are read."""
        return sum(len(reply) for reply in self.replies)

    def halves(self, values: Float[Tensor, " both"]) -> tuple[Float[Tensor, " pairs"], Float[Tensor, " pairs"]]:
        """One number a reply → (of the chosen, of the rejected)."""
        return values[: len(self.margin)], values[len(self.margin) :]


def encode(preferences: Sequence[Preferred], tokenizer: Any, max_length: int | None = None) -> list[Pair]:
    """Pairs of token ids, each reply ended with the tokenizer's end token. Text stays text: no part of it becomes a control token.

    max_length: most tokens of a prompt and a reply together; a longer prompt loses its beginning. Raises ValueError, naming the preference (by its `where`,
    or by its place), for an empty prompt, two replies that are the same, and a reply that leaves no token for the prompt; also for a tokenizer without an
    end token.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError("this tokenizer has no end-of-text token, and a reward is read there: give it one (tokenizer.eos_token)")
    if max_length is not None:
        whole("max_length", max_length, 2, 10_000_000)
    parts = [text.encode(tokenizer, [getattr(p, name) for p in preferences]) for name in ("prompt", "chosen", "rejected")]
    pairs = []
    for n, (preference, x, chosen, rejected) in enumerate(zip(preferences, *parts)):
        named = getattr(preference, "where", "") or f"preference {n}"
        if not x:
            raise ValueError(f"{named} has an empty prompt: a reply needs something to reply to")
        if chosen == rejected:
            raise ValueError(f"{named} prefers a reply to itself: {preference.chosen[:60]!r}")
        chosen, rejected = ([*ids, tokenizer.eos_token_id] for ids in (chosen, rejected))
        room = len(x) if max_length is None else max_length - max(len(chosen), len(rejected))
        if room < 1:
            longest = max(len(chosen), len(rejected))
            raise ValueError(f"{named} has a reply of {longest} tokens, and max_length={max_length} leaves none for the prompt")
        pairs.append(Pair(x[-room:], chosen, rejected, preference.margin or 0.0))
    return pairs


def collate_pairs(pairs: Sequence[Pair]) -> PairBatch:
    """Pairs as one batch. Raises ValueError for none, and a margin that is not finite."""
    if len(pairs) == 0:
        raise ValueError("there is no pair: the list is empty")
    for n, pair in enumerate(pairs):
        if not math.isfinite(pair.margin):
            raise ValueError(f"pair {n} has margin={pair.margin}: it must be a finite number, or 0 where none is known")
    margin = torch.tensor([float(pair.margin) for pair in pairs])
    return PairBatch([pair.chosen for pair in pairs] + [pair.rejected for pair in pairs], margin)


def check_pairs(pairs: Sequence[Pair], model: nn.Module) -> None:
    """Raises ValueError for no pair, and for one that is longer than the model's context (silent nonsense in many models), or that names an id beyond its
    vocabulary, by its place among the pairs; as far as the model tells these."""
    collate_pairs(pairs)
    for side in ("chosen", "rejected"):
        check_examples([getattr(pair, side) for pair in pairs], **limits(model))
