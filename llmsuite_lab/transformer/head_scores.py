"""What does a head do? Three patterns with a name, scored from the attention weights A[query, key] instead of by eye.

    previous token    mean over i of A[i, i-1]                     the head copies what stood one place before
    first token       mean over i of A[i, 0]                       the "sink": where a head looks that has nothing to say
    induction         mean over i of A[i, i-n+1]                   on a random sequence of n tokens said twice: the head looks at what
                                                                   followed the same token last time, and so can predict what follows now

Each score is a share of attention, between 0 and 1. Random tokens have no meaning to help, so an induction score is the mechanism alone.

Sources: Olsson et al. 2022, "In-context Learning and Induction Heads" (the repeated-sequence test); Xiao et al. 2023, "Efficient Streaming
Language Models with Attention Sinks". In production: TransformerLens.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmsuite_lab.core.errors import whole
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.multi_head import record_attention

PATTERNS = ("previous token", "first token", "induction")


@torch.inference_mode()
def attention_maps(model: Decoder, ids: Int[Tensor, "1 seq"]) -> Float[Tensor, "layers heads seq seq"]:
    """The attention weights of every layer and head on one sequence; rows (queries) sum to 1.

    Raises ValueError for more than one sequence, and as the model does for ids it cannot read.
    """
    if ids.dim() != 2 or ids.shape[0] != 1:
        raise ValueError(f"attention_maps reads one sequence, ids of shape (1, seq); got {tuple(ids.shape)}")
    with record_attention(model) as layers:
        model.hidden_states(ids)
        return torch.stack([layer.recorded[0] for layer in layers.values()])


def previous_token_scores(maps: Float[Tensor, "layers heads seq seq"]) -> Float[Tensor, "layers heads"]:
    """Mean attention to the token just before, over all queries that have one."""
    return maps.diagonal(-1, dim1=-2, dim2=-1).mean(-1)


def first_token_scores(maps: Float[Tensor, "layers heads seq seq"]) -> Float[Tensor, "layers heads"]:
    """Mean attention to position 0, over all queries but the first (which has no choice)."""
    return maps[..., 1:, 0].mean(-1)


def induction_scores(maps: Float[Tensor, "layers heads seq seq"], n: int) -> Float[Tensor, "layers heads"]:
    """Mean attention of the second copy's tokens to the one after their first occurrence, n - 1 places back.

    `maps` must come from 2n tokens, the second n repeating the first. Raises ValueError for another length.
    """
    if maps.shape[-1] != 2 * n:
        raise ValueError(f"induction is scored on n tokens said twice: n={n} needs {2 * n} tokens, the maps have {maps.shape[-1]}")
    return maps.diagonal(-(n - 1), dim1=-2, dim2=-1)[..., 1:].mean(-1)  # entry 0 belongs to the first copy's last token


def repeated_sequence(vocab_size: int, n: int, seed: int = 0, lowest: int = 0) -> Int[Tensor, "1 two_n"]:
    """n different random ids from `lowest` to vocab_size - 1, then the same n again. Raises ValueError when there are not n of them."""
    if n > vocab_size - lowest:
        raise ValueError(f"n={n} different tokens do not fit between ids {lowest} and {vocab_size - 1}")
    whole("seed", seed, -(2**63), 2**63 - 1)
    ids = lowest + torch.randperm(vocab_size - lowest, generator=torch.Generator().manual_seed(seed))[:n]
    return torch.cat([ids, ids])[None]


@dataclass(frozen=True)
class NamedHead:
    """The head that does `pattern` most: its place, written "head 15.0" for head 0 of block 15, and its score (share of attention, 0 to 1)."""

    pattern: str
    layer: int
    head: int
    score: float

    def __str__(self) -> str:
        return f"{self.pattern}: head {self.layer}.{self.head} ({self.score:.0%} of its attention)"


def name_heads(model: Decoder, text_ids: Int[Tensor, "1 seq"], n: int = 32, seed: int = 0) -> dict[str, NamedHead]:
    """The strongest head of each pattern: previous and first token on `text_ids`, induction on n random tokens said twice."""
    maps = attention_maps(model, text_ids)
    doubled = attention_maps(model, repeated_sequence(model.config.vocab_size, n, seed))
    scores = (previous_token_scores(maps), first_token_scores(maps), induction_scores(doubled, n))
    return {pattern: strongest(pattern, table) for pattern, table in zip(PATTERNS, scores)}


def strongest(pattern: str, scores: Float[Tensor, "layers heads"]) -> NamedHead:
    """The place of the largest score."""
    layer, head = divmod(int(scores.argmax()), scores.shape[1])
    return NamedHead(pattern, layer, head, float(scores[layer, head]))
