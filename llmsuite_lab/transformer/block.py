"""A block is attention then feed-forward, each inside a residual connection; a stack is blocks on top of each other.

    pre-norm    x ← x + attention(norm(x));   x ← x + FFN(norm(x))        and one more norm after the last block
    post-norm   x ← norm(x + attention(x));   x ← norm(x + FFN(x))
    decoder of an encoder–decoder: a cross-attention to the encoder's output between the two

Sources: Vaswani et al. 2017, section 3.1 and figure 1. Production: `torch.nn.TransformerEncoderLayer`, `TransformerDecoderLayer`.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmsuite_lab.core.errors import whole
from llmsuite_lab.transformer.cache import KVCache, LayerCache
from llmsuite_lab.transformer.config import TransformerConfig
from llmsuite_lab.transformer.feed_forward import FeedForward
from llmsuite_lab.transformer.layers import Embedding, Linear, residual
from llmsuite_lab.transformer.multi_head import MultiHeadAttention
from llmsuite_lab.transformer.normalization import LayerNorm, RMSNorm
from llmsuite_lab.transformer.positions import RelativeBias, rotary_angles, sinusoidal_positions


def make_norm(config: TransformerConfig) -> LayerNorm | RMSNorm:
    """The norm that the config names."""
    return LayerNorm(config.d_model, config.norm_eps) if config.norm == "layer" else RMSNorm(config.d_model, config.norm_eps)


def make_dropout(config: TransformerConfig) -> nn.Module:
    """Dropout, or nothing at rate 0: torch's own would still draw and multiply a mask of ones at every training step."""
    return nn.Dropout(config.dropout) if config.dropout else nn.Identity()


class Block(nn.Module):
    """Self-attention, (with `cross`) cross-attention, feed-forward: each x + f(norm(x)) or norm(x + f(x)) as the config says."""

    def __init__(self, config: TransformerConfig, causal: bool, cross: bool = False) -> None:
        super().__init__()
        sizes = {"n_kv_heads": config.n_kv_heads, "d_head": config.d_head, "bias": config.attention_bias, "scale": config.attention_scale}
        self.attention = MultiHeadAttention(config.d_model, config.n_heads, causal=causal, **sizes)
        self.attention_norm = make_norm(config)
        self.cross_attention = MultiHeadAttention(config.d_model, config.n_heads, **sizes) if cross else None
        self.cross_attention_norm = make_norm(config) if cross else None
        self.feed_forward = FeedForward(config.d_model, config.d_ff, config.activation, config.gated, config.feed_forward_bias)
        self.feed_forward_norm = make_norm(config)
        self.dropout = make_dropout(config)
        self.pre_norm = config.pre_norm

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"],
        mask: Bool[Tensor, "#batch 1 #seq keys"] | None = None,
        bias: Float[Tensor, "#batch heads seq keys"] | None = None,
        rotary: tuple[Tensor, Tensor] | None = None,
        memory: Float[Tensor, "batch source d_model"] | None = None,
        memory_mask: Bool[Tensor, "batch 1 1 source"] | None = None,
        cache: LayerCache | None = None,
        cross_cache: LayerCache | None = None,
    ) -> Float[Tensor, "batch seq d_model"]:
        """One block. Raises ValueError when it has cross-attention and gets no memory."""
        x = residual(x, lambda y: self.attention(y, None, mask, bias, rotary, cache), self.attention_norm, self.pre_norm, self.dropout)
        if self.cross_attention is not None:
            if memory is None:
                raise ValueError("this block attends to an encoder's output: pass memory of shape (batch, source, d_model)")
            attention = self.cross_attention
            x = residual(
                x, lambda y: attention(y, memory, memory_mask, cache=cross_cache), self.cross_attention_norm, self.pre_norm, self.dropout
            )
        return residual(x, self.feed_forward, self.feed_forward_norm, self.pre_norm, self.dropout)


class Stack(nn.Module):
    """`n_layers` blocks, the relative-position bias they share (T5), and the final norm of pre-norm stacks."""

    def __init__(self, config: TransformerConfig, n_layers: int, causal: bool, cross: bool = False) -> None:
        super().__init__()
        whole("n_layers", n_layers, 0, 10_000)
        self.config = config
        self.blocks = nn.ModuleList(Block(config, causal, cross) for _ in range(n_layers))
        relative = config.positions == "relative"
        self.relative_bias = (
            RelativeBias(config.n_heads, config.n_buckets, config.max_distance, bidirectional=not causal) if relative else None
        )
        self.final_norm = make_norm(config) if config.pre_norm else nn.Identity()

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"],
        positions: Int[Tensor, "#batch seq"],
        mask: Bool[Tensor, "batch 1 1 keys"] | None = None,
        memory: Float[Tensor, "batch source d_model"] | None = None,
        memory_mask: Bool[Tensor, "batch 1 1 source"] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "batch seq d_model"]:
        """All blocks in order. `positions` are the tokens' positions in their own sequence, padding not counted."""
        rotary = bias = None
        if self.config.positions == "rotary":
            rotary = rotary_angles(positions, self.config.head_width, self.config.rotary_base)
        if self.relative_bias is not None:  # distances only, so padding on the left shifts nothing
            past = cache.length if cache else 0
            index = torch.arange(past + x.shape[1], device=x.device)[None]
            bias = self.relative_bias(index[:, past:], index)
        for i, block in enumerate(self.blocks):
            own, cross = (cache.self_attention[i], cache.cross_attention[i]) if cache else (None, None)
            x = block(x, mask, bias, rotary, memory, memory_mask, own, cross)
        return self.final_norm(x)


