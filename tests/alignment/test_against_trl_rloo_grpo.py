"""RLOO and GRPO against the trainers of the installed trl: advantages from the same rewards, losses and gradients after the policy has moved.

Its trainers do it all themselves; only their drawing of replies is replaced by replies that are given. The options that make the two comparable:
RLOO `normalize_advantages=False` (its default), beta the price of the KL in the reward. GRPO `loss_type="grpo"` (a mean by reply, then over replies; its
default weighs tokens alike), `scale_rewards="group"`, `importance_sampling_level="token"`, `use_bias_correction_kl=False` (its default multiplies k3 by the
ratio; Shao et al. 2024 do not), `num_iterations=2` (old log-probabilities are kept), beta the weight of k3. Both: epsilon 0.2, temperature 1, no entropy bonus.
"""

import copy

import pytest
import torch

from llmsuite_lab.alignment import objectives
from llmsuite_lab.alignment.actions import score
from llmsuite_lab.alignment.divergence import estimate
from llmsuite_lab.alignment.rollouts import ActorCritic, Reference, Rollouts
from llmsuite_lab.alignment.settings import Settings
from llmsuite_lab.alignment.update import advantages_of
from llmsuite_lab.course.bench._old_trl import tokenizer
from llmsuite_lab.lm.batching import Example

END, PAD, BETA = 1, 2, 0.3
MORE = [
    Example([5, 6, 7, 8], [9, 10, END]),
    Example([12], [13, END]),
    Example([5, 1, 6], [19, 20, 21, 3, 4, END]),
    Example([20, 21, 22, 3, 4], [7, 8, 9]),
]


@pytest.fixture
def given(replies):
    """Two replies to each of four prompts, standing together."""
    return [reply for pair in zip(replies, MORE, strict=True) for reply in pair]


def reward(prompts, completions, completion_ids, **ignored):
    return [sum(7 * token % 5 for token in ids) / 10 for ids in completion_ids]


def trls(method, policy, reference, given, folder):
    """(trainer, its batch) from trl: its old log-probabilities, reference and advantages for the given replies."""
    import trl
    from datasets import Dataset

    plain = {"use_cpu": True, "bf16": False, "report_to": "none", "disable_tqdm": True, "gradient_checkpointing": False}
    sizes = {"per_device_train_batch_size": len(given), "num_generations": 2, "max_completion_length": 8, "num_iterations": 2, "epsilon": 0.2}
    grouped = {
        "RLOO": {"normalize_advantages": False},
        "GRPO": {"loss_type": "grpo", "scale_rewards": "group", "importance_sampling_level": "token", "use_bias_correction_kl": False},
    }[method]
    arguments = getattr(trl, f"{method}Config")(output_dir=str(folder), beta=BETA, temperature=1.0, **plain, **sizes, **grouped)
    reference.save_pretrained(folder / "reference")
    policy.config._name_or_path = str(folder / "reference")  # from where trl loads its reference
    data = Dataset.from_list([{"prompt": str(n)} for n in range(4)])
    trainer = getattr(trl, f"{method}Trainer")(policy, reward, arguments, train_dataset=data, processing_class=tokenizer(23, END, PAD))
    prompts, completions = [list(r.prompt_ids) for r in given], [list(r.completion_ids) for r in given]
    texts = [""] * len(given)
    drawn = (prompts, completions, texts) if method == "RLOO" else (prompts, completions, None, texts, None, {}, None, None)
    trainer._generate = lambda *ignored: drawn
    policy.train()
    trainer.current_gradient_accumulation_steps = 1
    return trainer, trainer._generate_and_score_completions([{"prompt": str(n // 2)} for n in range(len(given))])


def moved(policy):
    """The policy a few steps later: some ratios lie outside the clip."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.01)


@pytest.mark.parametrize("method", ["RLOO", "GRPO"])
def test_advantages_losses_and_gradients_are_those_of_trl_s_trainer(tiny, given, method, tmp_path):
    mine, reference = tiny("llama"), tiny("llama", seed=9)
    theirs = copy.deepcopy(mine)
    trainer, batch = trls(method, theirs, reference, given, tmp_path)
    with torch.no_grad():
        before, ref = score(mine, given), Reference.frozen(reference).score(given)
        scores = torch.tensor(reward(None, None, [r.completion_ids for r in given]))
        ended = torch.tensor([r.completion_ids[-1] == END for r in given])
        rollouts = Rollouts(given, ended, scores, before.mask, before.logprobs, ref.logprobs, ActorCritic(mine).values(before), before.entropy)
    k1 = estimate(rollouts.logprobs, rollouts.reference).where(rollouts.mask, 0.0)
    settings = Settings(method=method.lower(), prompts=4, replies=2)
    A, _ = advantages_of(rollouts, scores, k1.sum(1), k1, settings, BETA)
    torch.testing.assert_close(A, batch["advantages"], rtol=1e-5, atol=1e-5)
    assert A.abs().min() > 1e-2

    moved(mine)
    moved(theirs)
    now = score(mine, given)
    if method == "RLOO":
        loss = objectives.rloo_loss(now.logprobs, rollouts.logprobs, A, rollouts.mask, 0.2)
        ratio = (now.logprobs - rollouts.logprobs).sum(1).exp()
    else:
        loss = objectives.grpo_loss(now.logprobs, rollouts.logprobs, rollouts.reference, A, rollouts.mask, 0.2, BETA)
        ratio = (now.logprobs - rollouts.logprobs)[rollouts.mask].exp()
    assert ((ratio - 1).abs() > 0.2).any()
    assert ((ratio - 1).abs() < 0.2).any()
    expected = trainer._compute_loss(theirs, batch)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    for (name, p), q in zip(mine.named_parameters(), theirs.parameters()):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-5, msg=name)
    assert sum(p.grad.abs().sum() for p in mine.parameters()) > 1
