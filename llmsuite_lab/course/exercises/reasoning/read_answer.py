"""A chain of thought is only worth what can be read from it: the answer is the last number that the text calls the answer."""

import re

from llmsuite_lab.course.exercises import Exercise, Mistake, Wrong, expect

_PATTERN = re.compile(r"answer is:?\s*\$?(-?\d[\d,]*(?:\.\d+)?)", re.IGNORECASE)


def read_answer(text: str) -> float | None:
    """The solution: every "answer is N", the last of them, thousands commas removed; None when there is none."""
    found = _PATTERN.findall(text)
    return float(found[-1].replace(",", "")) if found else None


def _last_number(text: str) -> float | None:
    found = re.findall(r"-?\d+(?:\.\d+)?", text.replace(",", ""))
    return float(found[-1]) if found else None


def _first_statement(text: str) -> float | None:
    found = _PATTERN.search(text)
    return float(found[1].replace(",", "")) if found else None


def _zero_for_none(text: str) -> float | None:
    found = _PATTERN.findall(text)
    return float(found[-1].replace(",", "")) if found else 0.0


def _stops_at_comma(text: str) -> float | None:
    found = re.findall(r"answer is:?\s*\$?(-?\d+(?:\.\d+)?)", text, re.IGNORECASE)
    return float(found[-1]) if found else None


def _no_sign(text: str) -> float | None:
    found = re.findall(r"answer is:?\s*\$?-?(\d[\d,]*(?:\.\d+)?)", text, re.IGNORECASE)
    return float(found[-1].replace(",", "")) if found else None


def _check(answer) -> None:
    expect(answer("200 - 126 = 74\nThe answer is 74.") == 74, "In a plain chain that ends in 'The answer is 74.' the answer is 74.")
    if answer("The answer is 74.\nCheck: 74 + 126 = 200") == 200:
        raise Mistake(
            "You took the last number of the text, but after the answer the model may check its work. Look for the words 'answer is'."
        )
    last = answer("The answer is 70. Wait, I forgot the loaves that came back. The answer is 74.")
    expect(last == 74, "The model corrected itself. Of several stated answers, which one is it?")
    nothing = answer("200 - 93 = 107")
    expect(nothing is None, "No answer was stated here. None says so; any number would be counted as the model's answer.")
    expect(
        answer("So the answer is $1,250.50.") == 1250.5, "'$1,250.50' is one number: a dollar sign, a comma for the thousands, decimals."
    )
    expect(answer("The answer is -7") == -7, "A debt is a negative number: keep its sign.")


EXERCISE = Exercise(
    id="reasoning.read_answer",
    notebook="03_program_aided_language_models",
    title="read the answer of a chain of thought",
    statement=(
        "Write `read_answer(text)`. `text` is what a model wrote after *Let's think step by step*. Return the number (a `float`) that it calls the "
        'answer ("… the answer is 74."): the last one, if it says so several times, and `None` if it never does. Numbers may carry `$`, a sign, commas '
        'and decimals: `"The answer is $1,250.50."` gives `1250.5`.'
    ),
    name="read_answer",
    starter="import re\n\n\ndef read_answer(text: str) -> float | None:\n    ...",
    check=_check,
    hints=(
        "`re.findall` returns every match; the last one is at index -1.",
        "Search for the words first (`answer is`), then for the number right behind them.",
        "A number with all trimmings: `\\$?(-?\\d[\\d,]*(?:\\.\\d+)?)`. Remove the commas before `float`.",
    ),
    solution=read_answer,
    wrong=(
        Wrong(_last_number, "after the answer the model may check its work"),
        Wrong(_first_statement, "Of several stated answers"),
        Wrong(_zero_for_none, "None says so"),
        Wrong(_stops_at_comma, "a comma for the thousands"),
        Wrong(_no_sign, "keep its sign"),
    ),
)
