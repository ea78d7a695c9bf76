"""A Decoder's forward pass laid out for generation: the same arithmetic as `decoder.Decoder`, with nothing done per step that can be done once.

What differs from the readable module, and why:
- one matrix for Q, K, V and one for gate and up, in the layout the processor streams best (`packing`);
- keys and values go into a preallocated cache (batch, 2·kv_heads, capacity, d_head), written in place: no concatenation per step;
- grouped queries are laid side by side as if they were positions, so the shared keys are read once and never repeated;
- sin and cos come from a table; the residual sum happens inside the matrix product;
- logits only for the last position of each row.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.feed_forward import activation
from llmsuite_lab.transformer.normalization import RMSNorm
from llmsuite_lab.transformer.packing import Modules, pack
from llmsuite_lab.transformer.positions import rotary_angles

CACHE_CHUNK = 256  # positions by which the cache grows


class FastDecoder:
    """Weights of `model` packed in `dtype`. It holds no reference to `model` itself, only to the parts it calls.

    Raises:
        ValueError: a model with relative positions (no decoder-only family has them).
    """

    def __init__(self, model: Decoder, dtype: torch.dtype, layout: str) -> None:
        c = self.config = model.config
        if c.positions == "relative":
            raise ValueError(
                "fast decoding covers rotary, learned, sinusoidal and no positions; relative positions are decoded by EncoderDecoder.greedy"
            )
        self.dtype, self.layout, self.embedding = dtype, layout, model.embedding
        self.device = model.embedding.token.weight.device
        self.layers = []
        for block in model.stack.blocks:
            a, f = block.attention, block.feed_forward
            packed = [
                pack(layers, layout, dtype)
                for layers in ([a.W_Q, a.W_K, a.W_V], [a.W_O], [f.W_gate, f.W_up] if f.W_gate else [f.W_up], [f.W_down])
            ]
            self.layers.append((self._norm(block.attention_norm), self._norm(block.feed_forward_norm), *packed))
        self.final_norm = self._norm(model.stack.final_norm) if c.pre_norm else None
        self.unembed = pack([model.unembedding], layout, dtype)
        self.embeds_plainly = c.positions in ("rotary", "none") and not c.scale_embedding and not c.embedding_norm
        called = [layer for *_, q, o, u, d in self.layers for p in (q, o, u, d) if isinstance(p, Modules) for layer in p.layers]
        called += self.unembed.layers if isinstance(self.unembed, Modules) else []
        self.called = nn.ModuleList(called if self.embeds_plainly else [*called, model.embedding])  # what computes by a forward of its own
        self.table = model.embedding.token.weight.detach().to(dtype)
        self.scale = c.attention_scale if c.attention_scale is not None else c.head_width**-0.5
        self.angles: tuple[Tensor, Tensor] | None = None

    def new_cache(self, batch: int, capacity: int) -> list[Tensor]:
        """Empty keys and values, one (batch, 2·kv_heads, capacity, d_head) per layer: keys first, then values."""
        c = self.config
        return [torch.empty(batch, 2 * c.kv_heads, capacity, c.head_width, dtype=self.dtype, device=self.device) for _ in self.layers]

    def forward(
        self,
        ids: Int[Tensor, "batch seq"],
        positions: Int[Tensor, "batch seq"],
        cache: list[Tensor],
        past: int,
        real: Bool[Tensor, "batch total"] | None,
    ) -> Float[Tensor, "batch vocabulary"]:
        """Logits after the last of the new tokens; their keys and values are written to the cache at `past`.

        Args:
            positions: each token's position in its own sequence (padding not counted).
            real: False for padding, over cached and new tokens; None when there is none.
        """
        c = self.config
        batch, seq = ids.shape
        d, h, kv = c.head_width, c.n_heads, c.kv_heads
        x = F.embedding(ids, self.table) if self.embeds_plainly else self.embedding(ids, positions).to(self.dtype)
        x = x.view(batch * seq, c.d_model)
        cos, sin = self._rotary(positions) if c.positions == "rotary" else (None, None)
        mask, causal = self._mask(seq, past, real)
        for i, (norm_1, norm_2, W_QKV, W_O, W_up, W_down) in enumerate(self.layers):
            qkv = W_QKV(norm_1(x) if c.pre_norm else x).view(batch, seq, h + 2 * kv, d)
            if cos is not None:
                qk = qkv[:, :, : h + kv]
                turned = torch.cat((qk[..., d // 2 :], qk[..., : d // 2]), -1)  # the sign of the second half is in the table's sin
                qk.mul_(cos).addcmul_(turned, sin)
            new = cache[i][:, :, past : past + seq]
            new.copy_(qkv[:, :, h:].transpose(1, 2))
            K, V = cache[i][:, :kv, : past + seq], cache[i][:, kv:, : past + seq]
            if seq == 1:  # the h / kv query heads of one group stand where positions would: (batch, kv, h/kv, d)
                y = F.scaled_dot_product_attention(
                    qkv.view(batch, h + 2 * kv, d)[:, :h].reshape(batch, kv, h // kv, d), K, V, mask, scale=self.scale
                )
            else:
                Q, group = qkv[:, :, :h].transpose(1, 2), h // kv
                K, V = (K, V) if group == 1 else (K.repeat_interleave(group, 1), V.repeat_interleave(group, 1))
                y = F.scaled_dot_product_attention(Q, K, V, mask, scale=self.scale, is_causal=causal).transpose(1, 2)
            x = W_O.add(y.reshape(batch * seq, h * d), x)
            if not c.pre_norm:
                x = norm_1(x)
            up = W_up(norm_2(x) if c.pre_norm else x)
            if c.gated:
                gate, up = up.chunk(2, -1)
                up = activation(c.activation, gate).mul_(up)
            else:
                up = activation(c.activation, up)
            x = W_down.add(up, x)
            if not c.pre_norm:
                x = norm_2(x)
        x = x.view(batch, seq, c.d_model)[:, -1]
        x = self.final_norm(x) if self.final_norm else x.contiguous()
        return self.unembed(x if c.logit_scale == 1 else x * c.logit_scale)

    def _norm(self, norm: torch.nn.Module):
        g, eps, shape = norm.weight.detach().to(self.dtype), norm.eps, norm.weight.shape
        if isinstance(norm, RMSNorm):
            return lambda x: F.rms_norm(x, shape, g, eps)
        b = None if norm.bias is None else norm.bias.detach().to(self.dtype)
        return lambda x: F.layer_norm(x, shape, g, b, eps)

    def _rotary(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin for the positions, (batch, seq, 1, d_head), the sign of rotate's (-second, first) folded into sin."""
        highest, angles = int(positions.max()) + 1, self.angles  # one look at self.angles: another thread may lengthen it
        if angles is None or len(angles[0]) < highest:
            n = min(self.config.max_length, max(CACHE_CHUNK, 2 * highest))
            cos, sin = rotary_angles(torch.arange(n, device=self.device), self.config.head_width, self.config.rotary_base)
            sin[:, : self.config.head_width // 2] *= -1
            self.angles = angles = cos.to(self.dtype), sin.to(self.dtype)
        return angles[0][positions].unsqueeze(2), angles[1][positions].unsqueeze(2)

    def _mask(self, seq: int, past: int, real: Tensor | None) -> tuple[Tensor | None, bool]:
        """Additive mask (0 or -inf) in the model's dtype, built once per step for all layers, or the kernel's causal flag when nothing is padded."""
        if seq > 1 and past == 0 and real is None:
            return None, True
        if seq == 1 and real is None:
            return None, False
        total = past + seq
        allowed = torch.ones(1, 1, 1, total, dtype=torch.bool, device=self.device) if real is None else real[:, None, None, :]
        if seq > 1:
            position = torch.arange(total, device=self.device)
            allowed = allowed & (position[None, :] <= position[past:, None])
            allowed = allowed | (
                position[None, :] == position[past:, None]
            )  # a padding query sees itself, so no row is empty; nobody reads it
        return torch.zeros(allowed.shape, dtype=self.dtype, device=self.device).masked_fill_(~allowed, -torch.inf), False
