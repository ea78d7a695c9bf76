"""What a comparison is made of: cases that nothing was trained on, pairs a policy wrote itself, both judges' figures."""

import pytest
import torch

from llmsuite_lab.alignment import measuring, small_policy
from llmsuite_lab.alignment.rollouts import Reference, write
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.lm.batching import Example
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.world.preferences import cases, judge


@pytest.fixture(scope="module")
def words():
    return small_policy.desk_tokenizer()


@pytest.fixture
def policy(words):
    torch.manual_seed(0)
    return Decoder(llama_config(len(words), n_layers=1, d_model=16, n_heads=2, d_ff=24, max_length=200))


def test_prompts_for_tuning_for_pairs_and_for_the_verdict_are_different(words):
    tuning, test = measuring.tuning_cases(200), cases(200, "test")
    pairs = cases(200, "train", measuring.PAIR_CASES)
    start = cases(200, "train", 0)
    sets = [{case.prompt for case in part} for part in (tuning, test, pairs, start)]
    assert all(len(part) > 190 for part in sets)
    assert not any(a & b for i, a in enumerate(sets) for b in sets[:i])


def test_pairs_are_two_different_replies_of_the_policy_and_the_same_again(policy, words):
    found = measuring.labelled_pairs(policy, words, 12, max_new_tokens=6)
    assert len(found) == 12
    assert all(pair.chosen != pair.rejected for pair in found)
    assert measuring.labelled_pairs(policy, words, 12, max_new_tokens=6) == found


def test_a_policy_that_writes_always_the_same_gives_no_pairs_and_that_is_told(policy, words, monkeypatch):
    alike = lambda policy, prompts, **options: ([Example(ids, [7]) for ids in prompts for _ in range(2)], [False] * 2 * len(prompts))  # noqa: E731
    monkeypatch.setattr(measuring, "write", alike)
    with pytest.raises(LabError, match="too much alike"):
        measuring.labelled_pairs(policy, words, 12)


def test_gold_judges_the_words_without_the_end_token(policy, words):
    asked = cases(3, "test")
    replies, _ = write(policy, measuring.prompts(asked, words), end_id=words.eos_token_id, k=2, max_new_tokens=5)
    expected = [judge(asked[i // 2], words.decode([t for t in r.completion_ids if t != words.eos_token_id])).gold for i, r in enumerate(replies)]
    assert measuring.gold(asked, replies, words).tolist() == pytest.approx(expected)
    with pytest.raises(ValueError, match="5 replies to 3 cases"):
        measuring.gold(asked, replies[:5], words)


def test_a_verdict_holds_both_judges_a_case_and_a_kl_of_zero_for_the_start(policy, words):
    asked = cases(5, "test")
    reward = lambda replies: torch.tensor([float(len(r.completion_ids)) for r in replies])  # noqa: E731
    found = measuring.verdict(policy, Reference.frozen(policy), reward, asked, words, max_new_tokens=7)
    assert len(found.gold) == len(found.proxy) == 5
    assert found.kl == pytest.approx(0, abs=1e-5)
    assert found.length == pytest.approx(sum(found.proxy) / 5)
    assert found.tokens == sum(found.proxy)
    with torch.no_grad():
        other = Decoder(policy.config)
    assert measuring.verdict(other, Reference.frozen(policy), reward, asked, words, max_new_tokens=7).kl > 0
    with pytest.raises(ValueError, match="list is empty"):
        measuring.verdict(policy, Reference.frozen(policy), reward, [], words)


def test_a_reward_model_is_normalised_over_the_replies_it_learnt_from(policy, words):
    preferences = measuring.labelled_pairs(policy, words, 40, max_new_tokens=5)
    model, history = measuring.make_reward_model(policy, words, preferences, epochs=1)
    assert history.steps == 2
    told = measuring.pairing.encode(preferences, words)
    rewards = model.rewards([reply for pair in told for reply in (pair.chosen, pair.rejected)])
    assert rewards.mean().item() == pytest.approx(0, abs=1e-4)
    assert rewards.std().item() == pytest.approx(1, abs=1e-4)


def test_distinct_counts_different_runs_of_words():
    assert measuring.distinct(["a b a b", "a b"]) == pytest.approx(2 / 4)
    assert measuring.distinct(["a", ""]) == 0.0
    assert measuring.text_ids(Example([1], [5, 6, 9]), 9) == [5, 6]
