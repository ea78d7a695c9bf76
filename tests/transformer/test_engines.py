"""The engines against a full forward pass: every family, swapped and wrapped layers, edited weights, scores, neighbours, threads."""

import copy
import gc
import threading
import weakref

import pytest
import torch
import transformers
from torch import nn

from llmsuite_lab.transformer import packed_weights
from llmsuite_lab.transformer.cached_engine import CachedEngine
from llmsuite_lab.transformer.config import gpt2_config, llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.generation import engine_for, generate
from llmsuite_lab.transformer.layers import Linear
from llmsuite_lab.transformer.packed_engine import PackedEngine
from llmsuite_lab.transformer.packed_weights import packed
from llmsuite_lab.transformer.packing import Modules
from llmsuite_lab.transformer.sampling import Sampling

VOCABULARY = 61
PROMPTS = [[5, 6, 7, 8, 9], [11, 12], [21, 22, 23, 24, 25, 26, 27, 28]]
KINDS = ("llama", "gpt2", "our llama", "our gpt2")


def make(kind: str, **other: object) -> nn.Module:
    """Random weights, sizes that differ on every axis, context 64."""
    sizes = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 1}
    llama = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2, "intermediate_size": 40}
    made = {
        "llama": lambda: transformers.LlamaForCausalLM(
            transformers.LlamaConfig(max_position_embeddings=64, tie_word_embeddings=True, **sizes, **llama, **other)
        ),
        "gpt2": lambda: transformers.GPT2LMHeadModel(
            transformers.GPT2Config(n_embd=24, n_layer=2, n_head=3, n_inner=40, n_positions=64, **sizes, **other)
        ),
        "our llama": lambda: Decoder(llama_config(VOCABULARY, 24, 2, 6, 40, 64, n_kv_heads=2, **other)),
        "our gpt2": lambda: Decoder(gpt2_config(VOCABULARY, 24, 2, 3, 40, 64, **other)),
    }[kind]()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, p in made.named_parameters():  # gains near 1, biases near 0: so that tokens, not constants, decide
            noise = torch.randn(p.shape, generator=generator)
            p.copy_(noise * 0.4 if p.dim() == 2 else noise * 0.1 + (1.0 if name.endswith("weight") else 0.0))
    return made.eval()


def full(model: nn.Module, ids: list[int]) -> torch.Tensor:
    """Logits at every position, without cache, batch or padding: the definition."""
    with torch.no_grad():
        out = model(torch.tensor([ids]))
    return (out if isinstance(out, torch.Tensor) else out.logits)[0]


def one_by_one(model: nn.Module, prompt: list[int], n: int) -> list[int]:
    ids = list(prompt)
    for _ in range(n):
        ids.append(int(full(model, ids)[-1].argmax()))
    return ids[len(prompt) :]


def written(model: nn.Module, n: int = 8) -> list[list[int]]:
    return [row.ids for row in generate(model, PROMPTS, n)]


def expected(model: nn.Module, n: int = 8) -> list[list[int]]:
    return [one_by_one(model, prompt, n) for prompt in PROMPTS]


@pytest.mark.parametrize("engine", ["packed", "cached"])
@pytest.mark.parametrize("shared", [0, 21])
@pytest.mark.parametrize("kind", KINDS)
def test_every_step_is_a_full_forward_pass(kind, shared, engine):
    """Left padding, a shared prefix, dropped rows and the cache change nothing: each row's logits are those of the row alone, uncached."""
    model = make(kind)
    generator = torch.Generator().manual_seed(4)
    random = lambda n: torch.randint(0, VOCABULARY, (n,), generator=generator).tolist()  # noqa: E731
    prefix = random(shared)
    texts = [prefix + random(n) for n in (5, 1, 9)]
    state = PackedEngine(packed(model), texts, room=6) if engine == "packed" else CachedEngine(model, texts, room=6)
    rows = [0, 1, 2]
    for step in range(5):
        wanted = torch.stack([full(model, texts[i])[-1] for i in rows])
        torch.testing.assert_close(state.logits, wanted, rtol=1e-4, atol=1e-4)  # float32, other summation order
        tokens = random(len(rows))
        if step == 2:
            rows, tokens = [2, 0], [tokens[2], tokens[0]]
            state.select(rows)
        for i, token in zip(rows, tokens):
            texts[i].append(token)
        state.advance(torch.tensor(tokens))


