"""Run a check against a student's answer: never raises for it, never hangs, always says what to do next.

not attempted   the answer is `...` or None, its body is only `...`, it raises NotImplementedError or returns `...`
not yet         the check raised Mistake; or the student's code raised, shown with type, line and text; or it ran out of time
passed          the check returned
"""

import ast
import dis
import functools
import inspect
import linecache
import re
import signal
import textwrap
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

_TRIVIAL = {"RESUME", "NOP", "POP_TOP", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE", "LOAD_COMMON_CONSTANT"}


class Mistake(Exception):
    """A wrong answer; its message is the hint: which mistake it looks like and where to look, not the solution."""


class Unattempted(Exception):
    """The stub was not filled in yet."""


class _TimeUp(BaseException):  # not an Exception, so that a student's `except Exception` inside a loop does not swallow it
    pass


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
        if _is_stub(answer):
            raise Unattempted
        with_limit(exercise.time_limit_s, lambda: exercise.check(_watched(answer)))
    except (Unattempted, NotImplementedError):
        return Report(exercise.id, "not attempted", f"Fill in `{exercise.name}` in the cell above (each `...`), then run this cell again.")
    except Mistake as mistake:
        return Report(exercise.id, "not yet", str(mistake))
    except TimeoutError:
        return Report(
            exercise.id, "not yet", f"Your code did not finish within {exercise.time_limit_s:g} seconds. Is there a loop that never ends?"
        )
    except RecursionError:
        return Report(exercise.id, "not yet", "Your code calls itself without end (RecursionError). What stops it?")
    except Exception as error:
        return _unexpected(exercise, answer, error)
    return Report(exercise.id, "passed", "Your answer does what it should, on cases you have not seen too.")


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
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.25)  # rings again, in case a bare `except:` of the student caught the first
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _is_stub(answer: Any) -> bool:
    if answer is None or answer is ...:
        return True
    if isinstance(answer, tuple | list):
        return any(item is ... for item in answer)
    if isinstance(answer, dict):
        return any(item is ... for item in answer.values())
    if inspect.isclass(answer):
        methods = [member for member in vars(answer).values() if inspect.isfunction(member)]
        return all(_is_stub(method) for method in methods if method.__name__ != "__init__") if methods else False
    if not inspect.isfunction(answer):
        return False
    if _has_open_line(answer):
        return True
    code = list(dis.get_instructions(answer))
    constants = {repr(step.argval) for step in code if step.opname in {"LOAD_CONST", "RETURN_CONST"}}
    return all(step.opname in _TRIVIAL for step in code) and constants <= {"None", "Ellipsis"}


def _has_open_line(function: Any) -> bool:
    """Whether the source still holds a `...` of the stub: alone on its line, assigned or returned (not in `x[..., 0]`)."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):  # no source to look at, or a lambda cut out of its line
        return False
    lines = (node for node in ast.walk(tree) if isinstance(node, ast.Expr | ast.Assign | ast.Return))
    return any(isinstance(line.value, ast.Constant) and line.value.value is ... for line in lines)


def _watched(answer: Any) -> Any:
    if not inspect.isfunction(answer):
        return answer

    @functools.wraps(answer)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = answer(*args, **kwargs)
        if result is ...:
            raise Unattempted
        return result

    return call


def _unexpected(exercise: Any, answer: Any, error: Exception) -> Report:
    kind = type(error).__name__
    if "ellipsis" in str(error).lower():
        return Report(exercise.id, "not attempted", f"There is still a `...` in `{exercise.name}`: replace it, then run this cell again.")
    code = inspect.unwrap(answer).__code__ if inspect.isfunction(answer) else None
    file = code.co_filename if code else inspect.getsourcefile(answer) if inspect.isclass(answer) else None
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    if not frames:
        return Report(
            exercise.id,
            "not yet",
            f"The check cannot use what `{exercise.name}` gives ({kind}: {error}). Compare its form with the statement.",
        )
    line = (linecache.getline(frames[-1].filename, frames[-1].lineno or 0) or frames[-1].line or "").strip()
    return Report(exercise.id, "not yet", f"Your code raised {kind} in line {frames[-1].lineno} of its cell, `{line}`: {error}")
