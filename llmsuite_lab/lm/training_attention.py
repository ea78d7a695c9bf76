"""Attention for training in bfloat16 on a CPU:  O = softmax(Q Kᵀ/√d + causal) V  as two batched matrix products per key head.

torch's fused CPU kernel saves memory on long sequences, but its bfloat16 backward pass took a quarter of a LoRA step (EPYC, 93 tokens,
9 query and 3 key heads). Short sequences are better served by plain products: the query heads that share a key head are stacked into one
matrix, so that grouped-query attention repeats no key, and the probabilities are computed again in the backward pass instead of kept.

transformers lets a function with this signature be registered (`AttentionInterface`); `plain_attention` switches a model to it for the length
of a `with` block, and only where it is equal: causal, no mask, no window, no soft cap. In production: `attn_implementation="flash_attention_2"`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

_NAME = "llmsuite_plain"
LONGEST = 1024  # beyond this the quadratic products cost more than torch's fused kernel


class _GroupedCausalAttention(torch.autograd.Function):
    """O = P V with P = softmax(scale · Q Kᵀ + causal); backward: dV = Pᵀ dO, dS = P ∘ (dP − rowsum(dP ∘ P)), dQ = dS K, dK = dSᵀ Q."""

    @staticmethod
    def forward(ctx: Any, Q: Tensor, K: Tensor, V: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(Q, K, V)
        ctx.scale = scale
        return _probabilities(Q, K, scale) @ V

    @staticmethod
    def backward(ctx: Any, dO: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        Q, K, V = ctx.saved_tensors
        P = _probabilities(Q, K, ctx.scale)
        dV = P.transpose(-1, -2) @ dO
        dP = dO @ V.transpose(-1, -2)
        dS = torch._softmax_backward_data(dP, P, -1, P.dtype).mul_(ctx.scale)
        return dS @ K, dS.transpose(-1, -2) @ Q, dV, None


def _probabilities(Q: Float[Tensor, "batch kv group_seq d"], K: Float[Tensor, "batch kv seq d"], scale: float) -> Tensor:
    seq = K.shape[2]
    future = torch.ones(seq, seq, dtype=torch.bool, device=Q.device).triu(1).repeat(Q.shape[2] // seq, 1)
    return (Q @ K.transpose(-1, -2)).mul_(scale).masked_fill_(future, -torch.inf).softmax(-1)


def grouped_causal_attention(
    Q: Float[Tensor, "batch heads seq d"], K: Float[Tensor, "batch kv_heads seq d"], V: Float[Tensor, "batch kv_heads seq d"], scale: float
) -> Float[Tensor, "batch heads seq d"]:
    """Causal grouped-query attention, differentiable; `heads` must be a multiple of `kv_heads`."""
    batch, heads, seq, d = Q.shape
    stacked = Q.reshape(batch, K.shape[1], heads // K.shape[1] * seq, d)  # [batch, kv_heads, group·seq, d]: one product per key head
    return _GroupedCausalAttention.apply(stacked, K, V, scale).view(batch, heads, seq, d)


def _interface(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What transformers calls; cases that differ from plain causal attention go to its own SDPA."""
    special = attention_mask is not None or dropout or kwargs.get("softcap") or kwargs.get("sliding_window") or not module.is_causal
    if special or query.shape[2] != key.shape[2] or query.shape[2] > LONGEST or query.dtype != torch.bfloat16:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs)
    out = grouped_causal_attention(query, key, value, scaling if scaling is not None else query.shape[-1] ** -0.5)
    return out.transpose(1, 2).contiguous(), None


@contextmanager
def plain_attention(model: nn.Module) -> Iterator[None]:
    """Let a transformers causal model that runs SDPA on a CPU use `grouped_causal_attention` inside the block; other models are left alone."""
    config = getattr(model, "config", None)
    on_cpu = next(model.parameters()).device.type == "cpu"
    if not on_cpu or getattr(config, "_attn_implementation", None) != "sdpa" or getattr(config, "is_encoder_decoder", False):
        yield
        return
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(_NAME, _interface)
    AttentionMaskInterface.register(_NAME, sdpa_mask)  # a mask is made where one is needed, as for SDPA
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = "sdpa"