class Doubled(Linear):
    """A linear layer that is more than its weights."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def linear_names(kind: str) -> list[str]:
    return {
        "llama": ["model.layers.1.self_attn.v_proj", "model.layers.0.mlp.down_proj", "lm_head"],
        "gpt2": ["transformer.h.1.attn.c_attn", "transformer.h.0.mlp.c_fc", "lm_head"],
        "our llama": ["stack.blocks.1.attention.W_V", "stack.blocks.0.feed_forward.W_down", "unembedding"],
        "our gpt2": ["stack.blocks.1.attention.W_Q", "stack.blocks.0.feed_forward.W_up", "unembedding"],
    }[kind]


def swap(model: nn.Module, name: str) -> None:
    """Put a `Doubled` with the same weights in the place of a linear layer."""
    old = model.get_submodule(name)
    W = old.weight if isinstance(old, nn.Linear) else nn.Parameter(old.weight.T.contiguous())  # GPT-2 stores (d_in, d_out)
    new = Doubled(W.shape[1], W.shape[0], bias=old.bias is not None)
    new.weight, new.bias = W, old.bias
    model.set_submodule(name, new)


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_swapped_linear_layer_is_called_as_it_is_in_the_packed_engine(kind, which):
    model = make(kind)
    before = written(model)
    swap(model, linear_names(kind)[which])  # after the first packing: a change must be noticed
    decoder = packed(model)
    assert sum(isinstance(part, Modules) for layer in decoder.layers for part in layer) + isinstance(decoder.unembed, Modules) == 1
    assert written(model) == expected(model)
    assert which == 2 or written(model) != before  # twice the logits have the same largest


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_linear_layer_swapped_for_one_with_a_bias_counts_too(kind, which):
    """The published family's layer of that name may have none: a plain linear layer that differs in it must be called, not refused."""
    model = make(kind)
    before, name = written(model), linear_names(kind)[which]
    old = model.get_submodule(name)
    W = old.weight if isinstance(old, nn.Linear) else nn.Parameter(old.weight.T.contiguous())
    new = nn.Linear(W.shape[1], W.shape[0], bias=True)
    new.weight, new.bias = W, nn.Parameter(torch.randn(len(W), generator=torch.Generator().manual_seed(5)))
    model.set_submodule(name, new)
    assert packed(model) is not None
    assert written(model) == expected(model) != before


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize(("kind", "targets"), [("llama", ["q_proj", "v_proj", "up_proj", "down_proj"]), ("gpt2", ["c_attn", "c_proj"])])
def test_a_lora_not_merged_writes_what_transformers_writes(kind, targets, merged, dropout):
    from peft import LoraConfig, get_peft_model

    base = make(kind)
    plain = written(base)
    settings = {"lora_dropout": dropout, "fan_in_fan_out": kind == "gpt2", "task_type": "CAUSAL_LM"}
    tuned = get_peft_model(base, LoraConfig(r=3, lora_alpha=9, target_modules=targets, **settings))
    assert written(tuned) == plain  # B = 0
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in tuned.named_parameters():
            if "lora_" in name:
                p.copy_(torch.randn(p.shape, generator=generator) * 0.3)
    model = tuned.merge_and_unload() if merged else tuned.train()  # dropout must be off all the same
    ids, longest = written(model), max(map(len, PROMPTS))
    assert model.training == (not merged)
    assert ids != plain
    assert packed(model if merged else tuned.get_base_model()) is not None
    padded = torch.tensor([[0] * (longest - len(p)) + p for p in PROMPTS])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in PROMPTS])
    options = {"do_sample": False, "max_new_tokens": 8, "min_new_tokens": 8, "eos_token_id": None, "pad_token_id": 0}
    theirs = model.eval().generate(input_ids=padded, attention_mask=mask, **options)
    assert ids == theirs[:, longest:].tolist()


