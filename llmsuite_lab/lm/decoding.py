"""Decoding: from a batch of prompts to tokens, one step at a time.

    x_{t+1} ~ softmax(z_t / T),   z_t = logits of the last position only

An *engine* owns the model's state for a batch. It is small on purpose, so that another one can take its place:

    engine = CachedDecoder(model, prompts, room)   # prompts: list of token id lists, room: most tokens that will follow
    engine.logits                                  # [rows, vocab], float32: what follows each prompt
    engine.advance(tokens)                         # [rows]: append one token to each row; `logits` are new
    engine.select(rows)                            # go on with these rows only: finished ones stop costing

`CachedDecoder` drives any causal `transformers` model. Prompts are padded on the left, so that all rows append at the same column; a prefix
that all prompts share (few-shot examples, a system prompt) is read once for the whole batch. In production: vLLM, or `model.generate`.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

SHARED_PREFIX_TOKENS = 16  # a shorter common prefix is not worth a forward pass of its own
CANDIDATES = 256  # nucleus sampling looks at this many tokens before it sorts the whole vocabulary


class CachedDecoder:
    """The state of one batch in a causal `transformers` model: key–value cache, padding mask, next positions.

    `prompts`: token ids, none empty. `room` (tokens) is only a hint for engines that allocate ahead. Runs without gradients.
    """

    logits: Float[Tensor, "rows vocab"]

    @torch.no_grad()
    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], room: int) -> None:
        from transformers import DynamicCache

        self.model, self.device = model, model.device
        shared, ids, mask, positions = layout_prompts(prompts)
        self.padded = bool((mask == 0).any())
        ids, self.mask, positions = ids.to(self.device), mask.to(self.device), positions.to(self.device)
        self.cache = DynamicCache(config=model.config)
        if shared:
            self.mask, full = self.mask[:1, :shared], self.mask
            self._forward(torch.tensor([list(prompts[0][:shared])], device=self.device), torch.arange(shared, device=self.device)[None])
            self.cache.batch_repeat_interleave(len(prompts))
            self.mask = full
        self._forward(ids, positions)
        self.next_position = positions[:, -1:] + 1

    @torch.no_grad()
    def advance(self, tokens: Int[Tensor, " rows"]) -> None:
        """Append one token to each row and compute the logits of what follows it."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
        self._forward(tokens[:, None].to(self.device), self.next_position)
        self.next_position = self.next_position + 1

    def select(self, rows: Sequence[int]) -> None:
        """Keep only these rows, in this order."""
        index = torch.tensor(rows, device=self.device)
        self.cache.batch_select_indices(index)
        self.mask, self.next_position, self.logits = self.mask[index], self.next_position[index], self.logits[index]

    def _forward(self, ids: Int[Tensor, "rows new"], positions: Int[Tensor, "rows new"]) -> None:
        out = self.model(
            input_ids=ids,
            attention_mask=self.mask if self.padded else None,  # without padding torch's fused causal kernel needs no mask
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.logits = out.logits[:, -1].float()


def layout_prompts(
    prompts: Sequence[Sequence[int]],
) -> tuple[int, Int[Tensor, "rows new"], Int[Tensor, "rows total"], Int[Tensor, "rows new"]]:
    """(shared, ids, mask, positions): how many tokens all prompts begin with; the rest of each, padded on the left; 1 for every real token,
    shared ones included; and where each of `ids` stands in its own row (a row counts its own tokens, not its padding)."""
    shared = _shared_prefix(prompts)
    width = max(map(len, prompts)) - shared
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros(len(prompts), shared + width, dtype=torch.long)
    mask[:, :shared] = 1
    for row, prompt in enumerate(prompts):
        rest = prompt[shared:]
        ids[row, width - len(rest) :] = torch.tensor(rest)
        mask[row, shared + width - len(rest) :] = 1
    return shared, ids, mask, (mask.cumsum(1) - 1)[:, shared:].clamp(min=0)


def _shared_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens that begin all prompts, leaving at least one to each; 0 when too few to matter."""
    if len(prompts) < 2:
        return 0
    first, last, limit = min(prompts), max(prompts), min(map(len, prompts)) - 1  # the extremes of an ordered set differ earliest
    shared = next((i for i in range(limit) if first[i] != last[i]), limit)
    return shared if shared >= SHARED_PREFIX_TOKENS else 0


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: greedy at temperature 0, else drawn after top-k and top-p (nucleus) filtering.

    Raises ValueError for values outside their range, and for a filter at temperature 0, where it could have no effect.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ValueError(f"temperature={self.temperature} must be 0 (greedy) or more")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k={self.top_k} must be at least 1")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p} must be above 0 and at most 1")
        if self.temperature == 0 and (self.top_k is not None or self.top_p is not None):
            raise ValueError("top_k and top_p have no effect at temperature 0 (greedy): set a temperature, or leave them out")

    def draws(self, prompt: str, occurrence: int) -> np.random.Generator | None:
        """A prompt's own stream of random numbers, from (seed, prompt, how often it stood in the list before); None when greedy.

        So a sample does not depend on its neighbours, its place in the list or the batch size (up to rounding of the logits), and the same
        prompt given five times gives five different samples.
        """
        if self.temperature == 0:
            return None
        digest = hashlib.sha256(f"{self.seed} {occurrence} {prompt}".encode("utf-8", "replace")).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "big"))

    def pick(self, logits: Float[Tensor, "rows vocab"], draws: Sequence[np.random.Generator | None]) -> Int[Tensor, " rows"]:
        """The next token of each row: argmax, or the inverse of the cumulative distribution at one uniform number per row."""
        if self.temperature == 0:
            return logits.argmax(-1)
        uniform = torch.tensor([draw.random() for draw in draws], device=logits.device, dtype=torch.float64)[:, None]
        probabilities, ids = self._candidates(logits / self.temperature)
        cumulative = probabilities.double().cumsum(-1)
        index = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True).clamp(max=cumulative.shape[-1] - 1)
        return index[:, 0] if ids is None else ids.gather(1, index)[:, 0]

    def _candidates(self, logits: Float[Tensor, "rows vocab"]) -> tuple[Float[Tensor, "rows kept"], Int[Tensor, "rows kept"] | None]:
        """Probabilities (not normalised) of the tokens that remain, most likely first, and their ids; ids None: the whole vocabulary."""
        if self.top_k is None and self.top_p is None:
            return logits.softmax(-1), None
        vocab = logits.shape[-1]
        if self.top_k is not None:
            kept, ids = logits.topk(min(self.top_k, vocab))
            probabilities = kept.softmax(-1)  # top-p, if any, applies to what top-k left: the usual order
        else:
            normaliser = logits.logsumexp(-1, keepdim=True)
            kept, ids = logits.topk(min(CANDIDATES, vocab))
            probabilities = (kept - normaliser).exp()
            if bool((probabilities.sum(-1) < self.top_p).any()):  # a flat distribution: the nucleus may be larger
                kept, ids = logits.sort(descending=True)
                probabilities = (kept - normaliser).exp()
        if self.top_p is not None:
            before = probabilities.cumsum(-1) - probabilities
            probabilities = probabilities.masked_fill(before >= self.top_p, 0.0)  # the first token always stays
        return probabilities, ids


def stop_list(stop: str | Sequence[str]) -> list[str]:
    """Stop strings as a list; one string alone is a list of one. Raises ValueError for an empty stop string, TypeError for anything else."""
    stops = [stop] if isinstance(stop, str) else list(stop)
    for text in stops:
        if not isinstance(text, str):
            raise TypeError(f"stop takes strings, got {type(text).__name__}")
        if not text:
            raise ValueError("stop holds an empty string, which would end every text at once: leave it out")
    return stops


def first_stop(text: str, stop: Sequence[str]) -> int | None:
    """Where the first of the stop strings begins in `text`; None when there is none."""
    return min((at for word in stop if (at := text.find(word)) >= 0), default=None)


def held_back(text: str, stop: Sequence[str]) -> int:
    """How many characters at the end of `text` could be the beginning of a stop string, and must not be shown yet."""
    return max((n for word in stop for n in range(1, min(len(word), len(text) + 1)) if text.endswith(word[:n])), default=0)


def batches(lengths: Sequence[int], rows: int, tokens: int, room: int) -> list[list[int]]:
    """Indices in batches of similar lengths, longest first: at most `rows` a batch, and at most `tokens` with padding and `room` each.

    One sequence longer than `tokens` runs alone.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    out: list[list[int]] = []
    for i in order:
        if out and len(out[-1]) < rows and (len(out[-1]) + 1) * (lengths[out[-1][0]] + room) <= tokens:
            out[-1].append(i)
        else:
            out.append([i])
    return out


@contextlib.contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Dropout off within the block; the model goes back to training afterwards if that is where it was."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
