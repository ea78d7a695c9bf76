"""PEFT's own files, both ways: ours loads in peft, peft's loads in ours, outputs within 1e-5; what does not fit wholly is refused."""

from copy import deepcopy

import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.lm.adapters import WEIGHTS, quiet_peft
from llmsuite_lab.lm.merging import merge_adapter
from llmsuite_lab.peft_methods import files, lora
from llmsuite_lab.peft_methods.lora import add_lora
from llmsuite_lab.peft_methods.merging import merge
from llmsuite_lab.peft_methods.prompt_tuning import add_soft_prompt

IDS = torch.tensor([[3, 200, 45, 8, 17], [9, 9, 31, 77, 250]])


def stirred(model, seed=1):
    torch.manual_seed(seed)
    for name, p in model.named_parameters():
        if "lora_B" in name or ".B." in name:
            p.data.normal_(0, 0.1)
    return model


def theirs(base, folder, **options):
    with quiet_peft():
        reference = stirred(get_peft_model(deepcopy(base), LoraConfig(**({"r": 3, "lora_alpha": 7} | options)))).eval()
        reference.save_pretrained(folder)
    return reference


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_our_lora_loads_in_peft_and_in_the_shipped_merge(tiny, targets, outputs, tmp_path, family):
    base = tiny(family)
    model = stirred(add_lora(deepcopy(base), targets[family], rank=3, alpha=7, rslora=True))
    files.save(tmp_path / "ours", model)
    with quiet_peft():
        loaded = PeftModel.from_pretrained(deepcopy(base), tmp_path / "ours").eval()
    torch.testing.assert_close(outputs(loaded, IDS), outputs(model, IDS), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(outputs(loaded, IDS), outputs(base, IDS), atol=1e-3)
    again = files.load(deepcopy(base), tmp_path / "ours")
    assert torch.equal(outputs(again, IDS), outputs(model, IDS))
    assert not any(p.requires_grad for p in again.parameters())
    if family == "llama":
        torch.testing.assert_close(outputs(merge_adapter(deepcopy(base), tmp_path / "ours"), IDS), outputs(model, IDS), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"use_rslora": True, "lora_dropout": 0.2},
        {"rank_pattern": {"q_proj": 5, "layers.1.mlp.down_proj": 2}, "alpha_pattern": {"down_proj": 3}},
        {"target_modules": r".*\.[02]\.self_attn\.[qv]_proj"},
        {"target_modules": "all-linear", "exclude_modules": ["o_proj"]},
        {"target_modules": ["v_proj"], "layers_to_transform": [1]},
        {"target_modules": ["lm_head", "q_proj"]},
    ],
    ids=lambda options: "-".join(options),
)
def test_peft_s_lora_loads_in_ours_and_back(tiny, outputs, tmp_path, options):
    base = tiny("llama")
    reference = theirs(base, tmp_path / "theirs", **({"target_modules": ["q_proj", "down_proj"], "task_type": "CAUSAL_LM"} | options))
    model = files.load(deepcopy(base), tmp_path / "theirs", name="mine")
    torch.testing.assert_close(outputs(model, IDS), outputs(reference, IDS), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(outputs(model, IDS), outputs(base, IDS), atol=1e-3)
    files.save(tmp_path / "back", model)
    with quiet_peft():
        back = PeftModel.from_pretrained(deepcopy(base), tmp_path / "back").eval()
    torch.testing.assert_close(outputs(back, IDS), outputs(reference, IDS), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_soft_prompt_both_ways(tiny, outputs, tmp_path, family):
    base = tiny(family)
    model = add_soft_prompt(deepcopy(base), 5, init="random")
    files.save(tmp_path / "ours", model)
    with quiet_peft():
        loaded = PeftModel.from_pretrained(deepcopy(base), tmp_path / "ours").eval()
    torch.testing.assert_close(outputs(loaded, IDS)[:, -5:], outputs(model, IDS), rtol=1e-5, atol=1e-5)
    with quiet_peft():
        reference = get_peft_model(deepcopy(base), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=7)).eval()
        reference.save_pretrained(tmp_path / "theirs")
    found = files.load(deepcopy(base), tmp_path / "theirs", train=True)
    torch.testing.assert_close(outputs(found, IDS), outputs(reference, IDS)[:, 7:], rtol=1e-5, atol=1e-5)
    assert [name for name, p in found.named_parameters() if p.requires_grad] == ["P"]


def test_our_own_decoder_keeps_its_adapters_too(tiny, targets, outputs, tmp_path):
    base = tiny("decoder")
    for kind, model in (("lora", stirred(add_lora(deepcopy(base), targets["decoder"]))), ("prompt", add_soft_prompt(deepcopy(base), 4))):
        files.save(tmp_path / kind, model)
        assert torch.equal(outputs(files.load(deepcopy(base), tmp_path / kind), IDS), outputs(model, IDS))


def test_two_adapters_are_saved_and_loaded_one_by_one(tiny, outputs, tmp_path):
    base = tiny("llama")
    model = stirred(add_lora(deepcopy(base), ["q_proj"], name="one"))
    model = stirred(add_lora(model, ["v_proj", "q_proj"], name="two", rank=3), 2)
    with pytest.raises(ValueError, match="2 LoRAs"):
        files.save(tmp_path / "x", model)
    with pytest.raises(ValueError, match="unknown adapter 'tow'; did you mean 'two'"):
        files.save(tmp_path / "x", model, name="tow")
    for name in ("one", "two"):
        files.save(tmp_path / name, model, name=name)
    both = files.load(files.load(deepcopy(base), tmp_path / "one", name="one"), tmp_path / "two", name="two", train=True)
    assert lora.names(both) == ["one", "two"]
    assert {name.rpartition(".")[2] for name, p in both.named_parameters() if p.requires_grad} == {"two"}
    lora.activate(both, "one", "two")
    lora.activate(model, "one", "two")
    assert torch.equal(outputs(both, IDS), outputs(model, IDS))
    with pytest.raises(ValueError, match="called 'one' already"):
        files.load(both, tmp_path / "one", name="one")


def other_names(state):
    return {key.replace("q_proj", "query"): value for key, value in state.items()}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"target_modules": ["query"], "tensors": other_names}, "name no layer of this model"),
        ({"tensors": other_names}, "query.lora_A.weight belongs to no layer"),
        ({"tensors": lambda state: dict(list(state.items())[1:])}, "is missing, one of 1 of 6"),
        ({"r": 4}, "has the shape .* rank 4"),
        ({"tensors": lambda state: {key: value * float("nan") for key, value in state.items()}}, "not finite"),
        ({"tensors": lambda state: {key: value.to(torch.int8) for key, value in state.items()}}, "is in int8"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias='all'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
        ({"lora_alpha": None}, "two numbers"),
        ({"target_modules": ["embed_tokens"]}, "embed_tokens, which is a Embedding"),
        ({"base_model_name_or_path": "smollm2-360m"}, "was made for smollm2-360m, not for smollm2-135m"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_model_stays_as_it_was(tiny, tmp_path, change, says, tampered):
    model = tiny("llama")
    model.config._name_or_path = "smollm2-135m"
    theirs(model, tmp_path / "a", target_modules=["q_proj"], task_type="CAUSAL_LM")
    tampered(tmp_path / "a", **change)
    before = [name for name, _ in model.named_modules()]
    with pytest.raises(ValueError, match=says):
        files.load(model, tmp_path / "a")
    assert [name for name, _ in model.named_modules()] == before
    assert all(p.requires_grad for p in model.parameters())


def test_another_architecture_s_soft_prompt_a_torn_file_and_other_kinds_are_refused(tiny, tmp_path, tampered):
    files.save(tmp_path / "p", add_soft_prompt(tiny("llama"), 4))
    with pytest.raises(ValueError, match=r"takes \[p, 40\]"):
        files.load(tiny("gpt2"), tmp_path / "p")
    tampered(tmp_path / "p", num_virtual_tokens=9)
    with pytest.raises(ValueError, match="4 vectors, and its settings say 9"):
        files.load(tiny("llama"), tmp_path / "p")
    tampered(tmp_path / "p", peft_type="PREFIX_TUNING")
    with pytest.raises(ValueError, match="is PREFIX_TUNING"):
        files.load(tiny("llama"), tmp_path / "p")
    (tmp_path / "p" / WEIGHTS).write_bytes(b"torn")
    with pytest.raises(LabError, match="cannot be read"):
        files.load(tiny("llama"), tmp_path / "p")
    model = merge(stirred(add_lora(tiny("llama"))))
    files.save(tmp_path / "merged", model)
    with pytest.raises(ValueError, match="unmerge it first"):
        files.load(model, tmp_path / "merged", name="again")
    with pytest.raises(ValueError, match="carries no LoRA"):
        files.save(tmp_path / "none", tiny("llama"))
    with pytest.raises(ValueError, match="use hybrid.save"):
        files.save(tmp_path / "none", add_soft_prompt(add_lora(tiny("llama")), 3))
