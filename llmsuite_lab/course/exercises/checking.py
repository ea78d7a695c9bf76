"""Run a check against a student's answer: never raises for it, never hangs, always says what to do next.

not attempted   the answer is `...` or None, its body is only `...`, it raises NotImplementedError or returns `...`
not yet         the check raised Mistake; or the answer is no function of the right number of arguments; or the student's code raised, shown with
                type, line, text and the call; or it ran out of time
passed          the check returned

The time limit cannot end one call into compiled code (`10**10**8`, a regular expression that backtracks without end): it takes effect when that
call comes back. Outside the main thread, or on Windows, the student's code is left running in its own thread.
"""

import inspect
import linecache
import re
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

from llmsuite_lab.course.exercises.stubs import is_stub
from llmsuite_lab.course.exercises.values import call_text, shown


class Mistake(Exception):
    """A wrong answer; its message is the hint: which mistake it looks like and where to look, not the solution."""


class Unattempted(Exception):
    """The stub was not filled in yet."""


class _TimeUp(BaseException):  # not an Exception, so that a student's `except Exception` inside a loop does not swallow it
    pass


NO_RETURN = (TimeoutError, RecursionError, SystemExit)  # how code ends that gives no answer; SystemExit is no Exception


def expect(condition: object, hint: str) -> None:
    """Raise Mistake(hint) unless `condition` is true."""
    if not bool(condition):
        raise Mistake(hint)


@dataclass(frozen=True)
class Report:
    """What a check or a hint says. Draws a box in a notebook; its text form is the same on every machine."""

    id: str
    status: str  # "passed", "not yet", "not attempted", or "hint 1 of 3"
    message: str

    @property
    def passed(self) -> bool:
        """Whether the answer was right."""
        return self.status == "passed"

    def __repr__(self) -> str:
        return f"{self.id}: {self.status}. {self.message}"

    def _repr_html_(self) -> str:
        colour = {"passed": "#2e9e5b", "not yet": "#d9822b"}.get(self.status, "#5b7fb8")  # mid tones: legible on white and on black
        mark = {"passed": "✓", "not yet": "✗", "not attempted": "…"}.get(self.status, "☞")
        style = f"border-left:4px solid {colour};padding:2px 10px;margin:4px 0"
        text = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(self.message)).replace("\n", "<br>")
        return f'<div style="{style}"><b style="color:{colour}">{mark} {escape(self.status)}</b> &nbsp;<code>{escape(self.id)}</code><br>{text}</div>'


def run_check(exercise: Any, answer: Any) -> Report:
    """Run `exercise.check(answer)` within its time limit and turn whatever happens into a Report."""
    try:
        if is_stub(answer):
            raise Unattempted
        _fits(exercise, answer)
        with_limit(exercise.time_limit_s, lambda: exercise.check(_watched(answer, exercise.name)))
    except (Unattempted, NotImplementedError):
        return Report(exercise.id, "not attempted", f"Fill in `{exercise.name}` in the cell above (each `...`), then run this cell again.")
    except Mistake as mistake:
        return Report(exercise.id, "not yet", str(mistake))
    except NO_RETURN as error:
        return Report(exercise.id, "not yet", never_returned(error, exercise.time_limit_s))
    except Exception as error:
        return _unexpected(exercise, answer, error)
    return Report(exercise.id, "passed", "Your answer does what it should, on cases you have not seen too.")


def never_returned(error: BaseException, seconds: float) -> str:
    """What is said of code that came to one of NO_RETURN when it had `seconds`."""
    if isinstance(error, RecursionError):
        return "Your code calls itself without end (RecursionError). What stops it?"
    if isinstance(error, SystemExit):
        return "Your code ends the program (SystemExit): it would end the notebook's kernel. Return instead."
    return f"Your code did not finish within {seconds:g} seconds. Is there a loop that never ends?"


def no_function(name: str, answer: Any) -> str:
    """What is said of an answer that cannot be called."""
    return f"`{name}` is {shown(answer)} ({type(answer).__name__}). Write a function: `def {name}(…):`."


def with_limit(seconds: float, call: Callable[[], None]) -> None:
    """Call `call()`; raise TimeoutError after `seconds`. By a signal in the main thread, elsewhere in a worker thread that is left behind."""
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer"):
        try:
            with _alarm(seconds):
                call()
        except _TimeUp:
            raise TimeoutError from None
        return
    raised: list[BaseException] = []

    def work() -> None:
        try:
            call()
        except BaseException as error:  # handed to the caller below
            raised.append(error)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(seconds)
    if worker.is_alive():
        raise TimeoutError
    if raised:
        raise raised[0]


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise _TimeUp

    before = signal.signal(signal.SIGALRM, ring)
    start = time.monotonic()
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds, 0.25)  # rings again, in case a bare `except:` of the student caught the first
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:  # an alarm of somebody else's, such as the test runner's
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - start), 0.001))


def _fits(exercise: Any, answer: Any) -> None:
    """Raise Mistake unless `answer` can be called as the solution can."""
    if not callable(answer):
        raise Mistake(no_function(exercise.name, answer))
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    wanted = [p for p in inspect.signature(exercise.solution).parameters.values() if p.kind in places]
    try:
        signature = inspect.signature(answer)
    except ValueError:
        return  # a built-in that does not tell
    for given in (wanted, [p for p in wanted if p.default is p.empty]):
        try:
            signature.bind(*given)
        except TypeError as error:
            names = ", ".join(p.name for p in given) or "none"
            raise Mistake(f"`{exercise.name}` is called with {len(given)} arguments ({names}); yours cannot be: {error}.") from None


def _watched(answer: Any, name: str) -> Any:
    """`answer` under the exercise's name; an open stub is seen, and an exception carries the call that drew it."""
    if inspect.isclass(answer):
        return answer

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            result = answer(*args, **kwargs)
        except Exception as error:
            error.add_note(call_text(call, args, kwargs))
            raise
        if result is ...:
            raise Unattempted
        return result

    call.__name__ = name
    return call


def _unexpected(exercise: Any, answer: Any, error: Exception) -> Report:
    kind, text = type(error).__name__, str(error).rstrip(".")
    if "ellipsis" in str(error).lower():
        return Report(exercise.id, "not attempted", f"There is still a `...` in `{exercise.name}`: replace it, then run this cell again.")
    case = f" The call: `{error.__notes__[-1]}`." if getattr(error, "__notes__", None) else ""
    code = inspect.unwrap(answer).__code__ if inspect.isfunction(answer) else None
    file = code.co_filename if code else inspect.getsourcefile(answer) if inspect.isclass(answer) else None
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if frames:
        line = (linecache.getline(frames[-1].filename, frames[-1].lineno or 0) or frames[-1].line or "").strip()
        return Report(exercise.id, "not yet", f"Your code raised {kind} in line {frames[-1].lineno} of its cell, `{line}`: {text}.{case}")
    if case:
        return Report(exercise.id, "not yet", f"Your code raised {kind}: {text}.{case}")
    message = f"The check cannot use what `{exercise.name}` gives ({kind}: {error}). Compare its form with the statement."
    return Report(exercise.id, "not yet", message)
