"""The engine for models whose memory is no cache of keys and values, or that cannot be told where padding stands: each row is a batch of its own.

    s_t = f(s_{t−1}, x_t)      a state space model (Mamba), an RNN (RWKV), their mixtures with attention (Jamba)

Rows never meet, so nothing is padded and a row's text cannot depend on its neighbours; n rows take n times as long. The state is what the model's own
forward pass hands back, and goes in again at the next token; a model that hands none back reads its whole row again. Production:
`transformers.GenerationMixin.generate`, vLLM.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmsuite_lab.core.forks import compute_safely
from llmsuite_lab.transformer.config import TransformerConfig
from llmsuite_lab.transformer.evaluating import evaluating
from llmsuite_lab.transformer.layout import check_prompts, check_rows

STATES = ("cache_params", "past_key_values", "state")  # what transformers' families call what they remember
CONTEXTS = ("max_position_embeddings", "max_seq_len", "seq_length")  # and the most tokens they were made for: MPT's and BLOOM's own names last
NO_LIMIT = 2**31 - 1
READS_ALL = ("cpmant",)  # wants the whole row beside what it remembers
PADDED_BY_MASK = ("bloom",)  # ALiBi, with biases counted from the mask: it says all there is to say of padding


def longest_context(config: Any) -> int:
    """Most tokens that a model with this `transformers` config was made to read; NO_LIMIT where the config names none (a state space model)."""
    for found in (config, config.get_text_config()) if hasattr(config, "get_text_config") else (config,):
        for name in CONTEXTS:
            value = getattr(found, name, None)
            if isinstance(value, int) and value > 0:
                return value
    return NO_LIMIT


def needs_rows_of_its_own(model: nn.Module) -> bool:
    """Whether `CachedEngine` cannot drive this `transformers` model: it keeps another kind of state, or takes no positions to tell padding by."""
    from transformers import DynamicCache

    if isinstance(model.config, TransformerConfig):
        return False
    takes = inspect.signature(model.forward).parameters
    if getattr(model, "_is_stateful", False) or "past_key_values" not in takes:
        return True
    if "position_ids" not in takes and model.config.model_type not in PADDED_BY_MASK:
        return True
    return not all(hasattr(layer, "batch_select_indices") for layer in DynamicCache(config=model.config).layers)


class RowEngine:
    """The states of the rows of one batch. Arguments, verbs and errors as `packed_engine.PackedEngine`."""

    logits: Float[Tensor, "rows vocabulary"]

    def __init__(self, model: nn.Module, prompts: Sequence[Sequence[int]], room: int) -> None:
        check_prompts(prompts, room, model.config.get_text_config().vocab_size, longest_context(model.config))
        compute_safely()
        self.model, self.device = model, next(model.parameters()).device
        takes = inspect.signature(model.forward).parameters
        self.options: dict[str, Any] = {"use_cache": True} | ({"logits_to_keep": 1} if "logits_to_keep" in takes else {})
        self.counts = "position_ids" in takes
        self.remembers = None if model.config.model_type in READS_ALL else next((name for name in STATES if name in takes), None)
        self.read = [list(prompt) for prompt in prompts]
        self.states: list[Any] = [None] * len(self.read)
        self.logits = torch.stack([self._forward(i, ids) for i, ids in enumerate(self.read)])

    def advance(self, tokens: Int[Tensor, " rows"]) -> None:
        """Append one token to each row and compute the logits of what follows it."""
        rows = []
        for i, token in enumerate(tokens.tolist()):
            self.read[i].append(token)
            rows.append(self._forward(i, self.read[i] if self.states[i] is None else [token]))
        self.logits = torch.stack(rows)

    def select(self, rows: Sequence[int]) -> None:
        """Keep only these rows, in this order; none twice, since a state is written in place."""
        check_rows(rows, len(self.logits))
        if len(set(rows)) < len(rows):
            raise ValueError(f"rows={list(rows)} names a row twice: each has one state, which it writes to")
        self.read, self.states = [self.read[i] for i in rows], [self.states[i] for i in rows]
        self.logits = self.logits[torch.tensor(rows, device=self.logits.device)]

    def _forward(self, row: int, ids: Sequence[int]) -> Float[Tensor, " vocabulary"]:
        state = {} if self.states[row] is None else {self.remembers: self.states[row]}
        if state and self.counts:  # a family may count from 0 again where it is not told (Bamba)
            state["position_ids"] = torch.tensor([[len(self.read[row]) - 1]], device=self.device)
        with torch.no_grad(), evaluating(self.model):
            out = self.model(input_ids=torch.tensor([list(ids)], device=self.device), **state, **self.options)
        self.states[row] = getattr(out, self.remembers, None) if self.remembers else None
        logits = out.logits[0, -1]
        return logits if logits.dtype == torch.float64 else logits.float()
