"""Whatever a student hands in, a check ends with one of three words and says what to do next."""

import signal
import threading
import time
from types import SimpleNamespace

import pytest

from llmsuite_lab.course.exercises import Mistake, exercise, expect
from llmsuite_lab.course.exercises.checking import Report, run_check, with_limit
from tests.waiting import LIMIT_S, until


def checked(answer, check=None, time_limit_s=5.0):
    """The report on `answer` under a check that doubles 3."""

    def doubles(given):
        expect(given(3) == 6, "3 doubled is 6")

    return run_check(
        SimpleNamespace(id="x.double", name="double", solution=documented, check=check or doubles, time_limit_s=time_limit_s), answer
    )


def untouched(x): ...


def documented(x):
    """Twice x."""


def raising(x):
    raise NotImplementedError


def returning_ellipsis(x):
    return ...


def half_done(x):
    x += 1
    ...


def assigned(x):
    y = ...
    return y * 2


class OpenClass:
    def __init__(self):
        self.x = 1

    def __call__(self, x): ...


@pytest.mark.parametrize(
    "answer",
    [None, ..., (1, ...), {"a": ...}, untouched, documented, raising, returning_ellipsis, half_done, assigned, OpenClass, lambda x: None],
)
def test_what_was_not_filled_in_is_not_attempted(answer):
    report = checked(answer)
    assert report.status == "not attempted"
    assert "`double`" in report.message


def forgot_return(x):
    x * 2


def divides(x):
    y = x - 3
    return x / y


def endless(x):
    while True:
        try:
            x += 1
        except Exception:
            x = 0


def recursive(x):
    return recursive(x)


def indexing(x):
    values = [[x * 2]]
    return values[..., 0] if x > 5 else values[0][0]


def test_right_and_wrong():
    assert checked(lambda x: x * 2).passed
    assert checked(lambda x: x * 3).message == "3 doubled is 6"
    assert checked(indexing).passed, "an Ellipsis inside an index is no stub"


def test_a_forgotten_return_is_a_mistake_not_a_stub():
    assert checked(forgot_return).status == "not yet"


def test_an_exception_becomes_a_hint_with_its_line():
    message = checked(divides).message
    assert "ZeroDivisionError" in message
    assert "`return x / y`" in message
    assert checked(recursive).status == "not yet"
    assert "RecursionError" in checked(recursive).message


def test_an_unusable_answer_is_said_to_be_one():
    assert "`double` is 3 (int). Write a function" in checked(3).message


def test_the_call_that_raised_is_shown():
    assert checked(divides).message.endswith(": division by zero. The call: `double(3)`.")
    assert checked(int.__floordiv__, check=lambda given: given(3)).status == "not yet"


def test_a_function_of_other_arguments_is_told_how_it_is_called():
    assert checked(lambda: 6).message == "`double` is called with 1 arguments (x); yours cannot be: too many positional arguments."
    assert "missing a required argument: 'b'" in checked(lambda a, b: 6).message
    assert checked(lambda *a: 6).passed
    assert checked(lambda x, twice=2: x * twice).passed


def test_ending_the_program_is_not_allowed():
    def ends(x):
        raise SystemExit(1)

    assert "SystemExit" in checked(ends).message


def test_an_alarm_of_somebody_elses_rings_after_a_check():
    rung = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(True))
    others = signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        assert checked(lambda x: x * 2).passed
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= LIMIT_S
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        assert until(lambda: rung)
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *others)


def test_an_endless_loop_ends():
    start = time.monotonic()
    report = checked(endless, time_limit_s=0.5)
    assert "did not finish within 0.5 seconds" in report.message
    assert time.monotonic() - start < 20


def test_an_endless_loop_ends_outside_the_main_thread_too():
    ended = []
    stop = threading.Event()

    def waits(x):
        stop.wait(LIMIT_S)
        return x

    worker = threading.Thread(target=lambda: ended.append(checked(waits, time_limit_s=0.3)))
    worker.start()
    worker.join(LIMIT_S)
    stop.set()
    assert "did not finish" in ended[0].message


def test_limit_hands_on_results_and_errors():
    with pytest.raises(Mistake, match="this"):
        with_limit(5, lambda: expect(False, "this"))
    with pytest.raises(TimeoutError):
        with_limit(0.2, lambda: time.sleep(5))
    with_limit(0.2, lambda: None)
    time.sleep(0.3)  # an alarm left behind would end the test run here


def test_report_is_stable_text_and_escaped_html():
    report = Report("x.y", "not yet", "is 1 < 2?\nyes")
    assert repr(report) == "x.y: not yet. is 1 < 2?\nyes"
    assert "1 &lt; 2?<br>yes" in report._repr_html_()


def test_hints_come_one_after_the_other_and_end():
    task = exercise("course.exact_match")
    assert [task.hint().status for _ in range(4)] == ["hint 1 of 3", "hint 2 of 3", "hint 3 of 3", "hint 3 of 3"]
    assert ".solution()" in task.hint(3).message
    assert ".solution()" not in task.hint(1).message
    with pytest.raises(ValueError, match="hints 1 to 3"):
        task.hint(4)


def test_unknown_exercise_names_the_nearest():
    with pytest.raises(ValueError, match=r"no exercise 'course.exact_mach'; nearest: course.exact_match"):
        exercise("course.exact_mach")