class InputEmbedding(nn.Module):
    """Token embedding (· √d_model in 2017) + position + segment, then a norm where the family has one.

    Args:
        token: an embedding to share (encoder and decoder of one model); a new one by default.
    """

    def __init__(self, config: TransformerConfig, token: Embedding | None = None) -> None:
        super().__init__()
        self.config = config
        self.token = Embedding(config.vocab_size, config.d_model) if token is None else token
        self.position = Embedding(config.max_length, config.d_model) if config.positions == "learned" else None
        if config.positions == "sinusoidal":
            self.register_buffer("sinusoids", sinusoidal_positions(config.max_length, config.d_model), persistent=False)
        self.segment = Embedding(config.n_segments, config.d_model) if config.n_segments else None
        self.norm = make_norm(config) if config.embedding_norm else nn.Identity()
        self.dropout = make_dropout(config)

    def forward(
        self, ids: Int[Tensor, "batch seq"], positions: Int[Tensor, "#batch seq"], segments: Int[Tensor, "batch seq"] | None = None
    ) -> Float[Tensor, "batch seq d_model"]:
        """Vectors for the tokens. `segments` default to 0 where the family has them."""
        return self.place(self.token(ids), positions, segments)

    def place(
        self, x: Float[Tensor, "batch seq d_model"], positions: Int[Tensor, "#batch seq"], segments: Int[Tensor, "batch seq"] | None = None
    ) -> Float[Tensor, "batch seq d_model"]:
        """The same for vectors that stand where tokens' embeddings would, such as a soft prompt's."""
        if self.config.scale_embedding:
            x = x * self.config.d_model**0.5
        if self.position is not None:
            x = x + self.position(positions)
        if self.config.positions == "sinusoidal":
            x = x + self.sinusoids[positions].to(x.dtype)
        if self.segment is not None:
            x = x + self.segment(torch.zeros(x.shape[:2], dtype=torch.long, device=x.device) if segments is None else segments)
        return self.dropout(self.norm(x))


def check_sequence(ids: Tensor, config: TransformerConfig, mask: Tensor | None = None, past: int = 0) -> None:
    """Refuse ids that are not (batch, seq), too many of them, or what is no mask: targets in its place (`model(x, y)`), another shape, other values.

    Raises:
        TypeError: a mask that is no tensor of booleans or integers.
        ValueError: with the shapes and the allowed length, or a value that is neither 0 nor 1.
    """
    if ids.dim() != 2 or ids.shape[1] == 0:
        raise ValueError(f"token ids are (batch, seq) with at least one token; got shape {tuple(ids.shape)}")
    total = past + ids.shape[1]
    if total > config.max_length:
        cached = f" ({past} cached + {ids.shape[1]} new)" if past else ""
        raise ValueError(
            f"a sequence of {total} tokens{cached} is longer than the model's max_length={config.max_length}; ids have shape {tuple(ids.shape)}"
        )
    if mask is None:
        return
    if not isinstance(mask, Tensor) or mask.is_complex() or mask.is_floating_point():
        raise TypeError(f"the attention mask is a tensor of True and False, or of 1 and 0; got {getattr(mask, 'dtype', type(mask).__name__)}")
    if tuple(mask.shape) != (ids.shape[0], total):
        raise ValueError(f"the attention mask must be (batch, cached + new tokens) = {(ids.shape[0], total)}; got {tuple(mask.shape)}")
    if mask.dtype != torch.bool and mask.numel():
        low, high = (v.item() for v in mask.aminmax())
        if low < 0 or high > 1:
            raise ValueError(f"the attention mask holds {low if low < 0 else high}, neither 0 nor 1: are these token ids, or targets (for `loss`)?")


def token_positions(ids: Int[Tensor, "batch seq"], mask: Bool[Tensor, "batch total"] | None, past: int = 0) -> Int[Tensor, "#batch seq"]:
    """Each new token's position in its own sequence: padding (mask 0, on either side) takes no position. Padding itself gets a harmless one."""
    if mask is None:
        return torch.arange(past, past + ids.shape[1], device=ids.device)[None]
    return (mask.long().cumsum(1) - 1).clamp(min=0)[:, past:]


@torch.no_grad()
def initialise(model: nn.Module, config: TransformerConfig) -> None:
    """Starting values that keep activations near unit variance: Glorot-uniform matrices, small embeddings, zero biases.

    Matrices that write to a pre-norm residual stream (W_O, W_down) start smaller by 1/√(2 n_layers), since that many are summed (GPT-2, section 2.3).
    Token embeddings get standard deviation 0.02, or d_model^-½ where they are multiplied by √d_model afterwards (Vaswani et al. 2017, section 3.4).
    """
    for name, module in model.named_modules():
        if isinstance(module, Embedding):
            nn.init.normal_(module.weight, std=config.d_model**-0.5 if config.scale_embedding else 0.02)
        elif isinstance(module, Linear) and not name.endswith("unembedding"):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            if config.pre_norm and name.endswith(("W_O", "W_down")):
                module.weight /= (2 * max(config.n_layers, 1)) ** 0.5
