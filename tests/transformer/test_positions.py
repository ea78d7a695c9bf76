"""Positions: the sinusoids' equation, rotary's dependence on distance alone, T5's buckets against transformers, and what order is worth without them."""

import math

import pytest
import torch

from llmsuite_lab.transformer.config import bert_config
from llmsuite_lab.transformer.encoder import Encoder
from llmsuite_lab.transformer.positions import RelativeBias, relative_bucket, rotary_angles, rotate, sinusoidal_positions


def test_sinusoids_entry_by_entry_and_linear_in_shifts():
    PE = sinusoidal_positions(50, 6)
    for pos in (0, 1, 49):
        for i in range(3):
            angle = pos / 10000 ** (2 * i / 6)
            assert float(PE[pos, 2 * i]) == pytest.approx(math.sin(angle), abs=1e-6)
            assert float(PE[pos, 2 * i + 1]) == pytest.approx(math.cos(angle), abs=1e-6)
    # section 3.5: PE(pos + k) is a linear function of PE(pos), a rotation by k per frequency
    k, frequency = 7, 10000 ** (-2 / 6)
    turn = torch.tensor([[math.cos(k * frequency), math.sin(k * frequency)], [-math.sin(k * frequency), math.cos(k * frequency)]])
    torch.testing.assert_close(PE[:-k, 2:4] @ turn.T, PE[k:, 2:4], atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="d_model=5"):
        sinusoidal_positions(3, 5)


def test_rotary_is_llamas_and_depends_on_distance_only():
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=24, num_attention_heads=3, rope_theta=700.0, rope_parameters={"rope_type": "default", "rope_theta": 700.0}
    )
    positions = torch.tensor([[3, 4, 9, 10, 11], [0, 1, 2, 3, 4]])
    q, k = torch.randn(2, 3, 5, 8), torch.randn(2, 2, 5, 8)
    expected = apply_rotary_pos_emb(q, k, *LlamaRotaryEmbedding(config)(q, positions))
    cos, sin = rotary_angles(positions, 8, 700.0)
    torch.testing.assert_close(rotate(q, cos, sin), expected[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(rotate(k, cos, sin), expected[1], atol=1e-6, rtol=0)

    def score(i: int, j: int) -> float:
        (ci, si), (cj, sj) = rotary_angles(torch.tensor([i]), 8), rotary_angles(torch.tensor([j]), 8)
        return float((rotate(q[0, 0, :1][None], ci, si) * rotate(k[0, 0, :1][None], cj, sj)).sum())

    assert score(5, 2) == pytest.approx(score(105, 102), abs=1e-4)
    assert score(5, 2) != pytest.approx(score(5, 4), abs=1e-2)
    with pytest.raises(ValueError, match="d_head=7"):
        rotary_angles(positions, 7)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("n_buckets", "max_distance"), [(32, 128), (8, 9), (16, 40)])
def test_buckets_are_t5s(bidirectional, n_buckets, max_distance):
    from transformers.models.t5.modeling_t5 import T5Attention

    distance = torch.arange(-300, 301)
    expected = T5Attention._relative_position_bucket(distance, bidirectional, n_buckets, max_distance)
    assert torch.equal(relative_bucket(distance, n_buckets, max_distance, bidirectional), expected)


def test_relative_bias_has_one_number_per_head_and_bucket():
    bias = RelativeBias(3, 8, 9)
    out = bias(torch.arange(4)[None], torch.arange(6)[None])
    assert out.shape == (1, 3, 4, 6)
    torch.testing.assert_close(out[0, :, 1, 2], out[0, :, 3, 4])  # the same distance, the same bias


@pytest.mark.parametrize(
    ("positions", "equivariant"), [("none", True), ("learned", False), ("sinusoidal", False), ("relative", False), ("rotary", False)]
)
@torch.no_grad()
def test_without_positions_a_permuted_input_gives_the_permuted_output(positions, equivariant):
    torch.manual_seed(0)
    encoder = Encoder(bert_config(31, 12, 2, 3, 20, 16, positions=positions)).eval()
    for parameter in encoder.parameters():
        parameter.normal_(std=0.5)
    ids, order = torch.randint(0, 31, (2, 7)), torch.tensor([3, 0, 6, 1, 5, 2, 4])
    assert torch.allclose(encoder(ids[:, order]), encoder(ids)[:, order], atol=1e-5) is equivariant
