"""DPO's loss is trl's, its optimum the one in closed form, and what people got wrong in it is measured."""

import math

import pytest
import torch

from llmsuite_lab.alignment import dpo
from llmsuite_lab.alignment.actions import reply_logprobs, score
from llmsuite_lab.alignment.pairs import Pair
from llmsuite_lab.alignment.rollouts import Reference
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.lm.batching import Example
from llmsuite_lab.peft_methods.lora import add_lora
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder

END = 1
PAIRS = [Pair([5, 6, 7], [9, 10, END], [11, END]), Pair([8], [12, END], [13, 14, 15, 16, END]), Pair([4, 1, 3], [END], [17, 18, END])]


def test_a_reply_s_log_probability_is_the_sum_of_its_actions_and_of_no_other_token(tiny, replies):
    model = tiny()
    torch.testing.assert_close(reply_logprobs(model, replies), score(model, replies).logprobs.sum(1), rtol=1e-5, atol=1e-5)


def test_the_loss_by_hand():
    tensors = [torch.tensor([x]) for x in (-3.0, -5.0, -4.0, -4.5)]  # chosen, rejected, and the same under the reference
    difference = 0.2 * ((-3 + 4) - (-5 + 4.5))
    assert dpo.dpo_loss(*tensors, beta=0.2).item() == pytest.approx(math.log(1 + math.exp(-difference)))
    smoothed = 0.9 * math.log(1 + math.exp(-difference)) + 0.1 * math.log(1 + math.exp(difference))
    assert dpo.dpo_loss(*tensors, beta=0.2, label_smoothing=0.1).item() == pytest.approx(smoothed)


def test_loss_and_gradients_are_those_of_trl_s_trainer(tiny, tiny_tokenizer, tmp_path):
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    policy, other, start = tiny("llama"), tiny("llama"), tiny("llama", seed=9)
    items = dpo.referenced(Reference.frozen(start), PAIRS)
    batch = dpo._collate(items)
    chosen, rejected = batch.halves(reply_logprobs(policy, batch.replies))
    loss = dpo.dpo_loss(chosen, rejected, *batch.reference, 0.3).mean()
    loss.backward()
    data = Dataset.from_list([{"prompt": "a", "chosen": " b", "rejected": " c"}])
    options = {"loss_type": ["sigmoid"], "beta": 0.3}
    arguments = DPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", disable_tqdm=True, gradient_checkpointing=False, **options)
    trainer = DPOTrainer(other, start, arguments, train_dataset=data, processing_class=tiny_tokenizer)
    rows = [[*r.prompt_ids, *r.completion_ids] for r in batch.replies]
    width = max(map(len, rows))
    pad = lambda values: torch.tensor([v + [0] * (width - len(v)) for v in values])  # noqa: E731
    inputs = {
        "input_ids": pad(rows), "attention_mask": pad([[1] * len(r) for r in rows]),
        "completion_mask": pad([[0] * len(r.prompt_ids) + [1] * len(r.completion_ids) for r in batch.replies]),
    }  # fmt: skip
    expected = trainer.compute_loss(other, inputs)
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    told, ours = trainer._metrics["train"], dpo.measure(policy, Reference.frozen(start), PAIRS, 0.3)
    names = {"rewards/chosen": "reward_chosen", "rewards/rejected": "reward_rejected", "rewards/margins": "reward_margin", "logps/chosen": "logprob_chosen"}
    assert [ours[mine] for mine in names.values()] == pytest.approx([told[name][-1] for name in names], rel=1e-4, abs=1e-5)
    mine, theirs = (m.model.layers[0].mlp.up_proj.weight.grad for m in (policy, other))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_at_the_start_a_pair_costs_ln_two_and_every_implicit_reward_is_zero(tiny, replies):
    policy = tiny()
    reference = Reference.frozen(policy)
    items = dpo.referenced(reference, PAIRS)
    batch = dpo._collate(items)
    losses = dpo.dpo_loss(*batch.halves(reply_logprobs(policy, batch.replies)), *batch.reference)
    torch.testing.assert_close(losses, torch.full((3,), math.log(2)))
    assert torch.equal(dpo.implicit_rewards(policy, reference, replies), torch.zeros(4))
    assert dpo.accuracy(policy, reference, PAIRS).mean == 0.5


def test_averaged_log_probabilities_price_a_long_reply_otherwise(tiny):
    start = Reference.frozen(tiny(seed=9))
    summed, averaged = dpo.referenced(start, PAIRS), dpo.referenced(start, PAIRS, average=True)
    for one, other in zip(summed, averaged):
        assert other.rejected == pytest.approx(one.rejected / len(one.pair.rejected_ids))
    assert averaged[1].rejected != pytest.approx(summed[1].rejected)


def test_dropout_reaches_neither_policy_nor_reference():
    torch.manual_seed(0)
    dropping = Decoder(llama_config(23, n_layers=2, d_model=24, n_heads=3, d_ff=40, max_length=64, dropout=0.5)).train()
    reference = Reference.frozen(dropping)
    items = dpo.referenced(reference, PAIRS)
    history = dpo.train(dropping, reference, PAIRS, epochs=1, batch_size=3, lr=1e-6, progress=False)
    assert history.losses[0] == pytest.approx(math.log(2), abs=1e-5)
    assert dpo.referenced(reference, PAIRS) == items


