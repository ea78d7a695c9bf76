"""The shipped PAL adapter at work on the real model: the bakery, end to end. Skipped with its reason where adapter or model are absent."""

import pytest

from llmsuite_lab.lm.adapters import adapters
from llmsuite_lab.reasoning import pal
from llmsuite_lab.reasoning.interpreter import Interpreter


@pytest.mark.real_model
def test_the_bakery_gives_74():
    if "pal" not in adapters():
        pytest.skip("data/adapters/pal is not there yet: make it with `llmsuite train pal`")
    from llmsuite_lab.lm.language_model import LanguageModel

    with Interpreter() as interpreter:
        (trace,) = pal.solve(LanguageModel.load(adapter="pal"), [pal.BAKERY], interpreter)
    assert trace.value == "74"
    assert trace.final_value == "74"
