"""What the pictures count is worked out."""

import math
import re

import pytest

from llmsuite_lab.alignment import concepts, offline_concepts


def words(picture):
    return " ".join(text.get_text() for text in picture.axes[0].texts)


def in_cells(picture):
    """The numbers of the picture's rows, in reading order."""
    return [float(text.get_text()) for text in picture.axes[0].texts if re.fullmatch(r"[+-]\d\.\d\d", text.get_text())]


def test_the_pairs_probability_is_that_of_its_difference():
    assert f"σ = {1 / (1 + math.exp(-1.7)):.2f}" in words(concepts.a_pair_through_the_reward_model())


def test_the_rewards_of_all_actions_sum_to_the_score_less_the_price():
    rows = in_cells(concepts.reward_of_every_action())
    n = len(concepts.REPLY)
    logprobs, reference, paid = rows[:n], rows[n : 2 * n], rows[2 * n : 3 * n]
    assert paid == pytest.approx([-concepts.PAID_BETA * (a - b) for a, b in zip(logprobs, reference)], abs=0.011)
    assert sum(rows[-n:]) == pytest.approx(concepts.PAID_SCORE - concepts.PAID_BETA * (sum(logprobs) - sum(reference)), abs=0.03)


def test_the_last_advantage_is_the_last_surprise_and_the_first_is_the_weighted_sum():
    rows = in_cells(concepts.advantages_as_a_sum(lam=0.5))
    n = len(concepts.REPLY)
    delta, A = rows[-2 * n : -n], rows[-n:]
    assert A[-1] == delta[-1]
    assert A[0] == pytest.approx(sum(0.5**t * d for t, d in enumerate(delta)), abs=0.02)


def test_the_clip_is_flat_beyond_its_edge_on_the_side_that_would_gain():
    good, bad = concepts.the_clip(clip=0.3).axes
    for ax, flat, level in ((good, lambda r: r > 1.31, 1.3), (bad, lambda r: r < 0.69, -0.7)):
        line = ax.lines[1]
        on = [y for x, y in zip(line.get_xdata(), line.get_ydata()) if flat(x)]
        assert on == pytest.approx([level] * len(on), abs=1e-5)


def test_two_estimators_are_unbiased_and_the_third_is_not():
    right = concepts.three_estimators().axes[1]
    k1, k2, k3 = (bar.get_height() for bar in right.patches)
    true = 0.7 * math.log(0.7 / 0.2) + 0.2 * math.log(0.2 / 0.3) + 0.1 * math.log(0.1 / 0.5)
    assert (k1, k3) == pytest.approx((true, true), abs=1e-6)
    assert abs(k2 - true) > 0.01


def test_dpos_loss_is_the_logistic_one_of_the_difference():
    assert f"loss = −log σ = {math.log1p(math.exp(-1.5)):.2f}" in words(offline_concepts.a_classifier_of_pairs(beta=0.5))


def test_each_improve_step_learns_from_fewer():
    kept = [int(n) for n in re.findall(r"learns from (\d+) of 20", words(offline_concepts.grow_and_improve()))]
    assert kept == [10, 6, 2]


def test_leave_one_out_is_each_score_less_the_others_mean():
    numbers = in_cells(offline_concepts.baselines())
    assert numbers[4:8] == pytest.approx([1 - 11 / 3, 2 - 10 / 3, 6 - 2, 3 - 3], abs=0.006)


def test_best_of_n_marks_the_proxys_favourite_although_gold_prefers_another():
    left = offline_concepts.the_best_of_n().axes[0]
    note = next(text for text in left.texts if text.get_text() == "chosen")
    proxy = [bar for bar in left.patches if math.isclose(bar.get_width(), 0.38)][::2]
    assert note.xy[1] == max(bar.get_height() for bar in proxy)


def test_without_a_baseline_every_reply_is_pushed_up():
    ax = concepts.better_than_expected().axes[0]
    first, then = ([bar.get_height() for bar in ax.patches][i : i + 3] for i in (0, 3))
    assert min(first) > 0
    assert min(then) < 0 < max(then)


def test_an_expectile_goes_from_the_mean_to_the_largest():
    line = offline_concepts.expectiles((-1.0, 0.0, 2.0)).axes[0].lines[0]
    V = list(line.get_ydata())
    assert V == sorted(V)
    assert V[0] == pytest.approx(1 / 3, abs=0.01)
    assert 1.95 < V[-1] < 2
