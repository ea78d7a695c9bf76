"""Word problems of one's own in the place of the course's: a file becomes a list that everything takes which takes problems.

    {"question": "A crate holds 12 jars. How many jars are in 7 crates?", "answer": 84}          "steps", how many it takes, may stand there too

`load()` is the course's test set; `load(file)` is another, and `evaluation`, `measuring.on` and the figures take the one as the other. Public sets are read
by `world.readers`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmsuite_lab.core.errors import whole
from llmsuite_lab.core.text import one_line
from llmsuite_lab.core.values import finite, numbers
from llmsuite_lab.world import word_problems
from llmsuite_lab.world.readers import usable_rows

FORM = 'a row is {"question": "…", "answer": a number}'


@dataclass(frozen=True)
class OwnProblem:
    """A problem with its true `answer`, its text in one line, as the prompts have it.

    `digits`: of the largest number in its text, before the decimal point; `steps`: 0 where nobody says how many.
    """

    text: str
    answer: int | float
    digits: int
    steps: int = 0


def load(file: str | Path | None = None) -> Sequence[OwnProblem | word_problems.Problem]:
    """The problems of a JSON Lines file (or a JSON list), in order; the course's test set without one.

    Raises LabError for a file that is missing or has rows that cannot be used, naming the first of them and why.
    """
    if file is None:
        return word_problems.load("test")
    return usable_rows(Path(file), _problem, FORM, skip_bad=None)[0]


def _problem(where: str, row: Any) -> OwnProblem:
    if not isinstance(row, dict) or not isinstance(row.get("question"), str) or not row["question"].strip():
        raise ValueError("question must be a text")
    if "answer" not in row:
        raise ValueError(f"it has no answer (but {', '.join(map(repr, row))})")
    answer, steps = finite(row["answer"]), 0 if row.get("steps") is None else row["steps"]
    whole("steps", steps, 0, 1000)
    digits = max((len(str(abs(int(n.value)))) for n in numbers(row["question"])), default=1)  # all in words: small
    return OwnProblem(one_line(row["question"]), int(answer) if answer.is_integer() else answer, digits, steps)
