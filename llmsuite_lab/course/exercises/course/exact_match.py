"""Scoring an answer strictly: equal after a stated normalisation, never "contained in"."""

import re

import numpy as np

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def exact_match(prediction: str, reference: str) -> bool:
    """The solution: the same normalisation on both sides, then equality."""

    def normal(text: str) -> str:
        return " ".join(text.split()).lower().removesuffix(".")

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


def _starts_with(prediction: str, reference: str) -> bool:
    return prediction.strip().lower().startswith(reference.strip().lower())


def _all_stops(prediction: str, reference: str) -> bool:
    return " ".join(prediction.split()).lower().rstrip(".") == " ".join(reference.split()).lower().rstrip(".")


def _no_spaces(prediction: str, reference: str) -> bool:
    return "".join(prediction.split()).lower().removesuffix(".") == "".join(reference.split()).lower().removesuffix(".")


def _articles_too(prediction: str, reference: str) -> bool:
    def normal(text: str) -> str:
        return " ".join(word for word in text.strip().lower().removesuffix(".").split() if word not in {"a", "an", "the"})

    return normal(prediction) == normal(reference)


def _as_numbers(prediction: str, reference: str) -> bool:
    try:
        return float(prediction) == float(reference)
    except ValueError:
        return exact_match(prediction, reference)


def _same_words(prediction: str, reference: str) -> bool:
    return set(prediction.strip().lower().removesuffix(".").split()) == set(reference.strip().lower().removesuffix(".").split())


def _stop_kept(prediction: str, reference: str) -> bool:
    return " ".join(prediction.lower().split()) == " ".join(reference.lower().split())


def _empty_is_wrong(prediction: str, reference: str) -> bool:
    return bool(prediction.strip()) and exact_match(prediction, reference)


def _empty_is_none(prediction: str, reference: str) -> bool | None:
    return True if exact_match(prediction, reference) else None


def _a_number(prediction: str, reference: str) -> int:
    return 1 if exact_match(prediction, reference) else 0


def _by_pattern(prediction, reference):
    prediction, reference = (re.sub(r"\.$", "", re.sub(r"\s+", " ", text.strip())).casefold() for text in (prediction, reference))
    return prediction == reference


def _by_loop(prediction, reference):
    normal = []
    for text in (prediction, reference):
        text = text.upper().strip().replace("\n", " ").replace("\t", " ")
        while "  " in text:
            text = text.replace("  ", " ")
        normal.append(text[:-1] if text.endswith(".") else text)
    return not normal[0] != normal[1]


def _numpys_bool(prediction, reference):
    return np.array([" ".join(prediction.lower().split()).removesuffix(".")]) == np.array(
        [" ".join(reference.lower().split()).removesuffix(".")]
    )


def _by_full_match(prediction, reference):
    wanted = r"\s+".join(map(re.escape, reference.strip().removesuffix(".").split()))
    return re.fullmatch(rf"\s*{wanted}\.?\s*", prediction, re.IGNORECASE) is not None


def _by_words(prediction, reference):
    return np.bool_([w.lower() for w in _words(prediction)] == [w.lower() for w in _words(reference)])


def _words(text):
    words = text.split()
    if words and words[-1].endswith("."):
        words[-1] = words[-1][:-1]
    return [word for word in words if word]


def _stop_first(prediction, reference):
    clean = lambda text: " ".join(text.rstrip().removesuffix(".").lower().split())  # noqa: E731
    return bool(clean(prediction) == clean(reference))


