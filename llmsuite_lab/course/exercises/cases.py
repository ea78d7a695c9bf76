"""The check of an exercise whose answer is a function of its arguments: cases with the right value, and mistakes that a wrong value can prove.

    Case(args, want, rule)    `rule` is the sentence of the statement that this case holds; it is said when the case fails
    by_cases(cases, mistakes) the check: the statement's examples first, every argument cloned for every call, the first call again at the end

A mistake is diagnosed only when the answer does what the mistaken function does in EVERY case (and that is wrong in one of them). Anything else
is shown as it is: the call, what is expected, what came back.
"""

import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from llmsuite_lab.course.exercises.checking import Mistake, Unattempted
from llmsuite_lab.course.exercises.values import ATOL, RTOL, agrees, call_text, cloned, difference


@dataclass(frozen=True)
class Case:
    """One call: `want` is the right value, from a source other than the solution where there is one."""

    args: tuple
    want: Any
    rule: str = ""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    rtol: float = RTOL
    atol: float = ATOL


def by_cases(
    cases: Callable[[], Sequence[Case]], mistakes: Sequence[Any] = (), forbidden: Callable[[], Mapping[Any, str]] = dict
) -> Callable[[Any], None]:
    """A check for Exercise.

    `mistakes` are `Wrong`s whose hint is the whole diagnosis; `forbidden()` maps each function that the answer may not call to the reason, and each
    regular expression of the names of torch's operations ("cross_entropy_loss"), by whatever way they are reached.
    """

    def check(answer: Any) -> None:
        check_cases(answer, cases(), mistakes, forbidden())

    return check


def check_cases(answer: Any, cases: Sequence[Case], mistakes: Sequence[Any] = (), forbidden: Mapping[Any, str] | None = None) -> None:
    """Run every case; raise Mistake for the first that fails, or what the answer itself raised in it."""
    first: int | None = None
    outcomes = []
    for i, case in enumerate(cases):
        with calls_watched(forbidden or {}) as called:
            outcome = _outcome(answer, case)
        if called:
            raise Mistake(called[0])
        outcomes.append(outcome)
        if first is None and not _right(outcome, case):
            first = i
    if first is None:
        again = _outcome(answer, cases[0])
        if not _right(again, cases[0]):
            raise Mistake(
                f"Right at first, but the same call later is not: does something stay behind between calls? {_plain(answer, again, cases[0])}"
            )
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a mistaken function that divides by zero, not of the student's
        proven = [m.hint for m in mistakes if all(_same(o, _outcome(m.answer, case), case) for o, case in zip(outcomes, cases))]
    if len(proven) == 1:
        raise Mistake(proven[0])
    if isinstance(outcomes[first], Exception):
        raise outcomes[first]
    raise Mistake(_plain(answer, outcomes[first], cases[first]))


@contextmanager
def calls_watched(forbidden: Mapping[Any, str]) -> Iterator[list[str]]:
    """Collect the reasons of the forbidden functions and operations that run inside, under whatever name they were imported. This thread only.

    What was compiled beforehand (`torch.jit.trace`, `torch.compile`) is not looked into.
    """
    called: list[str] = []
    if not forbidden:
        yield called
        return
    functions = {function: reason for function, reason in forbidden.items() if not isinstance(function, str)}
    operations = {name: reason for name, reason in forbidden.items() if isinstance(name, str)}
    python = {function.__code__: reason for function, reason in functions.items() if hasattr(function, "__code__")}
    builtin = {function: reason for function, reason in functions.items() if not hasattr(function, "__code__")}

    def watch(frame: Any, event: str, function: Any) -> None:
        if event == "call" and frame.f_code in python:
            called.append(python[frame.f_code])
        elif event == "c_call":  # the operations too: an answer may have told torch to hand its calls to nobody
            called.extend([builtin[function]] if function in builtin else _named(function, operations))

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        with _operations_watched(operations, called) if operations else nullcontext():
            yield called
    finally:
        sys.setprofile(before)


def _operations_watched(operations: Mapping[str, str], called: list[str]) -> AbstractContextManager:
    """Torch hands every call to a mode first, whether it comes by torch.nn.functional, torch._C, torch.ops.aten or an operation's overload."""
    from torch.overrides import TorchFunctionMode

    class Watch(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            called.extend(_named(function, operations))
            return function(*args, **(kwargs or {}))

    return Watch()


def _named(function: Any, operations: Mapping[str, str]) -> list[str]:
    name = getattr(function, "__name__", "").split(".")[0].lstrip("_")
    return [reason for operation, reason in operations.items() if re.fullmatch(operation, name)]


def _outcome(answer: Any, case: Case) -> Any:
    try:
        return answer(*cloned(case.args), **cloned(dict(case.kwargs)))
    except (Unattempted, NotImplementedError, Mistake):
        raise
    except Exception as error:  # an outcome like another; check_cases raises it when it is the first that is wrong
        return error


def _right(outcome: Any, case: Case) -> bool:
    return not isinstance(outcome, Exception) and agrees(outcome, case.want, case.rtol, case.atol)


def _same(outcome: Any, other: Any, case: Case) -> bool:
    if isinstance(outcome, Exception) or isinstance(other, Exception):
        return type(outcome) is type(other)
    return agrees(outcome, other, case.rtol, case.atol)


def _plain(answer: Any, outcome: Any, case: Case) -> str:
    if isinstance(outcome, Exception):
        return f"`{call_text(answer, case.args, case.kwargs)}` raised {type(outcome).__name__}: {outcome}."
    return f"{case.rule} `{call_text(answer, case.args, case.kwargs)}`: {difference(outcome, case.want, case.rtol, case.atol)}".strip()
