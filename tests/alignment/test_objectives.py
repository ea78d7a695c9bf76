"""Each loss against cases worked out by hand, its gradient against finite differences, and against what padding must not change."""

import pytest
import torch

from llmsuite_lab.alignment import objectives
from llmsuite_lab.alignment.actions import action_mask

MASK = action_mask([3, 1])
OLD = torch.tensor([[-1.0, -2.0, -0.5], [-1.5, 0.0, 0.0]], dtype=torch.float64)
RATIO = torch.tensor([[1.5, 0.5, 1.1], [0.9, 9.0, 9.0]], dtype=torch.float64)
NEW = OLD + RATIO.log()
ADVANTAGES = torch.tensor([[2.0, -1.0, 3.0], [-4.0, 9.0, 9.0]], dtype=torch.float64)


def test_the_clipped_loss_by_hand():
    """2·min(1.5, 1.2); a negative advantage at 0.5 is clipped to 0.8: min(−0.5, −0.8); 3·1.1; −4·0.9."""
    expected = -(2.4 - 0.8 + 3.3 - 3.6) / 4
    assert objectives.clipped_loss(NEW, OLD, ADVANTAGES, MASK, 0.2).item() == pytest.approx(expected)
    assert objectives.clipped_loss(NEW, OLD, ADVANTAGES, MASK, None).item() == pytest.approx(-(3.0 - 0.5 + 3.3 - 3.6) / 4)


def test_a_clipped_action_has_no_gradient_and_one_on_the_way_back_has():
    """Ratio 1.5 with a positive advantage is over the edge; with a negative one it may return."""
    for advantage, moves in ((1.0, False), (-1.0, True)):
        new = torch.tensor([[1.5]], dtype=torch.float64).log().requires_grad_()
        objectives.clipped_loss(new, torch.zeros(1, 1), torch.tensor([[advantage]]), action_mask([1]), 0.2).backward()
        assert bool(new.grad.abs() > 0) == moves


def test_the_value_loss_by_hand():
    """0.5 → 1 wanted 2: clipped to 0.7, the worse error counts; 1.1 within the clip; the third has not moved."""
    old = torch.tensor([[0.5, 1.0, 0.0], [2.0, 0.0, 0.0]])
    values = torch.tensor([[1.0, 1.1, 0.0], [2.0, 7.0, 7.0]])
    returns = torch.tensor([[2.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    expected = (1.3**2 + 0.1**2 + 1 + 4) / 4 / 2
    assert objectives.clipped_value_loss(values, old, returns, MASK, 0.2).item() == pytest.approx(expected)
    assert objectives.clipped_value_loss(values, old, returns, MASK, None).item() == pytest.approx((1 + 0.01 + 1 + 4) / 8)


def test_rloo_takes_the_ratio_of_a_whole_reply_and_grpo_the_mean_by_reply():
    A = torch.tensor([2.0, -4.0], dtype=torch.float64)
    whole = 1.5 * 0.5 * 1.1
    assert objectives.rloo_loss(NEW, OLD, A, MASK, 0.2).item() == pytest.approx(-(2 * min(whole, 1.2) + min(-4 * 0.9, -4 * 0.9)) / 2)
    by_reply = (2 * (1.2 + 0.5 + 1.1) / 3, -4 * 0.9)  # at a positive advantage 0.5 stays, min(0.5, 0.8)
    assert objectives.grpo_loss(NEW, OLD, OLD, A, MASK, 0.2).item() == pytest.approx(-sum(by_reply) / 2)
    reference = NEW - torch.tensor([[0.1, 0.2, -0.3], [0.4, 0.0, 0.0]])
    k3 = [(torch.exp(-torch.tensor(x)) - 1 + x).item() for x in (0.1, 0.2, -0.3, 0.4)]
    extra = objectives.grpo_loss(NEW, OLD, reference, A, MASK, 0.2, beta=0.5) - objectives.grpo_loss(NEW, OLD, reference, A, MASK, 0.2)
    assert extra.item() == pytest.approx(0.5 * (sum(k3[:3]) / 3 + k3[3]) / 2, abs=1e-6)


def test_a2c_s_gradient_is_ppo_s_before_the_first_update():
    gradients = []
    for loss in (lambda x: objectives.clipped_loss(x, OLD, ADVANTAGES, MASK), lambda x: objectives.a2c_loss(x, ADVANTAGES, MASK)):
        x = OLD.clone().requires_grad_()
        loss(x).backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients)
    assert gradients[0][1, 1:].abs().sum() == 0


LOSSES = {
    "clipped": lambda x: objectives.clipped_loss(x, OLD, ADVANTAGES, MASK, 0.2),
    "value": lambda x: objectives.clipped_value_loss(x, OLD, ADVANTAGES, MASK, 0.2),
    "a2c": lambda x: objectives.a2c_loss(x, ADVANTAGES, MASK),
    "rloo": lambda x: objectives.rloo_loss(x, OLD, ADVANTAGES[:, 0], MASK, 0.2),
    "grpo": lambda x: objectives.grpo_loss(x, OLD, OLD - 0.3, ADVANTAGES[:, 0], MASK, 0.2, beta=0.5),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_finite_differences(name):
    x = (OLD + torch.linspace(-0.07, 0.13, 6, dtype=torch.float64).view(2, 3)).requires_grad_()
    assert torch.autograd.gradcheck(LOSSES[name], (x,), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_what_stands_in_the_padding_changes_nothing(name):
    x = OLD + 0.05
    spoilt = x.masked_fill(~MASK, float("nan"))
    assert LOSSES[name](spoilt).item() == pytest.approx(LOSSES[name](x).item())


def test_an_advantage_or_an_old_figure_gets_no_gradient():
    A, old, x = (t.clone().requires_grad_() for t in (ADVANTAGES, OLD, NEW))
    objectives.clipped_loss(x, old, A, MASK).backward()
    assert A.grad is None
    assert old.grad is None
    with pytest.raises(ValueError, match="clip=0"):
        objectives.clipped_loss(x, old, A, MASK, 0.0)
