"""LoRA written out: equal to peft's in logits, gradients and five updates; merged, switched off, added up; and wherever a model is used."""

import math
from copy import deepcopy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

from llmsuite_lab.lm.training import fit
from llmsuite_lab.peft_methods import lora, merging
from llmsuite_lab.peft_methods.lora import LoRALinear, activate, add_lora
from llmsuite_lab.peft_methods.methods import METHODS
from llmsuite_lab.peft_methods.switching import adapters_off
from llmsuite_lab.transformer.generation import generate
from llmsuite_lab.transformer.packed_engine import PackedEngine
from llmsuite_lab.transformer.packed_weights import packed

IDS = torch.tensor([[3, 200, 45, 8, 17], [9, 9, 31, 77, 250]])
FAMILIES = ("llama", "gpt2", "bert")


def stirred(model, seed=1, scale=0.1, name="default"):
    """B is no longer zero."""
    torch.manual_seed(seed)
    for layer in lora.lora_layers(model).values():
        if name in layer.B:
            layer.B[name].data.normal_(0, scale)
    return model


def theirs(model, targets, **options):
    """peft's LoRA with B ≠ 0 on a copy, and the same weights in ours on another."""
    reference = get_peft_model(deepcopy(model), LoraConfig(r=3, lora_alpha=7, target_modules=targets, fan_in_fan_out="c_attn" in targets, **options))
    torch.manual_seed(3)
    for name, parameter in reference.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1)
    ours = add_lora(deepcopy(model), targets, rank=3, alpha=7, rslora=options.get("use_rslora", False))
    state = dict(reference.base_model.model.named_parameters())
    for name, layer in lora.lora_layers(ours).items():
        layer.A["default"].data.copy_(state[f"{name}.lora_A.default.weight"])
        layer.B["default"].data.copy_(state[f"{name}.lora_B.default.weight"])
    return reference.eval(), ours.eval()


def pairs(reference, ours):
    state = dict(reference.base_model.model.named_parameters())
    for name, layer in lora.lora_layers(ours).items():
        yield layer.A["default"], state[f"{name}.lora_A.default.weight"]
        yield layer.B["default"], state[f"{name}.lora_B.default.weight"]


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_same_weights_give_peft_s_outputs_gradients_and_five_updates(tiny, targets, outputs, family, rslora):
    base = tiny(family).double()  # in float32 Adam's first steps, which are signs, turn a difference of rounding into one of weights
    reference, ours = theirs(base, targets[family], use_rslora=rslora)
    assert not torch.allclose(outputs(ours, IDS), outputs(base, IDS), atol=1e-3)
    torch.testing.assert_close(outputs(ours, IDS), outputs(reference, IDS), rtol=1e-9, atol=1e-9)
    both = {model: torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2) for model in (reference, ours)}
    for _ in range(5):
        for model, optimizer in both.items():
            optimizer.zero_grad()
            (out := outputs(model, IDS)).mul(torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(5))).sum().backward()
        for mine, other in pairs(reference, ours):
            torch.testing.assert_close(mine.grad, other.grad, rtol=1e-6, atol=1e-9)
        for optimizer in both.values():
            optimizer.step()
    for mine, other in pairs(reference, ours):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-9)


def test_the_paper_s_count():
    layer = nn.Sequential(nn.Linear(64, 512, bias=False))
    assert sum(p.numel() for p in layer.parameters()) == 32_768
    add_lora(layer, ["0"], rank=8)
    assert sum(p.numel() for p in layer.parameters() if p.requires_grad) == 4_608


@pytest.mark.parametrize("family", [*FAMILIES, "decoder"])
def test_a_fresh_lora_is_the_base_and_a_merged_one_the_unmerged_and_unmerging_gives_the_base_back_bit_for_bit(tiny, targets, outputs, family):
    base = tiny(family)
    model = add_lora(deepcopy(base), targets[family], rank=3)
    assert torch.equal(outputs(model, IDS), outputs(base, IDS))
    stirred(model)
    unmerged = outputs(model, IDS)
    with adapters_off(model):
        assert torch.equal(outputs(model, IDS), outputs(base, IDS))
    merging.merge(model)
    torch.testing.assert_close(outputs(model, IDS), unmerged, rtol=1e-4, atol=1e-4)
    with adapters_off(model):
        assert torch.equal(outputs(model, IDS), outputs(base, IDS))
    merging.unmerge(model)
    assert torch.equal(outputs(model, IDS), unmerged)
    plain = merging.merge_and_unload(model)
    torch.testing.assert_close(outputs(plain, IDS), unmerged, rtol=1e-4, atol=1e-4)
    assert [(n, type(m)) for n, m in plain.named_modules()] == [(n, type(m)) for n, m in base.named_modules()]


