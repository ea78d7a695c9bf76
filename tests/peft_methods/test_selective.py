"""Selective tuning trains the parameters it says, and no others; bottlenecks are what their equation says, by hooks on the bare model."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from llmsuite_lab.peft_methods import adapters, selective
from llmsuite_lab.peft_methods.adapters import Bottleneck, add_adapters
from llmsuite_lab.peft_methods.lora import add_lora
from llmsuite_lab.peft_methods.switching import adapters_off
from llmsuite_lab.transformer.generation import generate

IDS = torch.tensor([[3, 200, 45, 8, 17], [9, 9, 31, 77, 250]])
ENDS = {"llama": ("o_proj", "down_proj"), "gpt2": ("attn.c_proj", "mlp.c_proj"), "bert": ("attention.output.dense", "layer.?.output.dense")}


def trained(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_biases_norms_last_layers_and_patterns(tiny):
    gpt2 = selective.train_biases(tiny("gpt2"))
    assert trained(gpt2) == {name for name, _ in gpt2.named_parameters() if name.endswith(".bias")}
    llama = selective.train_norms(tiny("llama"))
    assert trained(llama) == {name for name, _ in llama.named_parameters() if "norm" in name}
    assert len(trained(llama)) == 2 * 3 + 1
    decoder = selective.train_norms(tiny("decoder"))
    assert sum(p.numel() for p in decoder.parameters() if p.requires_grad) == 32 * (2 * 2 + 1)
    last = selective.train_last_layers(tiny("llama"), 2)
    assert trained(last) == {name for name, _ in last.named_parameters() if name.startswith(("model.layers.1.", "model.layers.2."))}
    assert {name.split(".")[1] for name in trained(selective.train_last_layers(tiny("decoder")))} == {"blocks"}
    some = selective.train_only(tiny("llama"), ["layers.[01].*.weight", "lm_head.weight"])
    assert "model.embed_tokens.weight" in trained(some)  # tied
    assert "model.layers.0.mlp.up_proj.weight" in trained(some)
    assert not any(".2." in name for name in trained(some))


@pytest.mark.parametrize("family", ["llama", "decoder"])
def test_a_model_without_biases_is_told_so_or_given_some_with_which_it_starts_as_it_was(tiny, outputs, tmp_path, family):
    base = tiny(family)
    with pytest.raises(ValueError, match="add=True"):
        selective.train_biases(base)
    model = selective.train_biases(deepcopy(base), add=True)
    assert torch.equal(outputs(model, IDS), outputs(base, IDS))
    assert len(trained(model)) == 7 * {"llama": 3, "decoder": 2}[family]
    torch.manual_seed(0)
    for p in model.parameters():
        if p.requires_grad:
            p.data.normal_(0, 0.5)
    rows = [3, 4, 5]
    written = generate(model, [rows, [7]], 8)[0].ids
    for token in written:  # the engine that writes reads them too
        assert int(outputs(model, torch.tensor([rows]))[0, -1].argmax()) == token
        rows.append(token)
    if family == "decoder":
        return
    model.save_pretrained(tmp_path / "saved")
    again = type(model).from_pretrained(tmp_path / "saved").eval()
    torch.testing.assert_close(outputs(again, IDS), outputs(model, IDS))


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_a_bottleneck_is_its_equation(tiny, outputs, family):
    base = tiny(family)
    model = add_adapters(deepcopy(base), ENDS[family], size=5, seed=2)
    assert torch.equal(outputs(model, IDS), outputs(base, IDS))
    found = {name: m for name, m in model.named_modules() if isinstance(m, Bottleneck)}
    assert len(found) == 2 * {"llama": 3, "gpt2": 2, "bert": 2}[family]
    torch.manual_seed(1)
    for p in model.parameters():
        if p.requires_grad:
            p.data.normal_(0, 0.2)

    def behind(b):
        return lambda module, args, h: h + F.linear(F.gelu(F.linear(h, b.W_down, b.b_down)), b.W_up, b.b_up)

    hooked = deepcopy(base)
    for name, b in found.items():
        hooked.get_submodule(name).register_forward_hook(behind(b))
    torch.testing.assert_close(outputs(model, IDS), outputs(hooked, IDS), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(outputs(model, IDS), outputs(base, IDS), atol=1e-3)
    with adapters_off(model):
        assert torch.equal(outputs(model, IDS), outputs(base, IDS))
    d = base.config.hidden_size
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == len(found) * (2 * 5 * d + d + 5)
    if family != "bert":
        written = generate(model, [[3, 4, 5], [7]], 8)[0].ids
        assert written == generate(hooked, [[3, 4, 5], [7]], 8)[0].ids or family == "llama"  # a packed engine does not run hooks
        rows = [3, 4, 5]
        for token in written:
            assert int(outputs(model, torch.tensor([rows]))[0, -1].argmax()) == token
            rows.append(token)
    adapters.unload(model)
    assert torch.equal(outputs(model, IDS), outputs(base, IDS))


def test_refusals_leave_the_model_as_it_was(tiny):
    model = tiny("llama")
    packed = nn.ModuleList([nn.Linear(2, 3)])
    packed[0].weight = nn.Parameter(torch.zeros(3, 2, dtype=torch.int8), requires_grad=False)
    for call, says in (
        (lambda: selective.train_only(model, ["q_porj.weight"]), "unknown parameter 'q_porj.weight'; did you mean 'q_proj.weight'"),
        (lambda: selective.train_only(model, "q_proj.weight"), "must be a list"),
        (lambda: selective.train_only(packed, ["0.weight"]), "is in int8"),
        (lambda: selective.train_last_layers(model, 4), "from 1 to 3"),
        (lambda: selective.train_last_layers(nn.Linear(2, 3)), "no list of layers"),
        (lambda: selective.train_norms(nn.Linear(2, 3)), "no normalisation"),
        (lambda: add_adapters(model, ["o_porj"]), "did you mean 'o_proj'"),
        (lambda: add_adapters(model, size=49), "from 1 to 48"),
        (lambda: add_adapters(add_lora(tiny("llama"))), "carries an adapter already"),
        (lambda: add_adapters(add_adapters(tiny("llama")), ["q_proj"]), "carries an adapter already"),
        (lambda: add_lora(add_adapters(tiny("llama")), ["o_proj"]), "is a Bottleneck"),
        (lambda: adapters.unload(model), "nothing to take out"),
    ):
        with pytest.raises(ValueError, match=says):
            call()
        assert all(p.requires_grad for p in model.parameters())
