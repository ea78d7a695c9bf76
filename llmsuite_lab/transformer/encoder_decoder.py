"""Encoder–decoder transformers: the 2017 original, T5 and BART. One stack reads the source, the other writes the target while looking at it.

    memory = encoder(embed(source)),   h = decoder(embed(target so far), memory),   logits = h Eᵀ

Each block of the decoder attends twice: causally to the target so far, and across to the memory. One token table serves source, target and output.

Sources: Vaswani et al. 2017; Raffel et al. 2020 (T5); Lewis et al. 2020 (BART). Production: `transformers.T5ForConditionalGeneration`,
`BartForConditionalGeneration`, `torch.nn.Transformer`.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmsuite_lab.transformer.attention import padding_mask
from llmsuite_lab.transformer.block import InputEmbedding, Stack, check_sequence, initialise
from llmsuite_lab.transformer.cache import KVCache
from llmsuite_lab.transformer.config import TransformerConfig
from llmsuite_lab.transformer.layers import Embedding, Linear, cross_entropy


class EncoderDecoder(nn.Module):
    """Source in, target out. Build one with `config.original_config`, `t5_config` or `bart_config`, or carry weights in with `weights`.

    `start_id` is the token that `lm.training.fit` puts in front of a target: T5's is 0; set it for a model that starts with another.
    """

    is_encoder_decoder, start_id = True, 0

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        token = Embedding(config.vocab_size, config.d_model)
        self.encoder_embedding = InputEmbedding(config, token)
        self.encoder = Stack(config, config.n_layers, causal=False)
        self.decoder_embedding = InputEmbedding(config, token)
        self.decoder = Stack(config, config.decoder_layers, causal=True, cross=True)
        self.unembedding = Linear(config.d_model, config.vocab_size, bias=config.logit_bias)
        self.tie()
        initialise(self, config)

    def tie(self) -> None:
        """One token table for source, target and (where the config says so) the output matrix."""
        self.decoder_embedding.token = self.encoder_embedding.token
        if self.config.tie_embeddings:
            self.unembedding.weight = self.encoder_embedding.token.weight

    def encode(
        self, source: Int[Tensor, "batch source"], source_mask: Bool[Tensor, "batch source"] | None = None
    ) -> Float[Tensor, "batch source d_model"]:
        """The memory: one vector per source token. Pad on the right; `source_mask` is True for real tokens.

        Raises:
            ValueError: wrong shapes, ids outside the vocabulary, or more tokens than max_length.
        """
        check_sequence(source, self.config, source_mask)
        positions = torch.arange(source.shape[1], device=source.device)[None]
        mask = None if source_mask is None else padding_mask(source_mask)
        return self.encoder(self.encoder_embedding(source, positions), positions, mask)

    def decode(
        self,
        target: Int[Tensor, "batch target"],
        memory: Float[Tensor, "batch source d_model"],
        source_mask: Bool[Tensor, "batch source"] | None = None,
        target_mask: Bool[Tensor, "batch total"] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "batch target vocabulary"]:
        """Logits for the token after each target position.

        Args:
            target: the target so far, starting with the start token; with `cache`, only its new tokens.
            target_mask: True for real target tokens, cached ones included. Pad on the right.

        Raises:
            ValueError: as `encode`, or a memory of another batch size.
        """
        return self.logits(self._decoded(target, memory, source_mask, target_mask, cache))

    def _decoded(
        self,
        target: Int[Tensor, "batch target"],
        memory: Float[Tensor, "batch source d_model"],
        source_mask: Bool[Tensor, "batch source"] | None = None,
        target_mask: Bool[Tensor, "batch total"] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "batch target d_model"]:
        past = cache.length if cache else 0
        check_sequence(target, self.config, target_mask, past)
        if memory.dim() != 3 or memory.shape[0] != target.shape[0]:
            raise ValueError(
                f"memory must be (batch={target.shape[0]}, source, d_model) for targets {tuple(target.shape)}; got {tuple(memory.shape)}"
            )
        positions = torch.arange(past, past + target.shape[1], device=target.device)[None]
        own = None if target_mask is None else padding_mask(target_mask)
        across = None if source_mask is None else padding_mask(source_mask)
        return self.decoder(self.decoder_embedding(target, positions), positions, own, memory, across, cache)

    def hidden_states(
        self, source: Int[Tensor, "batch source"], source_mask: Bool[Tensor, "batch source"] | None, target: Int[Tensor, "batch target"]
    ) -> Float[Tensor, "batch target d_model"]:
        """What the decoder's last block leaves at every target position. Arguments and errors as `encode` and `decode`."""
        return self._decoded(target, self.encode(source, source_mask), source_mask)

    def logits(self, hidden: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocabulary"]:
        """Scores of every vocabulary entry as the next token. Call it on selected rows only; this matrix is the model's largest."""
        return self.unembedding(hidden * self.config.logit_scale)

    def forward(
        self,
        source: Int[Tensor, "batch source"],
        target: Int[Tensor, "batch target"],
        source_mask: Bool[Tensor, "batch source"] | None = None,
        target_mask: Bool[Tensor, "batch target"] | None = None,
    ) -> Float[Tensor, "batch target vocabulary"]:
        """Logits for every target position at once (training). Errors as `encode` and `decode`."""
        return self.decode(target, self.encode(source, source_mask), source_mask, target_mask)

    def loss(
        self,
        source: Int[Tensor, "batch source"],
        target: Int[Tensor, "batch target"],
        labels: Int[Tensor, "batch target"],
        source_mask: Bool[Tensor, "batch source"] | None = None,
    ) -> Float[Tensor, ""]:
        """Mean cross-entropy in nats per counted label: labels[:, t] is the token that follows target[:, t]; -100 does not count."""
        return cross_entropy(self(source, target, source_mask), labels)

    @torch.inference_mode()
    def greedy(
        self,
        source: Int[Tensor, "batch source"],
        source_mask: Bool[Tensor, "batch source"] | None = None,
        *,
        start_id: int,
        eos_id: int,
        max_new_tokens: int,
    ) -> list[list[int]]:
        """The likeliest token at every step, with cached keys and values, until every row has ended with `eos_id` (left out) or the limit.

        Returns:
            One list of target ids per source row, without start and end token.

        Raises:
            ValueError: as `encode`, or max_new_tokens beyond max_length.
        """
        if max_new_tokens > self.config.max_length:
            raise ValueError(f"max_new_tokens={max_new_tokens} is beyond the model's max_length={self.config.max_length}")
        memory, cache = self.encode(source, source_mask), KVCache(self.config.decoder_layers)
        token = torch.full((source.shape[0], 1), start_id, device=source.device)
        written, ended = [], torch.zeros(source.shape[0], dtype=torch.bool, device=source.device)
        for _ in range(max_new_tokens):
            token = self.decode(token, memory, source_mask, cache=cache)[:, -1].argmax(-1, keepdim=True)
            written.append(token)
            ended |= token[:, 0] == eos_id
            if bool(ended.all()):
                break
        rows = torch.cat(written, dim=1).tolist() if written else [[] for _ in range(source.shape[0])]
        return [row[: row.index(eos_id)] if eos_id in row else row for row in rows]


def parameter_table(config: TransformerConfig) -> dict[str, int]:
    """How many numbers an encoder–decoder of this config learns, part by part, counted from the equations (not from the modules).

    For `original_config(37_000)`, the base model of Vaswani et al. 2017 with its shared English–German vocabulary of about 37,000 tokens, the sum is
    63,045,632; the paper's table 3 says 65·10⁶. Counted: one embedding for source, target and output; W_Q, W_K, W_V, W_O without biases (section 3.2
    writes none; with biases, as most later code has them, 36,864 more); W_1, b_1, W_2, b_2; a gain and a bias per norm. Sinusoids are not learned.
    Covers ungated post-norm models with sinusoidal positions and tied embeddings.

    Raises:
        ValueError: another kind of config.
    """
    if config.pre_norm or config.gated or config.positions != "sinusoidal" or not config.tie_embeddings or config.norm != "layer":
        raise ValueError(f"parameter_table counts the 2017 kind of model (post-norm, sinusoidal, ungated, tied); got {config}")
    d, d_ff, heads = config.d_model, config.d_ff, config.n_heads * config.head_width
    attention = 4 * d * heads + (3 * heads + d if config.attention_bias else 0)
    feed_forward = 2 * d * d_ff + (d_ff + d if config.feed_forward_bias else 0)
    norm = 2 * d
    return {
        "shared embedding": config.vocab_size * d,
        "encoder self-attention": config.n_layers * attention,
        "encoder feed-forward": config.n_layers * feed_forward,
        "encoder norms": config.n_layers * 2 * norm,
        "decoder self-attention": config.decoder_layers * attention,
        "decoder cross-attention": config.decoder_layers * attention,
        "decoder feed-forward": config.decoder_layers * feed_forward,
        "decoder norms": config.decoder_layers * 3 * norm,
    }
