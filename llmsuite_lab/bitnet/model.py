"""A one-bit decoder: the course's Decoder whose linear layers in the blocks are BitLinear; what it holds, in numbers and bytes.

    blocks                W_Q W_K W_V W_O W_gate W_up W_down are ternary, each with its own norm; the norms in front of them go
    embedding, head       stay in full precision, as in the source: the head must tell thousands of words apart, and both are a small share of a large model

Sources: Ma et al. 2024, section 2 (Llama's parts: RMSNorm, SwiGLU, rotary positions, no biases) and table 1 (sizes); their "Training Tips, Code and FAQ".
Production: `transformers.BitNetForCausalLM`.
"""

import copy
from dataclasses import dataclass, fields

import torch
from torch import nn

from llmsuite_lab.bitnet.linear import BitLinear, NormedLinear
from llmsuite_lab.bitnet.packed_linear import PackedLinear
from llmsuite_lab.bitnet.packing import COLUMNS, rows_a_byte
from llmsuite_lab.core.errors import unknown, within
from llmsuite_lab.transformer.config import TransformerConfig, llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.layers import Linear

SIZES = {"3B": (3200, 26, 32, 32, 8640), "70B": (8192, 80, 64, 8, 28672)}  # d_model, layers, heads, key/value heads, d_ff
VOCABULARY = 32_000  # Llama's
_SIZES = ("vocab_size", "d_model", "n_layers", "n_heads", "d_ff", "max_length", "n_kv_heads", "d_head", "norm_eps", "rotary_base", "dropout")
_COUNTED = {"tie_embeddings", "scale_embedding", "activation", "attention_scale", "logit_scale"}  # choices that `count` knows, or that add no number


def paper_config(size: str) -> TransformerConfig:
    """The shape of a model of the paper, output matrix apart from the embedding: "3B" as published for BitNet b1.58, "70B" as Llama 2's, since the paper
    gives none. Raises ValueError for another name."""
    if not isinstance(size, str) or size not in SIZES:
        raise ValueError(unknown("size", size, list(SIZES)))
    d_model, layers, heads, kv_heads, d_ff = SIZES[size]
    return llama_config(VOCABULARY, d_model, layers, heads, d_ff, n_kv_heads=kv_heads, tie_embeddings=False)


def bit_decoder(config: TransformerConfig) -> Decoder:
    """A Decoder with BitLinear in its blocks, at its random start. Raises ValueError as `to_bits` and as Decoder."""
    return to_bits(Decoder(config))


def to_bits(model: Decoder) -> Decoder:
    """The model itself, its blocks' linear layers now BitLinear with the same full-precision weights, the norms in front of them gone.

    Applied to a trained model this is post-training ternarisation, which ruins it; a one-bit model is trained as one. Returns the model.
    Raises, with nothing changed, TypeError for what is no Decoder, ValueError for one that is not pre-norm, has biases, or has BitLinear already.
    """
    return _with_layers(model, BitLinear)


def normed_decoder(config: TransformerConfig) -> Decoder:
    """`bit_decoder` without its rounding: the same norms at the same places, full-precision products. Raises ValueError as `to_bits` and as Decoder."""
    return _with_layers(Decoder(config), NormedLinear)


def _with_layers(model: Decoder, kind: type[NormedLinear]) -> Decoder:
    _check(model)
    c = model.config
    if not c.pre_norm or c.attention_bias or c.feed_forward_bias:
        raise ValueError(
            f"pre_norm={c.pre_norm}, attention_bias={c.attention_bias}, feed_forward_bias={c.feed_forward_bias}: a one-bit decoder is pre-norm and has no "
            "biases, such as config.llama_config builds it"
        )
    names = [name for name, module in model.stack.blocks.named_modules() if type(module) in (Linear, nn.Linear)]
    if not names:
        raise ValueError("the model's blocks hold no linear layer to replace: it is one-bit already, or has no blocks")
    for name in names:
        model.stack.blocks.set_submodule(name, kind.of(model.stack.blocks.get_submodule(name), c.norm_eps))
    for block in model.stack.blocks:
        block.attention_norm, block.feed_forward_norm = nn.Identity(), nn.Identity()
    return model


