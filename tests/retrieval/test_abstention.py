"""The gate: its threshold on a line of numbers, its weights on signals of known worth."""

import numpy as np
import pytest

from llmsuite_lab.retrieval.abstention import Coverage, choose_threshold, fit_gate, tradeoff


def test_the_threshold_refuses_at_most_the_share_it_was_given():
    scores = np.linspace(0, 1, 41)
    for share in (0.0, 0.05, 0.1, 0.5):
        threshold = choose_threshold(scores, share)
        assert np.mean(scores < threshold) <= share
        assert np.mean(scores < threshold + 0.026) > share  # no larger one would do


def test_an_informative_signal_gets_the_weight():
    rng = np.random.default_rng(0)
    wanted = rng.random(400) < 0.6
    signals = np.column_stack([rng.standard_normal(400), wanted + 0.3 * rng.standard_normal(400)])
    gate = fit_gate(signals, wanted, names=("noise", "signal"), max_refused=0.05)
    assert abs(gate.weights[0]) < 0.2 * gate.weights[1]
    declined = np.array(gate.declines(signals))
    assert declined[wanted].mean() <= 0.05
    assert declined[~wanted].mean() > 0.9


def test_one_signal_needs_no_weights():
    gate = fit_gate([[0.9], [0.8], [0.1], [0.2]], [True, True, False, False], names=("cosine",), max_refused=0)
    assert gate.declines([[0.85], [0.5]]) == [False, True]


def test_coverage_weighs_rare_words_more():
    coverage = Coverage(["the kettle costs much", "the kettle is red", "a lamp"])
    assert coverage("kettle", "a red kettle") == 1
    assert 0 < coverage("Zorvat kettle", "a red kettle") < 0.5  # the unknown name counts more than the common noun
    assert coverage("what is the", "anything") == 0


def test_the_tradeoff_runs_from_declining_nothing_to_everything():
    refused, declined = tradeoff([0.1, 0.9, 0.2, 0.8], [False, True, False, True])
    assert (refused[0], declined[0], refused[-1], declined[-1]) == (0, 0, 1, 1)
    assert any(r == 0 and d == 1 for r, d in zip(refused, declined))


def test_refusals():
    with pytest.raises(ValueError, match="answerable and unanswerable"):
        fit_gate([[1.0]], [True], names=("cosine",))
    with pytest.raises(ValueError, match="max_refused=1"):
        choose_threshold([0.5], 1)
    with pytest.raises(ValueError, match="no scores"):
        choose_threshold([])
    with pytest.raises(ValueError, match="weighs 1: cosine"):
        fit_gate([[0.9], [0.1]], [True, False], names=("cosine",)).score([[1, 2]])
    with pytest.raises(ValueError, match="rarity"):
        Coverage([])
