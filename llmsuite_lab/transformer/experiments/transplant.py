"""Your functions inside a real model: its weights, your attention, your mask, your split into heads. Does it still speak?

    with transplanted(model, attention, causal_mask, split_heads):
        speak(model, tokenizer, "The capital of France is")

Every layer of the model computes with what was handed in, written out and without a cache, so that most wrong parts are heard at once. A mask that is too
wide may not be: the last token has nothing ahead of it to see.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.multi_head import MultiHeadAttention, join_heads
from llmsuite_lab.transformer.positions import rotate
from llmsuite_lab.transformer.tokenizer import BPETokenizer


class YourAttention(nn.Module):
    """A layer of the model with its own weights W_Q, W_K, W_V and W_O, and somebody's three functions."""

    def __init__(self, layer: MultiHeadAttention, attention: Callable, causal_mask: Callable, split_heads: Callable) -> None:
        super().__init__()
        self.layer, self.attention, self.causal_mask, self.split_heads = layer, attention, causal_mask, split_heads

    def forward(
        self, x: Float[Tensor, "batch seq d_model"], memory: None = None, mask: None = None, bias: None = None,
        rotary: tuple[Tensor, Tensor] | None = None, cache: None = None,
    ) -> Float[Tensor, "batch seq d_model"]:  # fmt: skip
        """Self-attention of a causal decoder, the whole sequence at once. Raises ValueError for what only `MultiHeadAttention` can do."""
        if any(given is not None for given in (memory, mask, bias, cache)):
            raise ValueError("a transplanted layer reads whole sequences: no memory, padding mask, bias or cache")
        layer, n = self.layer, x.shape[1]
        Q = _tensor(self.split_heads(layer.W_Q(x), layer.n_heads), x)  # [batch, heads, seq, d_head]
        K, V = (_tensor(self.split_heads(W(x), layer.n_kv_heads), x) for W in (layer.W_K, layer.W_V))
        if rotary is not None:
            Q, K = rotate(Q, *rotary), rotate(K, *rotary)
        K, V = (kv.repeat_interleave(layer.n_heads // layer.n_kv_heads, dim=1) for kv in (K, V))
        heads = self.attention(Q, K, V, _tensor(self.causal_mask(n, n), torch.tensor(True)))
        return layer.W_O(join_heads(_tensor(heads, x)))


@contextmanager
def transplanted(model: Decoder, attention: Callable, causal_mask: Callable, split_heads: Callable) -> Iterator[None]:
    """Within this block every layer of `model` attends with these three functions; afterwards it is as it was."""
    blocks = list(model.stack.blocks)
    before = [block.attention for block in blocks]
    try:
        for block in blocks:
            block.attention = YourAttention(block.attention, attention, causal_mask, split_heads)
        yield
    finally:
        for block, own in zip(blocks, before, strict=True):
            block.attention = own


@torch.inference_mode()
def speak(model: Decoder, tokenizer: BPETokenizer, prompt: str, max_new_tokens: int = 12) -> str:
    """What the model writes after `prompt`, always the likeliest token, the whole text read anew for each. Raises ValueError for no token to start from."""
    ids = tokenizer.encode(prompt, allow_special=False)
    if not ids:
        raise ValueError("the prompt is empty: there is no token to go on from")
    start = len(ids)
    for _ in range(max_new_tokens):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return tokenizer.decode(ids[start:])


def _tensor(given: Any, like: Tensor) -> Tensor:
    """A right answer may come as a list or an array: as a tensor of `like`'s type."""
    if given is None:
        raise ValueError("one of your functions returned None: does every path of it end with a return?")
    return torch.as_tensor(given, dtype=like.dtype, device=like.device)
