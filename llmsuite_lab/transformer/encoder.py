"""Encoder-only transformers, BERT: read a whole sequence, both directions at once, and give every token a vector that knows its context.

    h = stack(embed(ids)),   masked-token logits = norm(gelu(h W + b)) Eᵀ + c,   sentence vector = mean of h over real tokens, scaled to length 1

Nothing is hidden from anything (no causal mask), so it cannot generate; it is trained to fill in masked tokens, and its vectors serve search.

Sources: Devlin et al. 2019 (BERT); Reimers & Gurevych 2019, "Sentence-BERT", section 3 (mean pooling).
Production: `transformers.BertForMaskedLM`, `sentence_transformers.SentenceTransformer`.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmsuite_lab.transformer.attention import padding_mask
from llmsuite_lab.transformer.block import InputEmbedding, Stack, check_sequence, initialise, make_norm
from llmsuite_lab.transformer.config import TransformerConfig
from llmsuite_lab.transformer.feed_forward import activation
from llmsuite_lab.transformer.layers import Linear


class Encoder(nn.Module):
    """Embeddings and a stack of bidirectional blocks. Build one with `config.bert_config(...)`, or carry weights in with `weights`."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = InputEmbedding(config)
        self.stack = Stack(config, config.n_layers, causal=False)
        initialise(self, config)

    def tie(self) -> None:
        """Nothing is shared in a bare encoder."""

    def forward(
        self,
        ids: Int[Tensor, "batch seq"],
        attention_mask: Bool[Tensor, "batch seq"] | None = None,
        segments: Int[Tensor, "batch seq"] | None = None,
    ) -> Float[Tensor, "batch seq d_model"]:
        """One vector per token.

        Args:
            attention_mask: True (or 1) for real tokens. BERT numbers positions from the left, so pad on the right.
            segments: 0 for the first sentence, 1 for the second; default 0.

        Raises:
            ValueError: wrong shapes, ids outside the vocabulary, or more tokens than max_length.
        """
        check_sequence(ids, self.config, attention_mask)
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
        mask = None if attention_mask is None else padding_mask(attention_mask)
        return self.stack(self.embedding(ids, positions, segments), positions, mask)


class MaskedLanguageModel(nn.Module):
    """BERT as it was pre-trained: an encoder and a head that scores the vocabulary at every position."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.transform = Linear(config.d_model, config.d_model)
        self.transform_norm = make_norm(config)
        self.unembedding = Linear(config.d_model, config.vocab_size, bias=config.logit_bias)
        self.tie()

    def tie(self) -> None:
        """Let the output matrix be the token embedding, where the config says so."""
        if self.config.tie_embeddings:
            self.unembedding.weight = self.encoder.embedding.token.weight

    def forward(
        self,
        ids: Int[Tensor, "batch seq"],
        attention_mask: Bool[Tensor, "batch seq"] | None = None,
        segments: Int[Tensor, "batch seq"] | None = None,
    ) -> Float[Tensor, "batch seq vocabulary"]:
        """Logits of the token that stands, or stood before masking, at each position. Arguments and errors as `Encoder.forward`."""
        h = self.encoder(ids, attention_mask, segments)
        return self.unembedding(self.transform_norm(activation(self.config.activation, self.transform(h))))


def mean_pool(hidden: Float[Tensor, "batch seq d_model"], attention_mask: Bool[Tensor, "batch seq"]) -> Float[Tensor, "batch d_model"]:
    """The mean of the real tokens' vectors. A sequence with no real token gives a zero vector. Raises ValueError where the shapes differ."""
    if hidden.shape[:2] != attention_mask.shape:
        raise ValueError(
            f"hidden states {tuple(hidden.shape)} need an attention mask of shape {tuple(hidden.shape[:2])}; got {tuple(attention_mask.shape)}"
        )
    real = attention_mask.to(hidden.dtype)[..., None]  # [batch, seq, 1]
    return (hidden * real).sum(1) / real.sum(1).clamp(min=1)


def l2_normalise(x: Float[Tensor, "*batch d_model"], eps: float = 1e-12) -> Float[Tensor, "*batch d_model"]:
    """x / ‖x‖₂, so that a dot product of two of them is their cosine. Production: `torch.nn.functional.normalize`."""
    return x / x.norm(dim=-1, keepdim=True).clamp(min=eps)


def sentence_embeddings(
    encoder: Encoder, ids: Int[Tensor, "batch seq"], attention_mask: Bool[Tensor, "batch seq"]
) -> Float[Tensor, "batch d_model"]:
    """One unit vector per sequence: mean of the encoder's vectors over real tokens, scaled to length 1, as sentence-transformers does."""
    return l2_normalise(mean_pool(encoder(ids, attention_mask), attention_mask))
