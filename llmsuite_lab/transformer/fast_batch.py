"""A batch being written: prefill reads the prompts, then each step appends one token per row; finished rows are dropped.

    batch = FastBatch(decoder, prompts, room)    batch.logits → (rows, vocabulary), what follows each prompt
    batch.advance(tokens)                        one token appended per row, logits are new
    batch.select(rows)                           go on with these rows only

Columns of the cache:  [ prefix that all prompts share | padding | rest of the prompt | new tokens ].  The prefix is read once for all rows; padding is
on the left of what differs, so that every row writes the same column at each step, and a mask keeps it out of attention.

`FastEngine` is the same for a `transformers` model, whose weights it packs once: the engine of `core.language_model`.
"""

import weakref
from collections.abc import Sequence
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmsuite_lab.transformer.fast_decoder import CACHE_CHUNK, FastDecoder
from llmsuite_lab.transformer.packing import choose_layout
from llmsuite_lab.transformer.published import published_config
from llmsuite_lab.transformer.weights import from_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

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


class FastEngine(FastBatch):
    """`FastBatch` for a `transformers` Llama or GPT-2, as `core.language_model` calls it: FastEngine(model, prompts, room).

    The packed weights are kept with the model and made again when its weights have changed since (a training step, a merged adapter).
    """

    _packed: "weakref.WeakKeyDictionary[nn.Module, tuple[Any, dict[str, FastDecoder]]]" = weakref.WeakKeyDictionary()

    def __init__(self, model: "PreTrainedModel", prompts: Sequence[Sequence[int]], room: int) -> None:
        super().__init__(self.packed(model, len(prompts)), prompts, room)

    @staticmethod
    def supports(model: nn.Module) -> bool:
        """True for a Llama or GPT-2 whose layers are all plain: no adapter beside a weight, no quantised layer, no option that ours lacks."""
        if type(model).__name__ not in ("LlamaForCausalLM", "GPT2LMHeadModel"):
            return False
        if any(isinstance(m, nn.Linear) and type(m) is not nn.Linear or type(m).__module__.startswith("peft.") for m in model.modules()):
            return False
        try:
            return published_config(model.config.to_dict()).positions in ("rotary", "learned")
        except ValueError:  # an option that only transformers computes: its own engine drives such a model
            return False

    @classmethod
    def packed(cls, model: "PreTrainedModel", rows: int) -> FastDecoder:
        """The model's weights packed for this many rows at a time: from memory, or freshly when the weights are others than last time."""
        first = next(model.parameters())
        state = fingerprint(model)
        known, by_layout = cls._packed.get(model, (None, {}))
        if known != state:
            by_layout = {}
            cls._packed[model] = (state, by_layout)
        layout = choose_layout(first.dtype, first.device, rows)
        if layout not in by_layout:
            with torch.inference_mode():
                by_layout[layout] = FastDecoder(from_transformers(model, share=True), first.dtype, layout, rows)
        return by_layout[layout]


@torch.no_grad()
def fingerprint(model: nn.Module) -> tuple:
    """What changes when weights do: each parameter's place and in-place version, and a few of its numbers (for writes that skip the version)."""
    parameters = list(model.parameters())
    sample = torch.cat([p.reshape(-1)[: 4 * 64 : 64].float() for p in parameters]).tolist()
    return tuple((p.data_ptr(), p._version, p.dtype) for p in parameters), tuple(sample)
