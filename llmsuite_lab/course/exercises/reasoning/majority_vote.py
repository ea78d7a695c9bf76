"""Self-consistency: sampled chains vote, and a chain without an answer votes for nobody."""

import itertools
import statistics
from collections import Counter
from fractions import Fraction

import numpy as np

from llmsuite_lab.course.exercises import Exercise, Wrong
from llmsuite_lab.course.exercises.cases import Case, by_cases


def majority_vote(answers: list) -> tuple:
    """The solution: the most frequent answer that is not None, and its share of all chains."""
    counts = Counter(a for a in answers if a is not None)
    if not counts:
        return None, 0.0
    value, votes = counts.most_common(1)[0]
    return value, votes / len(answers)


def _known(answers):
    return [a for a in answers if a is not None]


def _none_votes(answers):
    value, votes = Counter(answers).most_common(1)[0] if answers else (None, 0)
    return value, votes / len(answers) if value is not None else 0.0


def _share_of_answered(answers):
    value, share = majority_vote(answers)
    return value, share * len(answers) / max(len(_known(answers)), 1)


def _mean(answers):
    return (sum(_known(answers)) / len(_known(answers)), 1.0) if _known(answers) else (None, 0.0)


def _share_of(pick):
    def vote(answers):
        value = pick(_known(answers)) if _known(answers) else None
        return (None, 0.0) if value is None else (value, answers.count(value) / len(answers))

    return vote


_largest, _middle = _share_of(max), _share_of(statistics.median_low)
_first, _last = _share_of(lambda known: known[0]), _share_of(lambda known: known[-1])
_longest_run = _share_of(lambda known: max((len(list(run)), -i, value) for i, (value, run) in enumerate(itertools.groupby(known)))[2])
_zero_is_silent = _share_of(lambda known: max(filter(None, known), key=known.count, default=None))
_rarest = _share_of(lambda known: min(known, key=known.count))
_as_text = _share_of(lambda known: known[[str(a) for a in known].index(Counter(map(str, known)).most_common(1)[0][0])])


def _drops_zero(answers):
    return majority_vote([a or None for a in answers])


def _more_than_half(answers):
    value, share = majority_vote(answers)
    return (value, share) if share > 0.5 else (None, 0.0)


def _votes(answers):
    value, share = majority_vote(answers)
    return value, share * len(answers)


def _rounded(answers):
    value, share = majority_vote(answers)
    return value, round(share, 2)


def _crashes_on_silence(answers):
    value, votes = Counter(_known(answers)).most_common(1)[0]
    return value, votes / len(answers)


def _silence_is_zero(answers):
    return majority_vote(answers) if _known(answers) else (0, 0.0)


def _in_place(answers):
    n = len(answers)
    while None in answers:
        answers.remove(None)
    if not answers:
        return [None, 0]
    answers.sort(key=list(answers).count)
    return [answers[-1], answers.count(answers[-1]) / n]


def _by_hand(answers):
    best, most = None, 0
    for answer in answers:
        votes = sum(1 for other in answers if other == answer)
        if answer is not None and votes > most:
            best, most = answer, votes
    return best, Fraction(most, max(len(answers), 1))


def _with_numpy(answers):
    values, votes = np.unique(np.array(_known(answers), dtype=float), return_counts=True)
    return (values[votes.argmax()], votes.max() / len(answers)) if len(values) else (None, np.float64(0))


def _with_statistics(answers):
    try:
        winner = statistics.mode(a for a in answers if a is not None)
    except statistics.StatisticsError:
        return None, 0.0
    return winner, statistics.fmean(a == winner for a in answers)


def _grouped(answers):
    runs = [(len(list(run)), value) for value, run in itertools.groupby(sorted(_known(answers)))]
    votes, value = max(runs, default=(0, None))
    return value, votes and votes / len(answers)


def _popping(answers):
    counts = Counter(answers)
    counts.pop(None, None)
    value = max(counts, key=counts.get, default=None)
    return value, counts[value] / len(answers) if answers else 0.0


def _case(answers: list, value: float | None, votes: int, rule: str = "") -> Case:
    return Case((answers,), (value, votes / max(len(answers), 1)), rule, rtol=1e-6, atol=0.0)


