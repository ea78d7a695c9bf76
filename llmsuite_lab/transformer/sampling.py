"""From scores to a token: the likeliest one, or a draw from a distribution that was first made sharper and shorter.

    temperature   p_i ∝ exp(x_i / T)            T → 0: always the likeliest; T = 1: the model's own distribution
    top-k         keep the k likeliest tokens, drop the rest
    top-p         keep the smallest set of likeliest tokens whose probability reaches p ("nucleus")
    draw          the first token at which the cumulative probability passes u, u uniform in [0, 1)

A row's numbers u come from a stream of its own, seeded by (seed, prompt, how often the same prompt came before): its place in the list, its neighbours
and the batch size have no part in it, whatever the dtype.

Sources: Fan et al. 2018 (top-k); Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration", section 3.1 (top-p).
Production: `transformers.GenerationConfig(do_sample=True, temperature=..., top_k=..., top_p=...)`.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmsuite_lab.core.errors import LabError, whole

SEEDS = 2**63  # a seed lies below it, and not below its negative
COLDEST = 1e-6  # below it x / T leaves float32's range, and infinite scores are no distribution
HOTTEST = 1e30  # every token has been equally likely long before
CANDIDATES = 256  # nucleus sampling looks at this many tokens before it sorts the whole vocabulary


def tempered(x: Float[Tensor, "*batch vocabulary"], T: float) -> Float[Tensor, "*batch vocabulary"]:
    """x / T: softmax of it is p_i ∝ exp(x_i / T). Raises ValueError for T = 0, where no distribution is left to draw from."""
    if T == 0:
        raise ValueError("temperature=0 is greedy decoding: take the argmax instead of a draw")
    return x / T


def top_k(x: Float[Tensor, "*batch vocabulary"], k: int) -> tuple[Float[Tensor, "*batch kept"], Int[Tensor, "*batch kept"]]:
    """The k largest scores, largest first, and the tokens they belong to; all of them where k exceeds the vocabulary."""
    kept, ids = x.topk(min(k, x.shape[-1]))
    return kept, ids


def nucleus(p: Float[Tensor, "*batch kept"], top_p: float) -> Float[Tensor, "*batch kept"]:
    """p, likeliest first, with 0 for every token whose likelier ones reach `top_p` together: the one that crosses it stays."""
    before = p.cumsum(-1) - p
    return p.masked_fill(before >= top_p, 0.0)


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: greedy at temperature 0, else drawn after top-k and then top-p.

    Raises ValueError for values outside their range, and for a filter at temperature 0, where it could have no effect.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= HOTTEST:
            raise ValueError(f"temperature={self.temperature} must be 0 (greedy) or more, and at most {HOTTEST}")
        if 0 < self.temperature < COLDEST:
            raise ValueError(f"temperature={self.temperature} is too small to divide by: use 0 (greedy), or {COLDEST} and more")
        if self.top_k is not None:
            if self.top_k < 1:
                raise ValueError(f"top_k={self.top_k} must be at least 1, or None for all tokens")
            whole("top_k", self.top_k, 1, SEEDS - 1)
        whole("seed", self.seed, -SEEDS, SEEDS - 1)
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p} must be above 0 and at most 1, or None for all tokens")
        if self.temperature == 0 and (self.top_k is not None or self.top_p is not None):
            raise ValueError("top_k and top_p have no effect at temperature 0 (greedy): set a temperature, or leave them out")

    def streams(self, prompts: Sequence[str | Sequence[int]]) -> list[np.random.Generator | None]:
        """Each prompt's own stream of uniform numbers, from (seed, prompt, how often it stood in the list before); None when greedy.

        A prompt is its text, or its token ids where there is no text. The same prompt given five times gives five different samples.
        """
        if self.temperature == 0:
            return [None] * len(prompts)
        seen: Counter[str] = Counter()
        made = []
        for prompt in prompts:
            key = prompt if isinstance(prompt, str) else " ".join(str(int(i)) for i in prompt)
            digest = hashlib.sha256(f"{self.seed} {seen[key]} {key}".encode("utf-8", "replace")).digest()
            made.append(np.random.default_rng(int.from_bytes(digest[:16], "big")))
            seen[key] += 1
        return made

    def pick(self, logits: Float[Tensor, "rows vocabulary"], streams: Sequence[np.random.Generator | None]) -> Int[Tensor, " rows"]:
        """The next token of each row. Raises LabError for scores that are not numbers: any token would be as good."""
        return self._choose(logits, streams)[0]

    def pick_scored(
        self, logits: Float[Tensor, "rows vocabulary"], streams: Sequence[np.random.Generator | None]
    ) -> tuple[Int[Tensor, " rows"], Float[Tensor, " rows"], Float[Tensor, " rows"]]:
        """The same with log P(token) under the distribution drawn from (0 when greedy), and under the model, log softmax(x)[token]."""
        tokens, sampled = self._choose(logits, streams)
        model = logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
        return tokens, torch.zeros_like(model) if sampled is None else sampled.log().to(model.dtype), model

    def probabilities(self, logits: Float[Tensor, "rows vocabulary"]) -> Float[Tensor, "rows vocabulary"]:
        """The distribution that is drawn from, over the whole vocabulary. Raises ValueError when greedy."""
        p, ids = self._candidates(logits)
        p = p / p.sum(-1, keepdim=True)
        return p if ids is None else torch.zeros_like(logits).scatter(1, ids, p)

    def _choose(self, logits: Tensor, streams: Sequence[np.random.Generator | None]) -> tuple[Tensor, Tensor | None]:
        """Tokens, and the probability with which each was drawn (None when greedy)."""
        if self.temperature == 0:
            tokens = logits.argmax(-1)  # takes a nan for the largest
            _check(logits.gather(-1, tokens[:, None]))
            return tokens, None
        p, ids = self._candidates(logits)
        wide = torch.float32 if logits.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        u = torch.tensor([stream.random() for stream in streams], device=logits.device, dtype=wide)[:, None]
        cumulative = p.to(wide).cumsum(-1)
        _check(cumulative[:, -1])
        index = torch.searchsorted(cumulative, u * cumulative[:, -1:], right=True).clamp(max=p.shape[-1] - 1)
        tokens = index if ids is None else ids.gather(1, index)
        return tokens[:, 0], p.gather(1, index)[:, 0] / cumulative[:, -1]

    def _candidates(self, logits: Tensor) -> tuple[Float[Tensor, "rows kept"], Int[Tensor, "rows kept"] | None]:
        """Probabilities (not normalised) of the tokens that remain, likeliest first, and their ids; ids None: the whole vocabulary in order."""
        x = tempered(logits, float(self.temperature))
        if self.top_k is None and self.top_p is None:
            return x.softmax(-1), None
        if self.top_k is not None:
            kept, ids = top_k(x, self.top_k)
            p = kept.softmax(-1)  # top-p, if any, applies to what top-k left: the usual order
        else:
            normaliser = x.logsumexp(-1, keepdim=True)
            kept, ids = top_k(x, CANDIDATES)
            p = (kept - normaliser).exp()
            if bool((p.sum(-1) < self.top_p).any()):  # a flat distribution: the nucleus may be larger
                kept, ids = x.sort(descending=True)
                p = (kept - normaliser).exp()
        return p if self.top_p is None else nucleus(p, self.top_p), ids


def _check(chosen: Tensor) -> None:
    if bool(chosen.isnan().any()):
        raise LabError("the model's scores are not numbers (nan), so no token can be chosen: its training diverged, or its dtype is too narrow")
