"""The generation engine: same greedy tokens as transformers.generate, rows that do not disturb each other, every way to end, and bad input."""

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsuite_lab.transformer import fast_decoder, packing
from llmsuite_lab.transformer.config import gpt2_config, llama_config, t5_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.generation import generate, steps
from llmsuite_lab.transformer.layers import Linear
from llmsuite_lab.transformer.sampling import Sampling

VOCABULARY = 61
PROMPTS = [[5, 6, 7, 8, 9], [11, 12], [21, 22, 23, 24, 25, 26, 27, 28]]


def spread(model: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.4
    return model.eval()


def tiny(kind: str = "llama", **other: object) -> Decoder:
    make = {"llama": llama_config, "gpt2": gpt2_config}[kind]
    return spread(Decoder(make(VOCABULARY, 24, 3, 6, 40, 64, **({"n_kv_heads": 2} if kind == "llama" else {}) | other)))


MODEL = tiny()


def one_by_one(model: Decoder, prompt: list[int], n: int) -> list[int]:
    """Greedy decoding without cache, batch or padding: the definition."""
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(n):
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_greedy_tokens_equal_transformers_generate_on_a_left_padded_batch(kind):
    torch.manual_seed(0)
    if kind == "llama":
        config = transformers.LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=24, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, intermediate_size=40
        )
        theirs = spread(transformers.LlamaForCausalLM(config))
    else:
        config = transformers.GPT2Config(vocab_size=VOCABULARY, n_embd=24, n_layer=2, n_head=3, n_inner=40, bos_token_id=1, eos_token_id=1)
        theirs = spread(transformers.GPT2LMHeadModel(config))
    longest = max(map(len, PROMPTS))
    ids = torch.tensor([[0] * (longest - len(p)) + p for p in PROMPTS])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in PROMPTS])
    expected = theirs.generate(
        ids, attention_mask=mask, do_sample=False, max_new_tokens=15, min_new_tokens=15, eos_token_id=None, pad_token_id=0
    )
    rows = generate(theirs, PROMPTS, 15)
    assert [row.ids for row in rows] == expected[:, longest:].tolist()


@pytest.mark.parametrize(
    "model",
    [
        MODEL,
        tiny("gpt2"),
        tiny("gpt2", pre_norm=False, positions="sinusoidal", scale_embedding=True),
        tiny("llama", attention_bias=True, feed_forward_bias=True, tie_embeddings=False, d_head=10, logit_scale=0.5),
        tiny("gpt2", positions="none", embedding_norm=True, logit_bias=True),
    ],
    ids=["llama", "gpt2", "post-norm", "llama with every option", "no positions"],
)
def test_cached_batched_greedy_equals_no_cache_one_by_one(model):
    expected = [one_by_one(model, prompt, 12) for prompt in PROMPTS]
    assert [row.ids for row in generate(model, PROMPTS, 12)] == expected
    assert [generate(model, [prompt], 12)[0].ids for prompt in PROMPTS] == expected


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=9), min_size=1, max_size=5, unique_by=tuple),
    st.integers(0, 3),
    st.sampled_from([0.0, 0.8]),
)
def test_a_row_is_the_same_alone_and_in_company(prompts, seed, temperature):
    sampling = Sampling(temperature, seed=seed)
    together = generate(MODEL, prompts, 6, sampling=sampling)
    assert together == [generate(MODEL, [p], 6, sampling=sampling)[0] for p in prompts]


def test_the_cache_grows_and_finished_rows_leave_without_changing_the_others(monkeypatch):
    expected = [one_by_one(MODEL, prompt, 30) for prompt in PROMPTS]
    monkeypatch.setattr("llmsuite_lab.transformer.packed_engine.CACHE_CHUNK", 3)
    sizes = []
    forward = fast_decoder.FastDecoder.forward
    monkeypatch.setattr(fast_decoder.FastDecoder, "forward", lambda self, ids, *rest: sizes.append(len(ids)) or forward(self, ids, *rest))
    stops = {0: 4, 1: 30, 2: 11}
    rows = generate(MODEL, PROMPTS, 30, should_stop=lambda row, ids: len(ids) == stops[row])
    assert [row.ids for row in rows] == [ids[: stops[i]] for i, ids in enumerate(expected)]
    assert [row.finish_reason for row in rows] == ["stop", "length", "stop"] or [row.finish_reason for row in rows] == [
        "stop",
        "stop",
        "stop",
    ]
    assert sizes == [3] * 4 + [2] * 7 + [1] * 19


