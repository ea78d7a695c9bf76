"""The packed engine: the course's own transformer writing a batch. Prefill reads the prompts, then each step appends one token per row.

    engine = PackedEngine(decoder, prompts, room)     engine.logits → (rows, vocabulary), what follows each prompt
    engine.advance(tokens)                            one token appended per row, logits are new
    engine.select(rows)                               go on with these rows only

Keys and values are written in place into a cache that grows by need; `layout` says which columns hold what.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmsuite_lab.transformer.evaluating import evaluating
from llmsuite_lab.transformer.fast_decoder import CACHE_CHUNK, FastDecoder
from llmsuite_lab.transformer.layout import check_prompts, check_rows, lay_out


class PackedEngine:
    """Keys, values, padding and positions of the rows in flight.

    Args:
        decoder: packed weights (`packed_weights.packed`).
        prompts: token ids, none empty.
        room: most tokens that will follow each prompt; memory is taken by need, not for all of it at once.

    Raises:
        ValueError: as `layout.check_prompts`.
    """

    logits: Float[Tensor, "rows vocabulary"]  # float32 (float64 of a float64 model), after each row's last token

    def __init__(self, decoder: FastDecoder, prompts: Sequence[Sequence[int]], room: int) -> None:
        check_prompts(prompts, room, decoder.config.vocab_size, decoder.config.max_length)
        self.decoder, self.device = decoder, decoder.device
        layout = lay_out(prompts, self.device)
        self.padded, self.length = layout.padded, layout.shared
        width = layout.real.shape[1]
        self.real = torch.ones(len(prompts), width + room, dtype=torch.bool, device=self.device)
        self.real[:, :width] = layout.real
        self.cache = decoder.new_cache(len(prompts), self._capacity(width))
        if layout.shared:
            prefix = decoder.new_cache(1, layout.shared)
            ids = torch.tensor([list(prompts[0][: layout.shared])], device=self.device)
            self._call(ids, torch.arange(layout.shared, device=self.device)[None], prefix, 0, None)
            for once, rows in zip(prefix, self.cache):
                rows[:, :, : layout.shared] = once
        self._forward(layout.ids, layout.positions)
        self.next_position = layout.positions[:, -1:] + 1

    def advance(self, tokens: Int[Tensor, " rows"]) -> None:
        """Append one token to each row and compute the logits of what follows it."""
        self._forward(tokens[:, None].to(self.device), self.next_position)
        self.next_position = self.next_position + 1

    def select(self, rows: Sequence[int]) -> None:
        """Keep only these rows, in this order. Copies their keys and values."""
        check_rows(rows, len(self.logits))
        keep = torch.tensor(rows, device=self.device)
        self.cache = [layer[keep] for layer in self.cache]
        self.real, self.next_position, self.logits = self.real[keep], self.next_position[keep], self.logits[keep]

    def _forward(self, ids: Tensor, positions: Tensor) -> None:
        total = self.length + ids.shape[1]
        if self.cache[0].shape[2] < total:
            grown = self.decoder.new_cache(len(ids), self._capacity(total))
            for old, new in zip(self.cache, grown):
                new[:, :, : self.length] = old[:, :, : self.length]
            self.cache = grown
        logits = self._call(ids, positions, self.cache, self.length, self.real[:, :total] if self.padded else None)
        self.logits = logits if logits.dtype == torch.float64 else logits.float()
        self.length = total

    def _call(self, *arguments: object) -> Tensor:
        if not len(self.decoder.called):
            with torch.inference_mode():
                return self.decoder.forward(*arguments)
        with torch.no_grad(), evaluating(self.decoder.called):  # not inference mode: a module may keep what it computes for training
            return self.decoder.forward(*arguments)

    def _capacity(self, needed: int) -> int:
        return max(needed, min(self.real.shape[1], needed + max(CACHE_CHUNK, needed // 2)))
