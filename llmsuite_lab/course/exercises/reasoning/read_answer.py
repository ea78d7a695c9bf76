"""A chain of thought is only worth what can be read from it: the answer is the last number that the text calls the answer."""

import re

import numpy as np

from llmsuite_lab.course.exercises import Exercise, Wrong
from llmsuite_lab.course.exercises.cases import Case, by_cases


def read_answer(text: str) -> float | None:
    """The solution: every "answer is N", the last of them, thousands commas removed; None when there is none."""
    found = re.findall(r"answer is:?\s*(-?)\$?(\d[\d,]*(?:\.\d+)?)", text, re.IGNORECASE)
    return float(found[-1][0] + found[-1][1].replace(",", "")) if found else None


def _read(pattern, flags=re.IGNORECASE, which=-1):
    def read(text):
        found = re.findall(pattern, text, flags)
        return float(found[which].replace("$", "").replace(",", "")) if found else None

    return read


_NUMBER = r"(-?\$?\d[\d,]*(?:\.\d+)?)"
_last_number = _read(_NUMBER)
_first_statement = _read(r"answer is:?\s*" + _NUMBER, which=0)
_stops_at_comma = _read(r"answer is:?\s*(-?\$?\d+(?:\.\d+)?)")
_no_sign = _read(r"answer is:?\s*-?(\$?\d[\d,]*(?:\.\d+)?)")
_no_decimals = _read(r"answer is:?\s*(-?\$?\d[\d,]*)")
_no_dollar = _read(r"answer is:?\s*(-?\d[\d,]*(?:\.\d+)?)")
_one_case = _read(r"answer is:?\s*" + _NUMBER, flags=0)
_no_colon = _read(r"answer is\s*" + _NUMBER)
_full_stop_asked = _read(r"answer is:?\s*" + _NUMBER + r"\.(?!\d)")
_anything_between = _read(r"answer is\D*?" + _NUMBER)
_the_answer = _read(r"the answer is:?\s*" + _NUMBER)


def _zero_for_none(text):
    return read_answer(text) or 0.0


def _none_for_zero(text):
    return read_answer(text) or None


def _as_text(text):
    return None if read_answer(text) is None else str(read_answer(text))


def _last_words(text):
    return read_answer("answer is" + re.split("answer is", text, flags=re.IGNORECASE)[-1]) if re.search("answer is", text, re.I) else None


def _without_dollars_first(text):
    found = None
    for match in re.finditer(r"answer\ is:?\s*(-?[\d,]*\d(?:\.\d+)?)", text.replace("$", "").lower()):
        found = float("".join(match[1].split(",")))
    return found


def _from_the_end(text):
    low, end = text.lower(), len(text)
    while (start := low.rfind("answer is", 0, end)) >= 0:
        match = re.match(r"\s*(?P<minus>-)?\$?(?P<digits>[0-9][0-9,]*([.][0-9]+)?)", text[start + 9 :].removeprefix(":"))
        if match:
            size = np.float64(match["digits"].replace(",", ""))
            return -size if match["minus"] else size
        end = start
    return None


def _letter_by_letter(text):
    number = None
    for part in text.casefold().split("answer is")[1:]:
        rest, digits = part.removeprefix(":").lstrip(), ""
        sign, rest = (-1, rest[1:]) if rest.startswith("-") else (1, rest)
        for i, letter in enumerate(rest := rest.removeprefix("$")):
            if letter == "." and (not digits or "." in digits or not rest[i + 1 : i + 2].isdigit()) or letter not in "0123456789,.":
                break
            digits += letter
        if digits.strip(","):
            number = sign * float(digits.replace(",", ""))
    return number


def _whole_numbers_as_int(text):
    value = read_answer(text)
    return int(value) if value is not None and value.is_integer() else value


def _greedy(text):
    match = re.search(r".*answer is:?\s*(-?\$?)(\d[\d,]*\.\d+|\d[\d,]*)", text, re.DOTALL | re.I)
    if match is None:
        return None
    integer, _, decimals = match.group(2).replace(",", "").partition(".")
    value = int(integer) + (int(decimals) / 10 ** len(decimals) if decimals else 0)
    return -value if match.group(1).startswith("-") else value


def _line_by_line(text):
    found = [float(re.sub("[$,]", "", m)) for m in re.findall(r"(?i)(?<=answer is)(?::)?\s*" + _NUMBER, re.sub(r"\s+", " ", text))]
    return next(reversed(found), None)


