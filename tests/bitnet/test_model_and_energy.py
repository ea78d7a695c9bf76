"""The one-bit decoder: it trains, packs to the same logits, comes back from disk; its bytes and energies by formula against what is held and published."""

import json
import pickle
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmsuite_lab.bitnet import energy
from llmsuite_lab.bitnet.files import CONFIG, WEIGHTS, bits_per_weight, load_packed, save_packed
from llmsuite_lab.bitnet.linear import BitLinear
from llmsuite_lab.bitnet.model import bit_decoder, count, held_bytes, model_bytes, normed_decoder, packed, paper_config, to_bits
from llmsuite_lab.bitnet.packed_linear import PackedLinear
from llmsuite_lab.bitnet.packing import FORMS
from llmsuite_lab.bitnet.quantize import ternary_weights
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.fetch import sha256
from llmsuite_lab.transformer.config import gpt2_config, llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.generation import generate
from llmsuite_lab.transformer.layers import Linear
from llmsuite_lab.transformer.weights import count_parameters

pytestmark = pytest.mark.filterwarnings("ignore:ternary products run in torch")  # the same tests hold without a compiler


def small(**other):
    return llama_config(61, 24, 2, 4, 40, 64, **{"n_kv_heads": 2} | other)


@pytest.fixture
def model():
    torch.manual_seed(3)
    return bit_decoder(small())


@pytest.fixture
def ids():
    return torch.randint(0, 61, (3, 17), generator=torch.Generator().manual_seed(5))


def test_linear_layers_of_the_blocks_are_ternary_and_nothing_else_is(model):
    kinds = {name.rpartition(".")[2]: type(module) for name, module in model.named_modules() if isinstance(module, Linear)}
    assert kinds.pop("unembedding") is Linear
    assert set(kinds) == {"W_Q", "W_K", "W_V", "W_O", "W_gate", "W_up", "W_down"}
    assert set(kinds.values()) == {BitLinear}
    assert all(isinstance(block.attention_norm, torch.nn.Identity) for block in model.stack.blocks)


def test_it_learns_a_sequence_and_its_weights_stay_three_values(model, ids):
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0], losses[::15]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tied", [True, False])
def test_the_packed_model_gives_the_same_logits_to_the_bit_and_comes_back_from_disk(form, tied, ids, tmp_path):
    torch.manual_seed(4)
    model = bit_decoder(small(tie_embeddings=tied)).eval()
    new = packed(model, form)
    with torch.no_grad():
        expected = model(ids)
        assert torch.equal(new(ids), expected)
    for name, layer in model.named_modules():
        if isinstance(layer, BitLinear):
            assert torch.equal(new.get_submodule(name).weight.unpack(), ternary_weights(layer.weight.detach())[0])
    assert new.embedding.token.weight is model.embedding.token.weight
    assert any(isinstance(module, BitLinear) for module in model.modules()), "the model that was packed stays as it is"
    back = load_packed(save_packed(new, tmp_path / "packed"))
    with torch.no_grad():
        assert torch.equal(back(ids), expected)
    assert (back.unembedding.weight is back.embedding.token.weight) == tied
    tensors = load_file(tmp_path / "packed" / WEIGHTS)
    held = sum(tensor.nbytes for name, tensor in tensors.items() if name.endswith((".packed", ".scale")))
    assert bits_per_weight(tmp_path / "packed") == pytest.approx(8 * held / count(model.config).ternary)


def test_packed_and_unpacked_write_the_same_tokens(model):
    prompts = [[5, 9, 2], [7, 1]]
    expected = [row.ids for row in generate(model.eval(), prompts, 8)]
    assert [row.ids for row in generate(packed(model), prompts, 8)] == expected


def test_a_packed_layer_follows_its_bytes_and_has_no_gradient():
    torch.manual_seed(0)
    one, other = PackedLinear.of(BitLinear(9, 4)), PackedLinear.of(BitLinear(9, 4))
    x = torch.randn(2, 9)
    with torch.no_grad():
        one(x)
        one.load_state_dict(other.state_dict())
        assert torch.equal(one(x), other(x))
    with pytest.raises(ValueError, match="no gradient"):
        one(x.requires_grad_())


def test_a_layer_that_has_worked_can_be_pickled():
    layer, x = PackedLinear.of(BitLinear(9, 4)), torch.randn(2, 9)
    with torch.no_grad():
        expected = layer(x)
        assert torch.equal(pickle.loads(pickle.dumps(layer))(x), expected)


def test_damage_on_disk_is_told(model, tmp_path):
    folder = save_packed(packed(model), tmp_path / "packed")

    def written(change):
        tensors = load_file(folder / WEIGHTS)
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        change(tensors)
        save_file(tensors, folder / WEIGHTS)
        said = json.loads((folder / CONFIG).read_text()) | {"sha256": sha256(folder / WEIGHTS)}
        (folder / CONFIG).write_text(json.dumps(said))

    first = "stack.blocks.0.attention.W_Q.packed"
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(LabError, match="checksum"):
        load_packed(folder)
    (folder / WEIGHTS).write_bytes(whole)
    written(lambda tensors: tensors[first].fill_(255))
    with pytest.raises(LabError, match="no code of three values"):
        load_packed(folder)
    written(lambda tensors: tensors[first].fill_(0b01010101))  # four digits of 1, which are zero weights: no damage
    load_packed(folder)
    written(lambda tensors: tensors.update(extra=torch.ones(1)))
    with pytest.raises(LabError, match="without a place.*extra"):
        load_packed(folder)
    written(lambda tensors: [tensors.pop("extra"), tensors.pop(first)])
    with pytest.raises(LabError, match="W_Q.packed"):
        load_packed(folder)
    with pytest.raises(LabError, match="no packed model"):
        load_packed(tmp_path / "nothing")


