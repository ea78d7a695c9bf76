"""The numbers and texts in the pictures are those of the package's own functions."""

import math
import re

import pytest

from llmsuite_lab.transformer import concepts


def words(picture):
    return [text.get_text() for text in picture.axes[0].texts]


def test_the_output_by_hand_is_what_the_sums_give():
    q, K, V = (concepts.BY_HAND[name] for name in "qKV")
    grown = [math.exp(sum(a * b for a, b in zip(q, k)) / math.sqrt(len(q))) for k in K]
    output = [sum(g * v[i] for g, v in zip(grown, V)) / sum(grown) for i in range(2)]
    shown = words(concepts.three_vectors())
    assert {f"{g:.2f}" for g in grown} | {f"{g / sum(grown):.2f}" for g in grown} | {f"{o:.2f}" for o in output} <= set(shown)
    assert f"sum {sum(grown):.2f}" in shown


def test_a_turn_leaves_the_score_of_the_distance():
    def scores(distance):
        return [float(found[1]) for text in words(concepts.turned_by_position(distance)) if (found := re.match(r"q · k = (-?[\d.]+)", text))]

    for distance in (0, 1, 5):
        near, far = scores(distance)
        assert near == far
    assert scores(1)[0] != scores(5)[0]
    with pytest.raises(ValueError, match="distance"):
        concepts.turned_by_position(-1)


def test_the_cache_shrinks_by_the_heads_that_share():
    shown = " ".join(words(concepts.shared_keys_and_values(8)))
    assert "4 in the cache, 1/2 of the bytes" in shown
    assert "1 in the cache, 1/8 of the bytes" in shown
    with pytest.raises(ValueError, match="must be even"):
        concepts.shared_keys_and_values(5)


def test_the_sets_under_a_causal_mask_differ_until_the_last():
    sets = [text for text in words(concepts.where_order_comes_from()) if text.startswith("{")]
    without, masked = sets[:6], sets[6:]
    assert set(without) == {"{b,d,m}"}
    assert masked[:2] != masked[3:5]
    assert masked[2] == masked[5]
