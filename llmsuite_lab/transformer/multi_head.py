"""Multi-head attention: h small attentions side by side, each in its own subspace, concatenated and projected.

    multi_head(X, M) = concat(head_1, ..., head_h) W_O,   head_i = attention(X W_Qi, M W_Ki, M W_Vi)

    self-attention     M = X: tokens of one sequence look at each other; causal: only at themselves and to the left
    cross-attention    M = the encoder's output ("memory"): the decoder looks at the source
    grouped-query      fewer key/value heads than query heads: g = h / h_kv query heads share one, and the cache shrinks g times

All heads' matrices lie in one: W_Q is (h·d_head, d_model), and the split into heads is a reshape of its output followed by a transpose. Reshaping
straight to (batch, heads, seq, d_head) without the transpose would mix tokens with features.

Sources: Vaswani et al. 2017, section 3.2.2; Ainslie et al. 2023 (grouped-query). Production: `torch.nn.MultiheadAttention`, `enable_gqa=True` in
`torch.nn.functional.scaled_dot_product_attention`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from jaxtyping import Bool, Float
from torch import Tensor, nn

from llmsuite_lab.transformer.attention import attend, attention_weights, causal_mask
from llmsuite_lab.transformer.cache import LayerCache
from llmsuite_lab.transformer.layers import Linear
from llmsuite_lab.transformer.positions import rotate


def split_heads(x: Float[Tensor, "batch seq features"], n_heads: int) -> Float[Tensor, "batch heads seq d_head"]:
    """(batch, seq, heads·d_head) → (batch, heads, seq, d_head)."""
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def join_heads(x: Float[Tensor, "batch heads seq d_head"]) -> Float[Tensor, "batch seq features"]:
    """(batch, heads, seq, d_head) → (batch, seq, heads·d_head): concat(head_1, ..., head_h)."""
    return x.transpose(1, 2).flatten(-2)


class MultiHeadAttention(nn.Module):
    """concat(head_1, ..., head_h) W_O, with head_i = attention(X W_Qi, M W_Ki, M W_Vi).

    Args:
        d_model: width of a token's vector.
        n_heads: query heads h.
        n_kv_heads: key/value heads h_kv; default n_heads. Must divide n_heads.
        d_head: width of one head; default d_model / n_heads, which must then be whole.
        bias: biases on W_Q, W_K, W_V and (unless `out_bias` says otherwise) on W_O.
        causal: query i sees keys 0..i.
        scale: what Q Kᵀ is multiplied by; default 1/√d_head (T5 uses 1).

    Raises:
        ValueError: heads that do not divide.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        n_kv_heads: int | None = None,
        d_head: int | None = None,
        bias: bool = False,
        out_bias: bool | None = None,
        causal: bool = False,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
        if d_head is None and d_model % n_heads:
            raise ValueError(
                f"d_model={d_model} cannot be split into n_heads={n_heads} equal heads; choose a divisor of {d_model} or pass d_head"
            )
        if n_heads % n_kv_heads:
            raise ValueError(
                f"n_heads={n_heads} query heads cannot share n_kv_heads={n_kv_heads} key/value heads equally; n_kv_heads must divide n_heads"
            )
        self.d_model, self.n_heads, self.n_kv_heads = d_model, n_heads, n_kv_heads
        self.d_head = d_model // n_heads if d_head is None else d_head
        self.causal, self.scale = causal, scale
        self.W_Q = Linear(d_model, n_heads * self.d_head, bias=bias)
        self.W_K = Linear(d_model, n_kv_heads * self.d_head, bias=bias)
        self.W_V = Linear(d_model, n_kv_heads * self.d_head, bias=bias)
        self.W_O = Linear(n_heads * self.d_head, d_model, bias=bias if out_bias is None else out_bias)
        self.recorded: Tensor | None = None  # the last weights, kept only inside `record_attention`
        self.recording = False

    def forward(
        self,
        x: Float[Tensor, "batch queries d_model"],
        memory: Float[Tensor, "batch keys d_model"] | None = None,
        mask: Bool[Tensor, "#batch 1 #queries keys"] | None = None,
        bias: Float[Tensor, "#batch heads queries keys"] | None = None,
        rotary: tuple[Float[Tensor, "#batch queries d_head"], Float[Tensor, "#batch queries d_head"]] | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "batch queries d_model"]:
        """Attend from x to itself, or to `memory` when it is given.

        Args:
            mask: True where attending is allowed; with `causal` both must allow it.
            bias: added to the scores.
            rotary: cos and sin of `positions.rotary_angles` for x's positions.
            cache: earlier keys and values. Self-attention appends to it; cross-attention fills it once and then reuses it.

        Raises:
            ValueError: x or memory is not (batch, positions, d_model).
        """
        for name, tensor in (("x", x), ("memory", memory)):
            if tensor is not None and (tensor.dim() != 3 or tensor.shape[-1] != self.d_model):
                raise ValueError(
                    f"multi-head attention takes {name} of shape (batch, positions, d_model={self.d_model}); got {tuple(tensor.shape)}"
                )
        Q = split_heads(self.W_Q(x), self.n_heads)  # [batch, heads, queries, d_head]
        if memory is not None and cache is not None and cache.keys is not None:
            K, V = cache.keys, cache.values
        else:
            source = x if memory is None else memory
            K = split_heads(self.W_K(source), self.n_kv_heads)  # [batch, kv_heads, keys, d_head]
            V = split_heads(self.W_V(source), self.n_kv_heads)
            if rotary is not None:
                Q, K = rotate(Q, *rotary), rotate(K, *rotary)
            if cache is not None:
                K, V = cache.append(K, V)
        if self.n_kv_heads != self.n_heads:  # each key/value head serves n_heads / n_kv_heads query heads
            K, V = (kv.repeat_interleave(self.n_heads // self.n_kv_heads, dim=1) for kv in (K, V))
        if self.recording:
            allowed = causal_mask(Q.shape[-2], K.shape[-2], Q.device) if self.causal else None
            allowed = mask if allowed is None else allowed if mask is None else allowed & mask
            self.recorded = attention_weights(Q, K, allowed, bias, self.scale).detach()
        heads = attend(Q, K, V, mask, bias, self.scale, self.causal)  # [batch, heads, queries, d_head]
        return self.W_O(join_heads(heads))


@contextmanager
def record_attention(model: nn.Module) -> Iterator[dict[str, MultiHeadAttention]]:
    """Within this block every attention layer of `model` keeps the weights of its last call.

    Yields:
        The layers by name, in order; `maps[name].recorded` is (batch, heads, queries, keys) after a forward pass, rows summing to 1.
    """
    layers = {name: module for name, module in model.named_modules() if isinstance(module, MultiHeadAttention)}
    for layer in layers.values():
        layer.recording = True
    try:
        yield layers
    finally:
        for layer in layers.values():
            layer.recording = False
