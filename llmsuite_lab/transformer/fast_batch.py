"""A batch being written: prefill reads the prompts, then each step appends one token per row; finished rows are dropped.

    batch = FastBatch(decoder, prompts, room)    batch.logits → (rows, vocabulary), what follows each prompt
    batch.advance(tokens)                        one token appended per row, logits are new
    batch.select(rows)                           go on with these rows only

Columns of the cache:  [ prefix that all prompts share | padding | rest of the prompt | new tokens ].  The prefix is read once for all rows; padding is
on the left of what differs, so that every row writes the same column at each step, and a mask keeps it out of attention.
"""

from collections.abc import Sequence
from os.path import commonprefix

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmsuite_lab.transformer.fast_decoder import CACHE_CHUNK, FastDecoder

SHARED_PREFIX_TOKENS = 16  # a shorter common prefix is not worth a forward pass of its own


class FastBatch:
    """Keys, values, padding and positions of the rows in flight.

    Args:
        prompts: token ids, none empty.
        room: tokens that will probably follow; the cache grows by need, this only bounds how far ahead it is allocated.
    """

    logits: Float[Tensor, "rows vocabulary"]  # float32, after each row's last token

    @torch.inference_mode()
    def __init__(self, decoder: FastDecoder, prompts: Sequence[Sequence[int]], room: int) -> None:
        self.decoder, self.device = decoder, decoder.device
        longest = max(map(len, prompts))
        shared = min(len(commonprefix([list(p) for p in prompts])), min(map(len, prompts)) - 1) if len(prompts) > 1 else 0
        self.shared = shared if shared >= SHARED_PREFIX_TOKENS else 0
        self.most, self.length = longest + room, 0
        width = longest - self.shared
        self.pad = torch.tensor([longest - len(p) for p in prompts], device=self.device)
        self.padded = bool(self.pad.any())
        self.cache = decoder.new_cache(1 if self.shared else len(prompts), self._capacity(self.shared or longest))
        if self.shared:
            prefix = torch.tensor([list(prompts[0][: self.shared])], device=self.device)
            decoder.forward(prefix, torch.arange(self.shared, device=self.device)[None], self.cache, 0, None)
            self.cache = [layer.expand(len(prompts), -1, -1, -1).contiguous() for layer in self.cache]
            self.length = self.shared
        ids = torch.tensor([[0] * (longest - len(p)) + list(p[self.shared :]) for p in prompts], device=self.device)
        positions = self.shared + (torch.arange(width, device=self.device)[None] - self.pad[:, None]).clamp(min=0)
        self._forward(ids, positions)
        self.next_position = positions[:, -1:] + 1

    @torch.inference_mode()
    def advance(self, tokens: Int[Tensor, " rows"]) -> None:
        """Append one token to each row and compute the logits of what follows it."""
        self._forward(tokens[:, None].to(self.device), self.next_position)
        self.next_position = self.next_position + 1

    @torch.inference_mode()
    def select(self, rows: Sequence[int]) -> None:
        """Keep only these rows, in this order. Copies their keys and values: worth it when a quarter or more of the rows leave."""
        keep = torch.tensor(rows, device=self.device)
        self.cache = [layer[keep] for layer in self.cache]
        self.pad, self.next_position, self.logits = self.pad[keep], self.next_position[keep], self.logits[keep]

    def _forward(self, ids: Tensor, positions: Tensor) -> None:
        total = self.length + ids.shape[1]
        if self.cache[0].shape[2] < total:
            grown = self.decoder.new_cache(len(ids), self._capacity(total))
            for old, new in zip(self.cache, grown):
                new[:, :, : self.length] = old[:, :, : self.length]
            self.cache = grown
        real = None
        if self.padded:
            column = torch.arange(total, device=self.device)[None]
            real = (column < self.shared) | (column >= self.shared + self.pad[:, None])
        self.logits = self.decoder.forward(ids, positions, self.cache, self.length, real).float()
        self.length = total

    def _capacity(self, needed: int) -> int:
        return max(needed, min(self.most, needed + max(CACHE_CHUNK, needed // 2)))
