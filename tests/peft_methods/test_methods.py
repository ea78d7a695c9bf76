"""Every method by name: what it trains is what its prepare says, the rest stays bit for bit, and a text can begin a prompt."""

from copy import deepcopy

import pytest
import torch

from llmsuite_lab.lm.training import fit
from llmsuite_lab.peft_methods.methods import METHODS, method
from llmsuite_lab.transformer.generation import generate


@pytest.mark.parametrize("family", ["llama", "gpt2", "decoder"])
@pytest.mark.parametrize("name", METHODS)
def test_everything_frozen_stays_bit_identical_and_the_model_writes_on(tiny, examples, family, name):
    model = METHODS[name].prepare(tiny(family), 3)
    before = {key: value.clone() for key, value in model.state_dict().items() if not key.endswith((".mask", ".mean", ".spread"))}
    trained = {key for key, p in model.named_parameters() if p.requires_grad}
    assert trained
    options = {"lr": METHODS[name].rates[2], "dtype": torch.float32, "on_step": METHODS[name].on_step(model, 4)}
    history = fit(model, examples, steps=4, batch_size=3, progress=False, **options)
    assert all(loss == loss for loss in history.losses)
    same = {key for key, value in model.state_dict().items() if key in before and torch.equal(value, before[key])}
    tied = {"lm_head.weight", "base.lm_head.weight", "unembedding.weight"}  # a second name of the embedding
    assert set(before) - same <= trained | tied
    assert trained - same
    written = [row.ids for row in generate(model, [[3, 4], [5]], 3)]
    assert [row.ids for row in generate(METHODS[name].finish(model), [[3, 4], [5]], 3)] == written


@pytest.mark.parametrize("name", METHODS)
def test_in_a_bfloat16_model_every_tensor_comes_back_in_its_own_dtype_and_the_frozen_ones_bit_for_bit(tiny, examples, name):
    model = METHODS[name].prepare(tiny("llama").to(torch.bfloat16), 3)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    trained = {key for key, p in model.named_parameters() if p.requires_grad}
    fit(model, examples, steps=4, batch_size=3, lr=METHODS[name].rates[2], progress=False, dtype=torch.bfloat16, on_step=METHODS[name].on_step(model, 4))
    now = dict(model.named_parameters())
    assert {key: p.dtype for key, p in now.items()} == {key: p.dtype for key, p in before.items()}
    assert all(torch.equal(now[key], before[key]) for key in before if key not in trained)
    if name in ("lora", "adapter", "prompt", "hybrid", "adaptive"):  # what was added is float32, finer than bfloat16
        assert {now[key].dtype for key in trained} == {torch.float32}
        assert any(not torch.equal(now[key], now[key].bfloat16().float()) for key in trained)
    with torch.no_grad():
        assert METHODS[name].finish(model)(torch.tensor([[3, 4, 5]])).logits.dtype == torch.bfloat16


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_makes_the_same_model(tiny, name):
    first, again, other = (METHODS[name].prepare(tiny("llama"), seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    if name in ("lora", "prompt", "adapter", "hybrid", "adaptive"):
        assert not all(torch.equal(first[key], other[key]) for key in first)


def test_a_text_begins_a_prompt_and_needs_a_tokenizer(tiny, tiny_tokenizer):
    model = tiny("llama")
    prompted = method("prompt").prepare(deepcopy(model), 0, tiny_tokenizer, text="ab", length=3)
    ids = tiny_tokenizer("ab")["input_ids"]
    assert torch.equal(prompted.P, model.get_input_embeddings().weight[[ids[0], ids[1], ids[0]]])
    with pytest.raises(ValueError, match="without a tokenizer"):
        method("prompt").prepare(model, 0, text="ab")
    with pytest.raises(ValueError, match="unknown method 'lorra'; did you mean 'lora'"):
        method("lorra")


def test_rates_rise(tiny):
    assert all(list(m.rates) == sorted(m.rates) and len(m.rates) == 4 and m.name == name and m.says for name, m in METHODS.items())
