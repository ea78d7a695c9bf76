"""What the exercises ask for is what the package does: each solution against the package's own part, on drawn input."""

import pytest
import torch

from llmsuite_lab.alignment import advantages, best_of_n, dpo, objectives, rest, reward_model
from llmsuite_lab.alignment.actions import action_mask
from llmsuite_lab.alignment.divergence import estimate
from llmsuite_lab.course.exercises import exercise

MASK = action_mask([5, 1, 3])


def solution(name: str):
    return exercise(f"alignment.{name}").exercise.solution


def drawn(*shape: int, n: int, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(n)]


seeds = pytest.mark.parametrize("seed", range(3))


@seeds
def test_bradley_terry(seed):
    chosen, rejected, margin = drawn(6, n=3, seed=seed)
    torch.testing.assert_close(solution("bradley_terry")(chosen, rejected, margin), reward_model.bradley_terry(chosen, rejected, margin).mean())


@seeds
def test_token_rewards(seed):
    (logprobs, reference), (scores,), ended = drawn(3, 5, n=2, seed=seed), drawn(3, n=1, seed=seed), torch.tensor([True, False, True])
    right = advantages.token_rewards(scores - 0.7 * ~ended, 0.3 * estimate(logprobs, reference, "k1"), MASK)
    torch.testing.assert_close(solution("token_rewards")(logprobs, reference, MASK, scores, ended, 0.3, 0.7), right)


@seeds
@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.8, 0.5), (0.0, 1.0)])
def test_gae(seed, gamma, lam):
    rewards, values = drawn(3, 5, n=2, seed=seed)
    for mine, theirs in zip(solution("gae")(rewards, values, MASK, gamma, lam), advantages.gae(rewards, values, MASK, gamma, lam)):
        torch.testing.assert_close(mine, theirs)


@seeds
@pytest.mark.parametrize(("name", "part"), [("clipped_loss", objectives.clipped_loss), ("value_loss", objectives.clipped_value_loss)])
def test_the_losses_of_ppo_and_their_gradients(seed, name, part):
    now, old, wanted = drawn(3, 5, n=3, seed=seed)
    found = []
    for loss_fn in (solution(name), part):
        x = now.clone().requires_grad_()
        loss = loss_fn(x, old, wanted, MASK, 0.25)
        found.append((loss, *torch.autograd.grad(loss, x)))
    for mine, theirs in zip(*found):
        torch.testing.assert_close(mine, theirs)


@seeds
def test_dpo_loss(seed):
    logprobs, reference = drawn(2, 3, 5, n=2, seed=seed)
    mask = torch.stack([MASK, action_mask([2, 5, 4])])
    (chosen, rejected), (reference_chosen, reference_rejected) = ((x * mask).sum(-1) for x in (logprobs, reference))
    right = dpo.dpo_loss(chosen, rejected, reference_chosen, reference_rejected, beta=0.4).mean()
    torch.testing.assert_close(solution("dpo_loss")(logprobs, reference, mask, 0.4), right)


@seeds
def test_leave_one_out(seed):
    (scores,) = drawn(4, 3, n=1, seed=seed)
    torch.testing.assert_close(solution("leave_one_out")(scores), advantages.rloo(scores))


@seeds
def test_rest_filter(seed):
    (scores,) = drawn(4, 6, n=1, seed=seed)
    shares = [0.3, 0.72, 0.9]
    of_all, of_each = (solution("rest_filter")(scores, shares, per_prompt) for per_prompt in (False, True))
    for share, (whole, weights), (own, _) in zip(shares, of_all, of_each):
        assert whole.tolist() == rest.keep(scores.flatten(), share)[0]
        assert own.tolist() == [6 * prompt + place for prompt in range(4) for place in rest.keep(scores[prompt], share)[0]]
        torch.testing.assert_close(weights, torch.ones(len(whole)) / len(whole))


@seeds
@pytest.mark.parametrize("n", [1, 4, 7])
def test_best_of_n(seed, n):
    proxy, gold = drawn(5, 7, n=2, seed=seed)
    found = solution("best_of_n")(proxy, gold, n)
    rows = torch.arange(5)
    chosen = best_of_n.best(proxy, n)
    assert found == (proxy[rows, chosen].mean(), gold[rows, chosen].mean(), best_of_n.kl_bound(n))
