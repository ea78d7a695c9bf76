"""A picture of a turn holds the state of the loop and nothing more."""

import pytest

from llmsuite_lab.agents import concepts


@pytest.mark.parametrize(("turn", "observations"), [(1, 0), (2, 1), (3, 2)])
def test_a_turn_reads_the_observations_before_it(turn, observations):
    shown = [text.get_text() for text in concepts.what_it_reads(turn).axes[0].texts]
    assert sum(text.startswith("Observation: ") for text in shown) == observations
    assert sum(text.startswith("Action: ") for text in shown) == turn
    assert shown.count("writes this, and stops") == 1
    assert any("Finish[" in text for text in shown) == (turn == 3)


def test_turns_beyond_the_last_are_refused():
    with pytest.raises(ValueError, match="turn"):
        concepts.what_it_reads(4)