def test_a_prefix_that_all_prompts_share_is_read_once(monkeypatch):
    prefix = [(7 * i) % VOCABULARY for i in range(20)]
    prompts = [prefix + rest for rest in ([1, 2, 3], [1], [9, 8, 7, 6, 5])]
    shapes = []
    forward = fast_decoder.FastDecoder.forward
    monkeypatch.setattr(
        fast_decoder.FastDecoder, "forward", lambda self, ids, *rest: shapes.append(tuple(ids.shape)) or forward(self, ids, *rest)
    )
    rows = generate(MODEL, prompts, 9)
    assert [row.ids for row in rows] == [one_by_one(MODEL, prompt, 9) for prompt in prompts]
    assert shapes[:3] == [(1, 20), (3, 5), (3, 1)]
    assert generate(MODEL, [prefix, prefix], 3)[1].ids == one_by_one(MODEL, prefix, 3)


def test_an_end_token_ends_its_row_and_is_left_out():
    ids = one_by_one(MODEL, PROMPTS[0], 12)
    eos = ids[5]
    row = generate(MODEL, [PROMPTS[0]], 12, eos_ids=[eos, 999])[0]
    assert row.ids == ids[: ids.index(eos)]
    assert row.finish_reason == "eos"
    assert generate(MODEL, [PROMPTS[0]], 3)[0].finish_reason == "length"


def test_steps_give_the_same_tokens_as_they_come_and_do_not_leave_inference_mode_on():
    seen: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for step in steps(MODEL, PROMPTS, 7):
        assert not torch.is_inference_mode_enabled()
        for token in step:
            seen[token.row].append(token.id)
    assert list(seen.values()) == [row.ids for row in generate(MODEL, PROMPTS, 7)]


def test_a_swapped_linear_layer_is_called_as_it_is():
    class Doubled(Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    model = tiny()
    model.stack.blocks[1].attention.W_V.__class__ = Doubled
    model.stack.blocks[0].feed_forward.W_down.__class__ = Doubled
    rows = generate(model, PROMPTS, 8)
    assert [row.ids for row in rows] == [one_by_one(model, prompt, 8) for prompt in PROMPTS]
    assert [row.ids for row in rows] != [row.ids for row in generate(MODEL, PROMPTS, 8)]


@pytest.mark.parametrize("layout", ["plain", "transposed", "prepacked"])
@pytest.mark.parametrize("bias", [False, True])
def test_every_layout_computes_the_same_product(layout, bias):
    torch.manual_seed(1)
    first, second = Linear(7, 5, bias=bias), Linear(7, 3, bias=False)
    x, y = torch.randn(4, 7), torch.randn(4, 8)
    packed = packing.pack([first, second], layout, torch.float32)
    with torch.inference_mode():
        expected = torch.cat([first(x), second(x)], -1)
        torch.testing.assert_close(packed(x), expected)
        torch.testing.assert_close(packed.add(x, y), y + expected)


def test_without_onednn_another_layout_is_chosen(monkeypatch):
    monkeypatch.setattr(packing, "_PROBED", {torch.float32: False, torch.bfloat16: False})
    cpu = torch.device("cpu")
    assert packing.choose_layout(torch.float32, cpu) == "transposed"
    assert packing.choose_layout(torch.bfloat16, cpu) == "plain"
    fresh = tiny()
    assert generate(fresh, PROMPTS, 5) == generate(MODEL, PROMPTS, 5)


def test_bad_requests_are_refused_with_numbers():
    for prompts, options, message in (
        ([], {}, "0 prompts"),
        ([[1], []], {}, r"empty: \[1\]"),
        ([[1, 61]], {}, r"token id 61 .* 0\.\.60"),
        ([[1] * 60], {"max_new_tokens": 5}, "max_length=64"),
        ([[1]], {"max_new_tokens": 0}, "max_new_tokens=0"),
    ):
        with pytest.raises(ValueError, match=message):
            generate(MODEL, prompts, **{"max_new_tokens": 4} | options)
    for streams in ([], [None], Sampling(1.0).streams([[1]]), [None, None]):
        with pytest.raises(ValueError, match=f"2 prompts need as many streams of random numbers, got {len(streams)}"):
            generate(MODEL, [[1], [2]], 4, sampling=Sampling(1.0), streams=streams)
    with pytest.raises(ValueError, match="relative"):
        generate(Decoder(t5_config(VOCABULARY, 24, 1, 3, 40)), [[1]])
    with pytest.raises(TypeError, match="transformer.Decoder or a causal transformers model, got Linear"):
        generate(Linear(3, 4), [[1]])


@pytest.mark.real_model
def test_smollm2_greedy_tokens_equal_transformers_generate():
    from llmsuite_lab.core import zoo

    theirs = zoo.load_model("smollm2-135m-instruct", torch.float32)
    tokenizer = zoo.load_tokenizer("smollm2-135m-instruct")
    prompts = tokenizer(["The capital of France is", "Water boils at", "def add(a, b):\n    return", "1, 2, 3,"]).input_ids
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    expected = theirs.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=8, pad_token_id=0)[:, longest:].tolist()
    eos = tokenizer.eos_token_id
    rows = generate(theirs, prompts, 8, eos_ids=eos)
    assert [row.ids for row in rows] == [row[: row.index(eos)] if eos in row else row for row in expected]
