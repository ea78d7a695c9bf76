"""Exercises: one file per exercise, `<section>/<name>.py`, holding `EXERCISE = Exercise(...)`.

In a notebook:

    exercise("course.exact_match")                          # the statement
    exercise("course.exact_match").check(exact_match)       # after the stub cell: passed, not yet (with a hint), or not attempted
    exercise("course.exact_match").hint(1)                  # hints, one after the other
    exercise("course.exact_match").solution()               # the solution's source
    exercise("course.exact_match").working(exact_match)     # the student's function where it passes, else the solution

What has a score instead of pass or fail is a challenge (`course.challenges`).

A check is a list of cases (`by_cases`) or, where calls depend on each other, a function that raises `Mistake`. It never computes its expectation
from the student's answer, clones what it hands in, and compares values whatever type they come in (`values.agrees`). The tests run the catalogues:
`wrong`, plausible wrong answers with a piece of the hint each must draw; `right`, right answers in unusual form; and every mutant of the solution
(`mutants.py`), which must fail unless `equivalent` names it.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from llmsuite_lab.course.exercises.cases import Case, by_cases, check_cases
from llmsuite_lab.course.exercises.checking import Mistake, Report, expect, run_check

__all__ = ["Case", "Exercise", "Mistake", "Report", "Task", "Wrong", "by_cases", "check_cases", "exercise", "exercise_line", "exercises", "expect"]


@dataclass(frozen=True)
class Wrong:
    """A plausible wrong answer (function, class or value) and a piece of the hint that `check` must give for it."""

    answer: Any
    hint: str
    shares_hint: bool = False  # another wrong answer may draw the same hint: say so on both


@dataclass(frozen=True)
class Exercise:
    """One exercise. `check(answer)` raises Mistake with a hint, or returns when the answer is right."""

    id: str  # "<section>.<name>", like its file
    notebook: str  # the notebook that poses it
    title: str
    statement: str  # Markdown: what to write, with argument and result shapes, and one worked example
    name: str  # what the starter defines and check() receives
    starter: str  # source of the stub cell; leaves `...` where the student writes
    check: Callable[[Any], None]
    hints: tuple[str, ...]  # from a nudge to nearly the answer
    solution: Any  # a function or class; show() prints its source
    wrong: tuple[Wrong, ...]
    right: tuple[Any, ...] = ()  # right answers in unusual form: in place, loops, other types, a library call; the tests run them
    equivalent: Mapping[str, str] = field(default_factory=dict)  # mutants that no check can reject (see mutants.py), with the reason
    time_limit_s: float = 20.0
    difficulty: int | None = None  # 1: one line that the text gives away … 3: think first … 5: an evening
    minutes: int | None = None  # what somebody needs who has read the section

    def __post_init__(self) -> None:
        if self.difficulty is not None and self.difficulty not in range(1, 6):
            raise ValueError(f"{self.id}: difficulty={self.difficulty} must be 1 to 5")
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"{self.id}: minutes={self.minutes} must be above 0")

    @property
    def section(self) -> str:
        """Package folder the exercise belongs to."""
        return self.id.split(".")[0]


_shown: dict[str, int] = {}


@dataclass(frozen=True)
class Task:
    """An exercise as a notebook uses it; alone on a line it shows the statement."""

    exercise: Exercise

    def check(self, answer: Any) -> Report:
        """Check `answer`; the report says passed, not yet with a hint, or not attempted. Never raises for a wrong answer, never hangs."""
        return run_check(self.exercise, answer)

    def hint(self, number: int | None = None) -> Report:
        """Hint `number` (from 1), or the next one not shown yet. Raises ValueError for a number there is no hint for."""
        hints = self.exercise.hints
        if number is None:
            number = min(_shown.get(self.exercise.id, 0) + 1, len(hints))
            _shown[self.exercise.id] = number
        if not 1 <= number <= len(hints):
            raise ValueError(f"{self.exercise.id} has hints 1 to {len(hints)}, got {number}")
        last = f" That was the last hint; exercise({self.exercise.id!r}).solution() shows one way." if number == len(hints) else ""
        return Report(self.exercise.id, f"hint {number} of {len(hints)}", hints[number - 1] + last)

    def solution(self) -> Any:
        """One way to do it, highlighted."""
        from llmsuite_lab.course.source import show

        return show(self.exercise.solution)

    def working(self, answer: Any) -> Any:
        """`answer` where it passes the check, else the solution, said in a line: for cells that go on with the part you wrote."""
        passed = self.check(answer).passed
        print(f"{self.exercise.name}: {'yours' if passed else 'the solution (yours does not pass yet)'}")
        return answer if passed else self.exercise.solution

    def __repr__(self) -> str:
        return f"exercise {self.exercise.id}: {self.exercise.title}"

    def _repr_markdown_(self) -> str:
        line = exercise_line(self.exercise.difficulty, self.exercise.minutes)
        return f"**Exercise {self.exercise.id}: {self.exercise.title}**{' ' + line if line else ''}\n\n{self.exercise.statement}"


def exercise_line(difficulty: int | None, minutes: int | None) -> str:
    """How hard and how long, as a statement says it; empty when neither was given."""
    parts = [f"difficulty {difficulty} of 5"] * (difficulty is not None) + [f"about {minutes} min"] * (minutes is not None)
    return f"({', '.join(parts)})" if parts else ""


def _names() -> list[str]:
    here = Path(__file__).parent
    sections = sorted(folder for folder in here.iterdir() if folder.is_dir() and not folder.name.startswith(("_", ".")))
    return [f"{folder.name}.{module.name}" for folder in sections for module in pkgutil.iter_modules([str(folder)])]


def exercise(id: str) -> Task:
    """The exercise called `id`, such as "transformer.causal_mask". Raises ValueError naming the nearest ones when there is none."""
    if id not in (known := _names()):
        raise ValueError(
            f"no exercise {id!r}; nearest: {', '.join(get_close_matches(id, known, cutoff=0.4)) or 'none, see `llmsuite exercises`'}"
        )
    return Task(importlib.import_module(f"{__name__}.{id}").EXERCISE)


def exercises() -> list[Exercise]:
    """Every exercise, by section and name."""
    return [exercise(id).exercise for id in _names()]
