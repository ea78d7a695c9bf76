"""An adapter is applied, and then the logits are those of the unmerged model; or it is refused, by the name of what is wrong, and changes nothing."""

import json
from copy import deepcopy

import pytest
import torch
from peft import IA3Config, LNTuningConfig, LoraConfig, PeftModel, get_peft_model

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.lm import adapters
from llmsuite_lab.lm.adapters import CONFIG, WEIGHTS
from llmsuite_lab.lm.merging import merge_adapter

IDS = torch.tensor([[3, 200, 45, 8, 17]])


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def tuned(base, targets=("v_proj", "down_proj"), **options):
    """A LoRA whose weights are not zero on a copy of `base`, rounded to bfloat16 as the file will hold them."""
    model = get_peft_model(deepcopy(base), LoraConfig(r=3, lora_alpha=7, target_modules=list(targets), task_type="CAUSAL_LM", **options))
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter).mul(0.3).bfloat16().float()
    return model.eval()


@pytest.fixture
def saved(tmp_path, tiny_model):
    """(a folder as peft itself writes one, the logits that it stands for)."""
    model = tuned(tiny_model)
    model.save_pretrained(tmp_path / "peft")
    return tmp_path / "peft", logits(model)


@pytest.mark.parametrize(
    "targets", [("v_proj", "down_proj"), ("lm_head",), ("embed_tokens",), ("q_proj", "lm_head"), ("embed_tokens", "lm_head")]
)
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings.*", "ignore:.*save_embedding_layers.*", "ignore:.*tied_target.*")
def test_merged_is_unmerged_also_where_the_output_layer_is_tied(tmp_path, tiny_model, targets, tied):
    from transformers import LlamaForCausalLM

    config = deepcopy(tiny_model.config)
    config.tie_word_embeddings = tied
    torch.manual_seed(2)
    base = LlamaForCausalLM(config).eval()
    assert (base.lm_head.weight is base.model.embed_tokens.weight) is tied
    model = tuned(base, targets)
    expected = logits(model)
    model.save_pretrained(tmp_path / "peft")
    adapters.write_adapter(tmp_path / "ours", model, {"seed": 0})
    assert not torch.allclose(expected, logits(base), atol=1e-3)
    for folder in (tmp_path / "peft", tmp_path / "ours"):
        merged = merge_adapter(deepcopy(base), folder)
        torch.testing.assert_close(logits(merged), expected, rtol=1e-4, atol=1e-4)
        assert all("lora" not in name for name, _ in merged.named_parameters())
        assert merged.config.tie_word_embeddings == (merged.lm_head.weight is merged.model.embed_tokens.weight)


