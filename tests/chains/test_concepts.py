"""The reach decides which question is asked back."""

import pytest
from matplotlib.colors import to_rgb

from llmsuite_lab.chains import concepts
from llmsuite_lab.core.diagrams import tint

ROUTES = {"handbook": "baseline", "sums": "accent", "almanac": "third"}


@pytest.mark.parametrize(("reach", "asked_back"), [(0.1, 2), (0.62, 1), (2.2, 0)])
def test_the_reach_decides_who_is_asked_back(reach, asked_back):
    shown = [text.get_text() for text in concepts.routes_by_nearness(reach).axes[0].texts]
    assert sum("ask back" in text for text in shown) == asked_back


@pytest.mark.parametrize("reach", [0.62, 2.2])
def test_a_question_stands_in_the_colour_of_the_route_it_is_given(reach):
    """Where the reaches of two routes overlap, the nearest example decides in the picture as well."""
    axes = concepts.routes_by_nearness(reach).axes[0]
    (image,), (left, right, low, high) = axes.images, axes.images[0].get_extent()
    rows, columns = image.get_array().shape[:2]
    stars = [line for line in axes.lines if line.get_marker() == "*"]
    said = [text.get_text().split("→ ")[1] for text in axes.texts if "→ " in text.get_text()]
    for star, route in zip(stars, said, strict=True):
        (x,), (y,) = star.get_data()
        *face, shown = image.get_array()[round((y - low) / (high - low) * (rows - 1)), round((x - left) / (right - left) * (columns - 1))]
        assert bool(shown) == (route in ROUTES)
        assert not shown or tuple(face) == pytest.approx(to_rgb(tint(ROUTES[route], 0.13)))
