"""A one-bit model as GGUF: the weights in the file are those of the model, llama.cpp computes the same with them, and the bench measures both."""

import pytest
import torch

from llmsuite_lab.bitnet.gguf_file import write_gguf
from llmsuite_lab.bitnet.linear import BitLinear
from llmsuite_lab.bitnet.model import bit_decoder
from llmsuite_lab.bitnet.quantize import ternary_weights
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.gguf import stored
from llmsuite_lab.core.llama_cpp import LlamaCpp
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder

pytestmark = pytest.mark.filterwarnings("ignore:ternary products run in torch")


def config(**other):
    return llama_config(300, 256, 2, 4, 512, 128, **{"n_kv_heads": 2} | other)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return bit_decoder(config()).eval()


def test_the_file_holds_the_model_s_three_values(model, tmp_path):
    import gguf

    file = write_gguf(model, tmp_path / "one.gguf")
    held = stored(file)
    kind, rows = held["blk.1.ffn_down.weight"]
    assert kind == "TQ2_0"
    T, gamma = ternary_weights(model.stack.blocks[1].feed_forward.W_down.weight.detach())
    there = torch.from_numpy(gguf.quants.dequantize(rows.copy(), gguf.GGMLQuantizationType.TQ2_0))
    assert torch.equal(there.sign(), T)
    torch.testing.assert_close(there, gamma * T, rtol=1e-3, atol=0)  # d is float16
    assert {name for name, (kind, _) in held.items() if kind != "TQ2_0"} >= {"token_embd.weight", "blk.0.attn_sub_norm.weight"}
    assert [file.name for file in tmp_path.iterdir()] == ["one.gguf"]
    with pytest.raises(LabError, match="there already"):
        write_gguf(model, file)


def test_what_the_file_cannot_say_is_refused(model, tmp_path):
    new = tmp_path / "new.gguf"
    with pytest.raises(TypeError, match="Decoder"):
        write_gguf("model", new)
    with pytest.raises(ValueError, match="0 BitLinear in 2 blocks"):
        write_gguf(Decoder(config()), new)
    with pytest.raises(ValueError, match="multiple of 256"):
        write_gguf(bit_decoder(llama_config(300, 128, 1, 4, 512, 64)), new)
    for other in ({"tie_embeddings": False}, {"scale_embedding": True}, {"logit_scale": 0.5}, {"attention_scale": 1.0}, {"activation": "gelu"}):
        name = next(iter(other))
        with pytest.raises(ValueError, match=f"a plain Llama .*, and this model has {name}="):
            write_gguf(bit_decoder(config(**other)), new)
    with pytest.raises(ValueError, match="64 features, and this model has d_head=128"):
        write_gguf(bit_decoder(config(d_head=128)), new)
    with torch.no_grad():
        model.stack.blocks[1].attention.W_K.norm.weight[3] = 2.0
    with pytest.raises(ValueError, match="block 1: .* gains of their own"):
        write_gguf(model, new)
    assert not new.exists()


def test_a_width_of_heads_that_is_the_usual_one_may_be_spelled_out(tmp_path):
    assert write_gguf(bit_decoder(config(d_head=64)), tmp_path / "one.gguf").is_file()


def test_a_file_is_whole_or_not_there_and_one_that_came_meanwhile_stays(model, tmp_path, monkeypatch):
    from llmsuite_lab.bitnet import gguf_file

    def breaks(writer, size):
        raise OSError("no space left")

    monkeypatch.setattr(gguf_file, "_vocabulary", breaks)
    with pytest.raises(OSError, match="no space"):
        write_gguf(model, tmp_path / "new" / "one.gguf")
    assert list((tmp_path / "new").iterdir()) == []
    monkeypatch.setattr(gguf_file, "_write", lambda model, file: (file.write_bytes(b"ours"), (tmp_path / "theirs.gguf").write_bytes(b"theirs")))
    with pytest.raises(LabError, match="there already"):
        write_gguf(model, tmp_path / "theirs.gguf")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir() if file.is_file()] == [("theirs.gguf", b"theirs")]


def test_llama_cpp_computes_the_same_and_the_bench_measures_both(model, tmp_path):
    pytest.importorskip("xllamacpp")
    from llmsuite_lab.course.bench import _bit_tokens

    ids = torch.randint(4, 300, (12,), generator=torch.Generator().manual_seed(5)).tolist()
    theirs = LlamaCpp(write_gguf(model, tmp_path / "one.gguf"), 64)
    assert _bit_tokens.check_same(model, theirs, ids) >= _bit_tokens.SAME
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, BitLinear):
                layer.weight.neg_()
    with pytest.raises(LabError, match="not run the same model"):
        _bit_tokens.check_same(model, theirs, ids)
    rows = _bit_tokens.end_to_end_rows(config(), n=1, new_tokens=3)
    assert {row.unit for row in rows} == {"tokens/s"}
    assert {row.name.split(", ")[3].split(" ")[0] for row in rows} == {"two_bits", "five_trits"}


def test_the_packed_model_is_timed_against_its_full_precision_twin(kernel):
    from llmsuite_lab.course.bench.bitnet import twin_rows

    with pytest.raises(ValueError, match="threads is empty"):
        twin_rows(config(), threads=[])
    before = torch.get_rng_state()
    two, five, noise = twin_rows(config(), n=2, new_tokens=3, threads=[1])
    assert torch.equal(torch.get_rng_state(), before)
    assert {row.unit for row in (two, five, noise)} == {"tokens/s"}
    assert ("two_bits against its twin" in two.name, "five_trits against its twin" in five.name, "against itself" in noise.name) == (True,) * 3
    assert two.reference == five.reference == noise.reference > 0
    with pytest.raises(ValueError, match="threads=0 must be a whole number"):
        twin_rows(config(), threads=[0])


def test_the_published_figure_stands_beside_ours(kernel, monkeypatch):
    from llmsuite_lab.course.bench import bitnet

    monkeypatch.setattr(bitnet, "PUBLISHED", (64, 64, 1e-3))
    row = bitnet.published_row(n=2)
    assert (row.reference, row.n) == (1e-3, 2)
    assert "as published" in row.name


def test_a_block_s_products_are_measured_together_and_the_clock_against_itself(kernel):
    from llmsuite_lab.course.bench import bitnet

    if len(kernel.paths()) == 1:
        pytest.skip("this machine has no vector instructions")
    rows = bitnet.block_rows(n=2, shapes=[(20, 64), (30, 128)], cold_bytes=1)
    told = [row.name.partition(": ")[2] for row in rows]
    others = {line.removeprefix("packed against ") for line in told[:2]}
    assert "F.linear BF16" in others
    assert others < {"F.linear BF16", "prepacked BF16", "float32"}
    assert told[2] == told[0].removeprefix("packed against ") + " against itself"
    assert rows[0].ours == rows[1].ours
    assert rows[0].reference == rows[2].reference


def test_throughput_is_that_of_the_batches_which_fit(kernel):
    from llmsuite_lab.course.bench import bitnet

    if len(kernel.paths()) == 1:
        pytest.skip("this machine has no vector instructions")
    rows = bitnet.batch_rows(n=2, shapes=[(20, 64), (300, 128), (20, 64)], cold_bytes=2**14)
    assert ("batch 105" in rows[0].name, "batch 16" in rows[0].name) == (True, True)  # the figures that notebook 07 works out
    assert rows[0].reference == rows[1].reference
    with pytest.raises(ValueError, match="that fit beside 138 GB of weights=0"):
        bitnet.batch_rows(budget=100e9)
