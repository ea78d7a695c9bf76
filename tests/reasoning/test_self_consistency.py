"""Self-consistency: the vote, and the sampling behind it."""

import pytest

from llmsuite_lab.reasoning.self_consistency import majority, solve_by_vote


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["74", "74", "70"], ("74", 2 / 3)),
        (["74.0", "70", "74"], ("74.0", 2 / 3)),
        (["70", "74"], ("70", 1 / 2)),
        (["1/2", "0,5", "7"], ("1/2", 2 / 3)),
        ([None, None, "5"], ("5", 1 / 3)),
        ([None, None], (None, 0.0)),
    ],
)
def test_majority(values, expected):
    assert majority(values) == expected


def test_three_chains_outvote_a_wrong_one(scripted):
    lm = scripted(lambda prompt, seen: "The answer is 9." if seen == 1 else "The answer is 74.")
    (first, second) = solve_by_vote(lm, ["a?", "b?"], samples=3, temperature=0.5, seed=11)
    assert first.value == second.value == "74"
    assert first.agreement == pytest.approx(2 / 3)
    assert [c.value for c in first.chains] == ["74", "9", "74"]
    assert lm.options == [{"max_new_tokens": 256, "stop": ("\nQ:",), "temperature": 0.5, "seed": 11}]


def test_bad_input(scripted):
    lm = scripted(lambda prompt, seen: "")
    with pytest.raises(ValueError, match="samples=0"):
        solve_by_vote(lm, ["?"], samples=0)
    with pytest.raises(ValueError, match="all chains are the same"):
        solve_by_vote(lm, ["?"], temperature=0.0)
    with pytest.raises(ValueError, match="nothing to vote on"):
        majority([])
