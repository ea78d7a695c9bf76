"""Multi-head attention against torch.nn.MultiheadAttention and torch's grouped-query kernel, self, cross and causal."""

import pytest
import torch
from torch.nn import functional as F

from llmsuite_lab.transformer.attention import causal_mask, padding_mask
from llmsuite_lab.transformer.cache import LayerCache
from llmsuite_lab.transformer.fused import written_out
from llmsuite_lab.transformer.multi_head import MultiHeadAttention, join_heads, record_attention, split_heads
from llmsuite_lab.transformer.positions import rotary_angles

BATCH, SEQ, SOURCE, D_MODEL, HEADS = 2, 5, 7, 12, 3


def pair(causal: bool = False) -> tuple[MultiHeadAttention, torch.nn.MultiheadAttention]:
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(D_MODEL, HEADS, bias=True, batch_first=True)
    torch.nn.init.normal_(theirs.in_proj_bias)
    torch.nn.init.normal_(theirs.out_proj.bias)
    ours = MultiHeadAttention(D_MODEL, HEADS, bias=True, causal=causal)
    for name, weight, bias in zip("QKV", theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3)):
        getattr(ours, f"W_{name}").load_state_dict({"weight": weight, "bias": bias})
    ours.W_O.load_state_dict(theirs.out_proj.state_dict())
    return ours, theirs


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("kind", ["self", "causal", "cross", "padded"])
def test_equals_torch_with_gradients(kind, slow):
    ours, theirs = pair(causal=kind == "causal")
    x = torch.randn(BATCH, SEQ, D_MODEL, requires_grad=True)
    memory = torch.randn(BATCH, SOURCE, D_MODEL, requires_grad=True) if kind == "cross" else None
    real = torch.arange(SEQ)[None] < torch.tensor([5, 3])[:, None] if kind == "padded" else None
    forbidden = ~causal_mask(SEQ) if kind == "causal" else None
    source = x if memory is None else memory
    expected, weights = theirs(
        x, source, source, key_padding_mask=None if real is None else ~real, attn_mask=forbidden, average_attn_weights=False
    )
    with record_attention(ours) as maps:
        arguments = (x, memory, None if real is None else padding_mask(real))
        if slow:
            with written_out():
                y = ours(*arguments)
        else:
            y = ours(*arguments)
    torch.testing.assert_close(y, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(maps[""].recorded, weights, atol=1e-6, rtol=0)
    inputs = [x] if memory is None else [x, memory]
    for a, b in zip(torch.autograd.grad(y.square().sum(), inputs), torch.autograd.grad(expected.square().sum(), inputs)):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)  # gradients here are of order 1 to 10


def test_grouped_queries_equal_torchs_kernel():
    torch.manual_seed(0)
    layer = MultiHeadAttention(D_MODEL, 6, n_kv_heads=2, d_head=4, causal=True)
    x = torch.randn(BATCH, SEQ, D_MODEL)
    Q, K, V = split_heads(layer.W_Q(x), 6), split_heads(layer.W_K(x), 2), split_heads(layer.W_V(x), 2)
    expected = layer.W_O(join_heads(F.scaled_dot_product_attention(Q, K, V, is_causal=True, enable_gqa=True)))
    torch.testing.assert_close(layer(x), expected, atol=1e-6, rtol=0)
    assert layer.W_K.weight.shape == (8, D_MODEL)


def test_heads_split_and_join_are_inverse_and_head_i_is_a_block_of_features():
    x = torch.arange(BATCH * SEQ * D_MODEL).view(BATCH, SEQ, D_MODEL).float()
    assert torch.equal(join_heads(split_heads(x, HEADS)), x)
    assert torch.equal(split_heads(x, HEADS)[:, 1], x[..., 4:8])


def test_a_cache_gives_the_same_as_the_whole_sequence_with_rotary_positions():
    torch.manual_seed(0)
    layer, x = MultiHeadAttention(D_MODEL, 6, n_kv_heads=3, d_head=4, causal=True), torch.randn(BATCH, SEQ, D_MODEL)
    cos, sin = rotary_angles(torch.arange(SEQ)[None], 4)
    cache = LayerCache()
    parts = [layer(x[:, a:b], rotary=(cos[:, a:b], sin[:, a:b]), cache=cache) for a, b in ((0, 2), (2, 3), (3, 5))]
    torch.testing.assert_close(torch.cat(parts, 1), layer(x, rotary=(cos, sin)), atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="do not continue"):
        cache.append(torch.zeros(BATCH + 1, 3, 1, 4), torch.zeros(BATCH + 1, 3, 1, 4))


def test_cross_attention_reads_the_memory_once():
    ours, _ = pair()
    x, memory, cache = torch.randn(BATCH, SEQ, D_MODEL), torch.randn(BATCH, SOURCE, D_MODEL), LayerCache()
    first = ours(x, memory, cache=cache)
    torch.testing.assert_close(ours(x, torch.zeros_like(memory), cache=cache), first)
    assert cache.keys.shape == (BATCH, HEADS, SOURCE, 4)


def test_sizes_that_do_not_divide_and_wrong_ranks_are_refused():
    with pytest.raises(ValueError, match="d_model=12 cannot be split into n_heads=5"):
        MultiHeadAttention(12, 5)
    with pytest.raises(ValueError, match="n_kv_heads=2"):
        MultiHeadAttention(12, 3, n_kv_heads=2)
    layer = MultiHeadAttention(12, 3)
    with pytest.raises(ValueError, match=r"x of shape .*d_model=12.*\(5, 12\)"):
        layer(torch.zeros(5, 12))
    with pytest.raises(ValueError, match=r"memory of shape .*\(1, 7, 11\)"):
        layer(torch.zeros(1, 5, 12), torch.zeros(1, 7, 11))
