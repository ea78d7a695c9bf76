"""Evaluation: did the search find it, did the model say it, and did it stand in what the model was given?

    recall@k = share of questions with a gold passage among the first k         MRR = mean of 1 / rank of the first gold passage (0 if none)

An answer is *correct* when it says the true value and no other number; of the answers that are not, *declined* is honest and *wrong* is not.
*Grounded* means that the answer stands word for word in the passages of the prompt: a wrong answer can be grounded in the wrong passage.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import regex

from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.core.records import paired_differences
from llmsuite_lab.core.text import words
from llmsuite_lab.core.values import canonical, numbers, plain

_DIGITS = regex.compile(r"\d+")
_CAPITALISED = regex.compile(r"\b\p{Lu}[\w\p{M}-]*")
OUTCOMES = ("correct", "wrong", "declined")


def _items(text: str) -> list[str]:
    """Folded words, and numbers by value ("1,250.50" becomes "1250.5"); dates, codes and clock times stay whole ("10:50am" becomes "10:50", "am")."""
    found, text, start = [], plain(text), 0
    for number in [*numbers(text), None]:
        between = regex.sub(r"(\d)(\p{L})", r"\1 \2", text[start : number.start if number else None])
        found += words(between, inside="_", between=":-")
        if number:
            found.append(canonical(number.value))
            start = number.end
    return found


def _numeric(items: Sequence[str]) -> set[str]:
    return {item for item in items if _DIGITS.search(item)}


def says(answer: str, truth: str, question: str = "") -> bool:
    """Whether `answer` states `truth`: its words in a row, and no number, date or code besides those of truth and question.

    "The lamp costs 67 crowns." says "67 crowns"; "67 or 76 crowns" and "167 crowns" do not. A date in the question excuses that date, not its day as a
    number. Empty says nothing.
    """
    said, wanted = _items(answer), _items(truth)
    others = _numeric(said) - _numeric(wanted) - _numeric(_items(question))
    return bool(wanted) and f" {' '.join(wanted)} " in f" {' '.join(said)} " and not others


def grounded(answer: str, texts: Sequence[str], question: str = "") -> bool:
    """Whether every number and every capitalised word of `answer` stands in the texts or the question, and at least one word in the texts.

    The parts of a date or code count as standing there. Scripts without capitals have no names to look for.
    """
    said, inside = _items(answer), set(_items(" ".join(texts)))
    given = inside | set(_items(question))
    parts = {str(int(digits)) for item in given for digits in _DIGITS.findall(item)}
    names = set(_items(" ".join(_CAPITALISED.findall(answer.strip()[1:])))) | _numeric(said)
    return names <= (given | parts) and bool(set(said) & inside)


def recall_at_k(rankings: Sequence[Sequence[str]], gold: Sequence[Sequence[str]], k: int) -> list[float]:
    """Per question, the share of its gold passages among the first `k` ids. Raises ValueError for k < 1, unequal lengths, an empty gold or an id
    that stands twice in a ranking."""
    _check(rankings, gold)
    if k < 1:
        raise ValueError(f"k={k}, but recall looks at one passage at least")
    return [len(set(ranking[:k]) & set(wanted)) / len(set(wanted)) for ranking, wanted in zip(rankings, gold)]


def reciprocal_ranks(rankings: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]) -> list[float]:
    """Per question, 1 / rank of the first gold passage, 0 when it was not found; their mean is the MRR. Raises ValueError as recall_at_k."""
    _check(rankings, gold)
    return [next((1 / rank for rank, i in enumerate(ranking, 1) if i in wanted), 0.0) for ranking, wanted in zip(rankings, gold)]


@dataclass(frozen=True)
class Outcome:
    """One judged answer: `verdict` is one of OUTCOMES; `answerable` says whether the question had an answer; `grounded` as above."""

    verdict: str
    answerable: bool
    grounded: bool


def judge(answer: str, truth: str | None, question: str, texts: Sequence[str], declined: bool = False) -> Outcome:
    """Judge one answer. `truth` None: the question has no answer, so any definite statement is wrong and only declining is honest."""
    if declined or not answer.strip():
        return Outcome("declined", truth is not None, False)
    correct = truth is not None and says(answer, truth, question)
    return Outcome("correct" if correct else "wrong", truth is not None, grounded(answer, texts, question))


def shares(outcomes: Sequence[Outcome], answerable: bool | None = None) -> dict[str, Interval]:
    """Share of each outcome with its interval, over all questions or only the (un)answerable ones. Raises ValueError when there are none."""
    chosen = [o for o in outcomes if answerable is None or o.answerable == answerable]
    if not chosen:
        raise ValueError("no outcomes of this kind to take shares of")
    return {name: mean_interval([float(o.verdict == name) for o in chosen]) for name in OUTCOMES}


def tally(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many answers were correct, wrong (of these: grounded in the passages given), declined."""
    counts = Counter(o.verdict for o in outcomes)
    return {name: counts[name] for name in OUTCOMES} | {"wrong but grounded": sum(o.verdict == "wrong" and o.grounded for o in outcomes)}


def paired_gain(after: Sequence[bool], before: Sequence[bool], seed: int = 0) -> Interval:
    """Mean of after − before over the same questions, with its bootstrap interval. Raises ValueError for unequal lengths."""
    return mean_interval(paired_differences(after, before), differences=True, seed=seed)


def _check(rankings: Sequence, gold: Sequence) -> None:
    if len(rankings) != len(gold):
        raise ValueError(f"{len(rankings)} rankings for {len(gold)} gold sets")
    if any(not wanted for wanted in gold):
        raise ValueError("a question without gold passages has no recall: leave unanswerable ones out")
    if any(len(set(ranking)) < len(ranking) for ranking in rankings):
        raise ValueError("an id stands twice in one ranking: the second takes the place of another passage")
