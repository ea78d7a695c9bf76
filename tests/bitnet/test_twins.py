"""Twins and rounding after training, at toy size: who reads what, which rate is kept, what the records say, and that rounded weights come back."""

import hashlib
import math
import sys
from dataclasses import replace

import pytest
import torch

from llmsuite_lab.bitnet import after_training, twins
from llmsuite_lab.bitnet.linear import BitLinear
from llmsuite_lab.bitnet.recipes import RECIPES
from llmsuite_lab.core import records
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.runs import make
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder

BUDGET = twins.Budget(vocabulary=270, length=12, batch_size=3, steps=4, validation=5, items=7)
DOCUMENTS = [f"document {n} says " + " ".join(f"word{n * i % 89}" for i in range(60)) for n in range(40)]


@pytest.fixture(scope="module")
def read():
    return twins.text(BUDGET, 1, DOCUMENTS)


def test_each_window_is_read_once_in_an_order_by_seed_and_the_items_are_the_same_for_all(read):
    assert read.train.shape == (12, 13)
    assert (read.validation.shape, read.held_out.shape) == ((5, 13), (7, 13))
    assert len(set(map(tuple, read.train.tolist()))) == 12
    other = twins.text(BUDGET, 2, DOCUMENTS)
    assert not torch.equal(other.train, read.train)
    assert torch.equal(other.held_out, read.held_out)
    held_out = " ".join(d for n, d in enumerate(DOCUMENTS) if n % 10 == 5)
    assert all(read.tokenizer.decode(row[1:-1].tolist(), skip_special=True).strip("\ufffd")[2:-2] in held_out for row in read.held_out[:, :9])


def test_nothing_held_out_was_trained_on_and_the_library_s_documentation_is_large_enough():
    documents = twins.documents()
    paragraphs = [p for d in documents for p in d.split("\n\n")]
    assert len(set(paragraphs)) == len(paragraphs)
    assert sum(map(len, documents)) > 1_300_000
    assert any("iterable" in d for d in documents)
    with pytest.raises(LabError, match="held out text holds"):
        twins.text(replace(BUDGET, items=10_000), 0, DOCUMENTS)


def test_twins_start_from_the_same_numbers_and_differ_in_their_layers_only():
    full, ternary = twins.twin("full", "small", 3, BUDGET), twins.twin("ternary", "small", 3, BUDGET)
    theirs, normed = dict(ternary.named_parameters()), dict(twins.twin("normed", "small", 3, BUDGET).named_parameters())
    assert theirs.keys() == normed.keys()
    assert all(torch.equal(parameter, normed[name]) for name, parameter in theirs.items())
    for name, parameter in full.named_parameters():
        if name in theirs:
            assert torch.equal(parameter, theirs[name]), name
    extra = {name.rpartition(".")[0].rpartition(".")[2] for name in theirs if name not in dict(full.named_parameters())}
    assert extra == {"norm"}
    assert any(isinstance(module, BitLinear) for module in ternary.modules())
    with pytest.raises(ValueError, match="unknown kind"):
        twins.twin("binary", "small")
    with pytest.raises(ValueError, match="unknown size"):
        twins.twin("full", "huge")


def test_a_rate_is_tried_farther_while_the_best_lies_at_an_end_and_not_for_ever(monkeypatch, read):
    def at(best):
        monkeypatch.setattr(
            twins, "run", lambda kind, size, lr, *_: {"kind": kind, "size": size, "lr": lr, "validation": abs(math.log(lr / best))}
        )
        return sorted(row["lr"] for row in twins.tried("full", "small", read, 0, BUDGET))

    assert at(9e-3) == [3e-3, 9e-3, 2.7e-2]
    assert at(8.1e-2) == pytest.approx([3e-3, 9e-3, 2.7e-2, 8.1e-2, 0.243])
    assert at(1e-3) == pytest.approx([1e-3 / 3, 1e-3, 3e-3, 9e-3, 2.7e-2])
    assert len(at(1e9)) == twins.MOST_RATES


def test_a_run_learns_and_scores_each_window(read):
    budget = replace(BUDGET, steps=4)
    row = twins.run("ternary", "small", 3e-2, read, 0, budget)
    before = after_training.losses(twins.twin("ternary", "small", 0, budget), read.held_out)
    assert len(row["losses"]) == 7
    assert sum(row["losses"]) < sum(before)
    model = twins.twin("full", "small", 0, budget)
    one = read.held_out[2]
    with torch.no_grad():
        expected = -model(one[None, :-1]).log_softmax(-1)[0].gather(1, one[1:, None]).mean().item()
    assert after_training.losses(model, read.held_out)[2] == pytest.approx(expected, rel=1e-5)


