"""Sampling against the library's filters and the exact distribution; stop strings; batches; the cached decoder against a full forward pass."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from llmsuite_lab.lm.decoding import CachedDecoder, Sampling, batches, first_stop, held_back, stop_list
from llmsuite_lab.lm.packed_decoding import PackedDecoder, engine_for


def allowed(sampling: Sampling, logits: torch.Tensor) -> list[set[int]]:
    """Ids with a probability above zero, per row."""
    probabilities, ids = sampling._candidates(logits / sampling.temperature)
    ids = torch.arange(logits.shape[-1]).expand_as(logits) if ids is None else ids
    return [set(row_ids[row > 0].tolist()) for row, row_ids in zip(probabilities, ids)]


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1.0, 5, None), (0.7, None, 0.8), (1.3, 40, 0.5), (2.0, None, 0.999), (1.0, None, 1e-9)]
)
def test_filters_keep_what_transformers_keeps(temperature, top_k, top_p):
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = torch.randn(7, 613, generator=torch.Generator().manual_seed(2)) * 3
    expected = TemperatureLogitsWarper(temperature)(None, logits)
    if top_k:
        expected = TopKLogitsWarper(top_k)(None, expected)
    if top_p:
        expected = TopPLogitsWarper(top_p)(None, expected)
    kept = [set(row.isfinite().nonzero()[:, 0].tolist()) for row in expected]
    assert allowed(Sampling(temperature, top_k, top_p), logits) == kept


def test_samples_follow_the_distribution():
    logits = torch.log(torch.tensor([[0.5, 0.05, 0.3, 0.15]]))
    n = 4000
    for sampling, expected in (
        (Sampling(1.0), [0.5, 0.05, 0.3, 0.15]),
        (Sampling(1.0, top_k=2), [0.625, 0.0, 0.375, 0.0]),
        (Sampling(0.5), [0.25 / 0.365, 0.0025 / 0.365, 0.09 / 0.365, 0.0225 / 0.365]),
        (Sampling(1.0, top_p=0.7), [0.625, 0.0, 0.375, 0.0]),
    ):
        draws = [sampling.draws("prompt", i) for i in range(n)]
        counts = torch.bincount(sampling.pick(logits.expand(n, 4), draws), minlength=4) / n
        assert (counts - torch.tensor(expected)).abs().max() < 0.03  # four standard deviations at n = 4000
        assert all(count == 0 for count, p in zip(counts, expected) if p == 0.0)


def test_greedy_takes_the_largest():
    assert Sampling().pick(torch.tensor([[0.0, 3.0, 1.0], [5.0, 3.0, 1.0]]), [None, None]).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": -0.1}, "temperature=-0.1 must be 0"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"temperature": 1.0, "top_k": 0}, "top_k=0 must be at least 1"),
        ({"temperature": 1.0, "top_p": 1.5}, "top_p=1.5 must be above 0"),
        ({"top_k": 5}, "no effect at temperature 0"),
    ],
)
def test_impossible_settings_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**values)


def test_stop_strings():
    assert stop_list("\n") == ["\n"]
    assert first_stop("abcabc", ["ca", "b"]) == 1
    assert first_stop("abc", ["x"]) is None
    with pytest.raises(ValueError, match="empty string"):
        stop_list(["a", ""])
    with pytest.raises(TypeError, match="stop takes strings"):
        stop_list([3])


@given(st.text("ab\n", max_size=12), st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3))
def test_nothing_shown_early_can_turn_out_to_be_a_stop(text, stop):
    """Shown piece by piece with `held_back`, a text never shows more than what stands before its first stop string."""
    final = text[: first_stop(text, stop)]
    for n in range(len(text) + 1):
        seen = text[:n]
        if first_stop(seen, stop) is None:
            shown = seen[: len(seen) - held_back(seen, stop)]
            assert final.startswith(shown)


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 7), st.integers(20, 200), st.integers(0, 10))
def test_batches_hold_each_item_once_within_the_limits(lengths, rows, tokens, room):
    made = batches(lengths, rows, tokens, room)
    assert sorted(i for batch in made for i in batch) == list(range(len(lengths)))
    for batch in made:
        assert len(batch) <= rows
        assert len(batch) == 1 or len(batch) * (max(lengths[i] for i in batch) + room) <= tokens


@pytest.mark.parametrize("make", [CachedDecoder, PackedDecoder])
@pytest.mark.parametrize("shared", [0, 21])
def test_cached_steps_equal_a_full_forward_pass(tiny_lm, shared, make):
    """Left padding, a shared prefix, dropped rows and the cache change nothing: each row's logits are those of the row alone, uncached."""
    generator = torch.Generator().manual_seed(4)
    random = lambda n: torch.randint(0, 256, (n,), generator=generator).tolist()  # noqa: E731
    prefix = random(shared)
    texts = [prefix + random(n) for n in (5, 1, 9)]
    engine = make(tiny_lm.model, texts, room=6)
    rows = [0, 1, 2]
    for step in range(5):
        with torch.no_grad():
            expected = torch.cat([tiny_lm.model(torch.tensor([texts[i]])).logits[:, -1] for i in rows])
        torch.testing.assert_close(engine.logits, expected, rtol=1e-4, atol=1e-4)  # float32, other summation order
        tokens = random(len(rows))
        if step == 2:
            rows, tokens = [2, 0], [tokens[2], tokens[0]]
            engine.select(rows)
        for i, token in zip(rows, tokens):
            texts[i].append(token)
        engine.advance(torch.tensor(tokens))


def test_packed_weights_follow_the_model_when_it_is_trained(tiny_lm):
    before = PackedDecoder(tiny_lm.model, [[1, 2, 3]], 1).logits
    assert torch.equal(before, PackedDecoder(tiny_lm.model, [[1, 2, 3]], 1).logits)
    optimizer = torch.optim.SGD(tiny_lm.model.parameters(), lr=0.5)
    tiny_lm.model(torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss.backward()
    optimizer.step()
    with torch.no_grad():
        expected = tiny_lm.model(torch.tensor([[1, 2, 3]])).logits[:, -1]
    torch.testing.assert_close(PackedDecoder(tiny_lm.model, [[1, 2, 3]], 1).logits, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(before, expected)


def test_the_engine_fits_the_model(tiny_model):
    from peft import LoraConfig, get_peft_model

    assert engine_for(tiny_model) is PackedDecoder
    tuned = get_peft_model(tiny_model, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    assert engine_for(tuned) is CachedDecoder  # its adapter is not in the weights
    assert engine_for(tuned.merge_and_unload()) is PackedDecoder
