"""The one-call step of the packed model against its own forward pass: every path, form and shape, whole texts, and what it refuses."""

import gc
import math
import weakref

import pytest
import torch
from torch import nn

from llmsuite_lab.bitnet import bit_engine
from llmsuite_lab.bitnet.kernels import cpu
from llmsuite_lab.bitnet.model import bit_decoder, packed
from llmsuite_lab.bitnet.packed_linear import PackedLinear
from llmsuite_lab.bitnet.packing import FORMS
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.transformer import step_engine
from llmsuite_lab.transformer.cache import KVCache
from llmsuite_lab.transformer.cached_engine import CachedEngine
from llmsuite_lab.transformer.config import gpt2_config, llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.generation import engine_for, generate
from llmsuite_lab.transformer.multi_head import record_attention
from llmsuite_lab.transformer.step_engine import StepEngine, StepRow

VOCABULARY, TOKENS = 37, 8
SHAPES = {  # d, layers, heads, kv heads, head width, d_ff: rows and columns that fill no byte and no register
    "grouped": (96, 3, 4, 1, 24, 160),
    "odd widths": (65, 2, 2, 2, 38, 70),
    "wide heads": (72, 2, 6, 3, 10, 333),
    "one pair a head": (41, 1, 3, 3, 2, 2050),
}


@pytest.fixture(scope="module", autouse=True)
def step(kernel, tmp_path_factory):
    """The compiled step, built in a cache of the tests' own."""
    bit_engine.library.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMSUITE_CACHE", str(tmp_path_factory.mktemp("cache")))
        bit_engine.library()
    yield
    bit_engine.library.cache_clear()


