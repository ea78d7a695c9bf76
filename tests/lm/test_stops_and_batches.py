"""Stop strings, and which prompts are written together."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from llmsuite_lab.lm.length_batches import STEP_TOKENS, batches
from llmsuite_lab.lm.stops import first_stop, held_back, stop_list


def test_stop_strings():
    assert stop_list("answer") == ["answer"]
    assert first_stop("abcabc", ["ca", "b"]) == 1
    assert first_stop("abc", ["x"]) is None
    with pytest.raises(ValueError, match="empty string"):
        stop_list(["a", ""])
    with pytest.raises(TypeError, match="stop takes strings"):
        stop_list([3])
    with pytest.raises(TypeError, match="a string or a list of strings, got int"):
        stop_list(3)


@given(st.text("ab\n", max_size=12), st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3))
def test_nothing_shown_early_can_turn_out_to_be_a_stop(text, stop):
    """Shown piece by piece with `held_back`, a text never shows more than what stands before its first stop string."""
    final = text[: first_stop(text, stop)]
    for n in range(len(text) + 1):
        seen = text[:n]
        if first_stop(seen, stop) is None:
            shown = seen[: len(seen) - held_back(seen, stop)]
            assert final.startswith(shown)


@given(st.lists(st.integers(1, 600), max_size=40), st.integers(1, 7), st.integers(20, 2000), st.integers(0, 10))
def test_batches_hold_each_item_once_within_the_limits(lengths, rows, tokens, room):
    made = batches(lengths, rows, tokens, room)
    assert sorted(i for batch in made for i in batch) == list(range(len(lengths)))
    for batch in made:
        longest = max(lengths[i] for i in batch)
        assert len(batch) <= rows
        assert len(batch) == 1 or len(batch) * (longest + room) <= tokens
        assert sum(longest - lengths[i] for i in batch) <= STEP_TOKENS * (room + 1)


def test_short_prompts_do_not_pay_for_a_long_one():
    assert batches([9, 2000, 12, 8, 11], 32, 16_384, 32) == [[1], [2, 4, 0, 3]]
    assert batches([30, 90, 41, 60], 32, 16_384, 32) == [[1, 3, 2, 0]]  # padding this small is cheaper than a batch more
