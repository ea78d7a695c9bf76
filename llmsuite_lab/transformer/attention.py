"""Scaled dot-product attention: every query looks at every key and takes a weighted mean of the values.

    attention(Q, K, V) = softmax(Q Kᵀ / √d_k) V

Row i of Q Kᵀ scores how well query i matches each key; dividing by √d_k keeps the scores' variance at 1 whatever the width, so that softmax does
not saturate; softmax turns a row of scores into weights that sum to 1. A boolean mask says who may look at whom: **True means "may attend"**.

A query that may attend to nothing (a padding position, say) has no weights to normalise: softmax would be 0/0. Here its output is **zero by
definition**, and so is its gradient; torch's kernel keeps the same convention, and the tests hold both to it.

Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.2.1, eq. 1. Production: `torch.nn.functional.scaled_dot_product_attention`.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from llmsuite_lab.transformer.fused import fused
from llmsuite_lab.transformer.layers import softmax


def attention_weights(
    Q: Float[Tensor, "*batch queries d_k"],
    K: Float[Tensor, "*batch keys d_k"],
    mask: Bool[Tensor, "*#batch #queries keys"] | None = None,
    bias: Float[Tensor, "*#batch #queries keys"] | None = None,
    scale: float | None = None,
) -> Float[Tensor, "*batch queries keys"]:
    """softmax(Q Kᵀ · scale + bias) over the keys that `mask` allows; rows sum to 1, or to 0 where nothing is allowed.

    Args:
        mask: True where the query may attend. None: everywhere.
        bias: added to the scores before softmax (T5's relative positions).
        scale: default 1/√d_k.

    Raises:
        ValueError, TypeError: as `scaled_dot_product_attention`.
    """
    _check(Q, K, None, mask)
    scale = 1.0 / math.sqrt(Q.shape[-1]) if scale is None else scale
    scores = Q @ K.transpose(-2, -1) * scale  # [..., queries, keys]
    if bias is not None:
        scores = scores + bias
    if mask is None:
        return softmax(scores)
    # the most negative finite number, not -inf: exp() of it is still exactly 0, and a row of them gives 1/n instead of NaN, which the last line clears
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return softmax(scores) * mask


def scaled_dot_product_attention(
    Q: Float[Tensor, "*batch queries d_k"],
    K: Float[Tensor, "*batch keys d_k"],
    V: Float[Tensor, "*batch keys d_v"],
    mask: Bool[Tensor, "*#batch #queries keys"] | None = None,
    bias: Float[Tensor, "*#batch #queries keys"] | None = None,
    scale: float | None = None,
) -> Float[Tensor, "*batch queries d_v"]:
    """softmax(Q Kᵀ / √d_k) V, for any leading batch dimensions (equal, or broadcastable in mask and bias).

    Args:
        mask: boolean, True where the query may attend; a row with no True gives a zero output.
        bias: added to the scores before softmax.
        scale: what Q Kᵀ is multiplied by; default 1/√d_k.

    Raises:
        ValueError: ranks or sizes do not fit; the message carries the shapes.
        TypeError: the mask is not boolean (a 0/1 or additive float mask would silently mean something else).
    """
    _check(Q, K, V, mask)
    return attention_weights(Q, K, mask, bias, scale) @ V


def attend(
    Q: Float[Tensor, "*batch queries d_k"],
    K: Float[Tensor, "*batch keys d_k"],
    V: Float[Tensor, "*batch keys d_v"],
    mask: Bool[Tensor, "*#batch #queries keys"] | None = None,
    bias: Float[Tensor, "*#batch #queries keys"] | None = None,
    scale: float | None = None,
    causal: bool = False,
) -> Float[Tensor, "*batch queries d_v"]:
    """The same function as the models call it: torch's fused kernel, or the written-out equation inside `written_out()`.

    With `causal` the queries are the last `queries` of the `keys` positions and see only keys up to their own. Told this in a flag rather than in a
    mask, the kernel skips the upper triangle altogether. Raises TypeError for a mask that is not boolean: a 0/1 or additive one would mean something else.
    """
    if mask is not None and (not isinstance(mask, Tensor) or mask.dtype != torch.bool):
        given = f"{mask.dtype} of shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else repr(mask)[:40]
        raise TypeError(f"the mask must be a boolean tensor with True = may attend; got {given}. Use `mask != 0` or `mask.bool()`")
    queries, keys = Q.shape[-2], K.shape[-2]
    flag = causal and mask is None and bias is None and queries == keys and fused()
    if causal and not flag and queries > 1:
        below = causal_mask(queries, keys, Q.device)
        mask = below if mask is None else mask & below
    if not fused():
        return scaled_dot_product_attention(Q, K, V, mask, bias, scale)
    if bias is not None:
        mask = bias.to(Q.dtype) if mask is None else torch.where(mask, bias, -torch.inf).to(Q.dtype)
    return nn.functional.scaled_dot_product_attention(Q, K, V, attn_mask=mask, scale=scale, is_causal=flag)


def causal_mask(queries: int, keys: int | None = None, device: torch.device | str | None = None) -> Bool[Tensor, "queries keys"]:
    """True where key j is not after query i. With fewer queries than keys (cached decoding) the queries are the last ones.

    Raises:
        ValueError: more queries than keys.
    """
    keys = queries if keys is None else keys
    if queries > keys:
        raise ValueError(f"causal_mask: {queries} queries cannot be the last positions of {keys} keys")
    position = torch.arange(keys, device=device)
    return position[None, :] <= position[keys - queries :, None]


def padding_mask(attention_mask: Bool[Tensor, "batch keys"]) -> Bool[Tensor, "batch 1 1 keys"]:
    """A batch's real tokens (True or 1) as a mask that broadcasts over heads and queries. Raises ValueError unless it has two axes."""
    if attention_mask.dim() != 2:
        raise ValueError(f"an attention mask is (batch, keys), True for real tokens; got shape {tuple(attention_mask.shape)}")
    return attention_mask.bool()[:, None, None, :]


def _check(Q: Tensor, K: Tensor, V: Tensor | None, mask: Tensor | None) -> None:
    shapes = f"Q {tuple(Q.shape)}, K {tuple(K.shape)}" + (f", V {tuple(V.shape)}" if V is not None else "")
    if min(Q.dim(), K.dim(), Q.dim() if V is None else V.dim()) < 2:
        raise ValueError(f"attention needs (..., positions, features) with at least two axes: {shapes}")
    if Q.shape[-1] != K.shape[-1]:
        raise ValueError(f"queries and keys must have the same width d_k: {shapes}")
    if V is not None and V.shape[-2] != K.shape[-2]:
        raise ValueError(f"every key needs its value, so K and V must have the same number of positions: {shapes}")
    try:
        batch = torch.broadcast_shapes(Q.shape[:-2], K.shape[:-2], Q.shape[:-2] if V is None else V.shape[:-2])
    except RuntimeError as error:
        raise ValueError(f"the leading (batch, head) axes do not fit together: {shapes}") from error
    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise TypeError(
            f"the mask must be boolean with True = may attend; got {mask.dtype} of shape {tuple(mask.shape)}. Use `mask != 0` or `mask.bool()`"
        )
    scores = (*batch, Q.shape[-2], K.shape[-2])
    try:
        fits = torch.broadcast_shapes(mask.shape, scores) == scores
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(f"mask {tuple(mask.shape)} does not broadcast to the scores {scores} (..., queries, keys): {shapes}")