def _cases() -> list[Case]:
    silent = "None is a chain without an answer: it votes for nobody, but is counted among all chains."
    nobody = "Without any answer the result is (None, 0.0)."
    zero = "0 is a number like any other."
    return [
        _case([74, 70, None, 74], 74, 2, "This is the statement's example."),
        _case([74, 70, 74, 80, 74, 70, 71], 74, 3, "Three of seven chains say 74."),
        _case([5], 5, 1, "One chain alone wins all votes."),
        _case([9, 9, 9], 9, 3),
        _case([None, None, None, 12, 12], 12, 2, silent),
        _case([None, 8, 3, None, 3, None, None, 1, None], 3, 2, silent),
        _case([5, 5, 1, 2, 1, 3, 1], 1, 3, "The order of the chains does not matter."),
        _case([40, 7, 9, 7], 7, 2, "The order of the chains does not matter."),
        _case([0, 0, 6, 0, None], 0, 3, zero),
        _case([0, None, None], 0, 1, zero),
        _case([-2.5, 3, -2.5, 2.5, 7], -2.5, 2, "A number may be negative, or have decimals."),
        _case([10, 7, 10.0, 7, 10, 7, 10.0], 10, 4, "10 and 10.0 are the same number."),
        _case([None, None], None, 0, nobody),
        _case([], None, 0, f"{nobody} An empty list holds none."),
    ]


_MISTAKES = (
    Wrong(_mean, "That is the mean of the answers. Two wrong chains do not make a right one between them: count, do not average."),
    Wrong(_largest, "That is the largest answer. The most frequent one is asked for."),
    Wrong(_middle, "That is the median of the answers. The most frequent one is asked for."),
    Wrong(_first, "That is the first answer. The most frequent one is asked for."),
    Wrong(_last, "That is the last answer. The most frequent one is asked for."),
    Wrong(_rarest, "That is the rarest answer. The most frequent one is asked for."),
    Wrong(_longest_run, "That is the answer with the longest run: equal answers need not stand side by side."),
    Wrong(_none_votes, "None wins in your vote. It votes for nobody, even when it is the most frequent."),
    Wrong(_share_of_answered, "Your share is of the chains with an answer. Silence is a reason to be less sure: take the share of all."),
    Wrong(_votes, "You return the number of votes. The share of all chains is asked for."),
    Wrong(_rounded, "You round the share."),
    Wrong(_more_than_half, "You ask for more than half of the chains. The most frequent answer wins with fewer, too."),
    Wrong(_drops_zero, "0 is taken for no answer: compare with None (`is not None`), a zero is false."),
    Wrong(_as_text, "10 and 10.0 are counted apart: compare numbers, not their text."),
    Wrong(_silence_is_zero, "When no chain has an answer you return 0, which reads as an answer. Return (None, 0.0)."),
    Wrong(_crashes_on_silence, "When no chain has an answer there is no most frequent one to ask for. Return (None, 0.0)."),
)

EXERCISE = Exercise(
    id="reasoning.majority_vote",
    notebook="03_program_aided_language_models",
    title="let the chains vote",
    difficulty=2,
    minutes=10,
    statement=(
        "Write `majority_vote(answers)`. `answers` holds one number per sampled chain of thought, or `None` where a chain had no answer. Return "
        "`(value, share)`: the most frequent number and the share of **all** chains that gave it. Without any answer (or any chain) return `(None, 0.0)`. "
        "`majority_vote([74, 70, None, 74])` is `(74, 0.5)`."
    ),
    name="majority_vote",
    starter="from collections import Counter\n\n\ndef majority_vote(answers):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "`Counter(...)` counts, `.most_common(1)` gives the winner with its votes.",
        "Leave `None` out of the counting, but not out of the number of chains.",
        "An empty Counter has no winner: test for it before asking.",
    ),
    solution=majority_vote,
    wrong=_MISTAKES,
    right=(_in_place, _by_hand, _with_numpy, _with_statistics, _grouped, _popping),
    equivalent={
        "return (None, 0)": "0 and 0.0 are the same number",
        "value, votes = counts.most_common()[0]": "the first of all is the first of one",
        "value, votes = counts.most_common(2)[0]": "the first of two is the first of one",
        "value, votes = counts.most_common(1)[-1]": "the last of one is its first",
    },
)
