"""The claims' scores written from four bits: their table by hand, and two problems on the real model."""

import pytest

from llmsuite_lab.bitnet.fidelity import WORSE
from llmsuite_lab.course import four_bits


def test_the_table_pairs_each_engine_with_float32():
    marks = {"float32": [True, True, False, False], WORSE: [False, False, False, False], "q4": [True, False, True, False]}
    worse, four = four_bits.table({"set": marks})
    assert (worse["engine"], four["engine"], four["n"]) == (WORSE, "q4", 4)
    assert (four["float32"].mean, four["score"].mean, four["difference"].mean) == (0.5, 0.5, 0.0)
    assert four["difference"].low < 0 < four["difference"].high  # two marks differ: no difference on average is not the same marks
    assert worse["difference"].mean == -0.5


def test_other_items_are_refused():
    with pytest.raises(ValueError, match="longer|shorter"):
        four_bits.difference([True], [True, False])
    with pytest.raises(ValueError, match="must be a whole number"):
        four_bits.measure(0)


@pytest.mark.real_model
@pytest.mark.slow
def test_the_recipe_at_a_toy_size(lm):
    which = "word problems, by programs"
    done = four_bits.measure(2, {which: four_bits.SETS[which]})
    assert list(done.results[which]) == ["float32", WORSE, "q4"]
    assert all(len(marks) == 2 for marks in done.results[which].values())
    assert done.settings["adapters"] == {which: "pal"}


def test_every_set_takes_a_shipped_adapter_or_none():
    from llmsuite_lab.lm.adapters import adapter_path

    assert all(adapter is None or adapter_path(adapter).is_dir() for adapter, _ in four_bits.SETS.values())
