"""Calls of many threads become one batch; errors and sampled calls do not get lost in it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmsuite_lab.chains.gathering import Gathered, GatheringModel
from tests.waiting import LIMIT_S, quiet_after, until


def test_calls_that_arrive_together_are_one_batch_and_each_gets_its_own_result():
    double = quiet_after(12, Gathered(lambda items: [2 * i for i in items]))
    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(double, range(12))) == [2 * i for i in range(12)]
    assert double.sizes == [12]


def test_calls_that_arrive_while_a_batch_runs_are_the_next_batch():
    begun, arrived = threading.Event(), threading.Event()

    def run(items):
        begun.set()
        assert arrived.wait(LIMIT_S)
        return items

    gathered = Gathered(run, quiet_s=0.001)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(gathered, 0)
        assert begun.wait(LIMIT_S)
        others = [pool.submit(gathered, i) for i in range(1, 8)]
        assert until(lambda: len(gathered._pending) == 7)
        arrived.set()
        assert [future.result(LIMIT_S) for future in (first, *others)] == list(range(8))
    assert gathered.sizes == [1, 7]


def test_calls_one_after_another_are_batches_of_one():
    double = Gathered(lambda items: [2 * i for i in items], quiet_s=0.01)
    assert [double(i) for i in range(3)] == [0, 2, 4]
    assert double.sizes == [1, 1, 1]
    assert double.all([]) == []


def test_an_error_reaches_its_own_caller_and_the_next_call_works():
    def run(items):
        if "bad" in items:
            raise ValueError("a bad item")
        return items

    gathered = quiet_after(2, Gathered(run))
    with ThreadPoolExecutor(2) as pool:
        good, bad = (pool.submit(gathered, item) for item in ("good", "bad"))
        assert good.result(LIMIT_S) == "good"
        with pytest.raises(ValueError, match="a bad item"):
            bad.result(LIMIT_S)
    assert gathered.sizes == [2]  # they were one batch
    quiet_after(1, gathered)
    assert gathered("good") == "good"


def test_a_batch_function_that_returns_too_few_results_is_an_error_not_a_wait():
    gathered = Gathered(lambda items: items[:-1], quiet_s=0.01)
    with pytest.raises(ValueError):
        gathered.all(["a", "b"])


def test_settings_are_kept_apart_and_the_rest_is_the_models_own(stand_in):
    lm = stand_in()
    gathering = GatheringModel(lm)
    quiet_after(3, gathering.gathered)
    with ThreadPoolExecutor(3) as pool:
        long = pool.submit(gathering.complete, ["a", "b"], max_new_tokens=9)
        short = pool.submit(gathering.complete, ["a"], max_new_tokens=9, stop=["\n"])
        texts = [c.text for c in long.result(LIMIT_S)], [c.text for c in short.result(LIMIT_S)]
    assert texts[0][0].startswith(texts[1][0])
    assert "more" in texts[0][0]
    assert "more" not in texts[1][0]
    assert sorted(map(len, lm.batches)) == [1, 2]
    assert gathering.name == "stand-in"
    assert gathering.count_tokens("two words") == 2


def test_sampled_calls_are_not_gathered(stand_in):
    lm = stand_in()
    gathering = GatheringModel(lm, quiet_s=0.01)
    gathering.complete(["a", "b"], temperature=0.7)
    assert gathering.gathered.sizes == []
    assert lm.batches == [["a", "b"]]
