"""What explains wrong arguments: it names the argument, leaves right calls and other errors alone, and costs nothing while all goes well."""

import inspect
import math
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from llmsuite_lab.core import metrics
from llmsuite_lab.core.annotations import mismatch
from llmsuite_lab.core.arguments import explained
from llmsuite_lab.core.errors import LabError


@explained
def first_words(texts: Sequence[str], n: int = 1, where: Path | None = None) -> list[str]:
    return [" ".join(text.split()[:n]) for text in texts] + ([where.name] if where else [])


@explained
def ratio(a: float, b: float) -> float:
    return a / b


@explained
def endless(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        yield text.upper()


@explained
def speaks(k: int) -> int:
    if k < 1:
        raise ValueError("k must be at least one, says the function itself")
    return [1, 2, 3][k]


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: first_words(3), TypeError, "first_words: texts=3 is an int, but texts must be Sequence[str]"),
        (lambda: first_words(["a", 2]), TypeError, "first_words: texts[1]=2 is an int, but texts must be Sequence[str]"),
        (lambda: first_words(None), TypeError, "first_words: texts=None, but texts must be Sequence[str]"),
        (lambda: first_words(["a"], "x"), TypeError, "first_words: n='x' is a str, but n must be int"),
        (lambda: first_words(["a"], where="b"), TypeError, "first_words: where='b' is a str, but where must be Path | None"),
        (lambda: ratio(1.0, 0), ValueError, "ratio: b=0 is out of range (float division by zero)"),
        (lambda: ratio(math.nan, 1.0), ValueError, "ratio: a is nan, and a number is needed"),
        (lambda: list(endless([1])), TypeError, "endless: texts[0]=1 is an int, but texts must be Sequence[str]"),
        (lambda: speaks(0), ValueError, "k must be at least one, says the function itself"),
        (lambda: metrics.exact_match(None, "a"), TypeError, "exact_match: prediction=None, but prediction must be str"),
    ],
)
def test_a_wrong_argument_is_named(call, kind, words):
    with pytest.raises(kind) as said:
        call()
    assert str(said.value) == words


def test_the_stumble_stays_as_the_cause():
    with pytest.raises(TypeError) as said:
        first_words(3)
    assert isinstance(said.value.__cause__, TypeError)


def test_what_no_argument_explains_passes_through():
    with pytest.raises(IndexError, match="list index out of range"):
        speaks(7)

    @explained
    def broken(k: int) -> int:
        return {}["not an argument"]

    with pytest.raises(KeyError):
        broken(3)

    @explained
    def refuses(k: int) -> int:
        raise LabError("nothing to do with k")

    with pytest.raises(LabError, match="nothing to do with k"):
        refuses("x")


def test_what_works_is_not_looked_at():
    class Text:
        def split(self):
            return ["as", "good", "as", "a", "text"]

    assert first_words((Text(),), 2) == ["as good"]
    assert first_words(["a b"], torch.tensor(2)) == ["a b"]
    assert list(endless(("a", "b"))) == ["A", "B"]


def test_a_function_looks_the_same_from_outside():
    assert list(inspect.signature(first_words).parameters) == ["texts", "n", "where"]
    assert first_words.__name__ == "first_words"
    assert "def exact_match" in inspect.getsource(metrics.exact_match)
    assert pickle.loads(pickle.dumps(metrics.exact_match)) is metrics.exact_match


class Ours:
    """Any class."""


@pytest.mark.parametrize(
    ("hint", "right", "wrong"),
    [
        (str, ["a"], [None, 3, b"a", ["a"]]),
        (int, [3, True, torch.tensor(3)], [1.5, "3", None, math.nan]),
        (float, [1, 1.5, torch.tensor(1.0)], ["1", None, [1.0]]),
        (bool, [True, 0, "x"], []),
        (str | None, ["a", None], [3]),
        (Path, [Path("a")], ["a", 3]),
        (Sequence[str], [["a"], ("a",), []], ["abc", [3], 3, None, ["a", None]]),
        (list[list[int]], [[[1]], [[]]], [[["a"]], [1]]),
        (dict[str, int], [{"a": 1}], [[("a", 1)], {"a": "b"}, 3]),
        (Mapping[str, Any], [{}], [[]]),
        (tuple[float, float], [(1, 2)], [3, "ab"]),
        (tuple[str, ...], [("a",)], [(1,)]),
        (Literal["a", "b"], ["a"], ["c", None]),
        (Callable[[int], int], [len], [3, None]),
        (Float[Tensor, "a b"], [torch.ones(2, 3)], [3, [1.0], None]),
        (Ours, [Ours(), object()], [3, "x", None, []]),
        (Any, [None, 3], []),
    ],
)
def test_what_fits_an_annotation(hint, right, wrong):
    assert [value for value in right if mismatch(value, hint) is not None] == []
    assert [value for value in wrong if mismatch(value, hint) is None] == []


def test_a_context_is_explained_up_to_its_block_and_the_block_keeps_its_own_errors():
    events = []

    @explained
    @contextmanager
    def opened(name: str) -> Iterator[str]:
        upper = name.upper()
        try:
            yield upper
        except KeyError:
            events.append("swallowed")
        finally:
            events.append("closed")

    with pytest.raises(TypeError, match="opened: name=3 is an int, but name must be str"), opened(3):
        pass
    with opened("a") as got:
        events.append(got)
    with opened("b"):
        {}["key"]
    with pytest.raises(IndexError, match="list index out of range"), opened(""):
        [][0]
    assert events == ["A", "closed", "swallowed", "closed", "closed"]
    assert [opened.__name__, list(inspect.signature(opened).parameters)] == ["opened", ["name"]]


def test_an_error_inside_the_package_is_the_packages_own_to_catch(monkeypatch):
    """What one of our functions catches from another must come as it was raised; only the call from outside is explained."""

    @explained
    def look_up(row: Mapping[str, int], key: str) -> int:
        return row[key]

    @explained
    def or_zero(row: Mapping[str, int], key: str) -> int:
        try:
            return look_up(row, key)
        except KeyError:
            return 0

    with pytest.raises(ValueError, match="row has no 'b'"):
        or_zero({"a": 1}, "b")  # called from here, look_up is called from outside the package
    monkeypatch.setitem(globals(), "__name__", "llmsuite_lab.somewhere")
    assert or_zero({"a": 1}, "b") == 0
    with pytest.raises(KeyError):
        look_up({"a": 1}, "b")


def test_a_students_error_is_told_as_it_is():
    from llmsuite_lab.course.exercises import exercise

    def answer(*_):
        raise RuntimeError("mine")

    assert "RuntimeError" in str(exercise("transformer.split_heads").check(answer))
    assert "forbidden" not in str(exercise("transformer.split_heads").check(answer))
