"""Self-consistency: sampled chains vote, and a chain without an answer votes for nobody."""

from collections import Counter

from llmsuite_lab.course.exercises import Exercise, Mistake, Wrong, expect


def majority_vote(answers: list) -> tuple:
    """The solution: the most frequent answer that is not None, and its share of all chains."""
    counts = Counter(a for a in answers if a is not None)
    if not counts:
        return None, 0.0
    value, votes = counts.most_common(1)[0]
    return value, votes / len(answers)


def _none_votes(answers):
    value, votes = Counter(answers).most_common(1)[0]
    return value, votes / len(answers)


def _share_of_answered(answers):
    counts = Counter(a for a in answers if a is not None)
    if not counts:
        return None, 0.0
    value, votes = counts.most_common(1)[0]
    return value, votes / sum(counts.values())


def _mean(answers):
    known = [a for a in answers if a is not None]
    return (sum(known) / len(known), 1.0) if known else (None, 0.0)


def _largest(answers):
    known = [a for a in answers if a is not None]
    return (max(known), known.count(max(known)) / len(answers)) if known else (None, 0.0)


def _crashes_on_silence(answers):
    value, votes = Counter(a for a in answers if a is not None).most_common(1)[0]
    return value, votes / len(answers)


def _check(answer) -> None:
    result = answer([74, 70, 74, 80, 74, 70, 71])
    expect(isinstance(result, tuple | list) and len(result) == 2, "Return two things: (value, share).")
    if abs(result[0] - 513 / 7) < 1e-9:
        raise Mistake("That is the mean of the answers. Two wrong chains do not make a right one between them: count, do not average.")
    if result[0] == 80:
        raise Mistake("That is the largest answer. The most frequent one is asked for.")
    expect(result[0] == 74, "74 was said most often and must win.")
    expect(abs(result[1] - 3 / 7) < 1e-9, "Three of seven chains said 74, so the share is 3/7.")
    value, share = answer([None, None, None, 12, 12])
    expect(value == 12, "None is a chain without an answer. It votes for nobody, even when it is the most frequent.")
    expect(abs(share - 2 / 5) < 1e-9, "The share is of all chains, silent ones included: silence is a reason to be less sure.")
    try:
        silent = answer([None, None])
    except (IndexError, ValueError, ZeroDivisionError) as error:
        raise Mistake(f"When no chain has an answer your function fails with {type(error).__name__}. Return (None, 0.0).") from error
    expect(tuple(silent) == (None, 0.0), "When no chain has an answer, return (None, 0.0).")


EXERCISE = Exercise(
    id="reasoning.majority_vote",
    notebook="03_program_aided_language_models",
    title="let the chains vote",
    statement=(
        "Write `majority_vote(answers)`. `answers` holds one number per sampled chain of thought, or `None` where a chain had no answer. Return "
        "`(value, share)`: the most frequent number and the share of **all** chains that gave it. Without any answer return `(None, 0.0)`."
    ),
    name="majority_vote",
    starter="from collections import Counter\n\n\ndef majority_vote(answers):\n    ...",
    check=_check,
    hints=(
        "`Counter(...)` counts, `.most_common(1)` gives the winner with its votes.",
        "Leave `None` out of the counting, but not out of the number of chains.",
        "An empty Counter has no winner: test for it before asking.",
    ),
    solution=majority_vote,
    wrong=(
        Wrong(_mean, "count, do not average"),
        Wrong(_largest, "That is the largest answer"),
        Wrong(_none_votes, "votes for nobody"),
        Wrong(_share_of_answered, "silent ones included"),
        Wrong(_crashes_on_silence, "fails with IndexError"),
    ),
)
