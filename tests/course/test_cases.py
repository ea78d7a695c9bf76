"""The harness under the checks: what counts as the same value, what a case says when it fails, and when a mistake is named."""

import threading
from fractions import Fraction

import numpy as np
import pytest
import torch

from llmsuite_lab.course.exercises import Case, Mistake, Wrong, by_cases, check_cases
from llmsuite_lab.course.exercises.cases import calls_watched
from llmsuite_lab.course.exercises.values import agrees, cloned, difference, shown

HALVES = [[0.5, 1.5, 2.5], [-0.5, 0.0, 1e6]]


@pytest.mark.parametrize(
    ("got", "want"),
    [
        *((form(HALVES), HALVES) for form in (np.float32, np.array, torch.tensor, lambda x: torch.tensor(x, dtype=torch.float64))),
        *((HALVES, form(HALVES)) for form in (np.array, torch.tensor)),
        ([np.array(row) for row in HALVES], HALVES),
        ([torch.tensor(row) for row in HALVES], torch.tensor(HALVES)),
        (torch.tensor(HALVES, requires_grad=True), HALVES),
        (tuple(map(tuple, HALVES)), HALVES),
        (0.1 + 0.2, 0.3),
        (np.float32(0.3), 0.3),
        (torch.tensor([0.3]), 0.3),
        (np.float16(0.3), 0.3),
        (torch.tensor(HALVES, dtype=torch.bfloat16), HALVES),
        (np.array(0.3), 0.3),
        (Fraction(3, 10), 0.3),
        (3.0, 3),
        (np.int8(3), 3),
        (torch.tensor(3), 3),
        (np.array([3, 4]), [3, 4]),
        (range(3, 5), [3, 4]),
        ([], []),
        (np.array([]), []),
        (np.bool_(True), True),
        (torch.tensor([True, False]), [True, False]),
        (np.str_("a"), "a"),
        (("a", "b"), ["a", "b"]),
        (np.array(["a", "b"]), ["a", "b"]),
        (["a", torch.tensor(2.0)], ("a", 2)),
        ((torch.tensor([0.3]), 0.5), (0.3, 0.5)),
        (np.array([[0.3], [0.5]]), (0.3, 0.5)),
        ({"a": np.array([1.0])}, {"a": [1]}),
        (frozenset({"a"}), {"a"}),
        (float("nan"), float("nan")),
        (None, None),
        ([None, 2], [None, 2]),
    ],
)
def test_a_value_agrees_whatever_type_it_comes_in(got, want):
    assert agrees(got, want)


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (0.3001, 0.3),
        (float("nan"), 0.3),
        (np.array([[0.3, 0.4]]), [0.3, 0.4]),
        ((np.array([0.3, 0.3]), 0.5), (0.3, 0.5)),
        ((0.3, 50_001), (0.3, 50_000)),
        (50_001, 50_000),  # whole numbers are not near each other
        (torch.tensor([50_001]), [50_000]),
        (True, 1),
        (1, True),
        (torch.tensor([1, 0]), [True, False]),
        (0.3 + 0j, 0.3),
        (torch.tensor(0.3 + 0j), 0.3),
        ("0.3", 0.3),
        (None, 0.3),
        (0, None),
        (False, None),
        ([], None),
        (None, []),
        ("", []),
        ([3], []),
        ([[1], [1, 2]], [[1, 2], [1, 2]]),
        ("ab", ["a", "b"]),
        (["b", "a"], ["a", "b"]),
        ({"a": 1, "b": 2}, {"a": 1}),
        ("A", "a"),
        (iter([3, 4]), [3, 4]),
        (lambda: 3, 3),
    ],
)
def test_another_value_does_not(got, want):
    assert not agrees(got, want)


def test_clones_may_be_changed():
    given = {"a": [torch.zeros(2), np.zeros(2)], "rng": np.random.default_rng(3), "f": shown}
    copy = cloned(given)
    copy["a"][0] += 1
    copy["a"][1] += 1
    copy["a"].append(0)
    drawn = copy["rng"].random()
    assert given["a"][0].sum() == given["a"][1].sum() == 0
    assert len(given["a"]) == 2
    assert given["rng"].random() == drawn == np.random.default_rng(3).random()
    assert copy["f"] is shown


