"""The reach decides which question is asked back."""

import pytest

from llmsuite_lab.chains import concepts


@pytest.mark.parametrize(("reach", "asked_back"), [(0.1, 2), (0.62, 1), (2.2, 0)])
def test_the_reach_decides_who_is_asked_back(reach, asked_back):
    shown = [text.get_text() for text in concepts.routes_by_nearness(reach).axes[0].texts]
    assert sum("ask back" in text for text in shown) == asked_back