def _cases() -> list[Case]:
    same = "Two identical answers match, empty ones too, and the result is True or False itself. Does every path return a bool?"
    contained = "A text that merely contains the reference is no match: a substring once counted every 'unknown' as a 'no'."
    outer = "Case and the spaces around an answer do not matter."
    both = "The reference is normalised like the prediction."
    inner = "Runs of white space inside an answer count as one space, line breaks and tabs too; but one space is not none."
    stop = "One full stop at the end does not matter, on either side."
    nothing_else = "Nothing else is forgiven: only ONE full stop at the very end goes, no other punctuation, no word."
    listed = [
        (" Paris. ", "paris", True, "The statement's own example."), ("It is Paris", "Paris", False, contained),
        ("paris", "paris", True, same), ("rome", "paris", False, same), ("", "", True, same),
        ("", "paris", False, same), ("paris", "", False, same),
        ("No, it is not known, yesterday's news.", "no", False, contained), ("no", "No, it is not known.", False, contained),
        ("Paris, France", "Paris", False, contained),
        (" PARIS ", "paris", True, outer), ("\n\tparis\n", "paris", True, outer), ("paris", "PaRiS", True, outer),
        ("forty two", " Forty Two ", True, both),
        ("the  old\ntown", "the old town", True, inner), ("a \t\n b", "a b", True, inner), ("the old town", "The  Old\tTown.", True, both),
        ("for ty", "forty", False, inner), ("ice cream", "icecream", False, inner),
        ("42.", "42", True, stop), ("42", "42.", True, stop), ("42.", "42.", True, stop), (".", "", True, stop),
        ("1.5", "15", False, nothing_else), ("-3", "3", False, nothing_else),
        ("42..", "42", False, nothing_else), ("42...", "42.", False, nothing_else), (".42", "42", False, nothing_else),
        ("why?", "why", False, nothing_else), ("it's", "its", False, nothing_else),
        ("'no'", "no", False, nothing_else), ("the town", "town", False, nothing_else), ("42.0", "42", False, nothing_else),
        ("town old", "old town", False, nothing_else), ("no no", "no", False, nothing_else),
    ]  # fmt: skip
    return [Case((prediction, reference), want, rule) for prediction, reference, want, rule in listed]


_MISTAKES = (
    Wrong(
        _contains,
        "A long sentence that merely contains the reference was accepted. Compare for equality: a substring match once counted every 'unknown' as a 'no'.",
    ),
    Wrong(_starts_with, "A text that only begins with the reference was accepted. Compare for equality."),
    Wrong(_case_kept, "' PARIS ' should match 'paris': case does not matter."),
    Wrong(_one_side, "' Forty Two ' as the reference should match 'forty two': normalise the reference like the prediction."),
    Wrong(_outer_spaces_only, "Runs of white space inside an answer count as one space, line breaks too."),
    Wrong(_all_punctuation, "'1.5' was taken for '15', or '-3' for '3'. Remove only a full stop at the very end, no other punctuation."),
    Wrong(_all_stops, "All full stops at the end were removed. One is forgiven: '42..' is not '42'."),
    Wrong(_no_spaces, "All white space was removed: 'for ty' became 'forty'. A run of it turns into ONE space."),
    Wrong(_stop_kept, "'42.' should match '42': one full stop at the end does not matter."),
)

EXERCISE = Exercise(
    id="course.exact_match",
    notebook="00_start_here",
    title="score an answer strictly",
    difficulty=1,
    minutes=10,
    statement=(
        "Write `exact_match(prediction, reference)`. It returns `True` when the two strings are equal after the same normalisation of both: white "
        "space at the ends removed, runs of white space inside turned into one space, case ignored, one full stop at the end ignored. Nothing else "
        "is forgiven: then it returns `False`.\n\n"
        '`exact_match(" Paris. ", "paris")` is `True`; `exact_match("It is Paris", "Paris")` is `False`.'
    ),
    name="exact_match",
    starter="def exact_match(prediction: str, reference: str) -> bool:\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Write the normalisation as a function of one string and use it twice.",
        "`text.split()` without an argument cuts at any run of white space, and `' '.join(...)` puts it together again.",
        "`.lower()` takes care of case, `.removesuffix('.')` of one full stop. Then compare with `==`.",
    ),
    solution=exact_match,
    wrong=(
        *_MISTAKES,
        Wrong(_articles_too, "expected False, got True"),
        Wrong(_as_numbers, "Nothing else is forgiven"),
        Wrong(_same_words, "Nothing else is forgiven"),
        Wrong(_empty_is_wrong, "empty ones too"),
        Wrong(_empty_is_none, "got None"),
        Wrong(_a_number, "expected True, got 1"),
    ),
    right=(_by_pattern, _by_loop, _numpys_bool, _by_full_match, _by_words, _stop_first),
    equivalent={
        "return ' '.join(text.split()).upper().removesuffix('.')": "upper case ignores case as well as lower case does",
    },
)