def packed(model: Decoder, form: str = "two_bits") -> Decoder:
    """A copy of a one-bit model with its ternary weights packed, for inference: the same logits, to the bit in float32. Norms, embedding and head are shared.

    Raises TypeError for what is no Decoder, ValueError for an unknown form, or a model without BitLinear.
    """
    _check(model)
    rows_a_byte(form)
    names = [name for name, module in model.named_modules() if isinstance(module, BitLinear)]
    if not names:
        raise ValueError("the model holds no BitLinear: build it with bit_decoder, or turn it with to_bits")
    shared = {id(p): p for p in model.parameters()}  # weights that are packed are not copied first
    new = copy.deepcopy(model, shared)
    for name in names:
        new.set_submodule(name, PackedLinear.of(new.get_submodule(name), form))
    return new.eval()


@dataclass(frozen=True)
class Counts:
    """Numbers a model holds, by kind."""

    ternary: int
    embedding: int  # the token embedding, and the output matrix where it is another
    norms: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.ternary + self.embedding + self.norms


def count(config: TransformerConfig) -> Counts:
    """What a one-bit Llama of this shape holds, by formula. Raises ValueError for a family that holds other numbers (biases, layers that are not gated, …)."""
    c = config
    if not isinstance(c, TransformerConfig):
        raise ValueError(f"config must be a Llama's (config.llama_config), got a {type(c).__name__}")
    if other := [told for name, told in differences(c).items() if name not in _COUNTED]:
        raise ValueError(f"config must be a Llama's (config.llama_config), and this one has {', '.join(other)}")
    shapes = layer_shapes(c)
    ternary = c.n_layers * sum(d_out * d_in for d_out, d_in in shapes)
    embedding = c.vocab_size * c.d_model * (1 if c.tie_embeddings else 2)
    return Counts(ternary, embedding, c.n_layers * sum(d_in for _, d_in in shapes) + c.d_model)


def differences(config: TransformerConfig) -> dict[str, str]:
    """{choice: "choice=value"} of all that differs from a plain Llama of the same sizes (`config.llama_config`); {} for one. Raises TypeError for no config."""
    if not isinstance(config, TransformerConfig):
        raise TypeError(f"config must be a TransformerConfig, got a {type(config).__name__}")
    plain = llama_config(**{name: getattr(config, name) for name in _SIZES})
    return {field.name: f"{field.name}={value!r}" for field in fields(config) if (value := getattr(config, field.name)) != getattr(plain, field.name)}


def layer_shapes(config: TransformerConfig) -> list[tuple[int, int]]:
    """(d_out, d_in) of one block's seven matrices: W_Q, W_K, W_V, W_O, W_gate, W_up, W_down. Raises TypeError for no config."""
    if not isinstance(config, TransformerConfig):
        raise TypeError(f"config must be a TransformerConfig, got a {type(config).__name__}")
    d, heads, kv = config.d_model, config.n_heads * config.head_width, config.kv_heads * config.head_width
    return [(heads, d), (kv, d), (kv, d), (d, heads), (config.d_ff, d), (config.d_ff, d), (d, config.d_ff)]


def model_bytes(config: TransformerConfig, form: str | None, other_bits: float = 16) -> float:
    """Bytes of the weights: ternary ones packed as `form` says, padding and one float32 scale a matrix counted, everything else at `other_bits`.

    form: "two_bits", "five_trits", or None for a model that is not one-bit (all at `other_bits`). Raises ValueError as `count`, or for bits outside 1-64.
    """
    within("other_bits", other_bits, 1, 64)
    counts = count(config)
    if form is None:
        norms = (2 * config.n_layers + 1) * config.d_model  # that model has a norm in front of each half of a block
        return (counts.ternary + counts.embedding + norms) * other_bits / 8
    rows = rows_a_byte(form)
    block = sum(-(-d_out // rows) * (-(-d_in // COLUMNS) * COLUMNS) + 4 for d_out, d_in in layer_shapes(config))
    return config.n_layers * block + (counts.embedding + counts.norms) * other_bits / 8


def held_bytes(model: nn.Module) -> int:
    """Bytes of a model's parameters and saved buffers as they lie in memory, what is shared counted once. Raises TypeError for no module."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a module of torch, got a {type(model).__name__}")
    tensors = {t.data_ptr(): t for t in model.state_dict(keep_vars=True).values() if isinstance(t, torch.Tensor)}
    return sum(t.numel() * t.element_size() for t in tensors.values())


def _check(model: object) -> None:
    if not isinstance(model, Decoder):
        raise TypeError(f"model must be a transformer.decoder.Decoder, got a {type(model).__name__}")