def test_unloading_gives_the_base_back(tiny, targets, outputs):
    base = tiny("llama")
    model = merging.merge(stirred(add_lora(deepcopy(base), targets["llama"])))
    merging.unload(model)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), base.state_dict().values(), strict=True))


@pytest.mark.parametrize("family", ["llama", "gpt2", "decoder"])
def test_a_lora_on_a_tied_output_layer_merges_to_the_unmerged_logits_and_is_tied_again_when_taken_out(tiny, outputs, family):
    base = tiny(family)
    head = "unembedding" if family == "decoder" else "lm_head"
    if family == "decoder":
        base.unembedding.weight = base.embedding.token.weight
    table = base.embedding.token if family == "decoder" else base.get_input_embeddings()
    assert base.get_submodule(head).weight is table.weight
    model = stirred(add_lora(base, [head], rank=3))
    before, unmerged = table.weight.clone(), outputs(model, IDS)
    merging.merge(model)
    torch.testing.assert_close(outputs(model, IDS), unmerged, rtol=1e-4, atol=1e-4)
    assert torch.equal(table.weight, before)
    if family != "decoder":
        assert model.config.tie_word_embeddings is False
    merging.unmerge(model)
    assert model.get_submodule(head).weight is table.weight
    if family != "decoder":
        assert model.config.tie_word_embeddings is True
    merging.merge_and_unload(model)
    torch.testing.assert_close(outputs(model, IDS), unmerged, rtol=1e-4, atol=1e-4)