def first(state):
    return sorted(state)[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: {}, "lora_A.weight is missing, one of 12 of 12 tensors"),
        (lambda s: {k: v for k, v in s.items() if "layers.0" in k}, "layers.1.*is missing, one of 8 of 12"),
        (lambda s: {k: v for k, v in s.items() if "lora_A" in k}, "lora_B.weight is missing, one of 6 of 12"),
        (lambda s: {k.replace("v_proj", "value"): v for k, v in s.items()}, r"value\.lora_.\.weight belongs to no layer"),
        (lambda s: {k.removeprefix("base_model.model."): v for k, v in s.items()}, r"^.* model: model\.layers.*belongs to no layer"),
        (lambda s: s | {"base_model.model.extra.lora_A.weight": torch.zeros(3, 4)}, "extra.lora_A.weight belongs to no layer"),
        (lambda s: s | {first(s): s[first(s)].to(torch.int8)}, "down_proj.lora_A.weight is in int8"),
        (lambda s: s | {first(s): s[first(s)] * torch.nan}, "down_proj.lora_A.weight holds values that are not finite"),
        (
            lambda s: {k: (v[:2] if "lora_A" in k else v[:, :2]).contiguous() for k, v in s.items()},
            r"has the shape \[2, .*rank 3 .* ask for \[3, ",
        ),
        (lambda s: {k: v[:, :-1].contiguous() if "lora_A" in k else v for k, v in s.items()}, "has the shape .* ask for"),
    ],
    ids=[
        "empty",
        "a layer missing",
        "half missing",
        "renamed",
        "prefix lost",
        "one too many",
        "int8",
        "nan",
        "another rank",
        "another width",
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_by_its_first_key_and_changes_nothing(saved, tiny_model, change, says, tampered):
    before, names = logits(tiny_model), [name for name, _ in tiny_model.named_parameters()]
    asked = [p.requires_grad for p in tiny_model.parameters()]
    with pytest.raises(ValueError, match=says) as refusal:
        merge_adapter(tiny_model, tampered(saved[0], change))
    assert "\n" not in str(refusal.value)
    assert torch.equal(logits(tiny_model), before)
    assert [name for name, _ in tiny_model.named_parameters()] == names
    assert [p.requires_grad for p in tiny_model.parameters()] == asked


def test_settings_that_name_no_layer_and_files_that_are_none_are_refused(saved, tiny_model, tampered):
    folder = saved[0]
    with pytest.raises(ValueError, match=r"does not fit this model: .*nowhere"):
        merge_adapter(tiny_model, tampered(folder, target_modules=["nowhere"]))
    for file, error in ((WEIGHTS, b"x"), (CONFIG, b"{")):
        kept = (folder / file).read_bytes()
        (folder / file).write_bytes(error)
        with pytest.raises(LabError, match="cannot be read|unreadable"):
            merge_adapter(tiny_model, folder)
        (folder / file).write_bytes(kept)


def test_an_adapter_of_another_base_is_refused_though_all_shapes_fit(saved, tiny_model, tampered):
    tiny_model.config._name_or_path = "/somewhere/smollm2-360m-instruct"
    with pytest.raises(ValueError, match="made for smollm2-135m-instruct, not for smollm2-360m-instruct"):
        merge_adapter(tiny_model, tampered(saved[0], base_model_name_or_path="HuggingFaceTB/SmolLM2-135M-Instruct"))
    tiny_model.config._name_or_path = "/somewhere/smollm2-135m-instruct"
    torch.testing.assert_close(logits(merge_adapter(tiny_model, saved[0])), saved[1], rtol=1e-5, atol=1e-5)


def test_merging_twice_or_into_an_unmerged_or_an_int8_model_is_refused(saved, tiny_model):
    folder, expected = saved
    with pytest.raises(ValueError, match="carries an adapter that is not merged"):
        merge_adapter(tuned(tiny_model), folder)
    packed = deepcopy(tiny_model)
    packed.model.layers[1].mlp.up_proj.weight = torch.nn.Parameter(torch.zeros(2, 2, dtype=torch.int8), requires_grad=False)
    with pytest.raises(ValueError, match=r"model\.layers\.1\.mlp\.up_proj\.weight is in int8"):
        merge_adapter(packed, folder)
    merged = merge_adapter(tiny_model, folder)
    torch.testing.assert_close(logits(merged), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="was merged into this model already"):
        merge_adapter(deepcopy(merged), folder)
    torch.testing.assert_close(logits(merged), expected, rtol=1e-5, atol=1e-5)


def test_an_encoder_decoder_with_a_tied_output_layer_is_refused(tmp_path):
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    shape = {"vocab_size": 31, "d_model": 16, "d_kv": 4, "d_ff": 20, "num_layers": 1, "num_heads": 4}
    model = T5ForConditionalGeneration(T5Config(**shape, decoder_start_token_id=0))
    if model.lm_head.weight is not model.shared.weight:
        pytest.skip("this release of transformers ties no output layer here")
    settings = LoraConfig(r=2, target_modules=["lm_head"], task_type="SEQ_2_SEQ_LM")
    adapters.write_adapter(tmp_path / "t5", get_peft_model(deepcopy(model), settings), {})
    with pytest.raises(ValueError, match="keep it unmerged"):
        merge_adapter(model, tmp_path / "t5")
    assert model.lm_head.weight is model.shared.weight


LORA = {"r": 3, "lora_alpha": 7, "target_modules": ["q_proj", "down_proj"], "task_type": "CAUSAL_LM"}
KINDS = {
    "dora": lambda: LoraConfig(**LORA, use_dora=True),
    "rslora": lambda: LoraConfig(**LORA, use_rslora=True),
    "a norm saved": lambda: LoraConfig(**LORA, modules_to_save=["norm"]),
    "a head saved": lambda: LoraConfig(**LORA, modules_to_save=["lm_head"]),
    "ranks by pattern": lambda: LoraConfig(**LORA, rank_pattern={"q_proj": 5}),
    "one layer": lambda: LoraConfig(**LORA, layers_to_transform=[1]),
    "(IA)3": lambda: IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "norms tuned": lambda: LNTuningConfig(task_type="CAUSAL_LM", target_modules=["input_layernorm"]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")  # peft's, about tied layers
def test_every_kind_of_adapter_that_has_weights_to_add_is_added(tmp_path, tiny_model, kind):
    model = get_peft_model(deepcopy(tiny_model), KINDS[kind]())
    torch.manual_seed(4)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn_like(parameter) * 0.3
    expected = logits(model.eval())
    model.save_pretrained(tmp_path / "it")
    assert not torch.allclose(expected, logits(tiny_model), atol=1e-2)
    torch.testing.assert_close(logits(merge_adapter(tiny_model, tmp_path / "it")), expected, rtol=1e-4, atol=1e-4)


EDITED = {
    "use_rslora": {"use_rslora": True},
    "alpha": {"lora_alpha": 21},
    "alpha by pattern": {"alpha_pattern": {"v_proj": 30}},
    "negative alpha": {"lora_alpha": -7},
    "dropout": {"lora_dropout": 0.4},
    "base said to store its matrices the other way": {"fan_in_fan_out": True},
}


@pytest.mark.parametrize("edit", EDITED)
@pytest.mark.filterwarnings("ignore")
def test_settings_edited_by_hand_mean_what_they_mean_to_peft_or_break_the_checksum(saved, tiny_model, tmp_path, edit):
    folder, before = saved
    model = tuned(tiny_model)
    adapters.write_adapter(tmp_path / "ours", model, {"seed": 0})
    for config in (tmp_path / "ours" / CONFIG, folder / CONFIG):
        config.write_text(json.dumps(json.loads(config.read_text()) | EDITED[edit]))
    with pytest.raises(LabError, match="adapter_config.json has a wrong checksum"):
        merge_adapter(deepcopy(tiny_model), tmp_path / "ours")
    theirs = logits(PeftModel.from_pretrained(deepcopy(tiny_model), folder).eval())
    assert torch.allclose(theirs, before, atol=1e-4) == (edit in ("dropout", "base said to store its matrices the other way"))
    torch.testing.assert_close(logits(merge_adapter(tiny_model, folder)), theirs, rtol=1e-4, atol=1e-4)


UNUSABLE = {
    "virtual tokens": ({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4}, "PROMPT_TUNING, which has no weights"),
    "virtual keys": ({"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4}, "PREFIX_TUNING, which has no weights"),
    "replicated layers": ({"layer_replication": [[0, 2], [1, 3]]}, "replicates layers"),
    "a bias that no layer has": ({"lora_bias": True}, "does not fit"),
    "an unknown bias": ({"bias": "some"}, "does not fit"),
    "no rank": ({"r": None}, "says r=None"),
    "no alpha": ({"lora_alpha": None}, "lora_alpha=None"),
    "alpha nan": ({"lora_alpha": float("nan")}, "lora_alpha=nan"),
    "alpha as text": ({"lora_alpha": "7"}, "lora_alpha='7'"),
    "alpha 0": ({"lora_alpha": 0}, "lora_alpha=0"),
    "targets of another type": ({"target_modules": [5]}, "does not fit"),
    "targets that are no expression": ({"target_modules": "("}, "does not fit"),
}


@pytest.mark.parametrize("why", UNUSABLE)
@pytest.mark.filterwarnings("ignore")
def test_settings_that_cannot_be_followed_are_refused_and_leave_the_model_as_it_was(saved, tiny_model, why, tampered):
    change, says = UNUSABLE[why]
    refused_and_unchanged(tiny_model, tampered(saved[0], **change), says)


def test_values_that_overflow_in_the_last_layer_leave_the_first_unmerged(saved, tiny_model, tampered):
    def huge(state):
        last = [name for name in state if "layers.2.mlp" in name]
        assert len(last) == 2
        return {name: value * 1e30 if name in last else value for name, value in state.items()}

    refused_and_unchanged(tiny_model, tampered(saved[0], huge), "does not fit")


def refused_and_unchanged(model, folder, says):
    before, modules = {name: tensor.clone() for name, tensor in model.state_dict().items()}, dict(model.named_modules())
    asked = {name: p.requires_grad for name, p in model.named_parameters()}
    with pytest.raises(ValueError, match=says) as refusal:
        merge_adapter(model, folder)
    assert "\n" not in str(refusal.value)
    assert dict(model.named_modules()) == modules
    assert {name: p.requires_grad for name, p in model.named_parameters()} == asked
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not adapters.carries_adapter(model)


def test_of_two_adapters_the_active_one_is_written(tmp_path, tiny_model):
    model = tuned(tiny_model, ("q_proj",))
    model.add_adapter("second", LoraConfig(r=3, lora_alpha=7, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False))
    model.set_adapter("second")
    for name, parameter in model.named_parameters():
        if ".second." in name:
            parameter.data = parameter.data.bfloat16().float()
    expected = logits(model.eval())
    adapters.write_adapter(tmp_path / "second", model, {})
    torch.testing.assert_close(logits(merge_adapter(tiny_model, tmp_path / "second")), expected, rtol=1e-4, atol=1e-4)
    model.base_model.set_adapter(["default", "second"])
    with pytest.raises(ValueError, match="2 adapters are active"):
        adapters.write_adapter(tmp_path / "both", model, {})
    assert not (tmp_path / "both").exists()
