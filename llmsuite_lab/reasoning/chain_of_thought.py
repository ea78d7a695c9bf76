"""Chain of thought: the answer is the last thing written after steps, and the steps can be checked.

    P(answer | question) = Σ_steps P(steps | question) P(answer | question, steps)      a chain is one sample of the steps

`solve` asks for a chain (or, with method "direct", for the answer alone); `equations` finds every "expression = number" the model states
and works the expression out exactly, so that a right answer from wrong arithmetic, and the other way round, is seen.
Sources: Wei et al. 2022; Kojima et al. 2022 (zero-shot).
"""

import ast
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from llmsuite_lab.core.values import NUMERAL, canonical, continues, number, numbers, plain, stated
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.reasoning.prompting import COT, DIRECT, STOP, prompt
from llmsuite_lab.world.word_problems import Problem

MAX_NEW_TOKENS = {DIRECT: 16, COT: 256}
_ANSWER = re.compile(r"answer\s+is\s*:?\s*", re.IGNORECASE)
_NUMERAL = re.compile(NUMERAL)
_SIDE = re.compile(r"(?:[-+*/×÷()\d\s.,$%]|[_'](?=\d{3}))++")  # all that an equation's left side may hold
_LEFT = re.compile(r"[^-+(\d$]*+([-+(\d$].*[\d)%])\s*\Z", re.DOTALL)
_RIGHT = re.compile(rf"=\s*\$?(-?(?:\d+/\d+|{NUMERAL})%?)")
_LONGEST = 1000  # characters of a left side: nobody writes one, and Python's parser has limits of its own
_BULLET = re.compile(r"^[ \t]*(?:[-*•]|[0-9]+[.)])[ \t]+", re.MULTILINE)
_BEFORE = re.compile(r"[-+*/×÷·^][ \t]*[0-9]?\Z|[\w'][0-9]\Z")  # an operator, or the first part of a number or a code (0x10, B12)
_OPERATOR = re.compile(r"[\d)%]\s*[-+*/×÷]")


@dataclass(frozen=True)
class Answer:
    """What a model answered: `value` as canonical text ("1250.5"), None when none could be read (`outcome` "no answer"), and all that it wrote."""

    value: str | None
    text: str
    outcome: str  # "answered" or "no answer"
    tokens: int  # generated


@dataclass(frozen=True)
class Equation:
    """One stated equation; `value` is what the left side really is."""

    left: str
    right: str
    value: Fraction

    @property
    def true(self) -> bool:
        """Whether the stated number is the value, rounded to the decimals that were written (never to fewer than the whole number).

        A per cent sign behind it may be meant (12 / 20 = 60%) or be a unit (12 / 20 * 100 = 60%).
        """
        (right,) = numbers(self.right)
        close = Fraction(1, 2 * 10**right.places) if right.places else 0
        return any(abs(self.value * by - right.value) <= close for by in ((1, 100) if right.percent else (1,)))


def solve(
    lm: LanguageModel,
    questions: Sequence[str],
    *,
    method: str = COT,
    examples: Sequence[Problem] = (),
    max_new_tokens: int | None = None,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[Answer]:
    """Answer every question in one batched call, after steps ("cot") or at once ("direct"). `examples` are shown solved in front.

    Raises ValueError for another method, an empty question and a prompt that does not fit the context.
    """
    if method not in MAX_NEW_TOKENS:
        raise ValueError(f"method={method!r}, but this function knows {' and '.join(MAX_NEW_TOKENS)}; programs are reasoning.pal's")
    prompts = [prompt(method, question, examples) for question in questions]
    limit = max_new_tokens or MAX_NEW_TOKENS[method]
    written = lm.complete(prompts, max_new_tokens=limit, stop=STOP, temperature=temperature, seed=seed)
    return [read(method, c.text, c.completion_tokens) for c in written]


def read(method: str, text: str, tokens: int = 0) -> Answer:
    """The answer in a completion, by `core.values.stated`. After steps it is the number behind the last "answer is"; a direct completion's first line
    holds it."""
    if method == DIRECT:
        tails = text.strip().splitlines()[:1]
    else:
        written = plain(text)
        ends = [m.end() for m in _ANSWER.finditer(written)]
        tails = [written[start:end] for start, end in itertools.pairwise([*ends, len(written)])]
    said = [found for tail in tails if (found := stated(tail)) is not None and (method == DIRECT or found.start == 0)]
    value = canonical(said[-1].value) if said else None
    return Answer(value, text, "answered" if value else "no answer", tokens)


def equations(text: str) -> list[Equation]:
    """Every "expression = number" in a text whose left side has at least one operation, with the left side worked out exactly.

    Understands + - * / × ÷ and x between numbers, parentheses, numbers as `core.values` reads them, $ and 20% (= 20/100). Left out is what does not
    parse, divides by zero, is only the end of an expression ("9 hours * 2/3 = 6"), has more than a number on its right side, or more than 1,000 characters
    on its left.
    """
    text, found, position = _BULLET.sub("", plain(text)), [], 0
    while side := _SIDE.search(text, position):
        position = side.end()
        if not (right := _RIGHT.match(text, side.end())) or not (whole := _LEFT.match(side[0])):
            continue
        more = continues(text, right.end())
        position = right.start(1) if more else right.end()
        start, left = side.start() + whole.start(1), whole[1]
        if more or len(left) > _LONGEST or _BEFORE.search(text, max(0, start - 8), start + left[0].isdigit()):
            continue
        if _OPERATOR.search(left) and number(right[1].rstrip("%")) is not None and (value := _value(left)) is not None:
            found.append(Equation(left, right[1], value))
    return found


def _value(expression: str) -> Fraction | None:
    source = _NUMERAL.sub(lambda m: "?" if (value := number(m[0])) is None else canonical(value), expression)
    source = source.replace("$", "").replace("×", "*").replace("÷", "/").replace("_", "?")  # 1_0000 is a code, though a number to Python
    source = re.sub(r"(\d+(?:\.\d+)?)%", r"(\1/100)", source).strip()
    source = re.sub(r"\d*\.\d+|\d+\.", lambda m: "({0.numerator}/{0.denominator})".format(Fraction(m[0])), source)  # a float would be rounded
    try:
        return _exact(ast.parse(source, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _exact(node: ast.AST) -> Fraction:
    """Value of a parsed expression of whole numbers and the four operations. The tree is walked, nothing is run. Raises ValueError for anything else."""
    match node:
        case ast.Constant(value=int(value)):
            return Fraction(value)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_exact(inner)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _exact(left) + _exact(right)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return _exact(left) - _exact(right)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _exact(left) * _exact(right)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return _exact(left) / _exact(right)
    raise ValueError(f"{ast.dump(node)} is no arithmetic")
