"""Decoder-only transformers, GPT-2 and Llama: read the tokens so far, score every possible next token.

    h = stack(embed(ids)),   logits = h Eᵀ,   p(next token | ids so far) = softmax(logits at the last position)

Attention is causal, so one pass over a training sequence scores the next token at every position at once; in generation the keys and values of
earlier tokens come from a cache, and the same `forward` serves both.

    GPT-2 (Radford et al. 2019): learned positions, LayerNorm, GELU      Llama (Touvron et al. 2023): rotary positions, RMSNorm, SwiGLU
    Production: `transformers.GPT2LMHeadModel`, `transformers.LlamaForCausalLM`.
"""

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmsuite_lab.transformer.attention import padding_mask
from llmsuite_lab.transformer.block import InputEmbedding, Stack, check_sequence, initialise, token_positions
from llmsuite_lab.transformer.cache import KVCache
from llmsuite_lab.transformer.config import TransformerConfig
from llmsuite_lab.transformer.layers import Linear, cross_entropy


class Decoder(nn.Module):
    """A causal language model. Build one with `config.gpt2_config(...)` or `config.llama_config(...)`, or carry weights in with `weights`."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = InputEmbedding(config)
        self.stack = Stack(config, config.n_layers, causal=True)
        self.unembedding = Linear(config.d_model, config.vocab_size, bias=config.logit_bias)
        self.tie()
        initialise(self, config)

    def tie(self) -> None:
        """Let the output matrix be the token embedding, where the config says so."""
        if self.config.tie_embeddings:
            self.unembedding.weight = self.embedding.token.weight

    def hidden_states(
        self, ids: Int[Tensor, "batch seq"], attention_mask: Bool[Tensor, "batch total"] | None = None, cache: KVCache | None = None
    ) -> Float[Tensor, "batch seq d_model"]:
        """What the last block leaves, normalised: one vector per token.

        Args:
            ids: the new tokens.
            attention_mask: True (or 1) for real tokens, False for padding, over cached and new tokens together. None: all are real.
            cache: keys and values of earlier tokens; the new ones are appended. Feed the whole prompt first, then token by token.

        Raises:
            ValueError: wrong shapes, ids outside the vocabulary, or more tokens than max_length.
        """
        past = cache.length if cache else 0
        check_sequence(ids, self.config, attention_mask, past)
        positions = token_positions(ids, attention_mask, past)
        mask = None if attention_mask is None else padding_mask(attention_mask)
        return self.stack(self.embedding(ids, positions), positions, mask, cache=cache)

    def logits(self, hidden: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocabulary"]:
        """Scores of every vocabulary entry as the next token: hidden Eᵀ. Call it on selected rows only; this matrix is the model's largest."""
        if self.config.logit_scale != 1.0:
            hidden = hidden * self.config.logit_scale
        return self.unembedding(hidden)

    def forward(
        self, ids: Int[Tensor, "batch seq"], attention_mask: Bool[Tensor, "batch total"] | None = None, cache: KVCache | None = None
    ) -> Float[Tensor, "batch seq vocabulary"]:
        """Logits for the token after each position. Arguments and errors as `hidden_states`."""
        return self.logits(self.hidden_states(ids, attention_mask, cache))

    def loss(self, ids: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"]) -> Float[Tensor, ""]:
        """Mean cross-entropy in nats per token of `targets` (already shifted: targets[:, t] follows ids[:, t]; -100 does not count).

        Logits are computed only where a target counts: the masked rows are gathered first, so a prompt costs no row of the output matrix.
        """
        counted = targets != -100
        hidden = self.hidden_states(ids)
        if bool(counted.all()):
            return cross_entropy(self.logits(hidden), targets)
        return cross_entropy(self.logits(hidden[counted]), targets[counted])
