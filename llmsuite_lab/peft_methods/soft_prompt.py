"""The modules that put a soft prompt in front of a model: [P; X] read once, then the cache holds P (`prompt_tuning` has the method).

Columns of a batch of unequal length, what each token sees and counts as its position:

    [ P | padding | x_1 … x_n ]   or   [ P | x_1 … x_n | padding ]      positions 0 … p-1, then p …: padding takes none and is seen by none

In production: `peft.PeftModelForCausalLM`, which drops the positions it is given, so that a batch padded on the left moves P away from its prompt.
"""

import dataclasses
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmsuite_lab.transformer.attention import padding_mask
from llmsuite_lab.transformer.block import check_sequence, token_positions
from llmsuite_lab.transformer.cache import KVCache
from llmsuite_lab.transformer.config import TransformerConfig


class SoftPrompt(nn.Module):
    """What P in front of any causal model needs. `base`: the model, frozen or not. `P`: the trained vectors, float32."""

    def __init__(self, base: nn.Module, P: Float[Tensor, "p e"]) -> None:
        super().__init__()
        self.base, self.P = base, nn.Parameter(P)
        self.enabled = True

    @property
    def p(self) -> int:
        """How many vectors stand in front at the moment: none when switched off."""
        return len(self.P) if self.enabled else 0

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.P.device

    def in_front(self, x: Float[Tensor, "batch seq e"]) -> Float[Tensor, "batch p+seq e"]:
        """[P; X] for every row."""
        return torch.cat([self.P[: self.p].to(x.dtype).expand(len(x), -1, -1), x], dim=1)

    def widened(self, mask: Bool[Tensor, "batch total"]) -> Bool[Tensor, "batch p+total"]:
        """The padding mask with P in front, which every token sees."""
        return torch.cat([mask.new_ones(len(mask), self.p), mask], dim=1)

    def extra_repr(self) -> str:
        """p and e."""
        return f"p={self.P.shape[0]}, e={self.P.shape[1]}"


class SoftPromptModel(SoftPrompt):
    """A causal transformers model with P in front. Takes the model's place in `fit`, `LanguageModel`, `generate` and `supervised_loss`; logits and hidden
    states are those of the tokens given, P's own are dropped."""

    @property
    def config(self) -> Any:
        """The base's, with a context that is p tokens shorter."""
        return _ShorterContext(self.base.config, len(self.P))

    @property
    def generation_config(self) -> Any:
        """The base's: its end tokens."""
        return getattr(self.base, "generation_config", None)

    @property
    def lm_head(self) -> nn.Module:
        """The base's output layer: what `supervised_loss` applies to the hidden states it needs."""
        return self.base.get_output_embeddings()

    def get_input_embeddings(self) -> nn.Module:
        """The base's table of embeddings."""
        return self.base.get_input_embeddings()

    def get_output_embeddings(self) -> nn.Module:
        """The base's output layer."""
        return self.base.get_output_embeddings()

    def hidden_states(
        self, ids: Int[Tensor, "batch seq"], attention_mask: Bool[Tensor, "batch seq"] | None = None
    ) -> Float[Tensor, "batch seq d_model"]:
        """What the last block leaves, for the tokens alone."""
        hidden = self.base.base_model(**self._inputs(ids, attention_mask), use_cache=False).last_hidden_state
        return hidden[:, -ids.shape[1] :]

    def forward(
        self,
        input_ids: Int[Tensor, "batch seq"],
        attention_mask: Bool[Tensor, "batch total"] | None = None,
        position_ids: Int[Tensor, "batch seq"] | None = None,
        past_key_values: Any = None,
        **options: Any,
    ) -> Any:
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        inputs = self._inputs(input_ids, attention_mask, position_ids, past)
        output = self.base(**inputs, past_key_values=past_key_values, **options)
        output.logits = output.logits[:, -input_ids.shape[1] :]
        return output

    def _inputs(self, ids: Tensor, mask: Tensor | None, positions: Tensor | None = None, past: int = 0) -> dict[str, Any]:
        """What the base is given: P in front where the cache is empty, room for it in mask and positions always."""
        p, first = self.p, self.p > 0 and not past
        inputs = {"inputs_embeds": self.in_front(self.base.get_input_embeddings()(ids))} if first else {"input_ids": ids}
        if mask is not None and not _right_padded(mask):  # else no real token looks at padding: no mask, and the fused kernel runs
            inputs["attention_mask"] = mask = self.widened(mask).long()
            if positions is None:
                inputs["position_ids"] = token_positions(ids, mask, past)
        if positions is not None:
            front = torch.arange(p if first else 0, device=ids.device).expand(len(positions), -1)
            inputs["position_ids"] = torch.cat([front, positions + p], dim=1)
        return inputs


class SoftPromptDecoder(SoftPrompt):
    """Our `transformer.Decoder` with P in front: its methods, for the tokens given alone."""

    @property
    def config(self) -> TransformerConfig:
        """The base's, with a context that is p tokens shorter."""
        return dataclasses.replace(self.base.config, max_length=self.base.config.max_length - len(self.P))

    def logits(self, hidden: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocabulary"]:
        """As the base's."""
        return self.base.logits(hidden)

    def hidden_states(
        self, ids: Int[Tensor, "batch seq"], attention_mask: Bool[Tensor, "batch total"] | None = None, cache: KVCache | None = None
    ) -> Float[Tensor, "batch seq d_model"]:
        """As the base's: `cache` holds P's keys and values after the first call."""
        past = cache.length if cache else 0
        check_sequence(ids, self.config, attention_mask, max(0, past - self.p))
        mask = None if attention_mask is None else self.widened(attention_mask)
        if past:
            return self.base.hidden_states(ids, mask, cache)
        x = self.in_front(self.base.embedding.token(ids))
        positions = token_positions(x, mask)
        x = self.base.embedding.place(x, positions)
        return self.base.stack(x, positions, None if mask is None else padding_mask(mask), cache=cache)[:, -ids.shape[1] :]

    def forward(
        self, ids: Int[Tensor, "batch seq"], attention_mask: Bool[Tensor, "batch total"] | None = None, cache: KVCache | None = None
    ) -> Float[Tensor, "batch seq vocabulary"]:
        return self.logits(self.hidden_states(ids, attention_mask, cache))


def _right_padded(mask: Tensor) -> bool:
    """Whether padding, if any, stands behind the real tokens of every row."""
    real = mask.long()
    return bool((real[:, 1:] <= real[:, :-1]).all())


class _ShorterContext:
    """A config whose context is p tokens shorter; everything else, reading and writing, is the config's own."""

    def __init__(self, config: Any, p: int) -> None:
        vars(self).update(_config=config, _p=p)

    def __getattr__(self, name: str) -> Any:
        value = getattr(vars(self)["_config"], name)
        return value - vars(self)["_p"] if name == "max_position_embeddings" else value

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._config, name, value)

    def get_text_config(self, *args: Any, **options: Any) -> "_ShorterContext":
        """The text part, which is all of it here."""
        return self
