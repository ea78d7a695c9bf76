"""Advantages against sums written out, and against what must not matter: padding, neighbours, a gradient."""

import pytest
import torch

from llmsuite_lab.alignment.actions import action_mask
from llmsuite_lab.alignment.advantages import gae, grpo, rloo, token_rewards, whiten

LENGTHS = [5, 1, 3]
MASK = action_mask(LENGTHS)


def drawn(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(3, 5, generator=generator, dtype=torch.float64) for _ in range(2)]


def by_brute_force(r, v, gamma, lam):
    """Â_t as the λ-weighted mean of n-step advantages, from its definition and not from the recursion."""
    n = len(r)
    out = []
    for t in range(n):
        steps = []
        for k in range(1, n - t + 1):
            discounted = sum(gamma**i * r[t + i] for i in range(k))
            steps.append(discounted + (gamma**k * v[t + k] if t + k < n else 0.0) - v[t])
        weights = [(1 - lam) * lam ** (k - 1) for k in range(1, n - t)] + [lam ** (n - t - 1)]
        out.append(sum(w * a for w, a in zip(weights, steps)))
    return out


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.7, 0.0)])
def test_gae_is_the_weighted_mean_of_all_n_step_advantages(gamma, lam):
    rewards, values = drawn()
    advantages, returns = gae(rewards, values, MASK, gamma, lam)
    for row, n in enumerate(LENGTHS):
        expected = torch.tensor(by_brute_force(rewards[row, :n].tolist(), values[row, :n].tolist(), gamma, lam), dtype=torch.float64)
        torch.testing.assert_close(advantages[row, :n], expected)
        torch.testing.assert_close(returns[row, :n], expected + values[row, :n])
        assert not advantages[row, n:].any()
        assert not returns[row, n:].any()


def test_what_stands_behind_the_last_action_is_in_no_sum():
    rewards, values = drawn()
    expected = gae(rewards, values, MASK)
    spoilt = [x.masked_fill(~MASK, float("nan")) for x in (rewards, values)]
    for mine, theirs in zip(gae(*spoilt, MASK), expected):
        assert torch.equal(mine, theirs)
    torch.testing.assert_close(whiten(spoilt[0], MASK)[MASK], whiten(rewards, MASK)[MASK])


def test_lambda_one_gives_the_rewards_to_go_and_no_gradient():
    rewards, values = drawn(1)
    values.requires_grad_()
    advantages, returns = gae(rewards, values, MASK, 1.0, 1.0)
    to_go = rewards.where(MASK, 0.0).flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(returns[MASK], to_go[MASK])
    assert not advantages.requires_grad


def test_a_score_is_paid_at_the_last_action_and_the_penalty_at_each():
    penalty = torch.full((3, 5), 0.5)
    rewards = token_rewards(torch.tensor([2.0, 3.0, 4.0]), penalty, MASK)
    assert rewards.tolist() == [[-0.5, -0.5, -0.5, -0.5, 1.5], [2.5, 0, 0, 0, 0], [-0.5, -0.5, 3.5, 0, 0]]


def test_whitened_actions_have_mean_zero_and_sd_one_over_the_mask_alone():
    values = drawn(2)[0] * 7 + 3
    values[~MASK] = 1e6
    held = whiten(values, MASK)[MASK]
    torch.testing.assert_close(held.mean(), torch.zeros((), dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(held.std(), torch.ones((), dtype=torch.float64), atol=1e-6, rtol=0)
    kept = whiten(values, MASK, shift_mean=False)[MASK]
    torch.testing.assert_close(kept.mean(), values[MASK].mean())
    assert torch.equal(whiten(torch.full((3, 5), 2.5), MASK), torch.zeros(3, 5))


def test_leave_one_out_and_groups_by_hand():
    scores = torch.tensor([[1.0, 2.0, 6.0], [0.0, 0.0, 0.0]])
    assert rloo(scores).tolist() == [[1 - 4, 2 - 3.5, 6 - 1.5], [0, 0, 0]]
    sd = (((1 - 3) ** 2 + (2 - 3) ** 2 + (6 - 3) ** 2) / 2) ** 0.5
    torch.testing.assert_close(grpo(scores)[0], torch.tensor([-2.0, -1.0, 3.0]) / (sd + 1e-4))
    assert grpo(scores)[1].tolist() == [0, 0, 0]
    assert grpo(scores, scale=False)[0].tolist() == [-2, -1, 3]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda r, v: gae(r[:, :4], v, MASK), "rewards of shape"),
        (lambda r, v: gae(r, v, torch.tensor([[True, False, True, False, False]] * 3)), "has a gap"),
        (lambda r, v: gae(r, v, torch.zeros(3, 5, dtype=torch.bool)), "is empty"),
        (lambda r, v: gae(r, v, MASK.long()), "torch.bool"),
        (lambda r, v: gae(r, v, MASK, gamma=1.5), "gamma"),
        (lambda r, v: token_rewards(torch.zeros(2), r, MASK), "one number a reply"),
        (lambda r, v: rloo(torch.zeros(3, 1)), "two or more replies"),
        (lambda r, v: grpo(torch.zeros(3)), "two or more replies"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        wrong(*drawn())
