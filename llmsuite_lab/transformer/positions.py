"""Attention does not know order: permute the input and the output is permuted. Positions put the order back in.

    sinusoidal   PE(pos, 2i) = sin(pos / 10000^(2i/d_model)),  PE(pos, 2i+1) = cos(pos / 10000^(2i/d_model));   x + PE      (2017)
    learned      x + P[pos], a table like the word embedding                                                                (BERT, GPT-2, BART)
    rotary       (q_i, q_{i+d/2}) turned by the angle pos · θ_i,  θ_i = base^(-2i/d_head);  keys likewise                   (Llama)
                 so that q·k depends only on the distance between the two positions
    relative     scores + b[head, bucket(j - i)], a learned number per head and bucketed distance                          (T5)

Sources: Vaswani et al. 2017, section 3.5; Su et al. 2021, "RoFormer", eq. 34; Raffel et al. 2020 (T5), section 2.1.
Production: `transformers`' `LlamaRotaryEmbedding`, `T5Attention.compute_bias`; torch has none of its own.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmsuite_lab.transformer.layers import Embedding


def sinusoidal_positions(n_positions: int, d_model: int) -> Float[Tensor, "n_positions d_model"]:
    """PE(pos, 2i) = sin(pos / 10000^(2i/d_model)), PE(pos, 2i+1) = cos(same angle): one row per position, sines and cosines interleaved.

    Raises:
        ValueError: an odd d_model (sines and cosines come in pairs).
    """
    if d_model % 2:
        raise ValueError(f"sinusoidal positions come in pairs of sine and cosine, so d_model must be even; got d_model={d_model}")
    pos = torch.arange(n_positions, dtype=torch.float64)[:, None]  # float64: at pos = 10⁴ a float32 angle has lost three digits
    i = torch.arange(d_model // 2, dtype=torch.float64)[None, :]
    angle = pos / 10000.0 ** (2 * i / d_model)  # [n_positions, d_model/2]
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).float()


def rotary_angles(
    positions: Int[Tensor, "*batch seq"], d_head: int, base: float = 10000.0
) -> tuple[Float[Tensor, "*batch seq d_head"], Float[Tensor, "*batch seq d_head"]]:
    """cos and sin of pos · θ_i with θ_i = base^(-2i/d_head), each θ used for feature i and for feature i + d_head/2.

    Raises:
        ValueError: an odd d_head (features are turned in pairs).
    """
    if d_head % 2:
        raise ValueError(f"rotary positions turn features in pairs, so d_head must be even; got d_head={d_head}")
    i = torch.arange(0, d_head, 2, dtype=torch.float32, device=positions.device)
    theta = base ** (-i / d_head)  # [d_head/2]
    angle = positions[..., None].float() * theta  # [..., seq, d_head/2]
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos(), angle.sin()


def rotate(
    x: Float[Tensor, "*batch heads seq d_head"], cos: Float[Tensor, "*#batch seq d_head"], sin: Float[Tensor, "*#batch seq d_head"]
) -> Float[Tensor, "*batch heads seq d_head"]:
    """Turn the pair (x_i, x_{i+d/2}) by its angle: first ← first·cos - second·sin, second ← second·cos + first·sin.

    The original paper pairs neighbours (x_2i, x_2i+1); Llama's published weights pair the two halves. The two differ only by a permutation of features.
    """
    if not (isinstance(cos, Tensor) and isinstance(sin, Tensor)):
        raise TypeError(f"rotate takes cos and sin as two tensors (see rotary_angles), not {type(cos).__name__} and {type(sin).__name__}")
    half = x.shape[-1] // 2
    cos, sin = cos.unsqueeze(-3), torch.cat([-sin[..., :half], sin[..., half:]], dim=-1).unsqueeze(-3)  # the same angles for every head
    return torch.addcmul(x * cos, x.roll(half, dims=-1), sin).to(x.dtype)  # the roll puts each feature's partner in its place


def relative_bucket(
    distance: Int[Tensor, "*shape"], n_buckets: int = 32, max_distance: int = 128, bidirectional: bool = True
) -> Int[Tensor, "*shape"]:
    """T5's buckets of `distance` = key position - query position: exact for near keys, logarithmic up to max_distance, one for all beyond.

    With `bidirectional` (encoder) half of the buckets serve keys after the query; without it (decoder) such keys fall into bucket 0.
    Raises ValueError for too few buckets, or a max_distance that the exact ones reach already.
    """
    if n_buckets < (4 if bidirectional else 2) or not n_buckets // (4 if bidirectional else 2) < max_distance:
        raise ValueError(f"{n_buckets=} must be {4 if bidirectional else 2} or more, and fewer are exact than {max_distance=}")
    offset = torch.zeros_like(distance)
    if bidirectional:
        n_buckets //= 2
        offset = (distance > 0).long() * n_buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = n_buckets // 2
    log_share = torch.log(distance.float().clamp(min=1) / exact) / math.log(max_distance / exact)  # 0 at `exact`, 1 at `max_distance`
    far = (exact + (log_share * (n_buckets - exact)).long()).clamp(max=n_buckets - 1)
    return offset + torch.where(distance < exact, distance, far)


class RelativeBias(nn.Module):
    """b[head, bucket(j - i)]: T5's learned number per head and bucket, added to the attention scores of every layer of a stack."""

    def __init__(self, n_heads: int, n_buckets: int = 32, max_distance: int = 128, bidirectional: bool = True) -> None:
        super().__init__()
        self.n_buckets, self.max_distance, self.bidirectional = n_buckets, max_distance, bidirectional
        self.table = Embedding(n_buckets, n_heads)

    def forward(
        self, query_positions: Int[Tensor, "batch queries"], key_positions: Int[Tensor, "batch keys"]
    ) -> Float[Tensor, "batch heads queries keys"]:
        """The bias for every pair of a query's and a key's position."""
        distance = key_positions[:, None, :] - query_positions[:, :, None]  # [batch, queries, keys]
        bucket = relative_bucket(distance, self.n_buckets, self.max_distance, self.bidirectional)
        return self.table(bucket).permute(0, 3, 1, 2)
