"""Whatever is put in the place of an argument, the one-bit section answers with a sentence (see tests/bad_input.py)."""

import torch

from llmsuite_lab.bitnet.kernels import cpu
from llmsuite_lab.bitnet.kernels.plain import Unpacked
from llmsuite_lab.bitnet.linear import BitLinear
from llmsuite_lab.bitnet.packing import pack
from llmsuite_lab.transformer.layers import Linear

NATIVE = ("bitnet.kernels.cpu.multiply", "bitnet.kernels.cpu.integers")
LEFT_OUT = {name: f"no compiled kernel here: {cpu.why_not()}" for name in NATIVE} if cpu.why_not() else {}


def valid(call):
    """Valid calls, where the signature does not say enough."""
    W, x = torch.randn(6, 8), torch.randn(2, 8)
    T = torch.tensor([[1.0, 0.0, -1.0] * 24] * 6)
    packed = pack(T)
    native = {"bitnet.kernels.cpu.multiply": call(packed, torch.randn(2, 72)), "bitnet.kernels.cpu.integers": call(packed, torch.ones(2, 72, dtype=torch.int8))}
    return ({} if LEFT_OUT else native) | {
        "bitnet.kernels.choice.product": call(packed),
        "bitnet.kernels.plain.Unpacked": call(packed),
        "bitnet.kernels.plain.Unpacked.__call__": call(torch.randn(2, 72), on=lambda: Unpacked(packed)),
        "bitnet.packing.Ternary": call(packed.bytes, 1.0, (6, 72)),
        "bitnet.packing.Ternary.check": call(on=lambda: packed),
        "bitnet.packing.Ternary.unpack": call(on=lambda: packed),
        "bitnet.packing.rows_a_byte": call("two_bits"),
        "bitnet.packing.pack": call(T),
        "bitnet.quantize.ternary_weights": call(W),
        "bitnet.quantize.int8_activations": call(x),
        "bitnet.quantize.straight_through": call(x, x.round()),
        "bitnet.quantize.check_matrix": call("W", W),
        "bitnet.quantize.check_columns": call(8),
        "bitnet.linear.BitLinear": call(8, 6),
        "bitnet.linear.BitLinear.of": call(Linear(8, 6, bias=False)),
        "bitnet.linear.BitLinear.forward": call(x, on=lambda: BitLinear(8, 6)),
    }


def test_every_callable_answers_a_wrong_argument_with_a_sentence(bad_input, tmp_path, monkeypatch):
    bad_input.check("llmsuite_lab.bitnet", tmp_path, monkeypatch, valid=valid(bad_input.call), left_out=LEFT_OUT)


def test_the_same_nonsense_everywhere_is_answered_too(bad_input, tmp_path, monkeypatch):
    bad_input.check_nonsense("llmsuite_lab.bitnet", tmp_path, monkeypatch, left_out=LEFT_OUT)