def record(seed, gap, **settings):
    rows = []
    for k, size in enumerate(twins.SIZES):
        for kind in twins.KINDS:
            for lr, worse in ((1e-3, 0.0), (1e-2, 9.0)):
                base = 5 - k + 0.01 * seed + (gap[k] if kind == "ternary" else 0)
                found = {"kind": kind, "size": size, "weights": 10 ** (k + 3), "ternary": 4 * 10 ** (k + 2), "lr": lr, "validation": base + worse}
                rows.append(found | {"losses": [base + worse + 0.1 * i for i in range(4)]})
    return records.Record("bitnet_twins", seed, "", {}, "", "", 1.0, "", settings, rows)


def test_the_control_is_the_ternary_model_without_its_rounding():
    normed, ternary = twins.twin("normed", "small", 0, BUDGET), twins.twin("ternary", "small", 0, BUDGET)
    ids, layer = torch.arange(9)[None], ternary.stack.blocks[0].attention.W_Q
    x = torch.randn(3, layer.in_features, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(normed.stack.blocks[0].attention.W_Q(x), layer.norm(x) @ layer.weight.T)
    assert not torch.allclose(normed(ids), ternary(ids), atol=1e-2)
    with torch.no_grad():
        for one in ternary.modules():
            if isinstance(one, BitLinear):
                one.forward = lambda x, one=one: one.norm(x) @ one.weight.T
    torch.testing.assert_close(normed(ids), ternary(ids))


def test_the_gap_and_what_of_it_is_closed_are_read_off_the_best_rates_item_by_item():
    found = twins.gaps([record(0, (0.5, 0.3, 0.2)), record(1, (0.7, 0.3, 0.2))])
    assert found.gap["small"] == pytest.approx([0.6] * 4)
    assert found.closed == pytest.approx([0.4] * 4)
    assert found.gain == pytest.approx([1.0] * 4)
    assert list(found.weights.values()) == [1_000, 10_000, 100_000]
    assert found.rounding == {}
    control = [replace(record(seed, (0.1, 0.1, 0.2)), name="bitnet_norms") for seed in (0, 1)]
    for one in control:
        one.results[:] = [row | {"kind": "normed"} for row in one.results if row["kind"] == "ternary"]
    rounding = twins.gaps([record(0, (0.5, 0.3, 0.2)), record(1, (0.7, 0.3, 0.2))], control).rounding
    assert [rounding[size] for size in twins.SIZES] == [pytest.approx([gap] * 4) for gap in (0.5, 0.2, 0.0)]


def test_the_recipe_tries_rates_with_the_first_seed_and_keeps_them_with_the_others(monkeypatch, tmp_path, read):
    monkeypatch.setattr(twins, "Budget", lambda: BUDGET)
    monkeypatch.setattr(twins, "documents", lambda: DOCUMENTS)
    monkeypatch.setattr(twins, "SIZES", {"small": (16, 1, 2), "large": (24, 1, 2)})
    monkeypatch.setattr(twins, "MOST_RATES", 3)
    recipe = next(one for one in RECIPES if one.name == "bitnet_twins")
    make(recipe, 0, tmp_path)
    first = records.read("bitnet_twins", 0, tmp_path)
    assert len(first.results) == 2 * 2 * 3
    assert first.settings["text_sha256"] == hashlib.sha256(twins.END.join(DOCUMENTS).encode()).hexdigest()
    monkeypatch.setattr(records, "runs_dir", lambda: tmp_path)
    make(recipe, 1)
    second = records.read("bitnet_twins", 1)
    rows = second.results
    assert second.settings == first.settings
    assert [(row["size"], row["kind"]) for row in rows] == [("small", "full"), ("small", "ternary"), ("large", "full"), ("large", "ternary")]
    assert all(row["lr"] == twins.best_rate(first.results, row["kind"], row["size"]) for row in rows)
    with pytest.raises(LabError, match="--seed 0. tries them"):
        twins.best_rate([], "full", "small")
    make(next(one for one in RECIPES if one.name == "bitnet_norms"), 0)
    control = records.read("bitnet_norms", 0)
    assert (control.settings, {row["kind"] for row in control.results}) == (first.settings, {"normed"})
    monkeypatch.setattr(twins, "documents", lambda: [*DOCUMENTS, "one more"])
    monkeypatch.setattr(twins, "run", lambda *_: pytest.fail("nothing is trained before the texts are compared"))
    with pytest.raises(LabError, match="different text_sha256"):
        make(recipe, 2)


def test_seed_by_seed_the_three_models_stand_side_by_side():
    runs, control = [record(seed, (0.5, 0.3, 0.2)) for seed in (0, 2)], [record(seed, (0.1, 0.1, 0.2)) for seed in (0, 2)]
    for one in control:
        one.results[:] = [row | {"kind": "normed"} for row in one.results if row["kind"] == "ternary"]
    rows = twins.seed_by_seed(runs, control)
    assert [(row["size"], row["seed"]) for row in rows] == [(size, seed) for size in twins.SIZES for seed in (0, 2)]
    mean = 5 + 0.02 + 0.15  # the smallest size, seed 2, four losses 0.1 apart
    assert (rows[1]["full"], rows[1]["ternary model"], rows[1]["normed"]) == pytest.approx((mean, mean + 0.5, mean + 0.1))
    assert rows[0]["ternary"] == 0.4
    with pytest.raises(ValueError, match=r"\[0, 2\] and \[0\]"):
        twins.seed_by_seed(runs, control[:1])


def test_records_of_different_texts_or_settings_are_not_averaged():
    gap = (0.5, 0.3, 0.2)
    with pytest.raises(LabError, match="have different text_sha256"):
        twins.gaps([record(0, gap, text_sha256="a")], [record(0, gap, text_sha256="b")])
    for settings in ({"text_sha256": "b"}, {"text_sha256": "a", "steps": 9}, {}):
        with pytest.raises(LabError, match="have different"):
            twins.gaps([record(0, gap, text_sha256="a"), record(1, gap, **settings)])


def test_a_python_without_its_documentation_trains_on_no_other_text(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(LabError, match="carries no pydoc_data.topics"):
        twins.documents()


def toy():
    torch.manual_seed(0)
    return Decoder(llama_config(31, 24, 3, 2, 40, 64)).eval()


def test_rounding_changes_the_blocks_that_are_named_and_gives_them_back():
    model, windows = toy(), [[1, 2, 3, 4, 5], [9, 8, 7, 6, 5]]
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    whole = after_training.losses(model, windows)
    with after_training.rounded(model, [1, 1]) as weights:
        changed = {name.split(".")[2] for name, p in model.named_parameters() if not torch.equal(p, before[name])}
        assert changed == {"1"}
        assert weights == 4 * 24 * 24 + 3 * 24 * 40
        values = model.stack.blocks[1].attention.W_Q.weight.unique()
        assert len(values) == 3
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert after_training.losses(model, windows) == whole
    with pytest.raises(ValueError, match="unknown rounding"), after_training.rounded(model, [0], "two values"):
        pass
    with pytest.raises(ValueError, match="a block=3"), after_training.rounded(model, [3]):
        pass
    with pytest.raises(TypeError, match="stack.blocks"):
        after_training.blocks_of(torch.nn.Linear(2, 2))


def test_a_llama_of_transformers_is_rounded_block_by_block_too_and_a_gpt_2_is_refused(tiny_lm):
    model = tiny_lm.model
    if not hasattr(model, "model"):
        with pytest.raises(TypeError, match="no model.layers"):
            after_training.blocks_of(model)
        return
    before = after_training.losses(model, [[1, 2, 3, 4]])
    with after_training.rounded(model, [0]):
        assert len(model.model.layers[0].mlp.up_proj.weight.unique()) == 3
        assert after_training.losses(model, [[1, 2, 3, 4]]) != before
    assert after_training.losses(model, [[1, 2, 3, 4]]) == before


def test_eight_bits_are_nearer_than_three_values_and_the_table_says_which_blocks():
    model = toy()
    W = model.stack.blocks[0].attention.W_Q.weight.detach()
    assert float((after_training.eight_bits(W) - W).abs().max()) <= float(W.abs().max()) / 254 * (1 + 1e-5)
    assert float((after_training.three_values(W) - W).abs().mean()) > 10 * float((after_training.eight_bits(W) - W).abs().mean())
    rows = after_training.table(model, [[1, 2, 3]], (1, 2, 5))
    assert [(row["how"], row["end"], row["blocks"]) for row in rows] == [
        ("three values", "none", 0), ("three values", "first", 1), ("three values", "first", 2), ("three values", "last", 1),
        ("three values", "last", 2), ("three values", "all", 3), ("eight bits", "all", 3),
    ]  # fmt: skip
    assert rows[0]["weights"] == 0
    assert abs(rows[-1]["losses"][0] - rows[0]["losses"][0]) < 1e-2
