"""How the three methods are compared: the same problems, exact match, intervals by operand size and by number of steps.

    accuracy(size) = (1/n) Σ_i 1[answer_i = truth_i]   over the n problems of that size, with its 95 % interval

A PAL answer is what the interpreter computed; an answer that cannot be read, and a program that does not run, is wrong and counted by name.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from llmsuite_lab.core.metrics import Interval, exact_match, mean_interval
from llmsuite_lab.core.records import paired_differences
from llmsuite_lab.core.values import number
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.reasoning import chain_of_thought, pal
from llmsuite_lab.reasoning.interpreter import Interpreter
from llmsuite_lab.reasoning.prompting import COT, METHODS, PAL
from llmsuite_lab.world.word_problems import Problem

SMALL, LARGE = (1, 2), (5, 6)  # digits of the operands: what "small" and "large numbers" mean in this section


@dataclass(frozen=True)
class Result:
    """One problem, one answer: its `digits` and `steps`, whether it is `correct`, the `outcome` ("right", "wrong", "no answer" or an error's
    kind), and of the stated equations how many there are and how many are `true`."""

    digits: int
    steps: int
    correct: bool
    outcome: str
    value: str | None
    equations: int = 0
    true: int = 0
    tokens: int = 0


def evaluate(
    lm: LanguageModel, method: str, problems: Sequence[Problem], *, examples: Sequence[Problem] = (), interpreter: Interpreter | None = None
) -> list[Result]:
    """Answer all problems with one method, in batches; one `Result` a problem, in order. Raises ValueError for an unknown method or no problems."""
    if method not in METHODS:
        raise ValueError(f"method={method!r}, but the methods are {', '.join(METHODS)}")
    if not problems:
        raise ValueError("there are no problems to evaluate on: the list is empty")
    questions = [p.text for p in problems]
    if method == PAL:
        traces = pal.solve(lm, questions, interpreter, examples=examples, final=False)
        return score_traces(problems, traces)
    answers = chain_of_thought.solve(lm, questions, method=method, examples=examples)
    missing = [None if a.value is not None else a.outcome for a in answers]
    return [_result(p, a.value, m, a.tokens, a.text if method == COT else "") for p, a, m in zip(problems, answers, missing, strict=True)]


def score_traces(problems: Sequence[Problem], traces: Sequence[pal.Trace]) -> list[Result]:
    """The results of programs that have run already. Raises ValueError for lists of different length."""
    if len(problems) != len(traces):
        raise ValueError(f"{len(problems)} problems and {len(traces)} traces: give one trace a problem")
    return [_result(p, t.value, t.outcome.error, t.tokens) for p, t in zip(problems, traces, strict=True)]


def solves(
    lm: LanguageModel, method: str, questions: Sequence[str], answers: Sequence[float], interpreter: Interpreter | None = None
) -> list[bool]:
    """For problems of other sets (GSM8K, SVAMP): whether the answer is the number, to one part in a million. Raises ValueError for unequal lists."""
    if len(questions) != len(answers):
        raise ValueError(f"{len(questions)} questions and {len(answers)} answers: give one answer a question")
    if method == PAL:
        values = [t.value for t in pal.solve(lm, questions, interpreter, final=False)]
    else:
        values = [a.value for a in chain_of_thought.solve(lm, questions, method=method)]
    return [correct(value, truth) for value, truth in zip(values, answers, strict=True)]


def correct(value: str | None, truth: float) -> bool:
    """Whether a value read as text is the number, to one part in a million."""
    found = number(value) if value is not None else None  # a program's answer may be a text
    return found is not None and abs(found - Fraction(truth)) <= max(
        Fraction(1, 10**6) * max(abs(found), abs(Fraction(truth))), Fraction(1, 10**9)
    )


def _result(problem: Problem, value: str | None, error: str | None, tokens: int, text: str = "") -> Result:
    correct = value is not None and exact_match(value, str(problem.answer))
    stated = chain_of_thought.equations(text)
    outcome = error or ("right" if correct else "wrong")
    return Result(problem.digits, problem.steps, correct, outcome, value, len(stated), sum(e.true for e in stated), tokens)


def accuracy(results: Sequence[Result]) -> Interval:
    """Share of right answers with its interval. Raises ValueError for none."""
    return mean_interval([r.correct for r in results])


def accuracy_by(results: Sequence[Result], key: Callable[[Result], int]) -> dict[int, Interval]:
    """Accuracy for each value of `key`, in rising order: `accuracy_by(results, lambda r: r.digits)`."""
    return {k: accuracy([r for r in results if key(r) == k]) for k in sorted({key(r) for r in results})}


def of_size(results: Sequence[Result], digits: Sequence[int]) -> list[Result]:
    """Those whose operands have one of these sizes."""
    return [r for r in results if r.digits in digits]


def equation_truth(results: Sequence[Result]) -> list[float]:
    """For each answer that states equations, the share of them that are true: the values whose mean and interval are reported."""
    return [r.true / r.equations for r in results if r.equations]


def difference(a: Sequence[Result], b: Sequence[Result], seed: int = 0) -> Interval:
    """Accuracy of `a` minus that of `b` on the same problems, paired. Raises ValueError when the lists do not pair."""
    return mean_interval(paired_differences(scores(a), scores(b)), differences=True, seed=seed)


def scores(results: Sequence[Result], score: Callable[[Result], float] = lambda r: float(r.correct)) -> dict[tuple[int, int, int], float]:
    """Each result's score by its problem: (place in the list, digits, steps)."""
    return {(i, r.digits, r.steps): score(r) for i, r in enumerate(results)}


def gap(a: Sequence[float], b: Sequence[float], seed: int = 0, resamples: int = 2000) -> Interval:
    """Mean of `a` minus mean of `b`, two independent samples, with a bootstrap interval over both."""
    import numpy as np

    if not len(a) or not len(b):
        raise ValueError(f"{len(a)} and {len(b)} values: both samples need at least one")
    rng = np.random.default_rng(seed)
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    drawn = rng.choice(x, (resamples, len(x))).mean(axis=1) - rng.choice(y, (resamples, len(y))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    mean = float(x.mean() - y.mean())
    return Interval(mean, min(float(low), mean), max(float(high), mean), len(x) + len(y))


def outcomes(results: Sequence[Result]) -> dict[str, int]:
    """How the answers ended, most frequent first."""
    return dict(Counter(r.outcome for r in results).most_common())


def as_rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Plain data for a recorded run."""
    return [asdict(r) for r in results]


def from_rows(rows: Sequence[dict[str, Any]]) -> list[Result]:
    """The inverse of `as_rows`."""
    return [Result(**row) for row in rows]