def test_two_adapters_by_name_alone_together_and_merged(tiny, targets, outputs):
    model = stirred(add_lora(tiny("llama"), ["q_proj", "down_proj"], rank=3, name="first"), 1, name="first")
    one = outputs(model, IDS)
    add_lora(model, ["q_proj", "v_proj"], rank=5, alpha=3, name="second", seed=4)
    stirred(model, 2, name="second")
    two = outputs(model, IDS)
    assert lora.names(model) == ["first", "second"]
    activate(model, "first")
    assert torch.equal(outputs(model, IDS), one)
    activate(model, "first", "second", train=["second"])
    both = outputs(model, IDS)
    assert not any(torch.allclose(both, other, atol=1e-3) for other in (one, two))
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained
    assert all(name.endswith(("A.second", "B.second")) for name in trained)
    q = model.model.layers[1].self_attn.q_proj
    expected = sum(q.scaling[n] * q.B[n] @ q.A[n] for n in ("first", "second"))
    torch.testing.assert_close(q.delta(q.active), expected)
    merging.merge(model)
    torch.testing.assert_close(outputs(model, IDS), both, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2", "decoder"])
def test_generation_writes_with_the_lora_unmerged_merged_and_switched_off(tiny, targets, family):
    base = tiny(family)
    model = stirred(add_lora(deepcopy(base), targets[family], rank=3, dropout=0.3), scale=0.5)
    model.train()  # dropout must not act while writing
    prompts = [[3, 200, 45], [7, 8, 9, 10, 11, 12], [250]]
    written = [row.ids for row in generate(model, prompts, 12)]
    plain = [row.ids for row in generate(base, prompts, 12)]
    assert written != plain
    for prompt, ids in zip(prompts, written):  # the model's own forward, no cache, no padding
        rows = list(prompt)
        with torch.no_grad():
            for _ in range(12):
                model.eval()
                out = model(torch.tensor([rows]))
                rows.append(int((out if isinstance(out, torch.Tensor) else out.logits)[0, -1].argmax()))
        assert rows[len(prompt) :] == ids
    with adapters_off(model):
        assert [row.ids for row in generate(model, prompts, 12)] == plain
    merging.merge(model)
    assert [row.ids for row in generate(model, prompts, 12)] == written
    assert [row.ids for row in generate(merging.merge_and_unload(model), prompts, 12)] == written


def test_an_unmerged_lora_is_driven_by_the_packed_engine(tiny, targets):
    from llmsuite_lab.transformer.generation import engine_for

    assert isinstance(engine_for(add_lora(tiny("llama"), targets["llama"]))([[1, 2]], 3), PackedEngine)


def test_a_merged_lora_is_packed_like_the_base_and_called_again_when_it_is_off_hooked_or_unmerged(tiny, targets):
    def called(model):
        return sum(isinstance(module, LoRALinear) for module in packed(model).called.modules())

    model = stirred(add_lora(tiny("llama"), targets["llama"], rank=3), scale=0.5)
    layers = lora.lora_layers(model)
    assert called(model) == len(layers)
    merging.merge(model)
    assert called(model) == 0
    with adapters_off(model):
        assert called(model) == len(layers)
    hook = next(iter(layers.values())).register_forward_hook(lambda *_: None)
    assert called(model) > 0
    hook.remove()
    assert called(model) == 0
    merging.unmerge(model)
    assert called(model) == len(layers)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_training_in_bfloat16_moves_only_the_lora_and_the_model_writes_afterwards_without_reloading(tiny, targets, examples, tiny_tokenizer, family):
    from llmsuite_lab.lm.language_model import LanguageModel
    from llmsuite_lab.lm.training import fit

    model = add_lora(tiny(family).to(torch.bfloat16), targets[family], rank=3, dropout=0.1)
    frozen = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    lm = LanguageModel(model, tiny_tokenizer, "tiny")
    before = [c.text for c in lm.complete(["ab", "cde"], 8)]
    history = fit(model, examples, steps=20, batch_size=4, lr=0.05, dtype=torch.bfloat16, progress=False)
    assert history.losses[-1] < history.losses[0]
    assert all(torch.equal(frozen[name], p) for name, p in model.named_parameters() if name in frozen)
    layer = next(iter(lora.lora_layers(model).values()))
    assert layer.A["default"].dtype == torch.float32
    assert layer.base_layer.weight.dtype == torch.bfloat16
    assert model(IDS).logits.dtype == torch.bfloat16
    assert [c.text for c in lm.complete(["ab", "cde"], 8)] != before
    assert lm.score(["ab"], ["cd"])[0].tokens == 2


def test_gradients_flow_only_into_what_is_trained_and_dropout_acts_in_training_alone(tiny, targets, outputs):
    model = stirred(add_lora(tiny("llama"), targets["llama"], rank=3, dropout=0.5))
    assert torch.equal(outputs(model, IDS), outputs(model, IDS))
    model.train()
    assert not torch.equal(outputs(model, IDS), outputs(model, IDS))
    outputs(model, IDS).sum().backward()
    assert {n for n, p in model.named_parameters() if p.grad is not None} == {n for n, p in model.named_parameters() if ".A." in n or ".B." in n}


class Int8Linear(nn.Module):
    """A quantised layer as libraries make them: codes, a scale, a forward of its own."""

    def __init__(self, linear):
        super().__init__()
        self.in_features, self.out_features, self.bias = linear.in_features, linear.out_features, linear.bias
        self.register_buffer("scale", linear.weight.detach().abs().amax(1, keepdim=True) / 127)
        self.weight = nn.Parameter((linear.weight.detach() / self.scale).round().to(torch.int8), requires_grad=False)

    def forward(self, x):
        return nn.functional.linear(x, self.weight * self.scale, self.bias)


def test_on_an_8_bit_base_a_lora_is_right_unmerged_and_refused_where_it_would_be_merged(tiny, targets, outputs):
    model = tiny("llama")
    for layer in model.model.layers:
        layer.self_attn.q_proj = Int8Linear(layer.self_attn.q_proj)
    reference = deepcopy(model)
    stirred(add_lora(model, ["q_proj"], rank=3))
    for mine, layer in zip(model.model.layers, reference.model.layers):
        delta, packed = mine.self_attn.q_proj.delta(["default"]).detach(), layer.self_attn.q_proj
        layer.self_attn.q_proj = nn.Linear(packed.in_features, packed.out_features, bias=False)
        layer.self_attn.q_proj.weight.data = packed.weight * packed.scale + delta
    torch.testing.assert_close(outputs(model, IDS), outputs(reference, IDS), rtol=1e-4, atol=1e-4)
    prompts = [[3, 200, 45], [7, 8]]
    assert [r.ids for r in generate(model, prompts, 6)] == [r.ids for r in generate(reference, prompts, 6)]
    before = outputs(model, IDS)
    for merged in (merging.merge, merging.merge_and_unload):
        with pytest.raises(ValueError, match=r"q_proj is in int8, to which nothing can be added"):
            merged(model)
    assert torch.equal(outputs(model, IDS), before)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_on_an_8_bit_base_or_says_that_it_cannot(tiny, examples, name):
    model = tiny("llama")
    for layer in model.model.layers:
        layer.self_attn.q_proj, layer.mlp.down_proj = Int8Linear(layer.self_attn.q_proj), Int8Linear(layer.mlp.down_proj)
    before = deepcopy(model.state_dict())
    if name in ("full", "last_layers"):
        with pytest.raises(ValueError, match="q_proj.weight is in int8, which .*cannot (train|be trained)"):
            METHODS[name].prepare(model, 0)
        return
    prepared = METHODS[name].prepare(model, 0)
    on_step = METHODS[name].on_step(prepared, 2)
    history = fit(prepared, examples[:4], steps=2, batch_size=2, lr=1e-3, progress=False, dtype=torch.float32, on_step=on_step)
    assert all(math.isfinite(loss) for loss in history.losses)
    packed = {key: value for key, value in before.items() if value.dtype == torch.int8}
    now = [value for key, value in prepared.state_dict().items() if value.dtype == torch.int8]
    assert len(packed) == 6
    assert all(torch.equal(a, b) for a, b in zip(packed.values(), now, strict=True))


@pytest.mark.parametrize("name", METHODS)
def test_layers_of_torch_s_own_quantisation_are_refused_in_one_sentence(tiny, name):
    from torch.ao.nn.quantized.dynamic import Linear as DynamicLinear

    model = tiny("llama")
    model.model.layers[1].self_attn.q_proj = DynamicLinear(48, 48)
    with pytest.raises(ValueError, match=r"layers\.1\.self_attn\.q_proj is a layer of torch's quantisation \(Linear\), through which no gradient comes"):
        METHODS[name].prepare(model, 0)


def test_bottlenecks_find_the_layers_of_a_t5():
    sizes = {"vocab_size": 61, "d_model": 24, "d_kv": 6, "d_ff": 40, "num_layers": 2, "num_heads": 4}
    model = METHODS["adapter"].prepare(T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0)), 0)
    behind = {name.removesuffix(".W_up").rpartition(".")[2] for name, p in model.named_parameters() if p.requires_grad and name.endswith(".W_up")}
    assert behind == {"o", "wo"}
    assert sum(name.endswith(".W_up") for name, _ in model.named_parameters()) == 2 * 2 + 2 * 3  # self-attention, cross-attention, feed-forward


