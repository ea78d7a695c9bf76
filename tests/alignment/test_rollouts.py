"""Rollouts hold what policy, reference and reward said of each reply, and nothing of its neighbours or its padding."""

import pytest
import torch

from llmsuite_lab.alignment.actions import score
from llmsuite_lab.alignment.rollouts import ActorCritic, Reference, collect, scored_once, write
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.peft_methods.lora import add_lora, lora_layers

END = 1
PROMPTS = [[5, 6, 7], [8], [9, 10, 1, 11]]  # an end token inside the last prompt


def length_reward(replies):
    return torch.tensor([float(len(reply.completion_ids)) for reply in replies])


def test_each_prompt_gets_its_replies_side_by_side_and_the_same_ones_again(tiny):
    policy = tiny()
    replies, ended = write(policy, PROMPTS, end_id=END, k=3, max_new_tokens=6, seed=4)
    assert [reply.prompt_ids for reply in replies] == [p for p in PROMPTS for _ in range(3)]
    assert write(policy, PROMPTS, end_id=END, k=3, max_new_tokens=6, seed=4)[0] == replies
    assert write(policy, PROMPTS, end_id=END, k=3, max_new_tokens=6, seed=5)[0] != replies
    assert len({tuple(reply.completion_ids) for reply in replies[:3]}) > 1
    for reply, did in zip(replies, ended):
        assert (reply.completion_ids[-1] == END) == did
        assert END not in reply.completion_ids[:-1]


def test_replies_do_not_depend_on_how_many_are_written_at_once(tiny):
    assert write(tiny(), PROMPTS, end_id=END, k=3, seed=4, batch_size=2) == write(tiny(), PROMPTS, end_id=END, k=3, seed=4)


@pytest.mark.parametrize("family", ["decoder", "llama"])
def test_what_is_collected_is_what_each_part_says_by_itself(tiny, family):
    model = ActorCritic(tiny(family))
    torch.nn.init.normal_(model.value.weight)
    reference = Reference.frozen(tiny(family, seed=8))
    got = collect(model, reference, length_reward, PROMPTS, end_id=END, k=2, max_new_tokens=7, seed=0)
    again = score(model.policy, got.replies)
    assert torch.equal(got.mask, again.mask)
    torch.testing.assert_close(got.logprobs, again.logprobs)
    torch.testing.assert_close(got.reference, score(reference.model, got.replies).logprobs)
    torch.testing.assert_close(got.values, model.values(again))
    assert not got.values[~got.mask].any()
    assert got.values[got.mask].abs().min() > 0
    assert got.scores.tolist() == got.mask.sum(1).tolist()
    assert got.tokens == int(got.mask.sum())
    some = got.rows([3, 0])
    assert some.replies == [got.replies[3], got.replies[0]]
    torch.testing.assert_close(some.logprobs, got.logprobs[[3, 0], : some.mask.shape[1]])
    assert some.mask.any(0).all()


@pytest.mark.parametrize("family", ["decoder", "llama"])
def test_adapters_switched_off_are_the_reference_and_on_again_afterwards(tiny, replies, family):
    base = tiny(family)
    expected = score(base, replies).logprobs
    targets = ["W_Q", "W_V"] if family == "decoder" else ["q_proj", "v_proj"]
    policy = add_lora(base, targets, rank=2)
    for layer in lora_layers(policy).values():
        torch.nn.init.normal_(layer.B["default"], std=0.3)
    tuned = score(policy, replies).logprobs
    reference = Reference.without_adapters(policy)
    assert torch.equal(reference.score(replies).logprobs, expected)
    assert torch.equal(score(policy, replies).logprobs, tuned)
    assert not torch.allclose(tuned, expected, atol=1e-2)
    with pytest.raises(ValueError, match="carries no adapter"):
        Reference.without_adapters(tiny(family))


def test_a_base_that_is_trained_beside_its_adapters_is_no_reference(tiny):
    policy = add_lora(tiny(), ["W_Q"], rank=2)
    policy.stack.final_norm.weight.requires_grad_(True)
    with pytest.raises(ValueError, match="final_norm.*their base would move"):
        Reference.without_adapters(policy)


def test_a_frozen_reference_does_not_follow_the_policy(tiny, replies):
    policy = tiny()
    reference = Reference.frozen(policy)
    before = reference.score(replies).logprobs
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(0.5)
    assert torch.equal(reference.score(replies).logprobs, before)
    assert not any(p.requires_grad for p in reference.model.parameters())


@pytest.mark.parametrize(
    ("reward", "words"),
    [(lambda r: torch.zeros(2), "must give one each"), (lambda r: torch.tensor([1.0, float("nan"), 2.0, 3.0]), "reward of reply 1 is nan")],
)
def test_a_reward_that_is_no_number_a_reply_is_told(replies, reward, words):
    with pytest.raises(LabError, match=words):
        scored_once(reward, replies)


def test_what_cannot_be_written_is_refused(tiny):
    with pytest.raises(ValueError, match="temperature=0"):
        write(tiny(), PROMPTS, end_id=END, k=2, temperature=0)
    with pytest.raises(ValueError, match="k=0"):
        write(tiny(), PROMPTS, end_id=END, k=0)
    with pytest.raises(TypeError, match="does not tell its width"):
        ActorCritic(torch.nn.Linear(2, 2))
