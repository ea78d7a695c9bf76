"""A LoRA under a soft prompt: both act, both are trained, both parts are saved in PEFT's format and come back, or neither."""

from copy import deepcopy

import pytest
import torch
from peft import PeftModel

from llmsuite_lab.lm.adapters import quiet_peft
from llmsuite_lab.lm.training import fit
from llmsuite_lab.peft_methods import hybrid, lora
from llmsuite_lab.peft_methods.hybrid import add_hybrid
from llmsuite_lab.peft_methods.memory import count
from llmsuite_lab.peft_methods.prompt_tuning import add_soft_prompt
from llmsuite_lab.peft_methods.switching import adapters_off
from llmsuite_lab.transformer.generation import generate

IDS = torch.tensor([[3, 200, 45, 8, 17], [9, 9, 31, 77, 250]])


def test_both_are_trained_act_and_can_be_switched_off(tiny, examples, outputs):
    base = tiny("llama")
    model = add_hybrid(deepcopy(base), ["q_proj"], rank=3, length=5, seed=2)
    assert count(model).trained == 3 * 3 * (48 + 48) + 5 * 48
    frozen = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    started = {name: p.clone() for name, p in model.named_parameters() if p.requires_grad}
    fit(model, examples, steps=6, batch_size=4, lr=0.05, dtype=torch.float32, progress=False)
    now = dict(model.named_parameters())
    assert all(torch.equal(now[name], p) for name, p in frozen.items())
    assert not any(torch.equal(now[name], p) for name, p in started.items())
    whole = outputs(model, IDS)
    with adapters_off(model.base):
        assert not torch.allclose(outputs(model, IDS), whole, atol=1e-3)  # without the LoRA
    with adapters_off(model):
        assert torch.equal(outputs(model, IDS), outputs(base, IDS))
    assert len(generate(model, [[3, 4], [5]], 4)) == 2


def test_saved_and_loaded_by_us_and_each_part_by_peft(tiny, outputs, tmp_path):
    base = tiny("llama")
    model = add_hybrid(deepcopy(base), ["q_proj", "down_proj"], rank=3, length=5)
    torch.manual_seed(4)
    for layer in lora.lora_layers(model).values():
        layer.B["default"].data.normal_(0, 0.1)
    hybrid.save(tmp_path / "h", model)
    again = hybrid.load(deepcopy(base), tmp_path / "h")
    assert torch.equal(outputs(again, IDS), outputs(model, IDS))
    assert not any(p.requires_grad for p in again.parameters())
    with quiet_peft():
        theirs = PeftModel.from_pretrained(deepcopy(base), tmp_path / "h" / "lora").merge_and_unload()
        theirs = PeftModel.from_pretrained(theirs, tmp_path / "h" / "prompt").eval()
    torch.testing.assert_close(outputs(theirs, IDS)[:, 5:], outputs(model, IDS), rtol=1e-4, atol=1e-4)


def test_half_a_hybrid_is_never_left_behind(tiny, tmp_path):
    model = tiny("llama")
    names = [name for name, _ in model.named_modules()]
    with pytest.raises(ValueError, match="whole number from 1"):
        add_hybrid(model, length=0)
    hybrid.save(tmp_path / "h", add_hybrid(tiny("llama")))
    hybrid.save(tmp_path / "g", add_hybrid(tiny("gpt2"), ["c_attn"]))
    (tmp_path / "h" / "prompt").rename(tmp_path / "old")
    (tmp_path / "g" / "prompt").rename(tmp_path / "h" / "prompt")
    with pytest.raises(ValueError, match=r"takes \[p, 48\]"):
        hybrid.load(model, tmp_path / "h")
    assert [name for name, _ in model.named_modules()] == names
    assert all(p.requires_grad for p in model.parameters())
    with pytest.raises(ValueError, match="has not both"):
        hybrid.save(tmp_path / "x", add_soft_prompt(model, 3))
    assert not (tmp_path / "x").exists()
