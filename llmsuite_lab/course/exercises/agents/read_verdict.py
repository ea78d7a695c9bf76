"""Scoring fact checking: a label is named exactly, or it is not named."""

from llmsuite_lab.course.exercises import Exercise, Wrong, expect

LABELS = ("supports", "refutes", "not enough info")


def label_accuracy(answers: list, truths: list) -> float:
    """The solution: equality after removing outer spaces and case; no answer at all is wrong."""
    return sum((answer or "").strip().lower() == truth for answer, truth in zip(answers, truths, strict=True)) / len(truths)


def _contains(answers, truths):
    return sum(truth in (answer or "").lower() for answer, truth in zip(answers, truths)) / len(truths)


def _skips_the_silent(answers, truths):
    pairs = [(a, t) for a, t in zip(answers, truths) if a]
    return sum(a.strip().lower() == t for a, t in pairs) / len(pairs)


def _case_matters(answers, truths):
    return sum((answer or "").strip() == truth for answer, truth in zip(answers, truths)) / len(truths)


def _first_word(answers, truths):
    firsts = [((a or "").lower().split() or [""])[0] for a in answers]
    return sum(first == truth.split()[0] for first, truth in zip(firsts, truths)) / len(truths)


def _dies(answers, truths):
    return sum(answer.strip().lower() == truth for answer, truth in zip(answers, truths)) / len(truths)


def _check(answer) -> None:
    def score(given: list, truths: list) -> float:
        return float(answer(given, truths))

    expect(score(["supports", "refutes", "supports"], ["supports", "refutes", "refutes"]) == 2 / 3, "Two of three labels are right here.")
    expect(score([" Supports\n", "REFUTES"], ["supports", "refutes"]) == 1.0, "Outer spaces and upper case do not make a label wrong.")
    try:
        silent = score([None, "refutes"], ["supports", "refutes"])
    except AttributeError:
        silent = -1.0
    expect(silent != -1.0, "A run that did not finish has None for an answer: that is a wrong answer, not an exception.")
    expect(silent == 0.5, "A run without an answer is left out of your average. It was asked, and did not answer: it counts as wrong.")
    hedged = score(["it neither supports nor refutes it", "supports it"], ["refutes", "supports"])
    expect(hedged in (0.0, 0.5), "A sentence that contains a label is not a label: 'neither supports nor refutes' would count as both.")
    expect(hedged == 0.0, "'supports it' is not one of the three labels: compare the whole answer, not its first word.")


EXERCISE = Exercise(
    id="agents.read_verdict",
    notebook="04_react_agents",
    title="score verdicts without mercy",
    statement=(
        "Write `label_accuracy(answers, truths)`: the share of answers that name the true label. Labels are `supports`, `refutes`, `not enough info`. "
        "Outer spaces and case do not count. An answer may be `None` (the run did not finish): that is wrong. Anything but a label is wrong, too."
    ),
    name="label_accuracy",
    starter="def label_accuracy(answers, truths):\n    ...",
    check=_check,
    hints=(
        "Compare whole answers with `==`, after `strip()` and `lower()`.",
        "`(answer or \"\")` turns a missing answer into one that is never equal.",
        "Sum the equalities and divide by `len(truths)`, silent runs included.",
    ),
    solution=label_accuracy,
    wrong=(
        Wrong(_contains, "would count as both"),
        Wrong(_skips_the_silent, "left out of your average"),
        Wrong(_case_matters, "upper case do not make a label wrong"),
        Wrong(_first_word, "not its first word"),
        Wrong(_dies, "not an exception"),
    ),
)  # fmt: skip
