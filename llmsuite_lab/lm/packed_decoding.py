"""The course's own transformer as the decoding engine: `transformer.fast_decoder` behind the three verbs of `lm.decoding`.

Same tokens as `CachedDecoder` (proven in float32), several times the speed on a CPU: matrices packed the way the processor reads them, keys and
values written in place into a cache that is allocated ahead. The packed copies of a model's weights are made on first use, kept as long as
the model lives, and made again when its weights have changed (a training step, a merged adapter).
"""

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmsuite_lab.lm.decoding import CachedDecoder, layout_prompts

PACKED_FAMILIES = {"LlamaForCausalLM", "GPT2LMHeadModel"}  # exact classes: a PEFT wrapper or another family runs in CachedDecoder
_ROWS = 16  # what the blocked layout is prepared for; it serves any number of rows
_packed: "weakref.WeakKeyDictionary[torch.nn.Module, tuple[int, Any]]" = weakref.WeakKeyDictionary()


def engine_for(model: torch.nn.Module) -> type:
    """PackedDecoder where it can drive this model (plain Llama or GPT-2 on a CPU), else CachedDecoder."""
    plain = type(model).__name__ in PACKED_FAMILIES and not any(hasattr(module, "base_layer") for module in model.modules())
    return PackedDecoder if plain and model.device.type == "cpu" else CachedDecoder


class PackedDecoder:
    """The state of one batch: `logits`, `advance`, `select` as `lm.decoding` describes them. `room` tokens are allocated after the prompts."""

    logits: Float[Tensor, "rows vocab"]

    @torch.no_grad()
    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], room: int) -> None:
        self.decoder = _packed_decoder(model)
        shared, ids, mask, positions = layout_prompts(prompts)
        width = mask.shape[1]
        self.real = torch.ones(len(prompts), width + room, dtype=torch.bool)
        self.real[:, :width] = mask.bool()
        self.padded = bool((mask == 0).any())
        self.cache, self.past = self.decoder.new_cache(len(prompts), width + room), shared
        if shared:
            prefix = self.decoder.new_cache(1, shared)
            self.decoder.forward(torch.tensor([list(prompts[0][:shared])]), torch.arange(shared)[None], prefix, 0, None)
            for once, rows in zip(prefix, self.cache):
                rows[:, :, :shared] = once
        self._forward(ids, positions)
        self.next_position = positions[:, -1:] + 1

    @torch.no_grad()
    def advance(self, tokens: Int[Tensor, " rows"]) -> None:
        """Append one token to each row and compute the logits of what follows it."""
        self._forward(tokens[:, None], self.next_position)
        self.next_position = self.next_position + 1

    def select(self, rows: Sequence[int]) -> None:
        """Keep only these rows, in this order."""
        index = torch.tensor(rows)
        self.cache = [layer[index] for layer in self.cache]
        self.real, self.next_position, self.logits = self.real[index], self.next_position[index], self.logits[index]

    def _forward(self, ids: Int[Tensor, "rows new"], positions: Int[Tensor, "rows new"]) -> None:
        total = self.past + ids.shape[1]
        self.logits = self.decoder.forward(ids, positions, self.cache, self.past, self.real[:, :total] if self.padded else None).float()
        self.past = total


def _packed_decoder(model: torch.nn.Module) -> Any:
    """The model's weights packed for several rows, from memory unless they have changed since."""
    from llmsuite_lab.transformer.fast_decoder import FastDecoder
    from llmsuite_lab.transformer.packing import choose_layout
    from llmsuite_lab.transformer.weights import from_transformers

    version = hash(tuple((p.data_ptr(), p._version) for p in model.parameters()))  # a step in place raises the version, a new tensor moves
    known = _packed.get(model)
    if known is None or known[0] != version:
        decoder = FastDecoder(from_transformers(model, share=True), model.dtype, choose_layout(model.dtype, model.device, _ROWS), _ROWS)
        known = _packed[model] = (version, decoder)
    return known[1]
