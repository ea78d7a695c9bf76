"""The three limits of a plain language model, measured: what it cannot know, what it cannot compute, and what it makes up.

Each function asks the model a list of questions in one batched call and returns one row per question, so that a notebook can show the
answers before it shows the score. Paper: section 2.1.
"""

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from llmsuite_lab.core.errors import within
from llmsuite_lab.core.metrics import Interval, exact_match, mean_interval
from llmsuite_lab.core.values import numbers
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.world import general_facts, handbook

DIGITS = (1, 2, 3, 4, 5, 6)
OPERATIONS = {"+": lambda a, b: a + b, "×": lambda a, b: a * b}
REFUSALS = re.compile(
    r"\b(?:i (?:do not|don[’']t|cannot|can[’']t|am not able|am unable)|i[’']m (?:sorry|not sure|unable|not aware)"
    r"|not (?:stated|known|available|specified|mentioned|enough)|unknown|no information|unable to"
    r"|there is no (?:answer|information)|cannot be (?:answered|determined))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Answered:
    """One question with its true answer (None: there is none), the model's own words, and the verdict."""

    question: str
    truth: str | None
    answer: str
    correct: bool
    declined: bool

    @property
    def made_up(self) -> bool:
        """A definite statement that is not the truth: neither correct nor declined, and not empty."""
        return not self.correct and not self.declined and self.answer != ""


@dataclass(frozen=True)
class Sum:
    """One calculation: operands of `digits` digits, the operation, the true result and the number the model wrote (None: no whole number)."""

    digits: int
    operation: str
    a: int
    b: int
    truth: int
    answer: int | None

    @property
    def correct(self) -> bool:
        """Whether the model's number is exactly the true result."""
        return self.answer == self.truth


def declines(answer: str) -> bool:
    """Whether an answer says that it does not know, by the usual phrases of doing so (`REFUSALS`)."""
    return REFUSALS.search(answer) is not None


def prompt(question: str, examples: Sequence[tuple[str, str]] = (), *, may_decline: bool = False) -> str:
    """The closed-book prompt: `examples` (question, answer) in the same form, then the question, up to where the answer begins."""
    leave = "Answer the question. If you do not know the answer, say: I do not know.\n\n" if may_decline else ""
    return leave + general_facts.prompt(question, examples)


def ask(
    lm: LanguageModel,
    questions: "Sequence[handbook.Question | general_facts.Fact]",
    *,
    examples: Sequence[tuple[str, str]] = (),
    may_decline: bool = False,
    max_new_tokens: int = 24,
) -> list[Answered]:
    """Put questions to the model closed book, after `examples` answered in the same form; greedy, one line. One row per question, in order.

    With `may_decline` the prompt says that "I do not know." is a welcome answer, so that a made-up one is the model's own choice.
    """
    prompts = [prompt(question.text, examples, may_decline=may_decline) for question in questions]
    completions = lm.complete(prompts, max_new_tokens=max_new_tokens, stop=["\n"])
    rows = []
    for question, completion in zip(questions, completions, strict=True):
        answer = completion.text.strip()
        truths = question.answers if isinstance(question, general_facts.Fact) else (question.answer,) if question.answer else ()
        rows.append(Answered(question.text, truths[0] if truths else None, answer, exact_match(answer, truths), declines(answer)))
    return rows


def difference_of_shares(more: Interval, less: Interval) -> Interval:
    """`more` minus `less`, two shares of different items; Newcombe's interval (1998, method 10) from their Wilson intervals."""
    gap = more.mean - less.mean
    low = gap - math.hypot(more.mean - more.low, less.high - less.mean)
    high = gap + math.hypot(more.high - more.mean, less.mean - less.low)
    return Interval(gap, low, high, more.n + less.n, "wilson")


def told_apart(first: Sequence[float], second: Sequence[float]) -> float:
    """P(b > a) + P(b = a) / 2 for a of `first` and b of `second`, the area under the ROC curve: 0.5 a coin, 1 when every b is larger.

    In production: `sklearn.metrics.roc_auc_score`. Raises ValueError when either is empty.
    """
    if not first or not second:
        raise ValueError(f"{len(first)} and {len(second)} values: each side needs at least one")
    return sum((b > a) + (b == a) / 2 for a in first for b in second) / (len(first) * len(second))


def calculations(per_size: int, seed: int = 0, operations: tuple[str, ...] = ("+", "×")) -> list[tuple[int, str, int, int]]:
    """`per_size` calculations (digits, operation, a, b) for every operation and every number of digits, both operands exactly that long."""
    if per_size < 1:
        raise ValueError(f"per_size={per_size}: at least one calculation for each size")
    within("per_size", per_size, 1, 1_000_000)
    rng = random.Random(seed)
    low = {d: 10 ** (d - 1) for d in DIGITS}
    return [
        (d, operation, rng.randrange(low[d], 10 * low[d]), rng.randrange(low[d], 10 * low[d]))
        for operation in operations
        for d in DIGITS
        for _ in range(per_size)
    ]


def calculate(lm: LanguageModel, wanted: list[tuple[int, str, int, int]]) -> list[Sum]:
    """Let the model continue "a + b =" directly, after two solved examples that fix the form. The first number counts; a completion whose first is
    none, or no whole one, is wrong."""
    examples = {"+": "7 + 2 = 9\n31 + 45 = 76\n", "×": "7 × 2 = 14\n12 × 11 = 132\n"}
    prompts = [f"{examples[operation]}{a} {operation} {b} =" for _, operation, a, b in wanted]
    completions = lm.complete(prompts, max_new_tokens=14, stop=["\n"])
    rows = []
    for (digits, operation, a, b), completion in zip(wanted, completions, strict=True):
        found = next((number.value for number in numbers(completion.text)), None)
        answer = None if found is None or found.denominator != 1 else int(found)
        rows.append(Sum(digits, operation, a, b, OPERATIONS[operation](a, b), answer))
    return rows


def accuracy_by_size(rows: list[Sum]) -> dict[str, list[Interval]]:
    """Exact match by number of digits, with its interval, one list per operation, in the order of `DIGITS`."""
    names = {"+": "addition", "×": "multiplication"}
    found = dict.fromkeys(row.operation for row in rows)
    return {
        names[operation]: [mean_interval([row.correct for row in rows if row.operation == operation and row.digits == d]) for d in DIGITS]
        for operation in found
    }


def loss_of_exactness(rows: list[Sum]) -> Interval:
    """Exact match at one digit minus exact match at six, both operations together. Raises ValueError when a size is missing."""
    small, large = (mean_interval([row.correct for row in rows if row.digits == d]) for d in (DIGITS[0], DIGITS[-1]))
    return difference_of_shares(small, large)
