"""Looking at a program without running it: which modules would it import? The syntax tree knows, a text search does not."""

import ast
import re

from llmsuite_lab.course.exercises import Exercise, Mistake, Wrong, expect


def imports_of(program: str) -> set[str]:
    """The solution: walk the tree; "import a.b, c" gives a and c, "from d.e import f" gives d."""
    found = set()
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def _by_line(program):
    return {line.split()[1].split(".")[0].strip(",") for line in program.splitlines() if line.startswith(("import ", "from "))}


def _by_pattern(program):
    return set(re.findall(r"(?:import|from)\s+(\w+)", program))


def _top_of_the_file(program):
    found = set()
    for node in ast.parse(program).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


def _no_from(program):
    return {alias.name.split(".")[0] for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Import) for alias in node.names}


def _whole_names(program):
    found = set()
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def _new_names(program):
    found = set()
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return found


def _check(answer) -> None:
    expect(set(answer("answer = 200 - 93")) == set(), "A program without imports gives an empty set.")
    expect(set(answer("import math\nanswer = math.pi")) == {"math"}, "'import math' imports math.")
    quoted = set(answer("note = 'bring goods from abroad, import tax included'\nanswer = 3"))
    if quoted:
        raise Mistake(
            "A string that merely talks about an import was taken for one. Parse the program (`ast.parse`), do not search its text."
        )
    expect(
        set(answer("if True:\n    import socket\nanswer = 1")) == {"socket"},
        "An import may hide inside an if or a function: look at the whole tree, not only at its top.",
    )
    expect(
        set(answer("from datetime import date as d")) == {"datetime"},
        "'from datetime import date' imports the module datetime, whatever the names behind it.",
    )
    expect(set(answer("import os.path")) == {"os"}, "'import os.path' brings in os: the part before the first dot decides.")
    expect(set(answer("import json as j, sys")) == {"json", "sys"}, "'import json as j, sys' imports two modules, by their own names.")


EXERCISE = Exercise(
    id="reasoning.imports_of",
    notebook="03_program_aided_language_models",
    title="look before you run",
    statement=(
        "Before a model's program runs, you want to know what it would import. Write `imports_of(program)`: the set of top-level module names in `program` "
        '(Python source), without running any of it. `"import os.path, json"` gives `{"os", "json"}`.'
    ),
    name="imports_of",
    starter="import ast\n\n\ndef imports_of(program: str) -> set[str]:\n    ...",
    check=_check,
    hints=(
        "`ast.parse(program)` gives the tree, `ast.walk(tree)` every node in it.",
        "Two kinds of node import: `ast.Import` with `.names`, and `ast.ImportFrom` with `.module`.",
        '`alias.name.split(".")[0]` is the top-level module.',
    ),
    solution=imports_of,
    wrong=(
        Wrong(_by_pattern, "merely talks about an import"),
        Wrong(_by_line, "hide inside an if or a function"),
        Wrong(_top_of_the_file, "hide inside an if or a function", shares_hint=True),
        Wrong(_no_from, "imports the module datetime"),
        Wrong(_new_names, "imports the module datetime", shares_hint=True),
        Wrong(_whole_names, "the part before the first dot"),
    ),
)
