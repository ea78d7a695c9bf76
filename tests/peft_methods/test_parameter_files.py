"""Bottlenecks and selected parameters come back from their folder wholly, or not at all."""

from copy import deepcopy

import pytest
import torch
from peft import PeftConfig

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.lm.adapters import WEIGHTS
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.lm.merging import merge_adapter
from llmsuite_lab.peft_methods import files
from llmsuite_lab.peft_methods.adapters import add_adapters
from llmsuite_lab.peft_methods.lora import add_lora
from llmsuite_lab.peft_methods.parameter_files import load_parameters, save_parameters
from llmsuite_lab.peft_methods.prompt_tuning import add_soft_prompt
from llmsuite_lab.peft_methods.selective import train_biases, train_last_layers, train_norms, train_only

IDS = torch.tensor([[3, 200, 45, 8, 17], [9, 9, 31, 77, 250]])
WAYS = {
    "bottlenecks": lambda model, ends: add_adapters(model, ends, 5),
    "norms": lambda model, ends: train_norms(model),
    "last layers": lambda model, ends: train_last_layers(model, 1),
    "biases": lambda model, ends: train_biases(model, add=True),
    "tied": lambda model, ends: train_only(model, ["lm_head.weight"]),
}
ENDS = {"llama": ["o_proj", "down_proj"], "gpt2": ["c_proj"], "decoder": ["W_O", "W_down"]}


def moved(model):
    torch.manual_seed(2)
    for p in model.parameters():
        if p.requires_grad:
            p.data += torch.randn_like(p) * 0.1
    return model


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", ENDS)
def test_saved_and_loaded_is_the_same_model(tiny, outputs, tmp_path, family, way):
    if way == "tied" and family == "decoder":
        pytest.skip("its output layer has another name")
    base = tiny(family)
    model = moved(WAYS[way](deepcopy(base), ENDS[family]))
    save_parameters(tmp_path / "a", model, {"seed": 3})
    assert not torch.allclose(outputs(model, IDS), outputs(base, IDS), atol=1e-3)
    for train in (False, True):
        again = load_parameters(deepcopy(base), tmp_path / "a", train)
        assert torch.equal(outputs(again, IDS), outputs(model, IDS))
        assert {n for n, p in again.named_parameters() if p.requires_grad} == ({n for n, p in model.named_parameters() if p.requires_grad} if train else set())
        assert all(torch.equal(p, dict(model.named_parameters())[name]) for name, p in again.named_parameters())
    save_parameters(tmp_path / "a", load_parameters(deepcopy(base), tmp_path / "a", True))


@pytest.fixture
def saved(tiny, tmp_path):
    model = moved(add_adapters(tiny("llama"), ENDS["llama"], 5))
    return save_parameters(tmp_path / "peft", model)


def first(state):
    return sorted(state)[0]


@pytest.mark.parametrize(
    ("change", "config", "says"),
    [
        (lambda s: {k: v for k, v in s.items() if k != first(s)}, {}, r"W_down is missing|W_up is missing|b_down is missing"),
        (lambda s: s | {"model.more": torch.zeros(2)}, {}, "model.more belongs to no layer"),
        (lambda s: s | {first(s): s[first(s)] * torch.nan}, {}, "not finite"),
        (lambda s: s | {first(s): s[first(s)][:2].contiguous()}, {}, "has the shape"),
        (None, {"parameters": ["model.layers.0.mlp.dwn_proj.W_up"]}, "unknown parameter"),
        (None, {"bottlenecks": {"targets": ["o_porj"], "size": 5}}, "did you mean 'o_proj'"),
        (None, {"bottlenecks": None}, "unknown parameter 'model.layers.0"),
        (None, {"bottlenecks": {"targets": ["o_proj", "down_proj"], "size": 4}}, "has the shape"),
        (None, {"peft_type": "LORA"}, "is LORA, and TRAINED_PARAMETERS is loaded here"),
        (None, {"base_model_name_or_path": "HuggingFaceTB/SmolLM2-360M-Instruct"}, "made for smollm2-360m-instruct"),
    ],
)
def test_what_does_not_fit_wholly_is_refused_and_changes_nothing(tiny, saved, outputs, change, config, says, tampered):
    model = tiny("llama")
    model.config._name_or_path = "somewhere/smollm2-135m-instruct"
    before, names = outputs(model, IDS), [name for name, _ in model.named_modules()]
    with pytest.raises(ValueError, match=says):
        load_parameters(model, tampered(saved, change, **config))
    assert torch.equal(outputs(model, IDS), before)
    assert [name for name, _ in model.named_modules()] == names
    assert all(p.requires_grad for p in model.parameters())


def test_other_readers_refuse_it_and_damaged_files_are_told(tiny, saved):
    with pytest.raises((KeyError, ValueError, TypeError)):
        PeftConfig.from_pretrained(saved)
    for read in (files.load, merge_adapter):
        with pytest.raises(LabError, match="it is TRAINED_PARAMETERS, which is no kind that peft knows"):
            read(tiny("llama"), saved)
    (saved / WEIGHTS).write_bytes(b"x")
    with pytest.raises(LabError, match="wrong checksum"):
        load_parameters(tiny("llama"), saved)
    (saved / "provenance.json").unlink()
    with pytest.raises(LabError, match="cannot be read"):
        load_parameters(tiny("llama"), saved)


def test_what_has_no_place_in_it_is_not_written(tiny, tmp_path):
    model = tiny("llama")
    for make, says in (
        (lambda: model, "all of the model's parameters are trained"),
        (lambda: tiny("llama").requires_grad_(False), "nothing of the model is trained"),
        (lambda: add_lora(tiny("llama")), "has a LoRALinear"),
        (lambda: add_soft_prompt(tiny("llama")), "has a SoftPromptModel"),
    ):
        with pytest.raises(ValueError, match=says):
            save_parameters(tmp_path / "a", make())
    assert not (tmp_path / "a").exists()


def test_a_loaded_one_writes(tiny, saved, tiny_tokenizer):
    lm = LanguageModel(load_parameters(tiny("llama"), saved), tiny_tokenizer, "tiny")
    assert len(lm.complete(["ab", "cde"], 5)) == 2
