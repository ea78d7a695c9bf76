"""The 4-bit step against plain torch on the same codes: every path and shape, whole layers, whole texts, adapters, and where it cannot run."""

import gc
import os
import signal
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from llmsuite_lab.core import gguf as gguf_files
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.lm import adapters
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.transformer import q4_engine, step_engine
from llmsuite_lab.transformer.positions import rotary_angles
from llmsuite_lab.transformer.q4_weights import Q4Weights, unpacked
from llmsuite_lab.transformer.views import decoder_view

SHAPES = {  # d, layers, heads, kv heads, head width, d_ff, the matrices' format, output matrix
    "grouped": (96, 3, 4, 1, 24, 160, "Q4_1", "Q8_0"),
    "tied": (64, 2, 8, 2, 8, 96, "Q4_1", None),
    "wide heads": (64, 2, 2, 2, 48, 32, "Q4_0", "Q4_1"),
    "eight bits": (32, 1, 2, 1, 80, 64, "Q8_0", "F16"),
}
PROMPTS = ["one", "The river runs to the sea", "x", "a b c d e f"]


@pytest.fixture(scope="module", autouse=True)
def kernel(tmp_path_factory):
    """The compiled step, built in a cache of the tests' own; without a compiler these tests are skipped with the reason."""
    q4_engine.library.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMSUITE_CACHE", str(tmp_path_factory.mktemp("cache")))
        try:
            q4_engine.library()
        except LabError as error:
            pytest.skip(f"no compiled kernel here: {error}")
    yield
    q4_engine.library.cache_clear()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """written("grouped") → a GGUF file with random codes in one of SHAPES, and a byte-level tokenizer; written once."""
    made = {}

    def make(name="grouped", seed=1, leave_out=()):
        if (name, seed, leave_out) not in made:
            made[name, seed, leave_out] = tmp_path_factory.mktemp("gguf") / f"{name.replace(' ', '_')}.gguf"
            write(made[name, seed, leave_out], *SHAPES[name], seed, leave_out)
        return made[name, seed, leave_out]

    return make


