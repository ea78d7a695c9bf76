"""Looking at a program without running it: which modules would it import? The syntax tree knows, a text search does not."""

import ast
import builtins
import dis
import re
from types import CodeType, FunctionType

from llmsuite_lab.course.exercises import Exercise, Mistake, Wrong
from llmsuite_lab.course.exercises.cases import Case, check_cases


def imports_of(program: str) -> set[str]:
    """The solution: walk the tree; "import a.b, c" gives a and c, "from d.e import f" gives d, "from . import g" nothing."""
    found = set()
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


def _names(nodes, of_alias=lambda alias: alias.name.split(".")[0], of_from=lambda node: [] if node.level else [node.module.split(".")[0]]):
    """What the import statements among `nodes` name; the two functions are where one can go wrong."""
    plain = {of_alias(alias) for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {name for node in nodes if isinstance(node, ast.ImportFrom) for name in of_from(node)}


def _tree(program):
    return list(ast.walk(ast.parse(program)))


def _by_line(program):
    return {line.split()[1].split(".")[0].strip(",") for line in program.splitlines() if line.startswith(("import ", "from "))}


def _by_pattern(program):
    return set(re.findall(r"(?:import|from)\s+(\w+)", program))


def _whole_names(program):
    return _names(_tree(program), of_alias=lambda alias: alias.name, of_from=lambda node: [] if node.level else [node.module])


def _first_of_each(program):
    nodes = [node for node in _tree(program) if isinstance(node, ast.Import | ast.ImportFrom)]
    return _names([type(node)(**{**vars(node), "names": node.names[:1]}) for node in nodes])


def _not_in_classes(program):
    blocks = (ast.Module, ast.If, ast.FunctionDef, ast.For, ast.While)
    return _names([child for node in _tree(program) if isinstance(node, blocks) for child in node.body])


def _runs_it(program):
    found = set()

    def note(name, *_):
        found.add(name.split(".")[0])
        return builtins

    FunctionType(compile(program, "<program>", "exec"), {"__builtins__": {**vars(builtins), "__import__": note}})()
    return found


def _runs_it_first(program):
    FunctionType(compile(program, "<program>", "exec"), {"__builtins__": builtins})()
    return imports_of(program)


def _counts_calls(program):
    calls = [node for node in _tree(program) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "__import__"]
    return imports_of(program) | {node.args[0].value for node in calls}


def _with_a_visitor(program):
    found = set()

    class Visitor(ast.NodeVisitor):
        def visit_Import(self, node):
            found.update(alias.name.partition(".")[0] for alias in node.names)

        def visit_ImportFrom(self, node):
            found.update(() if node.level else [node.module.partition(".")[0]])

    Visitor().visit(ast.parse(program))
    return found


def _by_recursion(program):
    def below(node):
        here = _names([node])
        return here.union(*(below(child) for child in ast.iter_child_nodes(node)))

    return below(ast.parse(program))


def _with_a_stack(program):
    nodes, found = [ast.parse(program)], set()
    while nodes:
        node = nodes.pop()
        nodes += ast.iter_child_nodes(node)
        match node:
            case ast.Import(names=names):
                found.update(alias.name[: (alias.name + ".").index(".")] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                found.add(re.match(r"[^.]+", module)[0])
    return frozenset(found)


def _from_bytecode(program):  # compiled, not run
    def below(code):
        steps = list(dis.get_instructions(code))
        here = {step.argval.split(".")[0] for before, step in zip(steps, steps[2:]) if step.opname == "IMPORT_NAME" and before.argval == 0}
        return here.union(*(below(inner) for inner in code.co_consts if isinstance(inner, CodeType)))

    return below(compile(program, "<program>", "exec"))


def _from_the_tree_as_text(program):
    lines = [ast.unparse(node) for node in _tree(program) if isinstance(node, ast.Import | ast.ImportFrom)]
    found = {name.split(".")[0].split()[0] for line in lines if line.startswith("import") for name in line[7:].split(", ")}
    return found | {line.split()[1].split(".")[0] for line in lines if line.startswith("from")} - {""}


def _by_type(program):
    found = []
    for node in ast.walk(ast.parse(program)):
        module, names = getattr(node, "module", None), [alias.name for alias in getattr(node, "names", []) if isinstance(alias, ast.alias)]
        found += names if type(node) is ast.Import else [module] if module and type(node) is ast.ImportFrom and not node.level else []
    return {name.partition(".")[0] for name in found}


_MARK = "_the_checked_program_ran"
_NESTED = """
class Shop:
    import decimal

    async def till(self):
        try:
            from collections.abc import Mapping
        except ImportError:
            import fallback.mapping
        else:
            import goods
        finally:
            import gc
        with open("x") as file:
            import csv
        while n: n -= 1
        else: import zlib
"""


def _cases() -> list[Case]:
    where = "The import statements count wherever they stand: the whole tree, not only its top."
    text = "Only import statements import; a text or a comment that talks about an import does not."
    relative = "A relative import names no top-level module."
    own = "`import a as b` imports a; the new name does not matter."
    source = "`from a.b import c` imports a, whatever is behind it."
    top = "The part before the first dot is the top-level module."
    return [
        Case(("import os.path, json",), {"os", "json"}, "This is the statement's example."),
        Case(("costs = 200 - 93",), set(), "A program without imports gives an empty set."),
        Case(("",), set(), "An empty program imports nothing."),
        Case(("import math\nanswer = math.pi",), {"math"}),
        Case((f"import builtins\nbuiltins.{_MARK} = True",), {"builtins"}),
        Case(("1 / 0\nimport no_such_module_anywhere",), {"no_such_module_anywhere"}, "Nothing is run, so nothing can fail."),
        Case(("note = 'bring goods from abroad, import tax included'\nanswer = 3",), set(), text),
        Case(("'''\nimport socket\n'''\n# import ssl\nimport math  # from stat import S_ISDIR",), {"math"}, text),
        Case(("n = 3\nif n > 5:\n    import socket\nanswer = 1",), {"socket"}, where),
        Case(("def never_called():\n    def inner():\n        from shutil import rmtree",), {"shutil"}, where),
        Case((_NESTED,), {"decimal", "collections", "fallback", "goods", "gc", "csv", "zlib"}, where),
        Case(("import importlib\nanswer = __import__('math').pi, importlib.import_module('csv')",), {"importlib"}, "A call is no `import` statement."),
        Case(("from datetime import date as d, time",), {"datetime"}, source),
        Case(("from xml.etree.ElementTree import *",), {"xml"}, source),
        Case(("import os.path",), {"os"}, top),
        Case(("import random, math",), {"random", "math"}, "One statement may name several modules."),
        Case(("import a.b.c as d",), {"a"}, top),
        Case(("import json as j, sys, csv as json2; import re",), {"json", "sys", "csv", "re"}, own),
        Case(("from . import local",), set(), relative),
        Case(("from .shop import till\nfrom ..market import stall\nimport math",), {"math"}, relative),
        Case(
            ("from os import (\n    path,\n    sep as separator,\n)\nimport  \\\n    random",),
            {"os", "random"},
            "White space does not matter.",
        ),
        Case(("import os\nimport os.path\nfrom os import sep",), {"os"}, "The result is a set: each name once."),
    ]


_MISTAKES = (
    Wrong(
        _by_pattern, "You search the text: a string that merely talks about an import is taken for one. Parse the program (`ast.parse`)."
    ),
    Wrong(_by_line, "You look at lines that begin with `import` or `from`. Parse the program (`ast.parse`) and look at its whole tree."),
    Wrong(
        lambda program: _names(ast.parse(program).body),
        "You look at the top of the tree only: an import may hide inside an `if` or a function (`ast.walk`).",
    ),
    Wrong(_not_in_classes, "You look into some kinds of block only: an import may hide in any (`ast.walk`)."),
    Wrong(lambda program: _names(_tree(program), of_from=lambda node: []), "You leave out `from a import b`, which imports a."),
    Wrong(
        lambda program: _names(_tree(program), of_alias=lambda alias: (alias.asname or alias.name).split(".")[0]),
        "You take the names that come behind `as`. The module's own name is asked for.",
    ),
    Wrong(
        lambda program: _names(_tree(program), of_from=lambda node: [alias.name for alias in node.names]),
        "`from datetime import date` imports the module datetime, whatever the names behind it.",
    ),
    Wrong(_whole_names, "`import os.path` brings in os: the part before the first dot decides."),
    Wrong(_first_of_each, "`import json, sys` imports two modules: `names` is a list."),
    Wrong(
        lambda program: _names(_tree(program), of_from=lambda node: [(node.module or "").split(".")[0]]),
        "`from . import a` has no module name (None): a relative import names no top-level module.",
    ),
    Wrong(
        lambda program: _names(_tree(program), of_from=lambda node: [node.module.split(".")[0]] if node.module else []),
        "`from .a import b` has level 1: a relative import names no top-level module.",
    ),
)


def _check(answer) -> None:
    def watched(program: str) -> object:
        try:
            return answer(program)
        finally:
            if hasattr(builtins, _MARK):
                delattr(builtins, _MARK)
                raise Mistake("Your function ran the program. Look at its tree (`ast.parse`): what you do not know must not run.")

    watched.__name__ = "imports_of"
    check_cases(watched, _cases(), _MISTAKES)


EXERCISE = Exercise(
    id="reasoning.imports_of",
    notebook="03_program_aided_language_models",
    title="look before you run",
    difficulty=3,
    minutes=20,
    statement=(
        "Before a model's program runs, you want to know what it would import. Write `imports_of(program)`: the set of top-level module names "
        "that the `import` statements of `program` (valid Python source) name, wherever they stand, without running any of it. A relative import "
        '(`from . import a`) names none. `"import os.path, json"` gives `{"os", "json"}`.'
    ),
    name="imports_of",
    starter="import ast\n\n\ndef imports_of(program: str) -> set[str]:\n    ...",
    check=_check,
    hints=(
        "`ast.parse(program)` gives the tree, `ast.walk(tree)` every node in it.",
        "Two kinds of node import: `ast.Import` with `.names`, and `ast.ImportFrom` with `.module` and `.level` (0 unless the import is relative).",
        '`alias.name.split(".")[0]` is the top-level module.',
    ),
    solution=imports_of,
    wrong=(
        *_MISTAKES,
        Wrong(_runs_it, "ran the program", shares_hint=True),
        Wrong(_runs_it_first, "ran the program", shares_hint=True),
        Wrong(_counts_calls, "A call is no `import` statement."),
    ),
    right=(_with_a_visitor, _by_recursion, _with_a_stack, _from_bytecode, _from_the_tree_as_text, _by_type),
)
