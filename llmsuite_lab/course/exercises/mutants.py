"""Mutation testing: a check is as strict as the wrong solutions it rejects.

A mutant is the solution's syntax tree with one edit: an operator, comparison, constant or method exchanged for its neighbour, one parameter read
for another, an operand, argument or bound dropped, a condition negated or fixed, a statement removed. The check must reject it, or the exercise names it in
`equivalent` with the reason why nobody can tell it from the solution.

    python -m llmsuite_lab.course.exercises.mutants [SECTION.NAME …]     how many mutants each exercise has, and which lived

Method: DeMillo, Lipton, Sayward 1978, "Hints on test data selection". In production: mutmut, cosmic-ray.
"""

import ast
import copy
import inspect
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import CodeType, FunctionType
from typing import Any

from llmsuite_lab.course.exercises import Exercise, exercise, exercises
from llmsuite_lab.course.exercises.checking import run_check

LIMIT_S = 2.0  # for a mutant whose loop never ends; a check itself takes milliseconds

_OPERATORS: dict[type, tuple[type, ...]] = {
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Div,), ast.Div: (ast.Mult,), ast.FloorDiv: (ast.Mult, ast.Div),
    ast.Mod: (ast.FloorDiv,), ast.Pow: (ast.Mult,), ast.BitOr: (ast.BitAnd,), ast.BitAnd: (ast.BitOr,), ast.BitXor: (ast.BitOr,),
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE), ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
    ast.And: (ast.Or,), ast.Or: (ast.And,),
}  # fmt: skip
_METHODS = {
    "lower": ("upper",), "upper": ("lower",), "strip": ("lstrip", "rstrip"), "rstrip": ("lstrip",), "lstrip": ("rstrip",),
    "removesuffix": ("removeprefix",), "removeprefix": ("removesuffix",), "startswith": ("endswith",), "endswith": ("startswith",),
    "sin": ("cos",), "cos": ("sin",), "min": ("max",), "max": ("min",), "any": ("all",), "all": ("any",), "mean": ("sum",), "sum": ("mean",),
    "argmax": ("argmin",), "fullmatch": ("match", "search"), "match": ("search",), "search": ("match",), "softmax": ("log_softmax",),
    "log_softmax": ("softmax",), "sorted": ("list",),
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One edited solution. `key` reads as the edited line; two edits that give the same line share it."""

    key: str
    function: Callable[..., Any]


def mutants(solution: Callable[..., Any]) -> Iterator[Mutant]:
    """Every mutant of a function, in the order of its source. The function must not be nested in another."""
    tree = _tree(solution)
    seen = {ast.unparse(tree)}
    for path in _paths(tree):
        for edited in (*_edits(_at(tree, path)), *_other_parameters(tree, path)):
            changed = copy.deepcopy(tree)
            _put(changed, path, edited)
            ast.fix_missing_locations(changed)
            if (text := ast.unparse(changed)) in seen:
                continue
            seen.add(text)
            yield Mutant(_key(tree, changed, path), _function(changed, solution))


def survivors(item: Exercise) -> tuple[int, list[str]]:
    """(number of mutants, keys of those that the check takes for right)."""
    quick = replace(item, time_limit_s=LIMIT_S)
    count, lived = 0, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a mutant divides by zero, or takes the mean of nothing
        for mutant in mutants(item.solution):
            count += 1
            if run_check(quick, mutant.function).passed:
                lived.append(mutant.key)
    return count, lived


def _tree(solution: Callable[..., Any]) -> ast.FunctionDef:
    tree = ast.parse(textwrap.dedent(inspect.getsource(solution))).body[0]
    if not isinstance(tree, ast.FunctionDef):
        raise TypeError(f"{solution!r} is not a function: mutants are made of functions written with def")
    tree.returns, tree.decorator_list = None, []
    for argument in ast.walk(tree.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    if ast.get_docstring(tree):
        tree.body = tree.body[1:]
    return tree


def _function(tree: ast.FunctionDef, solution: Callable[..., Any]) -> Callable[..., Any]:
    code = next(
        c for c in compile(ast.Module([tree], []), "<mutant>", "exec").co_consts if isinstance(c, CodeType) and c.co_name == tree.name
    )
    defaults = tuple(ast.literal_eval(node) for node in tree.args.defaults)
    return FunctionType(code, solution.__globals__, tree.name, defaults)


Path = tuple[tuple[str, int | None], ...]  # from the function to a node: field and place in it, step by step


def _paths(node: ast.AST, path: Path = ()) -> Iterator[Path]:
    for name, value in ast.iter_fields(node):
        for place, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST):
                yield (*path, (name, place))
                yield from _paths(child, (*path, (name, place)))


def _at(node: Any, path: Path) -> Any:
    for name, place in path:
        node = getattr(node, name) if place is None else getattr(node, name)[place]
    return node


def _put(tree: ast.AST, path: Path, new: ast.AST) -> None:
    owner, (name, place) = _at(tree, path[:-1]), path[-1]
    if place is None:
        setattr(owner, name, new)
    else:
        getattr(owner, name)[place] = new


def _key(before: ast.AST, after: ast.AST, path: Path) -> str:
    line = next((path[:i] for i in range(len(path), 0, -1) if isinstance(_at(after, path[:i]), ast.stmt)), ())
    new, old = (ast.unparse(_at(tree, line)).split("\n") for tree in (after, before))
    if isinstance(_at(after, line), ast.Pass):
        return f"without {old[0]}"
    return new[0] if new[0] != old[0] else f"{new[0]} without else"


def _edits(node: ast.AST) -> Iterator[ast.AST]:
    """Every replacement of `node` alone (its children are visited on their own)."""
    if isinstance(node, ast.BinOp):
        yield from (_with(node, op=other()) for other in _OPERATORS.get(type(node.op), ()))
        yield from (node.left, node.right)
    elif isinstance(node, ast.AugAssign):
        yield from (_with(node, op=other()) for other in _OPERATORS.get(type(node.op), ()))
        yield ast.Assign([node.target], node.value)
    elif isinstance(node, ast.BoolOp):
        yield from (_with(node, op=other()) for other in _OPERATORS[type(node.op)])
        yield from node.values
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            yield from (_with(node, ops=[*node.ops[:i], other(), *node.ops[i + 1 :]]) for other in _OPERATORS[type(op)])
    elif isinstance(node, ast.Constant):
        yield from (ast.Constant(value) for value in _constants(node.value))
    elif isinstance(node, ast.If):
        yield from (_with(node, test=test) for test in (ast.UnaryOp(ast.Not(), node.test), ast.Constant(True), ast.Constant(False)))
        if node.orelse:
            yield _with(node, orelse=[])
    elif isinstance(node, ast.While):
        yield from (_with(node, test=test) for test in (ast.UnaryOp(ast.Not(), node.test), ast.Constant(False)))
    elif isinstance(node, ast.IfExp):
        yield from (_with(node, test=ast.UnaryOp(ast.Not(), node.test)), node.body, node.orelse)
    elif isinstance(node, ast.Call):
        yield from _call_edits(node)
    elif isinstance(node, ast.Attribute):
        yield from (_with(node, attr=other) for other in _METHODS.get(node.attr, ()))
    elif isinstance(node, ast.Name):
        yield from (_with(node, id=other) for other in _METHODS.get(node.id, ()))
    elif isinstance(node, ast.Slice):
        yield from (_with(node, **{part: None}) for part in ("lower", "upper", "step") if getattr(node, part) is not None)
    elif isinstance(node, ast.comprehension):
        yield from (_with(node, ifs=[*node.ifs[:i], *node.ifs[i + 1 :]]) for i in range(len(node.ifs)))
    elif isinstance(node, ast.Break):
        yield ast.Continue()
    elif isinstance(node, ast.Continue):
        yield ast.Break()
    if isinstance(node, ast.stmt) and not isinstance(node, ast.FunctionDef | ast.Pass):
        yield ast.Pass()


def _other_parameters(tree: ast.FunctionDef, path: Path) -> Iterator[ast.AST]:
    """A parameter read where another stands; not inside an f-string, whose wording is mostly free."""
    node, names = _at(tree, path), [parameter.arg for parameter in tree.args.args]
    in_text = any(isinstance(_at(tree, path[:i]), ast.FormattedValue) for i in range(len(path)))
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names and not in_text:
        yield from (_with(node, id=other) for other in names if other != node.id)


def _call_edits(node: ast.Call) -> Iterator[ast.AST]:
    for i in range(len(node.args)):
        yield _with(node, args=[*node.args[:i], *node.args[i + 1 :]])
        if i:
            yield _with(node, args=[*node.args[: i - 1], node.args[i], node.args[i - 1], *node.args[i + 1 :]])
    for i in range(len(node.keywords)):
        yield _with(node, keywords=[*node.keywords[:i], *node.keywords[i + 1 :]])
    if isinstance(node.func, ast.Attribute):
        yield node.func.value  # the call dropped: x.mean() becomes x
    if len(node.args) == 1 and not isinstance(node.args[0], ast.Starred):
        yield node.args[0]  # float(x) becomes x


def _constants(value: object) -> tuple[Any, ...]:
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int | float):
        return (value + 1, value - 1, 0)
    if isinstance(value, str):
        return ("",) if value else ("x",)
    return ()


def _with(node: ast.AST, **fields: Any) -> ast.AST:
    return type(node)(**{**dict(ast.iter_fields(node)), **fields})


def main(names: list[str]) -> None:
    """Print a line an exercise (mutants, lived, named as equivalent), and below it those that lived unnamed."""
    total = [0, 0, 0]
    for item in [exercise(name).exercise for name in names] or exercises():
        count, lived = survivors(item)
        unnamed = [key for key in lived if key not in item.equivalent]
        named = len(lived) - len(unnamed)
        total = [a + b for a, b in zip(total, (count, len(lived), named))]
        print(f"{item.id:40} {count:4} mutants {len(lived):4} lived {named:4} of them equivalent", *unnamed, sep="\n    ")
    print(f"{'all':40} {total[0]:4} mutants {total[1]:4} lived {total[2]:4} of them equivalent")


if __name__ == "__main__":
    main(sys.argv[1:])