def write(file, d, layers, heads, kv, width, ff, kind, output, seed, leave_out):
    import gguf
    from tokenizers import pre_tokenizers

    tokens = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "he", "re"]  # 259: the last block of rows is not full
    writer = gguf.GGUFWriter(file, "llama")
    sizes = {"block_count": layers, "context_length": 512, "embedding_length": d, "feed_forward_length": ff, "head_count": heads, "head_count_kv": kv}
    for name, value in {**sizes, "rope_dimension_count": width, "key_length": width, "value_length": width, "vocab_size": len(tokens)}.items():
        getattr(writer, f"add_{name}")(value)
    writer.add_rope_freq_base(5000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * (len(tokens) - 1))
    writer.add_token_merges(["h e", "r e"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    random = np.random.default_rng(seed)
    every = {"token_embd": (len(tokens), d, "Q8_0"), "output_norm": (d,)} | ({"output": (len(tokens), d, output)} if output else {})
    for i in range(layers):
        inner = {"attn_q": (heads * width, d), "attn_k": (kv * width, d), "attn_v": (kv * width, d), "attn_output": (d, heads * width)}
        inner |= {"ffn_gate": (ff, d), "ffn_up": (ff, d), "ffn_down": (d, ff)}
        every |= {f"blk.{i}.{name}": (*shape, kind) for name, shape in inner.items()} | {f"blk.{i}.{n}_norm": (d,) for n in ("attn", "ffn")}
    for name, shape in every.items():
        if name in leave_out:
            continue
        if len(shape) == 1:
            writer.add_tensor(f"{name}.weight", random.normal(1, 0.2, shape).astype(np.float32))
            continue
        *shape, form = shape
        number = gguf.GGMLQuantizationType[form]
        weight = random.normal(0.03, 1.5 / np.sqrt(shape[1]), shape).astype(np.float32)  # not around zero: m has work to do
        writer.add_tensor(f"{name}.weight", gguf.quants.quantize(weight, number), raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def load(file, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*have another format and are rounded to 8 bits")  # the output matrix in float16
        return LanguageModel.load(file, dtype=torch.float32, device="cpu", quantize="q4", **options)


# --- one layer, written out ----------------------------------------------------------------------------------------------------------------------
def int8(x):
    """Activations as the step rounds them, as floats: s · q in groups of 32."""
    groups = x.view(-1, 32)
    s = groups.abs().amax(-1, keepdim=True) / 127
    return (s * (groups / s.clamp(min=1e-30)).round()).view(-1)


def layer(block, config, x, K, V, cos, sin, rounded):
    """x after one layer, by plain products with the float weights; K, V (kv, past, width) of the tokens before."""
    h, kv, width = config.n_heads, config.kv_heads, config.head_width
    turn = lambda v: v * cos + torch.cat([-v[..., width // 2 :], v[..., : width // 2]], -1) * sin  # noqa: E731
    norm = lambda x, g: rounded(F.rms_norm(x, x.shape, g, config.norm_eps))  # noqa: E731
    a, f = block.attention, block.feed_forward
    y = norm(x, block.attention_norm.weight)
    q, k, v = turn((a.W_Q.weight @ y).view(h, width)), turn((a.W_K.weight @ y).view(kv, width)), (a.W_V.weight @ y).view(kv, width)
    K, V = torch.cat([K, k[:, None]], 1).repeat_interleave(h // kv, 0), torch.cat([V, v[:, None]], 1).repeat_interleave(h // kv, 0)
    mixed = ((K @ q[..., None])[..., 0] * width**-0.5).softmax(-1)[:, None] @ V
    x = x + a.W_O.weight @ rounded(mixed.flatten())
    y = norm(x, block.feed_forward_norm.weight)
    return x + f.W_down.weight @ rounded(F.silu(f.W_gate.weight @ y) * (f.W_up.weight @ y))


@torch.no_grad()
def layers_apart(model, file, ids, path=None):
    """For each of the tokens: [how far each layer of the step is from the layer written out, in int8 and in float], relative to what it adds to x."""
    view = decoder_view(model)
    c = view.config
    step = q4_engine.Q4Step(view, Q4Weights(view, file), path)
    row = step_engine.StepRow(torch.zeros(c.n_layers, 2 * c.kv_heads, 0, c.head_width), c.rotary_base)
    cos, sin = rotary_angles(torch.arange(len(ids)), c.head_width, c.rotary_base)
    trace, logits, apart = torch.empty(c.n_layers, c.d_model), torch.empty(c.vocab_size), []
    for t, token in enumerate(ids):
        before = view.embedding.token.weight[token].clone()
        step(before.clone(), row, logits, trace)
        for i, block in enumerate(view.stack.blocks):
            K, V = row.cache[i, : c.kv_heads, :t], row.cache[i, c.kv_heads :, :t]
            both = [layer(block, c, before, K, V, cos[t], sin[t], rounded) for rounded in (int8, lambda x: x)]
            apart.append([float((trace[i] - x).norm() / (x - before).norm()) for x in both])
            before = trace[i].clone()
        y = F.rms_norm(before, before.shape, view.stack.final_norm.weight, c.norm_eps)
        W = view.unembedding.weight
        bound = W.view(c.vocab_size, -1, 32).abs().sum(-1) @ (y.view(-1, 32).abs().amax(-1) / 254)  # |x − s q| ≤ s / 2, each times its |w|
        assert step.weights.rounded or bool(((logits - W @ y).abs() <= 1.0001 * bound + 1e-4).all())
    return torch.tensor(apart)


@pytest.mark.parametrize("name", SHAPES)
def test_every_path_computes_each_layer_as_plain_torch_does_on_the_same_codes(written, name):
    lm, rounding = load(written(name)), []
    ids = torch.randint(0, 259, (9,), generator=torch.Generator().manual_seed(2)).tolist()
    for path in q4_engine.paths():
        same, floats = layers_apart(lm.model, written(name), ids, path).T
        assert same.median() < 1e-5, "with the activations rounded alike only the order of sums differs"
        assert same.max() < 0.02, "a number half-way between two whole ones may go either way"
        rounding.append(floats)
        assert floats.median() > 1e-4
        assert floats.max() < 0.05, "int8 with 127 steps: about a hundredth of each product"
    for other in rounding[1:]:
        torch.testing.assert_close(other, rounding[0], atol=0.01, rtol=0)


def engine(lm, prompts, room=8):
    return lm.engine(prompts, room)


def steps(state, tokens):
    """The logits before and after each of the tokens, all rows given the same one."""
    seen = [state.logits]
    for token in tokens:
        state.advance(torch.full((len(seen[-1]),), token))
        seen.append(state.logits)
    return torch.stack(seen)


def test_any_number_of_threads_and_a_cache_that_grows_give_the_same_numbers(written, monkeypatch):
    lm, tokens = load(written()), [5, 77, 130, 9, 200, 31]
    wanted = steps(engine(lm, [[3, 4, 5]]), tokens)
    before = torch.get_num_threads()
    for threads in (1, 3):
        torch.set_num_threads(threads)
        assert torch.equal(steps(engine(lm, [[3, 4, 5]]), tokens), wanted)
    torch.set_num_threads(before)
    monkeypatch.setattr(step_engine, "CACHE_CHUNK", 2)
    assert torch.equal(steps(engine(lm, [[3, 4, 5]]), tokens), wanted)


def test_rows_of_a_batch_are_each_its_own(written):
    """Padding, a shared prefix and rows that leave change a row by the prompt's rounding alone."""
    lm, prefix = load(written()), list(range(60, 80))
    for begin in ([], prefix):
        prompts = [begin + p for p in ([1, 2, 3, 4, 5], [9], [7, 8])]
        alone = [steps(engine(lm, [p]), [11, 12, 13])[:, 0] for p in prompts]
        state = engine(lm, prompts)
        together = [state.logits, *([state.advance(torch.full((3,), 11)), state.logits][1:])]
        state.select([2, 0])
        state.advance(torch.tensor([12, 12]))
        torch.testing.assert_close(together[1], torch.stack([a[1] for a in alone]), atol=0.05, rtol=0.02)
        torch.testing.assert_close(state.logits, torch.stack([alone[2][2], alone[0][2]]), atol=0.05, rtol=0.02)
    for wrong in ([0, 0], [5]):
        with pytest.raises(ValueError, match="row"):
            state.select(wrong)


def test_it_writes_through_the_same_interface(written):
    """Batches, streams, stop strings and seeds as everywhere; the model's float text is another's only where two tokens are nearly equal."""
    lm = load(written("tied"))
    assert lm.quantize == "q4"
    free = lm.complete(PROMPTS, max_new_tokens=20)
    assert [lm.complete([p], max_new_tokens=20)[0].text for p in PROMPTS] == [c.text for c in free]
    assert ["".join(lm.stream(p, max_new_tokens=20)) for p in PROMPTS] == [c.text for c in free]
    word = free[1].text[3:5]
    stopped = lm.complete([PROMPTS[1]], max_new_tokens=20, stop=word)[0]
    assert (stopped.text, stopped.finish_reason) == (free[1].text[: free[1].text.index(word)], "stop")
    drawn = [lm.complete(["one"] * 3, max_new_tokens=12, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    texts = [[c.text for c in some] for some in drawn]
    assert texts[0] == texts[1] != texts[2]
    assert len(set(texts[0])) == 3
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda p: lm.complete([p], max_new_tokens=20)[0].text, PROMPTS)) == [c.text for c in free]
    with pytest.raises(ValueError, match="context"):
        lm.complete(["x" * 510], max_new_tokens=20)
    (long,) = lm.complete(["x"], max_new_tokens=300)
    assert long.completion_tokens == 300 or long.finish_reason == "eos"


def relative(a, b):
    return float((a - b).norm() / b.norm())


def adapted(lm, folder):
    lora = adapters.add_lora(lm.model, 0, rank=2)
    with torch.no_grad():
        for name, p in lora.named_parameters():
            if "lora_B" in name:
                p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(8)) * 0.3)
    return adapters.write_adapter(folder, lora, {"seed": 0})


def test_an_adapter_is_merged_and_its_matrices_kept_in_eight_bits(written, tmp_path):
    folder = adapted(load(written()), tmp_path / "adapter")
    plain, merged = load(written()), load(written().parent, adapter=folder)
    tokens = [5, 77, 130, 9]
    with torch.no_grad():
        wanted = merged.model(torch.tensor([[3, 4, *tokens]])).logits[0, 1:]
    assert relative(steps(engine(merged, [[3, 4]]), tokens)[:, 0], wanted) < 0.05
    assert relative(steps(engine(plain, [[3, 4]]), tokens)[:, 0], wanted) > 0.1
    names = Q4Weights(decoder_view(merged.model), written(), merged=True).rounded
    assert names
    assert len(names) < 7 * SHAPES["grouped"][1]
    with pytest.raises(LabError, match=f"{names[0]} of .* is not the model's"):
        q4_engine.q4_engine(merged.model, written())


def test_a_model_that_is_changed_afterwards_is_written_by_its_own_weights_and_that_is_said_once(written):
    lm, float_lm = load(written()), LanguageModel.load(written(), dtype=torch.float32, device="cpu")
    for one in (lm, float_lm):
        with torch.no_grad():
            one.model.model.layers[1].mlp.up_proj.weight[3, 4] += 2.0
    with pytest.warns(UserWarning, match="was changed after") as said:
        texts = [[c.text for c in lm.complete(PROMPTS, max_new_tokens=12)] for _ in range(2)]
    assert len(said) == 1
    assert texts == [[c.text for c in float_lm.complete(PROMPTS, max_new_tokens=12)]] * 2


@pytest.mark.parametrize("reason", ["switched off", "neither AVX2"])
def test_where_it_cannot_run_the_packed_engine_writes_and_one_line_says_why(written, monkeypatch, reason):
    if reason == "switched off":
        q4_engine.library.cache_clear()
        monkeypatch.setenv("LLMSUITE_NATIVE", "0")
    else:
        monkeypatch.setattr(q4_engine, "paths", lambda: ["portable"])
    with pytest.warns(UserWarning, match=f"packed engine.*{reason}") as said:
        lm = LanguageModel.load(written(), dtype=torch.float32, device="cpu", quantize="q4")
    assert len(said) == 1
    assert "\n" not in str(said[0].message)
    assert lm.quantize is None
    plain = LanguageModel.load(written(), dtype=torch.float32, device="cpu")
    assert [c.text for c in lm.complete(PROMPTS, max_new_tokens=9)] == [c.text for c in plain.complete(PROMPTS, max_new_tokens=9)]


def test_what_has_no_codes_is_refused_in_a_sentence(written, llama, tmp_path, tiny_model):
    for name, options, said in (
        (llama, {}, "GGUF file, and there is none"),
        ("smollm2-135m-instruct", {"source": "hub"}, "GGUF file, and there is none .*source=hub"),
        (written(), {"device": "meta"}, "computes on the CPU"),
    ):
        with pytest.raises(ValueError, match=said):
            LanguageModel.load(name, **{"quantize": "q4", "device": "cpu"} | options)
    with pytest.raises(ValueError, match="unknown quantize 'q5'.*Known: auto, q4"):
        LanguageModel.load(written(), quantize="q5")
    lm = load(written())
    for file, said in ((written(seed=2), "is not the model's"), (written("tied"), "not the model's|holds no"), (llama, "cannot be read as GGUF")):
        with pytest.raises(LabError, match=said):
            q4_engine.q4_engine(lm.model, file)
    with pytest.raises(ValueError, match="path"):
        q4_engine.q4_engine(lm.model, written(), path="neon")
    with pytest.raises(LabError, match="no plain matrix"):
        q4_engine.q4_engine(adapters.add_lora(load(written()).model, 0, rank=2).get_base_model(), written())
    with pytest.raises(LabError, match="48 columns"):
        q4_engine.q4_engine(tiny_model, written())


def test_a_gguf_s_tensors_are_those_of_the_gguf_package_and_a_torn_one_is_said(written, tmp_path):
    import gguf

    for name in SHAPES:
        held = gguf_files.stored(written(name))
        theirs = {t.name: t for t in gguf.GGUFReader(written(name)).tensors}
        assert set(held) == set(theirs)
        for key, (kind, rows) in held.items():
            assert kind == theirs[key].tensor_type.name
            assert rows.tobytes() == theirs[key].data.tobytes()
            if rows.ndim == 2:
                assert np.array_equal(unpacked(kind, rows).numpy(), gguf.quants.dequantize(theirs[key].data, theirs[key].tensor_type))
    whole = written().read_bytes()
    for torn in (b"", b"GGUF", b"nonsense" * 99, whole[:200], whole[:5000], whole[: len(whole) // 2]):
        (tmp_path / "torn.gguf").write_bytes(torn)
        with pytest.raises(LabError, match="cannot be read as GGUF"):
            gguf_files.stored(tmp_path / "torn.gguf")


def test_nothing_of_a_model_or_a_batch_is_kept(written):
    lm = load(written())
    state = engine(lm, [[1, 2], [3]])
    kept = [weakref.ref(lm.model), weakref.ref(state), weakref.ref(state.rows[0])]
    del lm, state
    gc.collect()
    assert [one() for one in kept] == [None] * 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_writes_the_same_and_does_not_hang(written):
    lm = load(written())
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    wanted = lm.complete(["one"], max_new_tokens=9)[0].text
    child = os.fork()
    if not child:
        signal.alarm(60)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            os._exit(0 if lm.complete(["one"], max_new_tokens=9)[0].text == wanted else 1)
    torch.set_num_threads(before)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.real_model
def test_the_shipped_model_layer_by_layer_and_its_answers(lm):
    """All thirty layers of a sentence; and what float32 would say next is what the codes say, nearly always."""
    from llmsuite_lab.core import zoo

    file = zoo.source_file(lm.name)
    text = "The river runs to the sea, and on its way it passes mills, fields and three old towns, each of which has a bridge and a market."
    ids = lm.tokenizer(text).input_ids
    same, floats = layers_apart(lm.model, file, ids[:6]).T
    assert same.median() < 1e-5
    assert floats.median() < 0.02
    start = q4_engine.q4_engine(lm.model, file)
    state, said = start([ids[:1]], len(ids)), []
    for token in ids[1:]:
        state.advance(torch.tensor([token]))
        said.append(int(state.logits.argmax()))
    with torch.no_grad():
        wanted = lm.model(torch.tensor([ids])).logits[0, 1:].argmax(-1).tolist()
    assert sum(a == b for a, b in zip(said, wanted)) >= 0.85 * len(said)
    four = LanguageModel(lm.model, lm.tokenizer, lm.name, engine=start)
    assert "Paris" in four.complete(["The capital of France is"], max_new_tokens=5)[0].text
