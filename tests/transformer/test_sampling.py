"""Sampling against the library's filters and the exact distribution; streams that know their seed and prompt alone."""

import math

import pytest
import torch

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.transformer.sampling import CANDIDATES, Sampling, nucleus, tempered, top_k

LOGITS = torch.randn(7, 613, generator=torch.Generator().manual_seed(2)) * 3


def theirs(logits: torch.Tensor, temperature: float, k: int | None, p: float | None) -> torch.Tensor:
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    scores = TemperatureLogitsWarper(temperature)(None, logits)
    scores = TopKLogitsWarper(k)(None, scores) if k else scores
    scores = TopPLogitsWarper(p)(None, scores) if p and p < 1 else scores
    return scores.softmax(-1)


@pytest.mark.parametrize(
    ("temperature", "k", "p"),
    [(0.7, None, None), (1.0, 5, None), (0.7, None, 0.8), (1.3, 40, 0.5), (2.0, None, 0.999), (1.0, None, 1e-9), (1.0, 1, 1e-6), (1.0, 999, 1.0)],
)
def test_the_distribution_is_that_of_transformers(temperature, k, p):
    ours = Sampling(temperature, k, p).probabilities(LOGITS)
    torch.testing.assert_close(ours, theirs(LOGITS, temperature, k, p), atol=1e-6, rtol=1e-5)


def test_a_nucleus_larger_than_the_shortcut_is_found_by_sorting():
    flat = torch.zeros(1, 3 * CANDIDATES)
    assert (Sampling(1.0, top_p=0.9).probabilities(flat) > 0).sum() == math.ceil(0.9 * 3 * CANDIDATES)


def test_the_taught_steps_by_hand():
    assert tempered(torch.tensor([2.0, 4.0]), 2.0).tolist() == [1.0, 2.0]
    kept, ids = top_k(torch.tensor([[1.0, 5.0, 3.0]]), 2)
    assert (kept.tolist(), ids.tolist()) == ([[5.0, 3.0]], [[1, 2]])
    assert nucleus(torch.tensor([0.5, 0.25, 0.125, 0.125]), 0.6).tolist() == [0.5, 0.25, 0.0, 0.0]
    with pytest.raises(ValueError, match="greedy"):
        tempered(torch.zeros(3), 0.0)


def test_samples_follow_the_distribution():
    logits = torch.log(torch.tensor([[0.5, 0.05, 0.3, 0.15]]))
    n = 4000
    for sampling, expected in (
        (Sampling(1.0), [0.5, 0.05, 0.3, 0.15]),
        (Sampling(1.0, top_k=2), [0.625, 0.0, 0.375, 0.0]),
        (Sampling(0.5), [0.25 / 0.365, 0.0025 / 0.365, 0.09 / 0.365, 0.0225 / 0.365]),
        (Sampling(1.0, top_p=0.7), [0.625, 0.0, 0.375, 0.0]),
    ):
        tokens, sampled, model = sampling.pick_scored(logits.expand(n, 4), sampling.streams(["prompt"] * n))
        counts = torch.bincount(tokens, minlength=4) / n
        assert (counts - torch.tensor(expected)).abs().max() < 0.03  # four standard deviations at n = 4000
        assert all(count == 0 for count, p in zip(counts, expected) if p == 0.0)
        torch.testing.assert_close(sampled.exp(), torch.tensor(expected)[tokens], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(model.exp(), torch.tensor([0.5, 0.05, 0.3, 0.15])[tokens], atol=1e-6, rtol=1e-5)
        assert torch.equal(tokens, sampling.pick(logits.expand(n, 4), sampling.streams(["prompt"] * n)))


def test_greedy_takes_the_largest_with_certainty():
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 3.0, 1.0]])
    tokens, sampled, model = Sampling().pick_scored(logits, [None, None])
    assert (tokens.tolist(), sampled.tolist()) == ([1, 0], [0.0, 0.0])
    torch.testing.assert_close(model, logits.log_softmax(-1)[[0, 1], [1, 0]])


def test_a_stream_knows_its_seed_its_prompt_and_how_often_it_came_before():
    def numbers(seed: int, prompts: list) -> list[float]:
        return [stream.random() for stream in Sampling(1.0, seed=seed).streams(prompts)]

    a, b, again = numbers(3, [[1, 2], [12], [1, 2]])
    assert len({a, b, again}) == 3
    assert numbers(3, [[12], [1, 2], [5], [1, 2]]) == [b, a, numbers(3, [[5]])[0], again]
    assert numbers(4, [[1, 2]]) != [a]
    assert numbers(3, ["text", "other"])[0] == numbers(3, ["text"])[0]
    assert numbers(3, ["text"]) == [0.46436243529245513]  # recorded samples stand on this number


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": -0.1}, "temperature=-0.1 must be 0"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"temperature": float("inf")}, "temperature=inf"),
        ({"temperature": 1e-38, "top_k": 5}, "temperature=1e-38 is too small"),
        ({"temperature": 1.0, "top_k": 0}, "top_k=0 must be at least 1"),
        ({"temperature": 1.0, "top_p": 1.5}, "top_p=1.5 must be above 0"),
        ({"top_k": 5}, "no effect at temperature 0"),
        ({"temperature": 1.0, "top_k": 2.5}, "top_k=2.5 must be a whole number"),
        *[({"seed": seed}, f"seed={str(seed)[:9]}.* must be a whole number from -9223372036854775808 to") for seed in (1.5, 2.0, True, "3", None, 2**63)],
    ],
)
def test_impossible_settings_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**values)


def test_a_seed_of_any_whole_kind_is_the_same_seed():
    import numpy as np

    draws = [Sampling(1.0, seed=seed).streams(["text"])[0].random() for seed in (-(2**63), 7, np.int64(7), 2**63 - 1)]
    assert draws[1] == draws[2]
    assert len(set(draws)) == 3


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.0}, {"temperature": 0.7, "top_k": 9}, {"temperature": 1e-6}, {"temperature": 1.0, "top_p": 0.9}])
def test_scores_that_are_no_numbers_choose_no_token(settings):
    sampling, logits = Sampling(**settings), torch.randn(3, 40, generator=torch.Generator().manual_seed(2))
    streams = sampling.streams([[1], [2], [3]])
    assert sampling.pick(logits, streams).shape == (3,)
    logits[1] = torch.nan
    for choose in (sampling.pick, sampling.pick_scored):
        with pytest.raises(LabError, match="scores are not numbers"):
            choose(logits, streams)
