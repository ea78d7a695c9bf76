"""Estimates of the divergence against its exact value, over all tokens weighted as they are drawn."""

import pytest
import torch

from llmsuite_lab.alignment.divergence import estimate, exact


def two(seed=0, size=7):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(4, size, generator=generator, dtype=torch.float64).log_softmax(-1) for _ in range(2)]


def test_the_exact_figure_is_torchs_and_never_negative():
    p, q = two()
    torch.testing.assert_close(exact(p, q), torch.distributions.kl_divergence(*(torch.distributions.Categorical(logits=x) for x in (p, q))))
    assert (exact(p, q) > 0).all()
    torch.testing.assert_close(exact(p, p), torch.zeros(4, dtype=torch.float64))


def test_rounding_takes_it_not_below_zero():
    p = torch.randn(64, 500, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    again = p.log_softmax(-1)  # the same, but for the last digits
    assert (p.exp() * (p - again)).sum(-1).min() < 0
    assert exact(p, again).min() == 0


@pytest.mark.parametrize("kind", ["k1", "k3"])
def test_k1_and_k3_are_right_on_average_and_only_k1_goes_below_zero(kind):
    p, q = two(1)
    each = estimate(p, q, kind)
    torch.testing.assert_close((p.exp() * each).sum(-1), exact(p, q))
    assert bool((each < 0).any()) == (kind == "k1")


def test_k2_is_half_the_square_and_wrong_on_average():
    p, q = two(2)
    torch.testing.assert_close(estimate(p, q, "k2"), (p - q) ** 2 / 2)
    assert not torch.allclose((p.exp() * estimate(p, q, "k2")).sum(-1), exact(p, q), rtol=1e-2)


def test_a_token_that_has_no_probability_left_counts_nothing():
    p = torch.tensor([[0.0, -torch.inf]])
    assert exact(p, torch.tensor([[0.5, 0.5]]).log()).item() == pytest.approx(0.6931, abs=1e-4)


def test_unknown_estimators_and_shapes_are_refused():
    with pytest.raises(ValueError, match="k1"):
        estimate(torch.zeros(1), torch.zeros(1), "k4")
    with pytest.raises(ValueError, match="one vocabulary"):
        exact(torch.zeros(2, 3), torch.zeros(2, 4))
