"""The recipe: matched data for both kinds, a LoRA that is the only thing trained, small enough to ship."""

import pytest
import torch

from llmsuite_lab.lm.adapters import LORA_TARGETS, add_lora
from llmsuite_lab.lm.training import fit
from llmsuite_lab.reasoning import training as tr
from llmsuite_lab.reasoning.prompting import prompt


@pytest.fixture(scope="module")
def forty():
    return tr.training_problems(40, seed=3)


def test_all_kinds_learn_from_the_same_problems_in_the_same_order(forty):
    pal, cot, direct = (list(tr.pairs(kind, forty, seed=3)) for kind in tr.KINDS)
    assert len(pal) == len(cot) == len(direct) == 40
    for (asked, program), (question, chain), bare, problem in zip(pal, cot, direct, forty, strict=True):
        assert bare == (prompt("direct", problem.text), f" {problem.answer}.\n")
        assert problem.text in asked
        assert question == prompt("cot", problem.text)
        assert chain == problem.chain_of_thought
        assert program == problem.program or (asked.endswith("The answer is") and program == f" {problem.answer}.\n")


def test_about_one_in_twelve_of_the_pal_examples_is_a_final_call():
    pairs = list(tr.pairs("pal", tr.training_problems(360, seed=1), seed=1))
    final = [asked for asked, _ in pairs if "# output: " in asked]
    assert 15 <= len(final) <= 50


def test_training_problems_are_seeded_and_small_numbers_prevail(forty):
    assert tr.training_problems(40, seed=3) == forty
    assert tr.training_problems(40, seed=4) != forty
    assert {p.digits for p in tr.training_problems(200)} == {1, 2, 3, 4, 5, 6}


@pytest.fixture
def tiny():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=61, max_position_embeddings=64, **shape))


def test_only_the_lora_is_trained_and_it_starts_as_nothing(tiny):
    ids = torch.tensor([[3, 14, 15, 9]])
    before = tiny(ids).logits
    model = add_lora(tiny, seed=0, rank=4, alpha=8)
    assert torch.allclose(model(ids).logits, before, atol=1e-6)
    assert all(("lora_" in name) == p.requires_grad for name, p in model.named_parameters())
    touched = {name.split(".")[-4] for name, p in model.named_parameters() if p.requires_grad}
    assert touched == set(LORA_TARGETS)
    frozen = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    from llmsuite_lab.lm.training import Example

    history = fit(model, [Example([5, 6, 7], [8, 9])] * 4, steps=12, batch_size=4, lr=1e-2, dtype=torch.float32, progress=False)
    assert history.losses[-1] < history.losses[0]
    assert all(torch.equal(p, frozen[name]) for name, p in model.named_parameters() if name in frozen)


def test_the_shipped_size_stays_under_three_megabytes():
    d, kv, inner, layers, r = 576, 192, 1536, 30, tr.Settings().rank  # SmolLM2-135M
    parameters = layers * r * ((d + d) + (d + kv) + (d + inner) + (inner + d))
    assert parameters * 2 < 3_000_000


def test_bad_kind(forty):
    with pytest.raises(ValueError, match="pal and cot"):
        list(tr.pairs("react", forty))
