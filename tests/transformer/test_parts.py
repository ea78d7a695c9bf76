"""Linear, embedding, softmax, cross-entropy, norms, activations, feed-forward and residual against torch's own, outputs and gradients."""

import pytest
import torch
from torch.nn import functional as F

from llmsuite_lab.transformer import feed_forward, layers, normalization
from llmsuite_lab.transformer.fused import fused, written_out

BATCH, SEQ, D_IN, D_OUT = 2, 3, 5, 7


def assert_same_with_gradients(ours: torch.Tensor, theirs: torch.Tensor, *inputs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    weight = torch.linspace(-1, 1, ours.numel()).view_as(ours)
    for a, b in zip(
        torch.autograd.grad((ours * weight).sum(), inputs), torch.autograd.grad((theirs * weight).sum(), inputs, retain_graph=True)
    ):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


def leaf(*shape: int, scale: float = 1.0) -> torch.Tensor:
    return (scale * torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))).requires_grad_()


def test_linear():
    x, W, b = leaf(BATCH, SEQ, D_IN), leaf(D_OUT, D_IN), leaf(D_OUT)
    assert_same_with_gradients(layers.linear(x, W, b), F.linear(x, W, b), x, W, b)
    assert_same_with_gradients(layers.linear(x, W), F.linear(x, W), x, W)
    with pytest.raises(ValueError, match=r"x \(2, 3, 7\).*W \(7, 5\)"):
        layers.linear(leaf(2, 3, 7), W)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_softmax_also_at_scores_that_overflow_exp(dim):
    x = leaf(BATCH, SEQ, D_IN, scale=3.0)
    assert_same_with_gradients(layers.softmax(x, dim), torch.softmax(x, dim), x)
    assert bool(torch.isfinite(layers.softmax(1000 * x, dim)).all())


def test_embedding_and_ids_outside_the_vocabulary():
    E, ids = leaf(D_OUT, D_IN), torch.tensor([[0, 6, 2], [2, 2, 5]])
    assert_same_with_gradients(layers.embedding(ids, E), F.embedding(ids, E), E)
    module = layers.Embedding(D_OUT, D_IN)
    with written_out():
        slow = module(ids)
    torch.testing.assert_close(module(ids), slow)
    for bad, named in ((7, "7"), (-1, "-1")):
        with pytest.raises(ValueError, match=rf"token id {named} .*0\.\.6"):
            module(torch.tensor([[1, bad]]))
    with pytest.raises(TypeError, match="float32"):
        module(torch.zeros(1, 2))


@pytest.mark.parametrize("slow", [False, True])
def test_cross_entropy(slow):
    logits, targets = leaf(BATCH, SEQ, D_OUT, scale=30.0), torch.tensor([[0, 6, -100], [-100, 3, 3]])
    theirs = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    if slow:
        with written_out():
            ours = layers.cross_entropy(logits, targets)
            huge = layers.cross_entropy(1e4 * logits, targets)
    else:
        ours, huge = layers.cross_entropy(logits, targets), layers.cross_entropy(1e4 * logits, targets)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (ours, theirs)), atol=1e-6, rtol=0)
    assert bool(torch.isfinite(huge))


def test_cross_entropy_refuses_what_has_no_answer():
    with pytest.raises(ValueError, match="none of the 6 targets"):
        layers.cross_entropy(torch.zeros(2, 3, 7), torch.full((2, 3), -100))
    with pytest.raises(ValueError, match=r"\(2, 3\), got \(2, 4\)"):
        layers.cross_entropy(torch.zeros(2, 3, 7), torch.zeros(2, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="token id 7"):
        layers.cross_entropy(torch.zeros(1, 1, 7), torch.tensor([[7]]))


@pytest.mark.parametrize("pre_norm", [True, False])
def test_residual(pre_norm):
    x, norm, sublayer = leaf(BATCH, SEQ, D_IN), torch.nn.LayerNorm(D_IN), torch.nn.Linear(D_IN, D_IN)
    expected = x + sublayer(norm(x)) if pre_norm else norm(x + sublayer(x))
    torch.testing.assert_close(layers.residual(x, sublayer, norm, pre_norm), expected)


@pytest.mark.parametrize("eps", [1e-5, 0.3])
def test_norms(eps):
    x, g, b = leaf(BATCH, SEQ, D_IN), leaf(D_IN), leaf(D_IN, scale=2.0)
    assert_same_with_gradients(normalization.layer_norm(x, g, b, eps), F.layer_norm(x, (D_IN,), g, b, eps), x, g, b)
    assert_same_with_gradients(normalization.rms_norm(x, g, eps), F.rms_norm(x, (D_IN,), g, eps), x, g)
    for module in (normalization.LayerNorm(D_IN, eps), normalization.LayerNorm(D_IN, eps, bias=False), normalization.RMSNorm(D_IN, eps)):
        with written_out():
            slow = module(x)
        torch.testing.assert_close(module(x), slow, atol=1e-6, rtol=0)
    assert bool(torch.isfinite(normalization.layer_norm(torch.ones(1, 5), g, b)).all())
    with pytest.raises(ValueError, match=r"x \(2, 3, 5\).*\(7,\)"):
        normalization.rms_norm(x, leaf(7))


@pytest.mark.parametrize("name", feed_forward.ACTIVATIONS)
def test_activations(name):
    x = leaf(BATCH, SEQ, D_IN, scale=3.0)
    theirs = feed_forward.activation(name, x)
    with written_out():
        assert_same_with_gradients(feed_forward.activation(name, x), theirs, x)


@pytest.mark.parametrize("gated", [False, True])
def test_feed_forward(gated):
    torch.manual_seed(0)
    layer, x = feed_forward.FeedForward(D_IN, 11, "silu", gated), leaf(BATCH, SEQ, D_IN)
    up = F.linear(x, layer.W_up.weight, layer.W_up.bias)
    hidden = F.silu(F.linear(x, layer.W_gate.weight, layer.W_gate.bias)) * up if gated else F.silu(up)
    expected = F.linear(hidden, layer.W_down.weight, layer.W_down.bias)
    assert_same_with_gradients(layer(x), expected, x, layer.W_up.weight)
    with written_out():
        assert not fused()
        assert_same_with_gradients(layer(x), expected, x, layer.W_up.weight)
    with pytest.raises(ValueError, match="'tanh'.*relu, gelu"):
        feed_forward.FeedForward(D_IN, 11, "tanh")
