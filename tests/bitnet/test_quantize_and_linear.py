"""The formulas against plain Python, the gradients against a computation by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsuite_lab.bitnet.linear import BitLinear
from llmsuite_lab.bitnet.quantize import BITS_PER_TRIT, MAX_COLUMNS, check_columns, int8_activations, straight_through, ternary_weights
from llmsuite_lab.transformer.layers import Linear

GENERATOR = torch.Generator().manual_seed(7)


def random(*shape, dtype=torch.float64):
    return torch.randn(*shape, generator=GENERATOR, dtype=dtype)


def plain_ternary(rows, eps=1e-5):
    """Ma et al. 2024, eq. 1-3, in Python's floats: its round() is to even, as torch's."""
    gamma = sum(abs(w) for row in rows for w in row) / sum(map(len, rows))
    return [[max(-1, min(1, round(w / (gamma + eps)))) for w in row] for row in rows], gamma


def plain_int8(token, eps=1e-5):
    m = max(*(abs(v) for v in token), eps)
    return [round(v * (127 / m)) for v in token], m / 127


def test_weights_are_those_of_the_paper_s_formulas_in_plain_python():
    W = random(7, 11)
    T, gamma = ternary_weights(W)
    rows, scale = plain_ternary(W.tolist())
    assert T.tolist() == rows
    assert float(gamma) == pytest.approx(scale, rel=1e-12)
    assert set(T.flatten().tolist()) == {-1.0, 0.0, 1.0}


def test_activations_are_those_of_the_formula_token_by_token_in_plain_python():
    x = random(2, 3, 13) * torch.tensor([1e-3, 1.0, 40.0], dtype=torch.float64)[:, None]
    q, s = int8_activations(x)
    for token, codes, scale in zip(x.flatten(0, 1), q.flatten(0, 1), s.flatten(0, 1)):
        expected, expected_scale = plain_int8(token.tolist())
        assert codes.tolist() == expected
        assert float(scale) == pytest.approx(expected_scale, rel=1e-12)
    assert float(q.abs().amax(-1).min()) == 127, "the largest feature of each token uses the whole range, whatever its neighbours are"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3), min_size=1, max_size=5))
def test_whatever_the_weights_rounding_them_twice_changes_nothing_and_signs_are_kept(rows):
    W = torch.tensor(rows, dtype=torch.float64)
    T, gamma = ternary_weights(W)
    assert set(T.flatten().tolist()) <= {-1.0, 0.0, 1.0}
    assert bool((T * W >= 0).all())
    if float(gamma) > 1e-2:
        assert torch.equal(ternary_weights(gamma * T)[0], T)
    q, s = int8_activations(W)
    assert float((s * q - W).abs().max()) <= float(s.max()) / 2 * (1 + 1e-9), "no activation is off by more than half a step"


def test_a_weight_holds_the_bits_of_three_values():
    assert pytest.approx(1.58, abs=0.005) == BITS_PER_TRIT
    assert 3 == 2**BITS_PER_TRIT


def test_zeros_stay_zeros_and_give_finite_gradients():
    layer = BitLinear(5, 3)
    torch.nn.init.zeros_(layer.weight)
    x = torch.zeros(2, 5, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert y.tolist() == [[0.0] * 3] * 2
    assert bool(torch.isfinite(x.grad).all() and torch.isfinite(layer.weight.grad).all())


def test_straight_through_is_the_rounded_value_to_the_bit_and_the_gradient_of_the_other():
    value = random(4, 5).requires_grad_()
    rounded = value.detach().round()
    weights = random(4, 5)
    out = straight_through(value, rounded)
    (out * weights).sum().backward()
    assert torch.equal(out, rounded)
    assert torch.equal(value.grad, weights)


def test_the_layer_is_norm_then_int8_then_ternary_product():
    layer = BitLinear(13, 6, eps=1e-6).double()
    with torch.no_grad():
        layer.norm.weight.copy_(random(13))
    x = random(3, 13)
    rows, gamma = plain_ternary(layer.weight.tolist())
    for token, y in zip(x.tolist(), layer(x).tolist()):
        root = math.sqrt(sum(v * v for v in token) / 13 + 1e-6)
        q, s = plain_int8([v / root * g for v, g in zip(token, layer.norm.weight.tolist())])
        assert y == pytest.approx([sum(t * v for t, v in zip(row, q)) * s * gamma for row in rows], rel=1e-9)


def test_gradients_are_those_of_the_straight_through_rule_by_hand():
    """∂L/∂W = (∂L/∂y)ᵀ (s q); ∂L/∂x̂ = ∂L/∂y γ T, taken on through the norm as x̂'s own Jacobian says."""
    layer, x, G = BitLinear(9, 4).double(), random(5, 9).requires_grad_(), random(5, 4)
    (layer(x) * G).sum().backward()
    inside = x.detach().requires_grad_()
    normed = layer.norm(inside)
    q, s = int8_activations(normed.detach())
    T, gamma = ternary_weights(layer.weight.detach())
    torch.testing.assert_close(layer.weight.grad, G.T @ (s * q), rtol=1e-10, atol=1e-12)
    layer.norm.weight.grad = None
    normed.backward(G @ (gamma * T))
    torch.testing.assert_close(x.grad, inside.grad, rtol=1e-10, atol=1e-12)


def test_the_gradient_says_where_the_unrounded_weight_should_go_and_the_layer_learns():
    """A ternary target is found from a random start: by rounding alone, without the kept full-precision weights, no small step would ever change T."""
    torch.manual_seed(0)
    target, layer = torch.randint(-1, 2, (6, 16)).float(), BitLinear(16, 6)
    x = torch.randn(256, 16)
    wanted = layer.norm(x).detach() @ target.T
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        loss = (layer(x) - wanted).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.02 * losses[0], losses[::30]
    assert torch.equal(ternary_weights(layer.weight.detach())[0], target)


def test_taking_a_linear_layer_keeps_its_weights_and_refuses_to_lose_a_bias():
    plain = Linear(8, 3, bias=False).double().eval()
    layer = BitLinear.of(plain)
    assert layer.weight is plain.weight
    assert not layer.training
    assert layer.norm.weight.dtype == torch.float64
    with pytest.raises(ValueError, match="bias"):
        BitLinear.of(Linear(8, 3))


def test_what_cannot_be_exact_is_refused():
    check_columns(MAX_COLUMNS)
    with pytest.raises(ValueError, match="exact up to"):
        BitLinear(MAX_COLUMNS + 1, 1)
    with pytest.raises(ValueError, match="nan or infinity"):
        ternary_weights(torch.tensor([[1.0, math.nan]]))
