"""Attention against torch's kernel: values and gradients, any leading axes, masks, empty rows, and shapes that do not fit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from llmsuite_lab.transformer.attention import attend, attention_weights, causal_mask, padding_mask, scaled_dot_product_attention
from llmsuite_lab.transformer.fused import written_out

QUERIES, KEYS, D_K, D_V = 5, 7, 4, 6


def qkv(*lead: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = ((QUERIES, D_K), (KEYS, D_K), (KEYS, D_V))
    return tuple(torch.randn(*lead, *size, generator=generator).requires_grad_() for size in sizes)


def assert_same_with_gradients(ours: torch.Tensor, theirs: torch.Tensor, inputs: tuple[torch.Tensor, ...]) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    weight = torch.linspace(-1, 1, ours.numel()).view_as(ours)
    for a, b in zip(torch.autograd.grad((ours * weight).sum(), inputs), torch.autograd.grad((theirs * weight).sum(), inputs)):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


@pytest.mark.parametrize("lead", [(), (2,), (2, 3), (2, 1, 3)])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_torch_with_gradients(lead, masked):
    Q, K, V = qkv(*lead)
    mask = (torch.rand(QUERIES, KEYS, generator=torch.Generator().manual_seed(2)) < 0.6) if masked else None
    if masked:
        mask[1] = False  # a query that may attend to nothing
    ours, theirs = scaled_dot_product_attention(Q, K, V, mask), F.scaled_dot_product_attention(Q, K, V, mask)
    assert_same_with_gradients(ours, theirs, (Q, K, V))
    if masked:
        assert torch.equal(ours[..., 1, :], torch.zeros_like(ours[..., 1, :]))


def test_bias_and_scale_equal_torch():
    Q, K, V = qkv(2, 3)
    bias = torch.randn(3, QUERIES, KEYS, requires_grad=True)
    ours = scaled_dot_product_attention(Q, K, V, bias=bias, scale=0.7)
    assert_same_with_gradients(ours, F.scaled_dot_product_attention(Q, K, V, attn_mask=bias, scale=0.7), (Q, K, V, bias))


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("queries", [1, QUERIES, KEYS])
def test_kernel_and_equation_agree_in_every_combination(queries, with_mask, with_bias):
    Q, K, V = qkv(2, 3)
    Q = torch.randn(2, 3, queries, D_K)
    mask = torch.tensor([[False, True, True, True, True, True, True], [True] * 7])[:, None, None] if with_mask else None
    bias = torch.randn(1, 3, queries, KEYS) if with_bias else None
    for causal in (False, True):
        fast = attend(Q, K, V, mask, bias, 0.5, causal)
        with written_out():
            slow = attend(Q, K, V, mask, bias, 0.5, causal)
        torch.testing.assert_close(fast, slow, atol=1e-6, rtol=0)
        assert bool(torch.isfinite(fast).all())


def test_weights_sum_to_one_or_zero_and_survive_huge_scores():
    Q, K, V = qkv(2)
    mask = causal_mask(QUERIES, KEYS)
    mask[0] = False
    weights = attention_weights(1e4 * Q, 1e4 * K, mask)
    assert bool(torch.isfinite(weights).all())
    torch.testing.assert_close(weights.sum(-1), torch.tensor([0.0, 1, 1, 1, 1]).expand(2, -1))
    assert bool((weights.masked_select(~mask) == 0).all())


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 5), st.randoms(use_true_random=False))
def test_what_the_mask_hides_cannot_matter(queries, keys, extra, random):
    generator = torch.Generator().manual_seed(random.randrange(10**6))
    Q, K, V = (torch.randn(n, D_K, generator=generator) for n in (queries, keys, keys))
    expected = scaled_dot_product_attention(Q, K, V)
    noise = 1e3 * torch.randn(extra, D_K, generator=generator)
    mask = torch.tensor([True] * keys + [False] * extra).expand(queries, -1)
    hidden = scaled_dot_product_attention(Q, torch.cat([K, noise]), torch.cat([V, noise]), mask)
    torch.testing.assert_close(hidden, expected, atol=1e-6, rtol=1e-6)


def test_causal_mask_is_the_lower_triangle_counted_from_the_end():
    assert torch.equal(causal_mask(4), torch.ones(4, 4).tril().bool())
    assert causal_mask(2, 5).int().tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    with pytest.raises(ValueError, match="6 queries"):
        causal_mask(6, 5)
    with pytest.raises(ValueError, match=r"\(5,\)"):
        padding_mask(torch.ones(5))


@pytest.mark.parametrize(
    ("shapes", "mask", "error", "message"),
    [
        (((5, 4), (7, 3), (7, 6)), None, ValueError, r"Q \(5, 4\), K \(7, 3\)"),
        (((5, 4), (7, 4), (8, 6)), None, ValueError, r"V \(8, 6\)"),
        (((4,), (7, 4), (7, 6)), None, ValueError, "at least two axes"),
        (((2, 5, 4), (3, 7, 4), (3, 7, 6)), None, ValueError, r"Q \(2, 5, 4\), K \(3, 7, 4\)"),
        (((5, 4), (7, 4), (7, 6)), torch.ones(5, 6, dtype=torch.bool), ValueError, r"mask \(5, 6\).*\(5, 7\)"),
        (((5, 4), (7, 4), (7, 6)), torch.ones(2, 5, 7, dtype=torch.bool), ValueError, r"mask \(2, 5, 7\)"),
        (((5, 4), (7, 4), (7, 6)), torch.ones(5, 7), TypeError, "boolean"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_shapes(shapes, mask, error, message):
    with pytest.raises(error, match=message):
        scaled_dot_product_attention(*(torch.randn(shape) for shape in shapes), mask)
