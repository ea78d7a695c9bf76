"""When is an answer in free words right? A judge by rules, scored by how often it agrees with a reader's marks on answers it has not seen."""

import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from llmsuite_lab.core.metrics import exact_match
from llmsuite_lab.core.text import words
from llmsuite_lab.course.challenges import Challenge
from llmsuite_lab.course.exercises import expect


@cache
def _rows() -> dict[str, list]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def marked() -> list[tuple[str, str, bool]]:
    """Answers with their truth and a reader's mark, to write a judge with; the score is taken on others."""
    return [(answer, truth, right) for answer, truth, right in _rows()["seen"]]


def words_in_a_row(answer: str, truth: str) -> bool:
    """An example: the words of the truth stand in the answer in a row, and neither "not" nor "or" beside them; a number may stand without its unit."""
    said, wanted = words(answer.replace(",", "")), words(truth)
    if said == wanted[:1] and wanted[0].isdigit():
        return True
    held = any(said[i : i + len(wanted)] == wanted for i in range(len(said)))
    return held and not {"not", "or"} & (set(said) - set(wanted))


def _agreement(judge: Callable[[str, str], bool]) -> float:
    rows = _rows()["held_out"]
    said = [judge(answer, truth) for answer, truth, _ in rows]
    other = [one for one in said if one is not True and one is not False]
    expect(not other, f"your judge returned {other[:1]}; return True or False.")
    return sum(one is right for one, (_, _, right) in zip(said, rows)) / len(rows)


def _marks() -> Mapping[str, float]:
    return {
        "exact match": _agreement(exact_match),
        "the truth stands in it": _agreement(lambda answer, truth: truth.casefold() in answer.casefold()),
        "always false": _agreement(lambda answer, truth: False),
    }


CHALLENGE = Challenge(
    id="course.judge_the_answer",
    notebook="00_start_here",
    title="when is an answer right?",
    statement=(
        "Exact match is strict: *438* is not *438 crowns* to it. Write `judge(answer, truth)`, which returns True where a reader would call the answer "
        "right: in other words, in another order, in other units, and nothing said against it. `marked()` of `llmsuite_lab.course.challenges."
        "course_judge_the_answer` gives 24 answers with a reader's mark. The score is the share of agreement on 50 others, which your judge has not seen; "
        "larger is better. There is no mark to pass: each score in this course hangs on such a rule."
    ),
    name="judge",
    starter="def judge(answer, truth):\n    ...",
    measure=_agreement,
    marks=_marks,
    unit="share judged as the reader did",
    difficulty=3,
    minutes=40,
    ideas=(
        "print what your judge gets wrong in `marked()`, and sort the mistakes by kind before you mend one",
        "numbers: thousands, units, and digits that stand inside a longer number",
        "what is taken back: not, or, but, between",
        "for each rule that you add, think of a right answer that it would throw out",
    ),
    example=words_in_a_row,
    smaller_is_better=False,
)
