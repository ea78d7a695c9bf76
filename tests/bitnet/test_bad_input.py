"""Whatever is put in the place of an argument, the one-bit section answers with a sentence (see tests/bad_input.py)."""

import torch

from llmsuite_lab.bitnet.files import save_packed
from llmsuite_lab.bitnet.kernels import cpu
from llmsuite_lab.bitnet.kernels.plain import Unpacked
from llmsuite_lab.bitnet.linear import BitLinear, NormedLinear
from llmsuite_lab.bitnet.model import bit_decoder
from llmsuite_lab.bitnet.model import packed as packed_model
from llmsuite_lab.bitnet.packed_linear import PackedLinear
from llmsuite_lab.bitnet.packing import pack
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.layers import Linear
from llmsuite_lab.transformer.normalization import RMSNorm

NATIVE = ("bitnet.kernels.cpu.paths", "bitnet.kernels.cpu.multiply", "bitnet.kernels.cpu.integers")
LEFT_OUT = {name: f"no compiled kernel here: {cpu.why_not()}" for name in NATIVE} if cpu.why_not() else {}
MEASURES = {
    "bitnet.bit_engine": "needs a compiled step: test_bit_engine.py has its refusals",
    "bitnet.packed_linear.PackedLinear.writer": "as bit_engine",
    "bitnet.fidelity": "measures with whole models: test_fidelity.py",
    "bitnet.kernels.gpu": "runs on a GPU or in Triton's interpreter: test_gpu_kernel.py",
    "bitnet.twins": "trains: test_twins.py",
    "bitnet.figures": "draws: test_figures.py",
    "bitnet.gguf_file": "writes a file, once: test_gguf_file.py has its refusals",
    "bitnet.after_training": "reads texts with whole models: test_twins.py",
}


def fresh_decoder():
    """A model that may be turned into a one-bit one."""
    return Decoder(llama_config(11, 8, 1, 2, 12, 16))


def valid(call, folder):
    """Valid calls, where the signature does not say enough."""
    W, x = torch.randn(6, 8), torch.randn(2, 8)
    T = torch.tensor([[1.0, 0.0, -1.0] * 24] * 6)
    packed = pack(T)
    native = {"bitnet.kernels.cpu.multiply": call(packed, torch.randn(2, 72)), "bitnet.kernels.cpu.integers": call(packed, torch.ones(2, 72, dtype=torch.int8))}
    config = llama_config(11, 8, 1, 2, 12, 16)
    small = packed_model(bit_decoder(config))
    return ({} if LEFT_OUT else native) | {
        "bitnet.model.paper_config": call("3B"),
        "bitnet.model.bit_decoder": call(config),
        "bitnet.model.normed_decoder": call(config),
        "bitnet.model.to_bits": call(fresh_decoder),
        "bitnet.model.packed": call(bit_decoder(config)),
        "bitnet.model.count": call(config),
        "bitnet.model.layer_shapes": call(config),
        "bitnet.model.differences": call(config),
        "bitnet.model.model_bytes": call(config, "two_bits"),
        "bitnet.model.held_bytes": call(small),
        "bitnet.packed_linear.PackedLinear": call(pack(torch.ones(4, 8)), RMSNorm(8)),
        "bitnet.packed_linear.PackedLinear.of": call(BitLinear(8, 6)),
        "bitnet.packed_linear.PackedLinear.forward": call(x, on=lambda: PackedLinear.of(BitLinear(8, 6))),
        "bitnet.packed_linear.PackedLinear.extra_repr": call(on=lambda: PackedLinear.of(BitLinear(8, 6))),
        "bitnet.files.save_packed": call(small, folder / "saved"),
        "bitnet.files.load_packed": call(save_packed(small, folder / "there")),
        "bitnet.files.bits_per_weight": call(save_packed(small, folder / "bits")),
        "bitnet.energy.picojoules": call("7nm", "int8", "add"),
        "bitnet.energy.paper_ratio": call("7nm"),
        "bitnet.energy.per_token": call(config),
        "bitnet.energy.cache_bytes": call(config, 4),
        "bitnet.energy.throughput": call(100, 40, 20, lambda batch: 1.0),
        "bitnet.kernels.choice.product": call(packed),
        "bitnet.kernels.plain.Unpacked": call(packed),
        "bitnet.kernels.plain.Unpacked.__call__": call(torch.randn(2, 72), on=lambda: Unpacked(packed)),
        "bitnet.packing.Ternary": call(packed.bytes, 1.0, (6, 72)),
        "bitnet.packing.Ternary.check": call(on=lambda: packed),
        "bitnet.packing.Ternary.unpack": call(on=lambda: packed),
        "bitnet.packing.check_packed": call(packed),
        "bitnet.packing.rows_a_byte": call("two_bits"),
        "bitnet.packing.places": call("two_bits"),
        "bitnet.packing.pack": call(T),
        "bitnet.quantize.ternary_weights": call(W),
        "bitnet.quantize.int8_activations": call(x),
        "bitnet.quantize.straight_through": call(x, x.round()),
        "bitnet.quantize.check_matrix": call("W", W),
        "bitnet.quantize.check_columns": call(8),
        "bitnet.linear.NormedLinear": call(8, 6),
        "bitnet.linear.NormedLinear.of": call(Linear(8, 6, bias=False)),
        "bitnet.linear.NormedLinear.forward": call(x, on=lambda: NormedLinear(8, 6)),
        "bitnet.linear.BitLinear": call(8, 6),
        "bitnet.linear.BitLinear.forward": call(x, on=lambda: BitLinear(8, 6)),
    }


def test_every_callable_answers_a_wrong_argument_with_a_sentence(bad_input, tmp_path, monkeypatch):
    bad_input.check("llmsuite_lab.bitnet", tmp_path, monkeypatch, valid=valid(bad_input.call, tmp_path), left_out=LEFT_OUT | MEASURES)


def test_the_same_nonsense_everywhere_is_answered_too(bad_input, tmp_path, monkeypatch):
    bad_input.check_nonsense("llmsuite_lab.bitnet", tmp_path, monkeypatch, left_out=LEFT_OUT | MEASURES)