@pytest.fixture
def threads():
    """Sets torch's number of threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def one_bit(name="grouped", form="two_bits", **other):
    d, layers, heads, kv, width, ff = SHAPES[name]
    torch.manual_seed(3)
    choices = {"rotary_base": 500.0, "norm_eps": 1e-4, "tie_embeddings": False} | other
    config = llama_config(VOCABULARY, d, layers, heads, ff, 64, n_kv_heads=kv, d_head=width, **choices)
    model = bit_decoder(config)
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.copy_(torch.randn_like(p) if "embedding" in key else 1 + 0.3 * torch.randn_like(p) if "norm" in key else p)
    return packed(model, form)


def ids(n=TOKENS):
    return torch.randint(0, VOCABULARY, (n,), generator=torch.Generator().manual_seed(5)).tolist()


@torch.no_grad()
def by_layers(model, tokens):
    """Logits after each token, and x after each block: (tokens, vocabulary), (tokens, layers, d_model)."""
    seen, hooks = [], [block.register_forward_hook(lambda _, __, x: seen.append(x[0])) for block in model.stack.blocks]
    logits = model(torch.tensor([tokens]))[0]
    for hook in hooks:
        hook.remove()
    return logits, torch.stack(seen, 1)


@torch.no_grad()
def by_step(model, tokens, path=None):
    c, step = model.config, bit_engine.BitStep(model, path)
    row = StepRow(torch.zeros(c.n_layers, 2 * c.kv_heads, 0, c.head_width), c.rotary_base)
    logits, trace = torch.empty(len(tokens), c.vocab_size), torch.empty(len(tokens), c.n_layers, c.d_model)
    for t, token in enumerate(tokens):
        step(model.embedding.token.weight[token].clone(), row, logits[t], trace[t])
    return logits, trace


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SHAPES)
def test_every_path_and_number_of_threads_computes_each_block_and_logit_of_the_forward_pass(name, form, threads):
    model = one_bit(name, form, tie_embeddings=form == "two_bits")
    wanted, blocks = by_layers(model, ids())
    before = torch.cat([model.embedding.token.weight[ids()][:, None], blocks[:, :-1]], 1).detach()
    for n, path in enumerate(cpu.paths()):
        threads(1 + n % 2)
        logits, trace = by_step(model, ids(), path)
        apart = ((trace - blocks).norm(dim=-1) / (blocks - before).norm(dim=-1)).flatten()
        assert apart.median() < 1e-5, "with the same whole numbers only the order of float sums differs"
        assert apart.max() < 0.01, "an activation half-way between two whole numbers may go either way"
        torch.testing.assert_close(logits, wanted, rtol=0, atol=(1e-5 if apart.max() < 1e-5 else 0.01) * float(wanted.abs().max()))


def test_all_paths_and_threads_give_the_same_logits_to_the_bit(threads):
    model, found = one_bit(), []
    for path in cpu.paths():
        for n in (1, 2, 3):
            threads(n)
            found.append(by_step(model, ids(), path)[0])
    assert all(torch.equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize("form", FORMS)
def test_it_writes_the_tokens_of_the_model_s_own_forward_pass_also_past_the_first_room(form, monkeypatch):
    model = one_bit("wide heads", form)
    plain = generate(lambda prompts, room: CachedEngine(model, prompts, room), [[1, 2, 3]], 50)[0]
    assert len(set(plain.ids)) > 3
    assert isinstance(engine_for(model)([[1, 2, 3]], 5), StepEngine)
    assert generate(model, [[1, 2, 3]], 50) == [plain]
    monkeypatch.setattr(step_engine, "CACHE_CHUNK", 2)
    assert generate(model, [[1, 2, 3]], 50) == [plain]


def test_the_prompt_s_keys_and_values_are_carried_over():
    model, tokens = one_bit(), ids()
    state = engine_for(model)([tokens[:5]], 8)
    for token in tokens[5:]:
        state.advance(torch.tensor([token]))
    with torch.no_grad():
        cache = KVCache(model.config.n_layers)
        wanted = model(torch.tensor([tokens]), cache=cache)[0, -1]
    torch.testing.assert_close(state.logits[0], wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))
    for layer, held in zip(cache.self_attention, state.rows[0].cache):
        torch.testing.assert_close(held[:, :TOKENS], torch.cat([layer.keys, layer.values], 1)[0], rtol=0, atol=1e-4 * float(held.abs().max()))


def test_a_weight_that_is_not_finite_stays_visible():
    for where in ("stack.blocks.1.attention.W_V.norm.weight", "stack.blocks.0.feed_forward.W_down.norm.weight", "embedding.token.weight"):
        for bad in (math.nan, math.inf):
            model = one_bit()
            with torch.no_grad():
                model.get_parameter(where).view(-1)[0] = bad
                wanted = by_layers(model, [0, 1])[0]
            logits = by_step(model, [0, 1])[0]
            assert torch.equal(logits.isfinite(), wanted.isfinite()), where
            assert not bool(wanted.isfinite().all())


def test_changes_are_seen_in_the_next_text():
    model = one_bit()
    first = generate(model, [[4, 5]], 12)
    with torch.no_grad():
        model.stack.blocks[0].feed_forward.W_up.norm.weight.mul_(torch.linspace(-2, 2, 96))
        model.stack.blocks[1].attention.W_O.scale.mul_(3)
    state, plain = engine_for(model)([[4, 5]], 4), CachedEngine(model, [[4, 5]], 4)
    for each in (state, plain):
        each.advance(torch.tensor([7]))
    assert isinstance(state, StepEngine)
    torch.testing.assert_close(state.logits, plain.logits, rtol=0, atol=1e-4 * float(plain.logits.abs().max()))
    assert generate(model, [[4, 5]], 12) != first


class Noisy(PackedLinear):
    """Another layer than the step knows."""


def test_what_the_step_does_not_compute_the_model_writes_itself():
    def swapped(model):
        layer = model.stack.blocks[1].feed_forward.W_gate
        model.stack.blocks[1].feed_forward.W_gate = Noisy(layer.weight, layer.norm)

    def hooked(model):
        model.stack.blocks[0].attention.W_K.norm.register_forward_hook(lambda _, __, y: 2 * y)

    def other_eps(model):
        model.stack.blocks[2].attention.W_Q.norm.eps = 0.1

    def other_scale(model):
        model.stack.blocks[0].attention.scale = 0.3

    def both_forms(model):
        model.stack.blocks[0].attention.W_Q = one_bit(form="five_trits").stack.blocks[0].attention.W_Q

    def unpacked(model):
        model.stack.blocks[0].attention.W_Q = bit_decoder(model.config).stack.blocks[0].attention.W_Q

    def with_a_norm(model):
        model.stack.blocks[0].attention_norm = nn.LayerNorm(96)

    changes = [swapped, hooked, other_eps, other_scale, both_forms, unpacked, with_a_norm, nn.Module.double, nn.Module.bfloat16]
    for change in changes:
        model = one_bit()
        assert bit_engine.unfit(model) is None
        change(model)
        assert bit_engine.unfit(model), change
        with pytest.raises(ValueError, match="the one-bit step cannot write with this model"):
            bit_engine.BitStep(model)
        assert type(engine_for(model)([[1, 2]], 3)) is CachedEngine, change
    for other in ({"logit_scale": 0.5}, {"activation": "gelu"}, {"positions": "none"}, {"scale_embedding": True}, {"logit_bias": True}):
        assert "Llama" in bit_engine.unfit(one_bit(**other)), other
    assert "Llama" in bit_engine.unfit(Decoder(gpt2_config(11, 8, 1, 2, 12)))
    assert "no transformer.decoder.Decoder" in bit_engine.unfit(nn.Linear(2, 3))
    model = one_bit()
    with record_attention(model) as seen:
        generate(model, [[1, 2, 3]], 3)
    assert all(layer.recorded is not None for layer in seen.values())
    assert type(engine_for(model)([[1, 2], [3]], 3)) is CachedEngine, "several prompts read the weights once together"


def test_without_a_kernel_the_model_writes_itself_and_a_step_that_cannot_be_built_is_said(monkeypatch):
    model = one_bit()
    wanted = generate(model, [[1, 2]], 9)

    def fails():
        raise LabError("no room to build in")

    with monkeypatch.context() as patch:
        patch.setattr(bit_engine, "library", fails)
        with pytest.warns(UserWarning, match="layer by layer.*no room to build in"):
            assert type(engine_for(model)([[1, 2]], 3)) is CachedEngine
    monkeypatch.setattr(cpu, "why_not", lambda: "there is no compiler in this test")
    assert type(engine_for(model)([[1, 2]], 3)) is CachedEngine
    assert generate(model, [[1, 2]], 9) == wanted


def test_wrong_input_is_refused_in_a_sentence():
    model = one_bit()
    with pytest.raises(ValueError, match="neon"):
        bit_engine.BitStep(model, "neon")
    for prompts, room, said in (([[]], 3, "at least one token"), ([[99]], 3, "outside the vocabulary"), ([[1]], 64, "max_length"), ([[1]], 0, "at least 1")):
        with pytest.raises(ValueError, match=said):
            engine_for(model)(prompts, room)
    step, c = bit_engine.BitStep(model), model.config
    row = StepRow(torch.zeros(c.n_layers, 2 * c.kv_heads, 0, c.head_width), c.rotary_base)
    x, logits, trace = torch.zeros(c.d_model), torch.zeros(VOCABULARY), torch.zeros(c.n_layers, c.d_model)
    apart = torch.zeros(2 * VOCABULARY)[::2]
    for wrong in ((x[1:], row, logits), (x.double(), row, logits), (x, row, logits[:-1]), (x, row, logits, trace[:1]), (x, row, apart)):
        with pytest.raises(ValueError, match="needed here|contiguous"):
            step(*wrong)
    assert row.length == 0
    state = engine_for(model)([[1, 2]], 3)
    for rows in ([1], [0, 0]):
        with pytest.raises(ValueError, match="row"):
            state.select(rows)


def test_nothing_of_a_model_or_a_text_is_kept():
    model = one_bit()
    state = engine_for(model)([[1, 2]], 3)
    kept = [weakref.ref(model), weakref.ref(state), weakref.ref(state.step)]
    del model, state
    gc.collect()
    assert [one() for one in kept] == [None] * 3
