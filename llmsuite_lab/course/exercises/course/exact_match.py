"""Scoring an answer strictly: equal after a stated normalisation, never "contained in"."""

import re

from llmsuite_lab.course.exercises import Exercise, Wrong, expect


def exact_match(prediction: str, reference: str) -> bool:
    """The solution: the same normalisation on both sides, then equality."""

    def normal(text: str) -> str:
        return " ".join(text.split()).lower().removesuffix(".").rstrip()

    return normal(prediction) == normal(reference)


def _contains(prediction: str, reference: str) -> bool:
    return reference.strip().lower() in prediction.strip().lower()


def _case_kept(prediction: str, reference: str) -> bool:
    return " ".join(prediction.split()).removesuffix(".") == " ".join(reference.split()).removesuffix(".")


def _one_side(prediction: str, reference: str) -> bool:
    return " ".join(prediction.split()).lower().removesuffix(".") == reference


def _outer_spaces_only(prediction: str, reference: str) -> bool:
    return prediction.strip().lower().removesuffix(".") == reference.strip().lower().removesuffix(".")


def _all_punctuation(prediction: str, reference: str) -> bool:
    def normal(text: str) -> str:
        return " ".join(re.sub(r"[^\w\s]", "", text).lower().split())

    return normal(prediction) == normal(reference)


def _check(answer) -> None:
    expect(answer("paris", "paris") is True, "Two identical answers must give True, the value True itself. Does every path return a bool?")
    expect(answer("rome", "paris") is False, "'rome' is not 'paris': a wrong answer must give False.")
    expect(
        not answer("No, it is not known, yesterday's news.", "no"),
        "A long sentence that merely contains the reference was accepted. Compare for equality: a substring match once counted every 'unknown' as a 'no'.",
    )
    expect(answer(" PARIS ", "paris"), "' PARIS ' should match 'paris': case and the spaces around an answer do not matter.")
    expect(
        answer("forty two", " Forty Two "),
        "' Forty Two ' as the reference should match 'forty two': normalise the reference like the prediction.",
    )
    expect(answer("the  old\ntown", "the old town"), "Runs of white space inside an answer count as one space, line breaks too.")
    expect(
        not answer("1.5", "15") and not answer("-3", "3"),
        "'1.5' was taken for '15', or '-3' for '3'. Remove only a full stop at the very end, no other punctuation.",
    )
    expect(answer("42.", "42"), "One full stop at the end should not matter.")


EXERCISE = Exercise(
    id="course.exact_match",
    notebook="00_start_here",
    title="score an answer strictly",
    statement=(
        "Write `exact_match(prediction, reference)`. It returns `True` when the two strings are equal after the same normalisation of both: white space "
        "at the ends removed, runs of white space inside turned into one space, case ignored, one full stop at the end ignored. Nothing else is forgiven.\n\n"
        '`exact_match(" Paris. ", "paris")` is `True`; `exact_match("It is Paris", "Paris")` is `False`.'
    ),
    name="exact_match",
    starter="def exact_match(prediction: str, reference: str) -> bool:\n    ...",
    check=_check,
    hints=(
        "Write the normalisation as a function of one string and use it twice.",
        "`text.split()` without an argument cuts at any run of white space, and `' '.join(...)` puts it together again.",
        "`.lower()` takes care of case, `.removesuffix('.')` of one full stop. Then compare with `==`.",
    ),
    solution=exact_match,
    wrong=(
        Wrong(_contains, "merely contains the reference"),
        Wrong(_case_kept, "case and the spaces around"),
        Wrong(_one_side, "normalise the reference like the prediction"),
        Wrong(_outer_spaces_only, "line breaks too"),
        Wrong(_all_punctuation, "Remove only a full stop at the very end"),
    ),
)