class Bottleneck(nn.Module):
    """An adapter behind a module: what it gives, plus a little of itself."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside, self.more = inside, nn.Linear(24, 24)

    def forward(self, *arguments, **options):
        out = self.inside(*arguments, **options)
        return out + self.more(out)


def add_bottleneck(block: nn.Module) -> None:
    name = "feed_forward" if hasattr(block, "feed_forward") else "mlp"
    setattr(block, name, Bottleneck(getattr(block, name)))


def hook_a_norm(block: nn.Module) -> None:
    norm = next(module for module in block.modules() if "Norm" in type(module).__name__)
    norm.register_forward_hook(lambda _module, _arguments, out: 2 * out)


CHANGES = {
    "an adapter behind a feed-forward layer": add_bottleneck,
    "a hook on a block": lambda block: block.register_forward_pre_hook(lambda _, arguments: (arguments[0] * 0.5, *arguments[1:])),
    "a hook on a norm": hook_a_norm,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", KINDS)
def test_where_more_than_a_linear_layer_differs_the_models_own_forward_is_used(kind, change):
    model = make(kind)
    before = written(model)
    block = {"llama": "model.layers.1", "gpt2": "transformer.h.1", "our llama": "stack.blocks.1", "our gpt2": "stack.blocks.1"}[kind]
    CHANGES[change](model.get_submodule(block))
    assert packed(model) is None
    assert written(model) == expected(model)
    assert written(model) != before


def test_an_output_matrix_that_is_tied_in_the_config_alone_is_used_as_it_is():
    model = make("llama")
    model.lm_head.weight = nn.Parameter(torch.randn(VOCABULARY, 24, generator=torch.Generator().manual_seed(9)))
    assert packed(model) is not None
    assert written(model) == expected(model)


def test_a_family_or_option_we_do_not_compute_is_driven_by_its_own_forward():
    rope = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
    scaled = make("llama", rope_parameters=rope)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2, "intermediate_size": 40}
    other = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(vocab_size=VOCABULARY, **sizes)).eval()
    for model in (scaled, other):
        assert packed(model) is None
        assert written(model) == expected(model)


def test_what_cannot_be_generated_with_is_refused():
    from peft import PromptTuningConfig, get_peft_model

    tuned = get_peft_model(make("llama"), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    with pytest.raises(ValueError, match="virtual tokens in front"):
        generate(tuned, PROMPTS)
    t5 = transformers.T5ForConditionalGeneration(transformers.T5Config(d_model=16, d_kv=4, d_ff=20, num_layers=1, num_heads=4, vocab_size=31))
    with pytest.raises(ValueError, match="encoder–decoder"):
        generate(t5, PROMPTS)


EDITS = {
    "an optimizer step": lambda W: W.add_(0.3),  # under no_grad, as optimizers do: the version counter tells
    "a new tensor": lambda W: setattr(W, "data", W.data.roll(1, 0)),
    "all through .data": lambda W: W.data.mul_(-1),
    "a roll through .data": lambda W: W.data.copy_(W.data.roll(1, 0).clone()),
    "a row through .data": lambda W: W.data[W.shape[0] // 2].fill_(2.5),
    "a column through .data": lambda W: W.data[:, W.shape[1] // 3].fill_(2.5),
    "all through numpy": lambda W: W.detach().numpy().__imul__(-1),
}


@pytest.mark.parametrize("exact", [packed_weights.EXACT, 7], ids=["small", "large"])  # with 7 every matrix is sampled as a large one is
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("kind", KINDS)
def test_packed_weights_follow_every_edit_of_rows_columns_or_tensors(monkeypatch, kind, edit, exact):
    monkeypatch.setattr(packed_weights, "EXACT", exact)
    model = make(kind)
    for name, W in model.named_parameters():
        if W.dim() == 2:
            decoder = packed(model)
            assert packed(model) is decoder
            with torch.no_grad():
                EDITS[edit](W)
            assert packed(model) is not decoder, f"{edit} of {name} went unnoticed"
    assert written(model) == expected(model)


def set_norm(model: nn.Module) -> None:
    norm = next(m for name, m in model.named_modules() if name.endswith(("1.input_layernorm", "1.ln_1", "1.attention_norm")))
    setattr(norm, "variance_epsilon" if hasattr(norm, "variance_epsilon") else "eps", 300.0)


def set_scale(model: nn.Module) -> None:
    attention = next(m for m in model.modules() if hasattr(m, "scaling") or hasattr(m, "scale"))
    setattr(attention, "scaling" if hasattr(attention, "scaling") else "scale", 2.5)


def set_frequencies(model: nn.Module) -> None:
    for module in model.modules():
        if hasattr(module, "inv_freq"):
            module.inv_freq.data.mul_(0.2)  # no version counter tells


def set_order(model: nn.Module) -> None:
    for module in model.modules():
        if hasattr(module, "pre_norm"):
            module.pre_norm = False


def set_depth(model: nn.Module) -> None:
    model.config.num_hidden_layers = 1  # transformers calls so many of the layers that are there


SETTINGS = {
    ("a norm's epsilon", set_norm): KINDS,
    ("how many layers are called", set_depth): ("llama",),
    ("attention's scale", set_scale): KINDS,
    ("rotary frequencies", set_frequencies): ("llama",),
    ("where the norm stands", set_order): ("our llama", "our gpt2"),
}


@pytest.mark.parametrize("used", [True, False], ids=["after first use", "before it"])
@pytest.mark.parametrize(("kind", "change"), [pytest.param(k, c, id=f"{n}, {k}") for (n, c), kinds in SETTINGS.items() for k in kinds])
def test_what_a_module_is_set_to_counts_like_its_weights(kind, change, used):
    model = make(kind)
    before = written(model) if used else None
    kept = copy.deepcopy(model)
    change(model)
    assert written(model) == expected(model)
    assert used is False or written(model) != before
    assert packed(model) is None  # a Decoder packed from the config would compute something else
    assert packed(kept) is not None


@pytest.mark.parametrize("kind", KINDS)
def test_what_concerns_training_alone_packs_nothing_anew(kind):
    """And neither does a cast, which rounds the rotary frequencies too, nor what a swapped layer counts for itself."""
    model = make(kind)
    ours = {"our llama": "stack.blocks.1.feed_forward.W_up", "our gpt2": "stack.blocks.1.attention.W_O"}
    name = ({"llama": "model.layers.1.mlp.up_proj", "gpt2": "lm_head"} | ours)[kind]

    class Counting(nn.Module):
        def __init__(self, inside: nn.Module) -> None:
            super().__init__()
            self.inside, self.weight, self.calls = inside, inside.weight, 0
            self.register_buffer("last", torch.zeros(3))

        def forward(self, x):
            self.calls += 1
            self.last += 1
            return self.inside(x)

    model.set_submodule(name, Counting(model.get_submodule(name)))
    decoder = packed(model)
    assert decoder is not None
    written(model)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "gradient_checkpointing"):
            module.gradient_checkpointing = True
    assert packed(model.train()) is decoder
    assert packed(make(kind).to(torch.bfloat16)) is not None


@pytest.mark.parametrize(("rows", "columns"), [(5, 7), (49152, 576), (576, 1536), (3, 3), (2, 9), (64, 48)])
def test_the_sample_of_a_large_matrix_meets_every_row_and_every_column(rows, columns):
    met = torch.arange(0, rows * columns, packed_weights._step(rows, columns))
    assert len((met // columns).unique()) == rows
    assert len((met % columns).unique()) == columns


@pytest.mark.parametrize("kind", KINDS)
def test_weights_with_nan_made_in_inference_mode_are_packed_once(kind):
    with torch.inference_mode():
        model = make(kind)
        next(iter(model.parameters()))[0, 0] = float("nan")
    assert packed(model) is packed(model)


@pytest.mark.parametrize("kind", KINDS)
def test_packing_keeps_no_model_alive(kind):
    model = make(kind)
    written(model)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"temperature": 0.8, "top_k": 9, "top_p": 0.9, "seed": 5}], ids=["greedy", "sampled"])
def test_the_log_probabilities_of_what_was_chosen(kind, options):
    """Against a full forward pass over prompt and actions: what PPO's ratio and a rollout's reward are made of."""
    model, sampling = make(kind), Sampling(**options)
    free = generate(model, PROMPTS, 9, sampling=sampling)
    eos = free[1].ids[4]
    rows = generate(model, PROMPTS, 9, sampling=sampling, eos_ids=eos, logprobs=True)
    assert rows[1].end_id == eos
    assert any(row.end_id is None for row in rows) or all(eos in row.ids for row in free)
    for prompt, row, unended in zip(PROMPTS, rows, free):
        assert row.actions == unended.ids[: len(row.actions)]
        assert len(row.sampled_logprobs) == len(row.model_logprobs) == len(row.actions)
        logits = full(model, prompt + row.actions)[len(prompt) - 1 : -1]
        chosen = torch.tensor(row.actions)[:, None]
        torch.testing.assert_close(torch.tensor(row.model_logprobs), logits.log_softmax(-1).gather(1, chosen)[:, 0], rtol=1e-4, atol=1e-4)
        wanted = sampling.probabilities(logits).log().gather(1, chosen)[:, 0] if options else torch.zeros(len(chosen))
        torch.testing.assert_close(torch.tensor(row.sampled_logprobs), wanted, rtol=1e-3, atol=1e-3)
    assert free[0].sampled_logprobs == free[0].model_logprobs == []


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float64, 1e-12), (torch.float32, 3e-4), (torch.bfloat16, None)])
@pytest.mark.parametrize("engine", ["packed", "cached"])
def test_neighbours_move_logits_by_rounding_alone(engine, dtype, rounding):
    """float64, float32: no token changes unless two are this nearly equal. bfloat16: the rounding is a thousand times coarser, and it does happen."""
    model = make("llama").to(dtype)
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(0, VOCABULARY, (n,), generator=generator).tolist() for n in (3, 40, 1, 17, 9, 28, 5, 33)]
    start = engine_for(model) if engine == "packed" else lambda rows, room: CachedEngine(model, rows, room)
    together = start(prompts, 1).logits
    alone = torch.cat([start([prompt], 1).logits for prompt in prompts])
    moved = (together - alone).abs().max() / alone.abs().max()
    if rounding is None:
        assert engine == "cached" or moved > 1e-4
    else:
        assert moved < rounding
        rows = generate(start, prompts, 12)
        for prompt, row in zip(prompts, rows):
            single = generate(start, [prompt], 12)[0]
            first = next((i for i, pair in enumerate(zip(row.ids, single.ids)) if pair[0] != pair[1]), None)
            if first is not None:  # then the two tokens were all but equally likely
                logits = full(model, prompt + row.ids[:first])[-1]
                assert (logits[row.ids[first]] - logits[single.ids[first]]).abs() <= 2 * rounding * logits.abs().max()


def test_several_threads_may_use_several_models_first_at_once():
    models = [make(kind) for kind in KINDS] + [make("our gpt2", dropout=0.5).train()]
    wanted = [expected(copy.deepcopy(model).eval()) for model in models]
    results: dict[int, list[list[int]]] = {}
    ready = threading.Barrier(4 * len(models))

    def use(i: int) -> None:
        ready.wait(60)
        results[i] = written(models[i % len(models)])

    threads = [threading.Thread(target=use, args=(i,), daemon=True) for i in range(4 * len(models))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [results.get(i) for i in range(len(threads))] == wanted * 4
    assert all(m.training for m in models[-1].modules())
    assert not any(m.training for model in models[:-1] for m in model.modules())


@pytest.mark.parametrize("engine", ["packed", "cached"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_seeded_sample_is_its_prompts_and_its_seeds_alone(kind, engine):
    model, sampling = make(kind), Sampling(1.0, top_p=0.95, seed=7)
    start = engine_for(model) if engine == "packed" else lambda rows, room: CachedEngine(model, rows, room)
    together = generate(start, PROMPTS, 9, sampling=sampling)
    assert generate(start, PROMPTS[::-1], 9, sampling=sampling)[::-1] == together
    assert [generate(start, [prompt], 9, sampling=sampling)[0] for prompt in PROMPTS] == together
    assert generate(start, PROMPTS, 9, sampling=Sampling(1.0, top_p=0.95, seed=8)) != together
    assert len({tuple(row.ids) for row in generate(start, PROMPTS[:1] * 4, 9, sampling=sampling)}) == 4
