"""A picture with sliders: drawn at the start, drawn again when one moves, still where no kernel runs."""

import pytest

from llmsuite_lab.core.plots import figure
from llmsuite_lab.core.sliders import widgets_run, with_sliders


def draw(height, word="a"):
    drawn, ax = figure(2, 2)
    ax.bar([0], [height])
    ax.set_title(word)
    return drawn


def test_without_a_kernel_the_figure_alone_comes_back():
    assert not widgets_run()
    drawn = with_sliders(draw, {"height": [1, 2], "word": ["x", "y"]}, {"word": "y"})
    assert drawn.axes[0].get_title(loc="left") == "y"


def test_moving_a_slider_draws_anew():
    widgets = pytest.importorskip("ipywidgets")
    box = with_sliders(draw, {"height": range(1, 6, 2), "word": ["x", "y"]}, {"height": 3}, static=False)
    height, word, picture = box.children
    assert isinstance(picture, widgets.Image)
    assert (height.min, height.max, height.step, height.value, word.value) == (1, 5, 2, 3, "x")
    before = picture.value
    height.value = 5
    assert picture.value != before


@pytest.mark.parametrize(("values", "start"), [({"height": []}, None), ({"height": [1, 2]}, {"height": 3})])
def test_a_start_that_is_no_value_is_refused(values, start):
    with pytest.raises(ValueError, match="not among the values"):
        with_sliders(draw, values, start)
