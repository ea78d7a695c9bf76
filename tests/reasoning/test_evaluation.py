"""The comparison: scripted models with known accuracy get exactly that; sizes, steps, truth of equations, pairs."""

import pytest

from llmsuite_lab.reasoning import evaluation as ev
from llmsuite_lab.reasoning import records
from llmsuite_lab.reasoning.interpreter import Interpreter, Limits
from llmsuite_lab.reasoning.prompting import completion
from llmsuite_lab.world.word_problems import load


@pytest.fixture(scope="module")
def problems():
    return load("test")[:60]


@pytest.fixture(scope="module")
def interpreter():
    with Interpreter(Limits(seconds=0.3)) as running:
        yield running


def _oracle(method, problems, wrong=lambda p: False):
    """A model that completes truly, but for the problems that `wrong` picks."""
    known = {p.text: p for p in problems}

    def reply(prompt, seen):
        problem = known[prompt.removeprefix("Q: ").splitlines()[0]]
        return "answer = 0.5" if wrong(problem) else completion(method, problem)

    return reply


@pytest.mark.parametrize("method", ["direct", "cot", "pal"])
def test_a_perfect_model_is_right_everywhere(scripted, problems, interpreter, method):
    results = ev.evaluate(scripted(_oracle(method, problems)), method, problems, interpreter=interpreter)
    assert ev.accuracy(results).mean == 1.0
    assert ev.outcomes(results) == {"right": 60}
    if method == "cot":
        assert [r.equations for r in results] == [p.steps for p in problems]
        assert ev.equation_truth(results) == [1.0] * 60


def test_accuracy_by_size_finds_the_size_that_fails(scripted, problems, interpreter):
    results = ev.evaluate(scripted(_oracle("pal", problems, wrong=lambda p: p.digits == 5)), "pal", problems, interpreter=interpreter)
    by = ev.accuracy_by(results, lambda r: r.digits)
    assert {k: v.mean for k, v in by.items()} == {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0, 5: 0.0, 6: 1.0}
    assert all(v.n == 10 for v in by.values())
    assert ev.accuracy(ev.of_size(results, ev.LARGE)).mean == 0.5
    assert ev.accuracy_by(results, lambda r: r.steps)[4].mean == pytest.approx(5 / 6)
    assert ev.outcomes(results) == {"right": 50, "wrong": 10}


def test_unreadable_answers_are_wrong_and_named(scripted, problems, interpreter):
    cot = ev.evaluate(scripted(lambda prompt, seen: "who knows"), "cot", problems[:4])
    pal = ev.evaluate(scripted(lambda prompt, seen: "answer = ("), "pal", problems[:4], interpreter=interpreter)
    assert ev.outcomes(cot) == {"no answer": 4}
    assert ev.outcomes(pal) == {"SyntaxError": 4}
    assert ev.accuracy(cot + pal).mean == 0.0
    assert ev.equation_truth(cot) == []


def test_paired_difference_and_gap(scripted, problems, interpreter):
    right = ev.evaluate(scripted(_oracle("pal", problems)), "pal", problems, interpreter=interpreter)
    half = ev.evaluate(scripted(_oracle("pal", problems, wrong=lambda p: p.digits % 2 == 0)), "pal", problems, interpreter=interpreter)
    found = ev.difference(right, half)
    assert (found.mean, found.n) == (0.5, 60)
    assert found.low < 0.5 < found.high
    assert ev.difference(half, half).mean == 0.0
    apart = ev.gap([1.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0])
    assert (apart.mean, apart.n) == (0.75, 7)
    assert apart.low < 0.75


def test_rows_and_back(scripted, problems, interpreter):
    results = ev.evaluate(scripted(_oracle("cot", problems)), "cot", problems)
    assert ev.from_rows(ev.as_rows(results)) == results


def test_numbers_of_other_sets_are_compared_by_value(scripted, interpreter):
    replies = {"a": "answer = 37 * 2", "b": "answer = 74.0", "c": "answer = 'many'", "d": "answer = (", "e": "answer = 1e20"}
    lm = scripted(lambda prompt, seen: replies[prompt[3]])
    assert ev.solves(lm, "pal", list(replies), [74, 74, 74, 74, 74], interpreter) == [True, True, False, False, False]
    replies = {"f": "answer = '3/4'", "g": "answer = float('nan')", "h": "answer = '1 000'", "i": "answer = True"}
    lm = scripted(lambda prompt, seen: replies[prompt[3]])
    assert ev.solves(lm, "pal", list(replies), [0.75, 0.75, 1000, 1], interpreter) == [True, False, True, False]
    lm = scripted(lambda prompt, seen: "The answer is $1,250.50.")
    assert ev.solves(lm, "cot", ["a", "b"], [1250.5, 1250]) == [True, False]
    with pytest.raises(ValueError, match="one answer a question"):
        ev.solves(lm, "cot", ["a"], [1, 2])


@pytest.mark.parametrize("name", ["pal", "cot", "short_pal", "short_cot"])
@pytest.mark.parametrize("which", ["test", "seen"])
def test_recorded_verdicts_are_those_of_the_scorer(name, which):
    for run in records.runs(name):
        rows = run.results[which]
        for problem, row in zip(load(which)[: len(rows)], rows, strict=True):
            assert ev._result(problem, row.value, None, 0).correct == row.correct


def test_bad_input(scripted, problems):
    lm = scripted(lambda prompt, seen: "")
    with pytest.raises(ValueError, match="direct, cot, pal"):
        ev.evaluate(lm, "vote", problems)
    with pytest.raises(ValueError, match="no problems"):
        ev.evaluate(lm, "cot", [])
    with pytest.raises(ValueError, match="one trace a problem"):
        ev.score_traces(problems, [])
    results = ev.evaluate(lm, "cot", problems[:3])
    with pytest.raises(ValueError, match="3, 2 items"):
        ev.difference(results, results[:2])
    with pytest.raises(ValueError, match="both samples"):
        ev.gap([], [1.0])