def _cases() -> list[Case]:
    last = "Of several answers the last counts."
    none = "None says that the text never calls a number the answer."
    behind = "The number stands right behind the words."
    form = "A number may carry a minus sign, `$`, commas and decimals."
    case = "The words are found in upper and lower case."
    texts = [
        ("The answer is $1,250.50.", 1250.5, "This is the statement's example."),
        ("… the answer is 74.", 74, "This is the statement's example."),
        ("The answer is -$3.", -3, "This is the statement's example."),
        ("200 - 126 = 74\nThe answer is 74.", 74, ""),
        ("The answer is 74.\nCheck: 74 + 126 = 200", 74, "What follows the answer is not the answer, a check for example."),
        ("The answer is 70. Wait, I forgot the loaves that came back. The answer is 75.", 75, last),
        ("The answer is 9.\nSo the answer is 4\nTherefore the answer is 6, not 8.", 6, last),
        ("The answer is -2. No, the answer is 5.", 5, last),
        ("Is the answer -4? The answer is 4. No, the answer is -6.", -6, last),
        ("The answer is 61. I hope that the answer is right.", 61, "The last number counts that is called the answer."),
        ("200 - 93 = 107", None, none),
        ("", None, none),
        ("The answer is unknown.", None, none),
        ("The answer is in line 3 of the table.", None, behind),
        ("Answer: 12. The answer = 12, which is 12.", None, "The words are `answer is`."),
        ("The answer is 16. Twice that is 32.", 16, "The words are `answer is`."),
        ("Is the answer 12? The answer 12 is close, and 12 answers is a lot.", None, behind),
        ("The answer is 0.", 0, "0 is a number, not None."),
        ("So my answer is 18", 18, "The words are `answer is`, whatever stands before them."),
        ("THE ANSWER IS 12!", 12, case),
        ("Answer is 31", 31, case),
        ("The answer is: 45", 45, "A colon may stand between."),
        ("The answer is:6", 6, "White space need not stand between."),
        ("The answer is = 9", None, "Only a colon and white space may stand between."),
        ("The answer is 6 12-packs.", 6, behind),
        ("The answer is:   $8", 8, "A colon and white space may stand between."),
        ("The answer is\n19", 19, "White space may stand between."),
        ("The answer is -7", -7, form),
        ("The answer is -$3,000.", -3000, form),
        ("The answer is 0.125", 0.125, form),
        ("The answer is 1,234,567 apples", 1234567, form),
        ("The answer is $12, as 2 * 6 is 12.", 12, form),
        ("The answer is 3.5 - 1 = 2.5", 3.5, behind),
    ]
    return [Case((text,), None if want is None else float(want), rule, rtol=1e-9, atol=0.0) for text, want, rule in texts]


_MISTAKES = (
    Wrong(
        _last_number,
        "You take the last number of the text, but after the answer the model may check its work. Look for the words `answer is`.",
    ),
    Wrong(_first_statement, "You take the first stated answer. The model corrected itself: the last counts."),
    Wrong(_last_words, "You look behind the last `answer is` only. The last that has a number behind it counts."),
    Wrong(_zero_for_none, "You return 0 when no answer is stated, and it will be counted as one. None says that there is none."),
    Wrong(_none_for_zero, "The answer 0 is lost: a zero is false. Compare with None."),
    Wrong(_stops_at_comma, "You stop at the comma: `$1,250.50` is one number."),
    Wrong(_no_sign, "A debt is a negative number: keep its sign."),
    Wrong(_no_decimals, "The decimals are lost."),
    Wrong(_no_dollar, "`$` may stand before the number."),
    Wrong(_one_case, "The words may be written in upper case: `re.IGNORECASE`."),
    Wrong(_no_colon, "A colon may stand behind the words."),
    Wrong(_full_stop_asked, "You ask for a full stop behind the number. It may be missing."),
    Wrong(_anything_between, "You skip words between `answer is` and the number. It stands right behind."),
    Wrong(_the_answer, "You ask for `the answer is`. The words are `answer is`."),
    Wrong(_as_text, "You return text. A number (a `float`) is asked for."),
)

EXERCISE = Exercise(
    id="reasoning.read_answer",
    notebook="03_program_aided_language_models",
    title="read the answer of a chain of thought",
    difficulty=3,
    minutes=20,
    statement=(
        "Write `read_answer(text)`. `text` is what a model wrote after *Let's think step by step*. Return the number (a `float`) that it calls the answer "
        '("… the answer is 74."): the number right behind the words `answer is`, in upper or lower case, with only a colon and white space between. Take the '
        "last one, if there are several, and `None` if there is none. A number may carry a minus sign, then `$`, commas for the thousands and decimals: "
        '`"The answer is $1,250.50."` gives `1250.5`, `"-$3"` is -3.'
    ),
    name="read_answer",
    starter="import re\n\n\ndef read_answer(text: str) -> float | None:\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "`re.findall` returns every match; the last one is at index -1.",
        "Search for the words first (`answer is`), then for the number right behind them.",
        "A number with all trimmings: `(-?)\\$?(\\d[\\d,]*(?:\\.\\d+)?)`, sign and digits. Remove the commas before `float`.",
    ),
    solution=read_answer,
    wrong=_MISTAKES,
    right=(_without_dollars_first, _from_the_end, _letter_by_letter, _whole_numbers_as_int, _greedy, _line_by_line),
)
