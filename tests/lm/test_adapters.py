"""Adapters: written whole with checksums, read back, refused when damaged, pickled or unknown."""

import json
import os

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.lm import adapters


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A data folder of its own."""
    monkeypatch.setattr(adapters, "data_dir", lambda: tmp_path)
    return tmp_path / "adapters"


@pytest.fixture
def tuned(tiny_model):
    """A LoRA on two layers' projections with weights that are not zero, rounded to bfloat16 as the file will hold them."""
    config = LoraConfig(r=3, lora_alpha=7, target_modules=["v_proj", "down_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(tiny_model, config)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter).mul(0.3).bfloat16().float()
    return model.eval()


def test_round_trip_gives_the_same_logits_merged_and_unmerged(shelf, tuned):
    ids = torch.tensor([[3, 200, 45, 8, 17]])
    with torch.no_grad():
        expected = tuned(ids).logits
    assert adapters.write_adapter(shelf / "pal", tuned, {"seed": 4, "command": "llmsuite train pal"}, base="toy") == shelf / "pal"
    folder = adapters.adapter_path("pal")
    provenance = json.loads((folder / "provenance.json").read_text())
    assert (provenance["base"], provenance["seed"], sorted(provenance["sha256"])) == (
        "toy",
        4,
        ["adapter_config.json", "adapter_model.safetensors"],
    )
    assert adapters.adapter_base(folder) == "toy"
    assert adapters.adapters() == ["pal"]
    assert {t.dtype for t in load_file(folder / "adapter_model.safetensors").values()} == {torch.bfloat16}
    base = tuned.unload()
    with torch.no_grad():
        torch.testing.assert_close(PeftModel.from_pretrained(base, folder).eval()(ids).logits, expected, rtol=1e-5, atol=1e-5)


def test_a_state_dict_and_its_config_will_do(shelf, tuned):
    adapters.write_adapter(shelf / "one", tuned, {})
    state = load_file(shelf / "one" / "adapter_model.safetensors")
    config = json.loads((shelf / "one" / "adapter_config.json").read_text())
    adapters.write_adapter(shelf / "group" / "two", (state, config), {"seed": 1})
    assert adapters.adapters() == ["group/two", "one"]
    assert (shelf / "group" / "two" / "adapter_model.safetensors").read_bytes() == (
        shelf / "one" / "adapter_model.safetensors"
    ).read_bytes()
    assert adapters.adapter_base(adapters.adapter_path("one")) is None


def test_unknown_names_get_the_nearest_known_one(shelf, tuned, tmp_path):
    with pytest.raises(ValueError, match="unknown adapter 'pal'.*none yet"):
        adapters.adapter_path("pal")
    adapters.write_adapter(shelf / "pal-seed0", tuned, {})
    with pytest.raises(ValueError, match="unknown adapter 'pal'; did you mean 'pal-seed0'"):
        adapters.adapter_path("pal")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds no adapter_config\.json"):
        adapters.adapter_path(tmp_path / "empty")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b"x"), r"adapter_model\.safetensors has a wrong checksum"),
        (lambda f: (f / "adapter_config.json").write_text("{}"), r"adapter_config\.json has a wrong checksum"),
        (lambda f: (f / "adapter_model.safetensors").unlink(), "is missing; get it again with git"),
        (lambda f: (f / "provenance.json").write_text("{"), r"provenance\.json is unreadable"),
        (lambda f: (f / "provenance.json").write_text("{}"), "has no checksums"),
        (lambda f: (f / "adapter_model.bin").write_bytes(b"x"), "may be a pickle and could run code"),
    ],
)
def test_a_damaged_adapter_is_refused_and_verify_says_so(shelf, tuned, harm, message):
    folder = adapters.write_adapter(shelf / "pal", tuned, {})
    harm(folder)
    with pytest.raises(LabError, match=message):
        adapters.adapter_path("pal")
    (row,) = (row for row in adapters.verify() if row["name"] == "pal")
    assert not row["ok"]


def test_a_folder_of_peft_itself_is_taken(tmp_path, tuned):
    tuned.save_pretrained(tmp_path / "mine")
    assert adapters.adapter_path(tmp_path / "mine") == tmp_path / "mine"
    assert adapters.adapter_base(tmp_path / "mine") is None


def test_a_diverged_or_empty_adapter_is_not_written(shelf, tuned):
    with pytest.raises(ValueError, match="no weights"):
        adapters.write_adapter(shelf / "bad", ({}, {}), {})
    with pytest.raises(ValueError, match="1 of 2 adapter weights are not finite .first: b"):
        adapters.write_adapter(shelf / "bad", ({"a": torch.zeros(2), "b": torch.tensor([float("nan")])}, {}), {})
    assert not shelf.exists()


def test_a_failed_write_leaves_the_old_adapter(shelf, tuned, monkeypatch):
    folder = adapters.write_adapter(shelf / "pal", tuned, {"seed": 0})

    def full(path, value):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adapters, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        adapters.write_adapter(folder, tuned, {"seed": 1})
    assert os.listdir(shelf) == ["pal"]
    assert json.loads((adapters.adapter_path("pal") / "provenance.json").read_text())["seed"] == 0


@pytest.mark.parametrize(
    "recorded", ["smollm2-135m-instruct", "HuggingFaceTB/SmolLM2-135M-Instruct", "/somewhere/models/smollm2-135m-instruct"]
)
def test_the_base_is_told_from_peft_s_own_config(tmp_path, recorded):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": recorded}))
    assert adapters.adapter_base(tmp_path) == "smollm2-135m-instruct"
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "other/model"}))
    assert adapters.adapter_base(tmp_path) == "other/model"
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(LabError, match="unreadable"):
        adapters.adapter_base(tmp_path)


def test_an_adapter_of_whole_numbers_is_not_written(shelf):
    with pytest.raises(ValueError, match="b is in int8"):
        adapters.write_adapter(shelf / "bad", ({"a": torch.zeros(2), "b": torch.zeros(2, dtype=torch.int8)}, {}), {})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"targets": ("q_proj", "qkv_proj")}, "unknown module to put a LoRA on 'qkv_proj'; did you mean '._proj'"),
        ({"targets": "q_proj"}, "must be a list"),
        ({"targets": ()}, "must be a list"),
        ({"rank": 1000}, "rank=1000 is over the rank of .*whose matrix is"),
        ({"rank": 0}, "rank=0"),
        ({"rank": True}, "rank=True"),
        ({"alpha": 0}, "alpha=0"),
    ],
)
def test_a_lora_that_cannot_be_put_in_is_refused(tiny_model, options, says):
    before = [name for name, _ in tiny_model.named_modules()]
    with pytest.raises(ValueError, match=says):
        adapters.add_lora(tiny_model, 0, **options)
    assert [name for name, _ in tiny_model.named_modules()] == before


def test_a_second_lora_is_refused(tiny_model):
    with pytest.raises(ValueError, match="carries an adapter already"):
        adapters.add_lora(adapters.add_lora(tiny_model, 0), 1)
