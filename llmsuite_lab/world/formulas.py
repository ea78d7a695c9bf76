"""Quantities and formulas as text, so that a story with numbers can stand in a data file.

    draw("a=12..95, k:2..9, n=k*a", rng)   → {"a": 40, "k": 3, "n": 120}
    value("n / k - 1", {"n": 120, "k": 3}) → 39

"a=low..high" is drawn, and from `factor` times larger numbers where large ones are wanted; "k:low..high" stays as small as it is; "n=k*a" follows
from what stands before it. Formulas know + - * / and brackets, and are worked out exactly.
"""

import ast
import re
from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from random import Random

_RANGE = re.compile(r"(\w+)\s*([=:])\s*(\d+)\.\.(\d+)")
_FOLLOWS = re.compile(r"(\w+)\s*=\s*(.+)")


def value(formula: str, given: Mapping[str, int | Fraction]) -> Fraction:
    """What `formula` comes to. Raises ValueError for a name that is not `given` and for anything that is no such formula, ZeroDivisionError."""
    return _value(parsed(formula), given)


@cache
def parsed(formula: str) -> ast.expr:
    """The formula's tree. Raises ValueError when it is none."""
    try:
        return ast.parse(formula.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"{formula!r} is no formula of + - * /, numbers and names") from error


def draw(quantities: str, rng: Random, factor: int = 1) -> dict[str, int]:
    """A value for every quantity, in order. Raises ValueError for a text of another form, and where what follows is no whole number."""
    found: dict[str, int] = {}
    for part in quantities.split(","):
        if match := _RANGE.fullmatch(part.strip()):
            name, scales, low, high = match[1], match[2] == "=" and factor > 1, int(match[3]), int(match[4])
            found[name] = rng.randint(low * factor, high * factor + factor - 1) if scales else rng.randint(low, high)
        elif match := _FOLLOWS.fullmatch(part.strip()):
            exact = value(match[2], found)
            if exact.denominator != 1:
                raise ValueError(f"{part.strip()!r} of {quantities!r} comes to {exact}, which is no whole number")
            found[match[1]] = int(exact)
        else:
            raise ValueError(f"{part.strip()!r} of {quantities!r} is neither name=low..high, name:low..high nor name=formula")
    return found


def _value(node: ast.expr, given: Mapping[str, int | Fraction]) -> Fraction:
    match node:
        case ast.Constant(value=int(number)):
            return Fraction(number)
        case ast.Name(id=name) if name in given:
            return Fraction(given[name])
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _value(left, given), _value(right, given)
            match op:
                case ast.Add():
                    return a + b
                case ast.Sub():
                    return a - b
                case ast.Mult():
                    return a * b
                case ast.Div():
                    return a / b
    raise ValueError(f"{ast.unparse(node)} has no value here: known are {', '.join(given) or 'no names'}, and + - * /")