def test_values_are_shown_in_a_short_line_that_is_the_same_everywhere():
    assert shown([1, 0.1 + 0.2, "a", None, (True,)]) == "[1, 0.3, 'a', None, (True,)]"
    assert shown(torch.tensor([[1, 2]])) == "[[1, 2]]"
    assert shown(np.array([1 / 3])) == "[0.33333]"
    assert shown(torch.zeros(5, 6)) == "an array of shape (5, 6)"
    assert shown({"f": shown, "o": object()}) == "{'f': shown, 'o': a object}"
    assert len(shown("x" * 1000)) < 200


def test_a_difference_names_what_differs():
    big = np.arange(30.0).reshape(5, 6)
    off = big.copy()
    off[2, 3] = -1
    assert difference(off, big) == "at [2, 3] expected 15, got -1 (1 of 30 entries differ)."
    assert difference(big.T, big) == "expected the shape (5, 6), got (6, 5)."
    assert difference([1, 0], [True, False]) == "expected booleans, got numbers."
    assert difference(2, 3) == "expected 3, got 2."
    assert difference("3", 3) == "expected 3, got '3'."
    assert difference(None, 3).startswith("expected 3, got None. (A path without a `return`")
    assert difference([3], (4,)) == "expected (4,), got [3]."
    assert difference([[3, 2, 1]], [[3, 2], [1, 0]]) == "expected [[3, 2], [1, 0]], got [[3, 2, 1]]."
    assert difference(np.zeros((2, 1)), np.zeros((1, 2))) == "expected the shape (1, 2), got (2, 1)."
    assert difference((x for x in "ab"), ["a", "b"]) == "expected ['a', 'b'], got a generator, which is no list yet: put `list(…)` around it."
    assert "got a map, which is no list yet" in difference(map(str, [1]), [1])
    assert "got a dict_keys, which is no list yet" in difference({"a": 1}.keys(), ["a"])
    assert difference(iter([3]), 3) == "expected 3, got a list_iterator."
    assert difference(Fraction(1, 2), 0.25) == "expected 0.25, got 1/2."


def _scale(x, factor):
    return [value * factor for value in x]


def _added(x, factor):
    return [value + factor for value in x]


def _squared(x, factor):
    return [value * value for value in x]


MISTAKES = (Wrong(_added, "You add the factor."), Wrong(_squared, "You multiply each value by itself."))


def _cases():
    return [
        Case(([2.0], 2), [4.0], "Two times two is four."),
        Case(([3.0, 1.0], 2), [6.0, 2.0]),
        Case(([5.0], 3), [15.0]),
        Case(([], 5), []),
    ]


def said(answer, cases=_cases, mistakes=MISTAKES, **options) -> str:
    with pytest.raises(Mistake) as raised:
        by_cases(cases, mistakes, **options)(answer)
    return str(raised.value)


def test_a_right_answer_may_change_its_input_in_place():
    def in_place(x, factor):
        for i in range(len(x)):
            x[i] *= factor
        return x

    cases = _cases()
    check_cases(in_place, cases)
    assert cases == _cases(), "the check handed out clones"
    shared = [Case(case.args, case.want) for case in (cases[0], cases[0])]  # the same list twice: the second call must not see the first's
    check_cases(in_place, shared)
    with pytest.raises(Mistake):
        check_cases(lambda x, factor: in_place(x, factor)[:1] * 2, cases)


def test_a_mistake_is_named_only_when_every_case_proves_it():
    assert said(_added) == "You add the factor."
    assert said(lambda x, factor: _added(x, factor) if len(x) == 2 else _scale(x, factor)).startswith(
        "`<lambda>([3, 1], 2)`: expected [6, 2]"
    )
    assert said(lambda x, factor: [value * 7 for value in x]).startswith(
        "Two times two is four. `<lambda>([2], 2)`: expected [4], got [14]."
    )
    twice = (*MISTAKES, Wrong(_added, "You add something."))
    assert "expected [6, 2], got [5, 3]" in said(_added, mistakes=twice), "two mistakes with the same values prove neither"