def test_what_cannot_be_one_bit_is_refused_and_left_as_it_was():
    biased = Decoder(gpt2_config(61, 24, 1, 4, 40, 64))
    before = [type(module) for module in biased.modules()]
    with pytest.raises(ValueError, match="no biases"):
        to_bits(biased)
    assert [type(module) for module in biased.modules()] == before
    with pytest.raises(ValueError, match="one-bit already"):
        to_bits(bit_decoder(small()))
    with pytest.raises(ValueError, match="no BitLinear"):
        packed(Decoder(small()))
    with pytest.raises(ValueError, match="no BitLinear"):
        packed(normed_decoder(small()))


@pytest.mark.parametrize("tied", [True, False])
def test_counts_and_bytes_by_formula_are_those_of_the_model_that_was_built(tied):
    config = small(tie_embeddings=tied)
    model = bit_decoder(config)
    assert count(config).total == count_parameters(model)
    for form in FORMS:
        assert held_bytes(packed(model, form)) == model_bytes(config, form, other_bits=32)
    assert held_bytes(Decoder(config)) == model_bytes(config, None, other_bits=32)


def test_what_holds_other_numbers_than_a_llama_is_not_counted():
    for other in ({"norm": "layer"}, {"embedding_norm": True}, {"logit_bias": True}, {"n_segments": 2}, {"gated": False}, {"positions": "learned"}):
        with pytest.raises(ValueError, match=f"this one has {next(iter(other))}="):
            count(small(**other))


def test_the_3b_model_is_more_than_3_55_times_smaller_than_fp16_with_embedding_and_head_in_full():
    config = paper_config("3B")
    assert 3.2e9 < count(config).total < 3.5e9, "3B in the paper's rounding"
    two, five, full = (model_bytes(config, form) for form in (*FORMS, None))
    assert full / two > 3.55
    assert five < two < full
    ternary = count(config).ternary
    assert two - five == pytest.approx(ternary * 0.4 / 8, rel=1e-3)


def test_71_4_is_an_fp16_multiplication_and_addition_against_one_int8_addition():
    assert energy.paper_ratio("7nm") == pytest.approx(energy.PAPER["energy"], abs=0.05)
    assert energy.paper_ratio("45nm") == pytest.approx(50.0)
    config = paper_config("3B")
    assert energy.per_token(config).ratio == pytest.approx(energy.paper_ratio())
    strict = energy.per_token(config, zeros=1 / 3, accumulator="int32", scales=True, head=True)
    assert 1 < strict.ratio < energy.per_token(config, accumulator="int32").ratio * 1.5
    assert energy.per_token(config, zeros=0.5).ratio == pytest.approx(2 * energy.paper_ratio())


def test_each_operation_takes_as_much_less_at_7_nm_as_the_source_of_the_table_prints():
    """Jouppi et al. 2021, table 2, has a column of its own for 45 nm / 7 nm: a digit that is wrong at either node does not fit it."""
    printed = {"int8 add": 4.3, "int32 add": 3.3, "fp16 add": 2.5, "fp32 add": 2.4, "int8 multiply": 2.9, "int32 multiply": 2.1, "fp16 multiply": 3.2,
               "fp32 multiply": 2.8}  # fmt: skip
    old, new = energy.PICOJOULES["45nm"], energy.PICOJOULES["7nm"]
    assert {" ".join(key): round(old[key] / new[key], 1) for key in old} == printed


def test_the_batches_that_fit_on_160_gb_are_the_paper_s_for_llama_but_not_for_bitnet():
    """Llama's 16 sequences of 512 tokens fit if each head has keys and values of its own. Beside ternary weights 176 do not, at the same 16 bits a number."""
    config = paper_config("70B")
    assert count(config).total == pytest.approx(68.98e9, rel=1e-3), "as published for Llama 2"
    sequence = energy.cache_bytes(replace(config, n_kv_heads=config.n_heads), 512)
    assert energy.largest_batch(160e9, model_bytes(config, None), sequence) == energy.PAPER["batch"]["llama"]
    ternary = model_bytes(config, "two_bits")
    assert energy.largest_batch(160e9, ternary, sequence) < energy.PAPER["batch"]["bitnet"] < energy.largest_batch(160e9, ternary, sequence / 2)
    assert energy.PAPER["tokens_per_s"]["bitnet"] / energy.PAPER["tokens_per_s"]["llama"] == pytest.approx(8.9, abs=0.05)


def test_throughput_is_the_largest_batch_over_its_step_and_nothing_where_nothing_fits():
    assert energy.throughput(100, 40, 20, lambda batch: 0.5 * batch) == 2.0
    assert energy.throughput(100, 90, 20, lambda batch: 1.0) == 0.0
    with pytest.raises(ValueError, match="above 0"):
        energy.throughput(100, 40, 20, lambda batch: 0.0)


def test_the_benchmark_measures_a_small_matrix_against_both_baselines(kernel, monkeypatch):
    from llmsuite_lab.course.bench import bitnet

    if len(kernel.paths()) == 1:
        pytest.skip("this machine has no vector instructions")
    rows = bitnet.shape_rows(20, 64, n=1, cold_bytes=1)
    others = {row.name.rpartition(" against ")[2] for row in rows}
    assert others in ({"prepacked BF16", "F.linear BF16"}, {"float32", "F.linear BF16"})
    assert {row.n for row in rows} == {1}
    right = kernel.integers
    monkeypatch.setattr(kernel, "integers", lambda *arguments: right(*arguments) + 1)
    with pytest.raises(LabError, match="other integers"):
        bitnet.shape_rows(20, 64, n=1, cold_bytes=1)
