"""One set of sizes and choices for every family: what differs between BERT, GPT-2, Llama, T5, BART and the 2017 transformer is written here.

A family is a handful of switches: where the norm stands, which norm, which positions, which activation, biases or none, tied embeddings or not.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes (counts and widths, dimensionless) and choices of a transformer.

    Raises:
        ValueError: sizes that do not fit together, or a choice that does not exist; the message lists what does.
    """

    vocab_size: int  # rows of the token embedding
    d_model: int  # width of the residual stream
    n_layers: int  # blocks in a stack
    n_heads: int  # query heads
    d_ff: int  # hidden width of the feed-forward layer
    max_length: int  # longest sequence, in tokens
    n_kv_heads: int | None = None  # key/value heads (grouped-query attention); None: as many as query heads
    d_head: int | None = None  # width of a head; None: d_model / n_heads
    n_decoder_layers: int | None = None  # encoder–decoder only: blocks of the decoder; None: n_layers
    norm: str = "layer"  # "layer" or "rms"
    pre_norm: bool = True  # x + f(norm(x)); False: norm(x + f(x))
    norm_eps: float = 1e-5  # ε inside the norm's root
    positions: str = "learned"  # "learned", "sinusoidal", "rotary", "relative" or "none"
    rotary_base: float = 10000.0  # θ of rotary positions; larger reaches farther
    n_buckets: int = 32  # T5's relative positions: buckets
    max_distance: int = 128  # and the distance from which all share the last
    activation: str = "gelu"  # "relu", "gelu", "gelu_tanh" or "silu"
    gated: bool = False  # SwiGLU / GEGLU feed-forward
    attention_bias: bool = True  # biases on W_Q, W_K, W_V, W_O
    feed_forward_bias: bool = True  # biases in the feed-forward layer
    attention_scale: float | None = None  # None: 1/√d_head; T5: 1.0
    scale_embedding: bool = False  # token embeddings times √d_model (2017)
    embedding_norm: bool = False  # a norm right after the embeddings (BERT, BART)
    n_segments: int = 0  # BERT's token types; 0: none
    tie_embeddings: bool = True  # the output matrix is the token embedding
    logit_scale: float = 1.0  # hidden states are multiplied by it before the output matrix (T5: d_model^-½)
    logit_bias: bool = False  # a bias per vocabulary entry on the logits (BERT, BART)
    dropout: float = 0.0  # share of features zeroed after embeddings and sublayers, in training only

    def __post_init__(self) -> None:
        for name in ("vocab_size", "d_model", "n_heads", "d_ff", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.d_head is None and self.d_model % self.n_heads:
            raise ValueError(
                f"d_model={self.d_model} cannot be split into n_heads={self.n_heads} equal heads; choose a divisor of {self.d_model} or pass d_head"
            )
        if self.n_heads % self.kv_heads:
            raise ValueError(f"n_kv_heads={self.kv_heads} must divide n_heads={self.n_heads}")
        for name, allowed in (("norm", ("layer", "rms")), ("positions", ("learned", "sinusoidal", "rotary", "relative", "none"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r} is not known; choose one of {', '.join(allowed)}")

    @property
    def kv_heads(self) -> int:
        """Key/value heads."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def head_width(self) -> int:
        """Features of one head."""
        return self.d_model // self.n_heads if self.d_head is None else self.d_head

    @property
    def decoder_layers(self) -> int:
        """Blocks of an encoder–decoder's decoder."""
        return self.n_layers if self.n_decoder_layers is None else self.n_decoder_layers


def bert_config(
    vocab_size: int, d_model: int, n_layers: int, n_heads: int, d_ff: int, max_length: int = 512, **other: object
) -> TransformerConfig:
    """BERT's choices (Devlin et al. 2019): post-norm, learned positions, segments, GELU, a norm after the embeddings."""
    choices = {"pre_norm": False, "norm_eps": 1e-12, "embedding_norm": True, "n_segments": 2, "logit_bias": True} | other
    return TransformerConfig(vocab_size, d_model, n_layers, n_heads, d_ff, max_length, **choices)


def gpt2_config(
    vocab_size: int, d_model: int, n_layers: int, n_heads: int, d_ff: int, max_length: int = 1024, **other: object
) -> TransformerConfig:
    """GPT-2's choices (Radford et al. 2019): pre-norm, learned positions, tanh-GELU, biases everywhere."""
    return TransformerConfig(vocab_size, d_model, n_layers, n_heads, d_ff, max_length, **{"activation": "gelu_tanh"} | other)


def llama_config(
    vocab_size: int, d_model: int, n_layers: int, n_heads: int, d_ff: int, max_length: int = 2048, **other: object
) -> TransformerConfig:
    """Llama's choices (Touvron et al. 2023): pre-RMSNorm, rotary positions, SwiGLU, no biases."""
    choices = {
        "norm": "rms",
        "norm_eps": 1e-5,
        "positions": "rotary",
        "activation": "silu",
        "gated": True,
        "attention_bias": False,
        "feed_forward_bias": False,
    }
    return TransformerConfig(vocab_size, d_model, n_layers, n_heads, d_ff, max_length, **choices | other)


def original_config(
    vocab_size: int, d_model: int = 512, n_layers: int = 6, n_heads: int = 8, d_ff: int = 2048, max_length: int = 5000, **other: object
) -> TransformerConfig:
    """The 2017 encoder–decoder's choices (Vaswani et al., base model): post-norm, sinusoids, ReLU, projections without bias, one shared embedding."""
    choices = {"pre_norm": False, "positions": "sinusoidal", "activation": "relu", "attention_bias": False, "scale_embedding": True} | other
    return TransformerConfig(vocab_size, d_model, n_layers, n_heads, d_ff, max_length, **choices)


def t5_config(
    vocab_size: int, d_model: int, n_layers: int, n_heads: int, d_ff: int, max_length: int = 512, **other: object
) -> TransformerConfig:
    """T5's choices (Raffel et al. 2020): pre-RMSNorm, relative bias, unscaled scores, no biases, logits scaled by d_model^-½."""
    choices = {
        "norm": "rms", "norm_eps": 1e-6, "positions": "relative", "activation": "relu", "attention_bias": False, "feed_forward_bias": False,
        "attention_scale": 1.0, "logit_scale": d_model**-0.5,
    }  # fmt: skip
    return TransformerConfig(vocab_size, d_model, n_layers, n_heads, d_ff, max_length, **choices | other)


def bart_config(
    vocab_size: int, d_model: int, n_layers: int, n_heads: int, d_ff: int, max_length: int = 1024, **other: object
) -> TransformerConfig:
    """BART's choices (Lewis et al. 2020): post-norm, learned positions, GELU, biases, a norm after the embeddings."""
    choices = {"pre_norm": False, "embedding_norm": True, "logit_bias": True} | other
    return TransformerConfig(vocab_size, d_model, n_layers, n_heads, d_ff, max_length, **choices)