def test_what_an_answer_raises_comes_through_unless_a_later_case_was_to_blame_first():
    def fails_on_nothing(x, factor):
        return [x[0] * factor, *_scale(x[1:], factor)]

    with pytest.raises(IndexError):
        check_cases(fails_on_nothing, _cases())
    with pytest.raises(Mistake, match="Two times two"):
        check_cases(lambda x, factor: [x[0] + 7], _cases())


def test_a_mistake_that_raises_is_named_too():
    def first(x, factor):
        return [x[0] * factor, *_scale(x[1:], factor)]

    assert said(first, mistakes=[Wrong(first, "An empty list has no first value.")]) == "An empty list has no first value."


def test_what_stays_behind_between_calls_is_found():
    def keeps(x, factor, seen=[]):  # noqa: B006
        seen.append(factor)
        return _scale(x, factor if len(seen) < 5 else 0)

    assert said(keeps).startswith("Right at first, but the same call later is not")


def test_a_forbidden_function_is_seen_under_any_name_and_allowed_again_afterwards():
    own = torch.nn.functional.softmax

    def calls_python(x, factor):
        own(torch.tensor(x), 0)
        return _scale(x, factor)

    def calls_builtin(x, factor):
        sum(x)
        return _scale(x, factor)

    assert said(calls_python, forbidden=lambda: {torch.nn.functional.softmax: "no softmax"}) == "no softmax"
    assert said(calls_builtin, forbidden=lambda: {sum: "no sum"}) == "no sum"
    by_cases(_cases, forbidden=lambda: {torch.nn.functional.softmax: "no softmax", sum: "no sum"})(_scale)
    with calls_watched({sum: "no sum"}) as called:
        pass
    sum([1])
    assert called == []


def unwatched(call):
    with torch._C.DisableTorchFunction():
        return call()


X = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
WAYS = {
    "functional": lambda: torch.nn.functional.log_softmax(X, -1),
    "torch": lambda: torch.log_softmax(X, -1),
    "method": lambda: X.log_softmax(-1),
    "module": lambda: torch.nn.LogSoftmax(-1)(X),
    "built-in": lambda: torch._C._VariableFunctions.log_softmax(X, -1),
    "operation": lambda: torch.ops.aten.log_softmax(X, -1),
    "overload": lambda: torch.ops.aten.log_softmax.int(X, -1),
    "private": lambda: torch._log_softmax(X, -1, False),
    "getattr": lambda: getattr(getattr(torch.ops, "at" + "en"), "log_" + "softmax")(X, -1),
    "by the registry": lambda: torch._C._jit_get_operation("aten::log_softmax")[0](X, -1),
    "under vmap": lambda: torch.vmap(lambda row: row.log_softmax(-1))(X),
    "behind torch's back": lambda: unwatched(lambda: X.log_softmax(-1)),
    "a subclass": lambda: X.as_subclass(torch.nn.Parameter).log_softmax(-1),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_forbidden_operation_is_seen_by_whatever_way_it_is_reached(way):
    def answer(x, factor):
        WAYS[way]()
        return _scale(x, factor)

    assert said(answer, forbidden=lambda: {"log_softmax.*": "no log_softmax"}) == "no log_softmax"
    by_cases(_cases, forbidden=lambda: {"softmax": "no softmax", "log_soft": "the whole name counts"})(answer)
    with calls_watched({"log_softmax": "no log_softmax"}) as called:
        (X.exp() / X.exp().sum(-1, keepdim=True)).log()
    WAYS[way]()
    assert called == []


def test_a_check_runs_in_any_thread():
    reports = []
    threads = [threading.Thread(target=lambda: reports.append(said(_added))) for _ in range(3)]
    [thread.start() for thread in threads]
    [thread.join(20) for thread in threads]
    assert reports == ["You add the factor."] * 3
