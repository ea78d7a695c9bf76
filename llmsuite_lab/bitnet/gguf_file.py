"""A one-bit model as a GGUF of llama.cpp's architecture "bitnet", its ternary weights in TQ2_0.

    TQ2_0    256 weights of a row: 64 bytes of two bits each, and d in float16         2.0625 bits a weight; W ≈ d T, here d = γ in every block

The same layers then run in llama.cpp, which `llmsuite bench bitnet` compares with. What the file cannot say is refused: that architecture has one norm
for W_Q, W_K and W_V and one for W_gate and W_up, the embedding as output matrix, and no row that is not a multiple of 256 long. The vocabulary is a
row of placeholders: texts go in and out as token ids.

In production: `convert_hf_to_gguf.py` of llama.cpp, `llama-quantize … TQ2_0`.
"""

import os
from pathlib import Path

import torch

from llmsuite_lab.bitnet.linear import BitLinear
from llmsuite_lab.bitnet.model import differences
from llmsuite_lab.bitnet.quantize import ternary_weights
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.swap import workshop
from llmsuite_lab.transformer.decoder import Decoder

BLOCK = 256  # weights that share a scale in TQ2_0
ARCHITECTURE = "bitnet"
_NAMES = {
    "attention.W_Q": "attn_q", "attention.W_K": "attn_k", "attention.W_V": "attn_v", "attention.W_O": "attn_output",
    "feed_forward.W_gate": "ffn_gate", "feed_forward.W_up": "ffn_up", "feed_forward.W_down": "ffn_down",
}  # fmt: skip
_NORMS = {
    "attn_norm": ("attention.W_Q", "attention.W_K", "attention.W_V"), "attn_sub_norm": ("attention.W_O",),
    "ffn_norm": ("feed_forward.W_gate", "feed_forward.W_up"), "ffn_sub_norm": ("feed_forward.W_down",),
}  # fmt: skip


def write_gguf(model: Decoder, file: Path) -> Path:
    """Write a one-bit model (`model.bit_decoder`) to a new file, whole or not at all. Returns the file.

    Raises TypeError for what is no Decoder, ValueError for a model that the architecture cannot hold, with the first reason, LabError for a file that is there,
    OSError for a full disk.
    """
    _check(model)
    file = Path(file)
    _refuse_standing(file)
    with workshop(file) as shop:
        _write(model, shop / "new")
        _refuse_standing(file)  # again: the making takes a while
        os.replace(shop / "new", file)
    return file


def _refuse_standing(file: Path) -> None:
    if os.path.lexists(file):
        raise LabError(f"{file} is there already: give the name of a new file")


def _write(model: Decoder, file: Path) -> None:
    import gguf

    c, kind = model.config, gguf.GGMLQuantizationType.TQ2_0
    writer = gguf.GGUFWriter(file, ARCHITECTURE)
    writer.add_context_length(c.max_length)
    writer.add_embedding_length(c.d_model)
    writer.add_block_count(c.n_layers)
    writer.add_feed_forward_length(c.d_ff)
    writer.add_head_count(c.n_heads)
    writer.add_head_count_kv(c.kv_heads)
    writer.add_layer_norm_rms_eps(c.norm_eps)
    writer.add_rope_freq_base(c.rotary_base)
    writer.add_vocab_size(c.vocab_size)
    _vocabulary(writer, c.vocab_size)

    def plain(name: str, tensor: torch.Tensor) -> None:
        writer.add_tensor(f"{name}.weight", tensor.detach().float().cpu().numpy())

    plain("token_embd", model.embedding.token.weight)
    plain("output_norm", model.stack.final_norm.weight)
    for n, block in enumerate(model.stack.blocks):
        for name, parts in _NORMS.items():
            plain(f"blk.{n}.{name}", block.get_submodule(parts[0]).norm.weight)
        for part, name in _NAMES.items():
            T, gamma = ternary_weights(block.get_submodule(part).weight.detach().float().cpu())
            writer.add_tensor(f"blk.{n}.{name}.weight", gguf.quants.quantize((gamma * T).numpy(), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _vocabulary(writer: object, size: int) -> None:
    """Placeholders of SentencePiece's kind: an unknown, the two ends, a line feed as a byte, and words."""
    tokens = [b"<unk>", b"<s>", b"</s>", b"<0x0A>", *(f"word{n}".encode() for n in range(4, size))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([2, 3, 3, 6, *[1] * (size - 4)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)


def _check(model: object) -> None:
    if not isinstance(model, Decoder):
        raise TypeError(f"model must be a transformer.decoder.Decoder, got a {type(model).__name__}")
    c = model.config
    layers = {name: module for name, module in model.named_modules() if isinstance(module, BitLinear)}
    if len(layers) != len(_NAMES) * c.n_layers:
        raise ValueError(f"the model holds {len(layers)} BitLinear in {c.n_layers} blocks, and seven a block are needed: build it with bit_decoder")
    if (wide := [f"{name}: {module.in_features}" for name, module in layers.items() if module.in_features % BLOCK]) or c.vocab_size < 5:
        what = f"rows that are no multiple of {BLOCK} long ({wide[0]})" if wide else f"a vocabulary of {c.vocab_size}: 5 tokens are the least"
        raise ValueError(f"TQ2_0 in a GGUF cannot hold {what}")
    if other := differences(c):
        raise ValueError(f"llama.cpp's bitnet is a plain Llama (config.llama_config), and this model has {', '.join(other.values())}")
    if c.n_heads * c.head_width != c.d_model:
        raise ValueError(f"llama.cpp's bitnet has heads of d_model / n_heads = {c.d_model / c.n_heads:g} features, and this model has d_head={c.d_head}")
    for n, block in enumerate(model.stack.blocks):
        for parts in _NORMS.values():
            gains = [block.get_submodule(part).norm.weight for part in parts]
            if not all(torch.equal(gains[0], other) for other in gains):
                raise ValueError(f"block {n}: {' and '.join(parts)} have gains of their own, and llama.cpp's bitnet has one norm for them")