@pytest.mark.parametrize("seed", range(5))
def test_on_a_bandit_it_becomes_the_reference_times_the_exponential_of_the_reward(seed):
    """With labels drawn by Bradley–Terry in R, the best policy is π_ref exp(R / β): the same optimum as PPO's."""
    torch.manual_seed(seed)
    policy = Decoder(llama_config(6, n_layers=1, d_model=16, n_heads=2, d_ff=24, max_length=16))
    reference = Reference.frozen(policy)
    rewards = torch.tensor([-1.0, -1.0, 0.0, 0.5, 1.0, -1.0])
    beta, generator = 0.5, torch.Generator().manual_seed(seed)
    found = []
    for _ in range(4000):
        a, b = torch.randperm(6, generator=generator)[:2].tolist()
        first = torch.rand((), generator=generator) < (rewards[a] - rewards[b]).sigmoid()
        found.append(Pair([2, 3], [a if first else b], [b if first else a]))
    dpo.train(policy, reference, found, beta=beta, epochs=2, batch_size=100, lr=1e-2, seed=seed, progress=False)
    with torch.no_grad():
        before, after = (score(m, [Example([2, 3], [0])], distribution=True).distribution[0, 0] for m in (reference.model, policy))
    best = (before + rewards / beta).softmax(-1)
    assert (after.exp() - best).abs().sum() / 2 < 0.12
    assert (before.exp() - best).abs().sum() / 2 > 0.3


def test_with_a_lora_the_base_is_the_reference(tiny):
    policy = add_lora(tiny(), ["W_Q", "W_V", "W_up", "W_down"], rank=4)
    reference = Reference.without_adapters(policy)
    before = dpo.referenced(reference, PAIRS)
    dpo.train(policy, reference, PAIRS * 8, epochs=3, batch_size=12, lr=1e-2, progress=False)
    assert dpo.referenced(reference, PAIRS) == before
    assert dpo.accuracy(policy, reference, PAIRS).mean == 1.0


def test_at_the_start_a_pair_costs_ln_two_in_bfloat16_too_and_the_models_come_back_as_they_were(tiny):
    policy, other = tiny("llama"), tiny("llama")
    reference = Reference.frozen(policy)
    history = dpo.train(policy, reference, PAIRS * 2, beta=1.0, batch_size=6, lr=1e-9, dtype=torch.bfloat16, progress=False)
    assert history.losses[0] == pytest.approx(math.log(2), abs=1e-5)
    for kept, first in zip(reference.model.parameters(), other.parameters()):
        assert torch.equal(kept, first)


def test_a_run_is_not_resumed_with_another_beta(tiny, tmp_path):
    policy = tiny()
    reference, how = Reference.frozen(policy), {"epochs": 2, "batch_size": 2, "checkpoint": tmp_path / "run", "progress": False}
    whole_run = dpo.train(policy, reference, PAIRS, beta=0.1, **how)
    assert dpo.train(tiny(), reference, PAIRS, beta=0.1, resume=True, **how).losses == whole_run.losses
    with pytest.raises(LabError, match="beta=0.1"):
        dpo.train(tiny(), reference, PAIRS, beta=0.2, resume=True, **how)


def test_the_measures_by_hand(tiny, replies):
    policy = tiny()
    reference = Reference.frozen(tiny(seed=9))
    found = dpo.measure(policy, reference, PAIRS, beta=0.5, batch_size=2)
    now, then = (torch.tensor([[reply_logprobs(m, [side]).item() for side in (p.chosen, p.rejected)] for p in PAIRS]) for m in (policy, reference.model))
    rewards = 0.5 * (now - then)
    assert found["logprob_chosen"] == pytest.approx(now[:, 0].mean().item(), rel=1e-4)
    assert found["reward_rejected"] == pytest.approx(rewards[:, 1].mean().item(), rel=1e-4)
    assert found["reward_margin"] == pytest.approx(found["reward_chosen"] - found["reward_rejected"])
    assert found["accuracy"] == pytest.approx(dpo.accuracy(policy, reference, PAIRS).mean) == (rewards[:, 0] > rewards[:, 1]).float().mean().item()
    assert found["loss"] == pytest.approx(torch.log1p((rewards[:, 1] - rewards[:, 0]).exp()).mean().item(), rel=1e-4)
    assert set(found) == set(dpo.METRICS)
    each = dpo.implicit_rewards(policy, reference, [side for p in PAIRS for side in (p.chosen, p.rejected)], beta=0.5, batch_size=4)
    torch.testing.assert_close(each, rewards.flatten(), rtol=1e-4, atol=1e-4)


def test_what_is_no_number_is_not_counted_as_wrong(tiny):
    policy = tiny()
    reference = Reference.frozen(policy)
    policy.embedding.token.weight.data[9] = math.nan
    with pytest.raises(LabError, match="reply 0 has a log-probability of nan"):
        dpo.accuracy(policy, reference, PAIRS)


def test_a_pair_beyond_the_context_is_refused_before_training(tiny):
    for family in ("decoder", "llama"):  # the second would answer anything
        policy = tiny(family)
        with pytest.raises(ValueError, match=r"first: number 1\) have more tokens than the model's context of 64"):
            dpo.train(policy, Reference.frozen(policy), [PAIRS[0], Pair([5] * 63, [6, END], [END])], progress=False)


def test_what_cannot_work_is_refused(tiny):
    policy = tiny()
    with pytest.raises(ValueError, match="beta=0"):
        dpo.train(policy, Reference.frozen(policy), PAIRS, beta=0.0)
    with pytest.raises(ValueError, match="label_smoothing"):
        dpo.train(policy, Reference.frozen(policy), PAIRS, label_smoothing=0.5)
    with pytest.raises(ValueError, match="list is empty"):
        dpo.referenced(Reference.frozen(policy), [])
