"""The engine for every other causal model: its own forward pass and its own cache, behind the same three verbs.

Any causal `transformers` family with a cache of keys and values (`row_engine` has the others), bare or wrapped by peft, and our `Decoder` where
something was changed that is not a linear layer (an adapter between two blocks, a hook). Slower than the packed engine, never different from the model. In
production: `transformers.GenerationMixin.generate`.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmsuite_lab.core.forks import compute_safely
from llmsuite_lab.transformer.cache import KVCache
from llmsuite_lab.transformer.config import TransformerConfig
from llmsuite_lab.transformer.evaluating import evaluating
from llmsuite_lab.transformer.layout import check_prompts, check_rows, lay_out
from llmsuite_lab.transformer.row_engine import longest_context


class CachedEngine:
    """The state of one batch: cache, padding mask, next positions. Arguments, verbs and errors as `packed_engine.PackedEngine`."""

    logits: Float[Tensor, "rows vocabulary"]

    def __init__(self, model: nn.Module, prompts: Sequence[Sequence[int]], room: int) -> None:
        config, ours = model.config, isinstance(model.config, TransformerConfig)
        text = config if ours else config.get_text_config()
        context = config.max_length if ours else longest_context(config)
        self.placed = not ours and "position_ids" in inspect.signature(model.forward).parameters
        check_prompts(prompts, room, text.vocab_size, context)
        compute_safely()
        self.model, self.device = model, next(model.parameters()).device
        self.cache = KVCache(config.n_layers) if ours else _dynamic_cache(config)
        self._step = self._ours if ours else self._theirs
        layout = lay_out(prompts, self.device)
        self.padded = layout.padded
        if layout.shared:
            self.real = layout.real[:1, : layout.shared]
            ids = torch.tensor([list(prompts[0][: layout.shared])], device=self.device)
            self._forward(ids, torch.arange(layout.shared, device=self.device)[None])
            self._keep(torch.zeros(len(prompts), dtype=torch.long, device=self.device))
        self.real = layout.real
        self._forward(layout.ids, layout.positions)
        self.next_position = layout.positions[:, -1:] + 1

    def advance(self, tokens: Int[Tensor, " rows"]) -> None:
        """Append one token to each row and compute the logits of what follows it."""
        self.real = torch.cat([self.real, self.real.new_ones(len(self.real), 1)], dim=1)
        self._forward(tokens[:, None].to(self.device), self.next_position)
        self.next_position = self.next_position + 1

    def select(self, rows: Sequence[int]) -> None:
        """Keep only these rows, in this order."""
        check_rows(rows, len(self.logits))
        index = torch.tensor(rows, device=self.device)
        self._keep(index)
        self.real, self.next_position, self.logits = self.real[index], self.next_position[index], self.logits[index]

    def _keep(self, rows: Tensor) -> None:
        self.cache.select(rows) if isinstance(self.cache, KVCache) else self.cache.batch_select_indices(rows)

    def _forward(self, ids: Int[Tensor, "rows new"], positions: Int[Tensor, "rows new"]) -> None:
        mask = self.real if self.padded else None  # without padding torch's fused causal kernel needs no mask
        with torch.no_grad(), evaluating(self.model):
            logits = self._step(ids, mask, positions)
        self.logits = logits if logits.dtype == torch.float64 else logits.float()

    def _ours(self, ids: Tensor, mask: Tensor | None, positions: Tensor) -> Tensor:
        return self.model.logits(self.model.hidden_states(ids, mask, self.cache)[:, -1])

    def _theirs(self, ids: Tensor, mask: Tensor | None, positions: Tensor) -> Tensor:
        options: dict[str, Any] = {"past_key_values": self.cache, "use_cache": True, "logits_to_keep": 1}
        if self.placed:
            options["position_ids"] = positions
        mask = None if mask is None else mask.long()
        return self.model(input_ids=ids, attention_mask=mask, **options).logits[:, -1]


def _dynamic_cache(config: Any) -> Any:
    from transformers import DynamicCache

    return DynamicCache(config=config)
