"""Open exercises: there is a score instead of pass or fail. One file per challenge, `<section>_<name>.py`, holding `CHALLENGE = Challenge(...)`.

    challenge("transformer.beyond_the_bigram")                     # what is asked for
    challenge("transformer.beyond_the_bigram").score(mine, text)   # after the stub cell: the score, between the marks to compare with

A score is measured, never judged. What cannot be scored (a probability below zero, a call that raises or does not end) says so in a sentence.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from llmsuite_lab.core.errors import unknown
from llmsuite_lab.course.exercises import Mistake, exercise_line
from llmsuite_lab.course.exercises.checking import NO_RETURN, never_returned, no_function, with_limit
from llmsuite_lab.course.exercises.stubs import is_stub


@dataclass(frozen=True)
class Challenge:
    """One open exercise. `measure(answer, *given)` returns the score or raises Mistake; `marks(*given)` are scores to compare with, by name."""

    id: str  # "<section>.<name>", like its file
    notebook: str  # the notebook that poses it
    title: str
    statement: str
    name: str  # what the starter defines
    starter: str
    measure: Callable[..., float]
    marks: Callable[..., Mapping[str, float]]
    unit: str
    difficulty: int  # 1 to 5, as an exercise's
    minutes: int
    ideas: tuple[str, ...]  # where to begin, from near to far
    example: Any  # a function that beats at least one mark; show() prints its source
    smaller_is_better: bool = True
    time_limit_s: float = 60.0

    def score(self, answer: Any, *given: Any) -> "Score":
        """Measure `answer` with what the challenge needs (`given`, see the statement). Never raises for an answer, never hangs."""
        marks = dict(self.marks(*given))
        open_stub = Score(self, None, marks, f"Not attempted: fill in `{self.name}` above, then run this cell again.")
        if is_stub(answer):
            return open_stub
        if not callable(answer):
            return Score(self, None, marks, f"No score. {no_function(self.name, answer)}")
        measured: list[float] = []
        try:
            with_limit(self.time_limit_s, lambda: measured.append(float(self.measure(answer, *given))))
        except Mistake as mistake:
            return Score(self, None, marks, f"No score: {mistake}")
        except NotImplementedError:
            return open_stub
        except NO_RETURN as error:
            return Score(self, None, marks, f"No score. {never_returned(error, self.time_limit_s)}")
        except Exception as error:  # whatever a student's code raises is the student's to read
            return Score(self, None, marks, f"No score: your code raised {type(error).__name__}: {error}")
        return Score(self, measured[0], marks, "")

    def example_source(self) -> Any:
        """One answer, highlighted; not the best one."""
        from llmsuite_lab.course.source import show

        return show(self.example)

    def __repr__(self) -> str:
        return f"challenge {self.id}: {self.title}"

    def _repr_markdown_(self) -> str:
        ideas = "\n".join(f"- {idea}" for idea in self.ideas)
        head = f"**Challenge {self.id}: {self.title}** {exercise_line(self.difficulty, self.minutes)}"
        return f"{head}\n\n{self.statement}\n\nWhere to begin:\n\n{ideas}"


@dataclass(frozen=True)
class Score:
    """What was measured (None: nothing, `message` says why) and the marks beside it; a table in a notebook."""

    challenge: Challenge
    value: float | None
    marks: Mapping[str, float]
    message: str

    @property
    def rows(self) -> list[tuple[str, float]]:
        """Marks and, where there is one, the score as "yours", best first."""
        found = [*self.marks.items(), *([("yours", self.value)] if self.value is not None else [])]
        return sorted(found, key=lambda row: row[1], reverse=not self.challenge.smaller_is_better)

    def __repr__(self) -> str:
        words = "; ".join(f"{name} {value:.2f}" for name, value in self.rows)
        return f"{self.challenge.id}: {self.message or f'{self.value:.2f} {self.challenge.unit}'} ({words})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align:left'>{'<b>yours</b>' if name == 'yours' else escape(name)}</td><td>{value:.2f}</td></tr>"
            for name, value in self.rows
        )
        said = f"<p>{escape(self.message)}</p>" if self.message else ""
        return f"{said}<table><tr><th></th><th>{escape(self.challenge.unit)}</th></tr>{rows}</table>"


def _names() -> list[str]:
    files = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(".".join(file.name.split("_", 1)) for file in files)


def challenge(id: str) -> Challenge:
    """The challenge called `id`, such as "transformer.beyond_the_bigram". Raises ValueError naming the nearest one when there is none."""
    if id not in (known := _names()):
        raise ValueError(unknown("challenge", id, known))
    section, name = id.split(".", 1)
    return importlib.import_module(f"{__name__}.{section}_{name}").CHALLENGE


def challenges() -> list[Challenge]:
    """Every challenge, by section and name."""
    return [challenge(id) for id in _names()]