def test_what_is_refused_leaves_the_model_as_it_was(tiny, targets):
    model = tiny("llama")
    names = [name for name, _ in model.named_modules()]
    for options, says in (
        ({"targets": ["query_proj"]}, "unknown module 'query_proj'; did you mean 'q_proj'"),
        ({"targets": ["q_proj", "nowhere"]}, "unknown module 'nowhere'"),
        ({"targets": "q_proj"}, "must be a list"),
        ({"targets": ["embed_tokens"]}, "names model.embed_tokens, which is a Embedding"),
        ({"targets": ["k_proj"], "rank": 17}, "rank=17 is over the rank of model.layers.0.self_attn.k_proj, whose matrix is 16 × 48"),
        ({"rank": 0}, "whole number"),
        ({"rank": 2.0}, "whole number"),
        ({"alpha": 0}, "above zero"),
        ({"alpha": float("nan")}, "above zero"),
        ({"dropout": 1.0}, "lies in"),
        ({"name": "a.b"}, "without a dot"),
    ):
        with pytest.raises(ValueError, match=says):
            add_lora(model, **options)
        assert [name for name, _ in model.named_modules()] == names
        assert all(p.requires_grad for p in model.parameters())
    add_lora(model)
    with pytest.raises(ValueError, match="called 'default' already"):
        add_lora(model)
    with pytest.raises(ValueError, match="unknown adapter 'defualt'; did you mean 'default'"):
        activate(model, "defualt")
    with pytest.raises(ValueError, match="nothing to take out"):
        merging.unmerge(model)
    merging.merge(model)
    for call in (lambda: merging.merge(model), lambda: activate(model, "default"), lambda: add_lora(model, name="other")):
        with pytest.raises(ValueError, match=r"merged"):
            call()
    for call in (merging.merge, lora.lora_layers):
        with pytest.raises(ValueError, match="carries no LoRA"):
            call(tiny("llama"))
    with pytest.raises(ValueError, match="no adapter that could be switched off"), adapters_off(tiny("llama")):
        pass
    t5 = T5ForConditionalGeneration(T5Config(vocab_size=50, d_model=24, d_kv=6, d_ff=32, num_layers=1, num_heads=4))
    t5 = stirred(add_lora(t5, ["lm_head"]))
    with pytest.raises(ValueError, match="lm_head is tied to the embedding, and this family rescales"):
        merging.merge(t5)


def test_the_shipped_mechanism_refuses_to_merge_into_a_model_that_carries_ours(tiny, tmp_path):
    from llmsuite_lab.lm.adapters import carries_adapter

    model = tiny("llama")
    assert not carries_adapter(model)
    assert carries_adapter(add_lora(model))


def test_a_wildcard_and_all_linear_name_what_they_say(tiny):
    from llmsuite_lab.peft_methods.targets import find_targets

    model = tiny("llama")
    assert list(find_targets(model, ["layers.[12].self_attn.?_proj"])) == [
        f"model.layers.{i}.self_attn.{letter}_proj" for i in (1, 2) for letter in "qkvo"
    ]
    assert len(find_targets(model, ["all-linear"])) == 3 * 7
    assert isinstance(add_lora(model, ["all-linear"], rank=2).model.layers[0].mlp.up_proj, LoRALinear)
    assert len(find_targets(model, ["all-linear"])) == 3 * 7
