"""What a notebook shows of the package, a claim's row, an exercise's statement, a function's source, is what the package holds now.

An edit after the run is seen here, in seconds, and not only when the notebooks are run under nbval.
"""

import ast
import importlib

import pytest
from nbformat import v4

from llmsuite_lab.course import notebooks
from llmsuite_lab.course.claims import claim
from llmsuite_lab.course.exercises import exercise
from llmsuite_lab.course.source import show


def named(title):
    """The object that the first line of a stored source names: "llmsuite_lab.core.values.stated, llmsuite_lab/core/values.py"."""
    path = title.strip("*").split(",")[0].split(".")
    for cut in range(len(path), 0, -1):
        try:
            found = importlib.import_module(".".join(path[:cut]))
        except ImportError:
            continue
        for part in path[cut:]:
            found = getattr(found, part)
        return found
    raise LookupError(title)


def present(source, stored):
    """The Markdown that the cell would show now, or None for a cell of another kind than `claim("…")`, `exercise("…")` and `show(…)`."""
    try:
        (line,) = ast.parse(source).body
        call = line.value
        kind, given = call.func.id, [ast.literal_eval(argument) for argument in call.args[1 if call.func.id == "show" else 0 :]]
        options = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (AttributeError, SyntaxError, TypeError, ValueError):
        return None
    if kind in ("claim", "exercise"):
        return {"claim": claim, "exercise": exercise}[kind](*given)._repr_markdown_()
    if kind != "show":
        return None
    try:
        return show(named((stored or "").split("\n")[0]), *given, **options)._repr_mimebundle_()["text/markdown"]
    except (AttributeError, LookupError, ValueError) as error:
        return f"no longer there: {error}"


def stale(notebook):
    """The cells whose stored text is not the present one."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            stored = next((output.data["text/markdown"] for output in cell.outputs if "text/markdown" in output.get("data", {})), None)
            now = present(cell.source, stored)
            found += [cell.source] if now is not None and now != stored else []
    return found


@pytest.mark.parametrize("name", notebooks.names())
def test_every_notebook_shows_the_package_as_it_stands(name):
    cells = stale(notebooks.read(name))
    assert not cells, f"{name} shows what was edited since it ran ({'; '.join(cells)}): run `llmsuite notebooks {name[:2]}`"


def test_each_kind_is_met_and_an_edit_is_seen():
    kinds = [cell.source.split("(")[0] for name in notebooks.names() for cell in notebooks.read(name).cells if cell.cell_type == "code"]
    assert all(kinds.count(kind) > 10 for kind in ("claim", "exercise", "show"))
    source = "show(stale, lines=2)"
    for source, text in (
        ('claim("limits.cutoff")', claim("limits.cutoff")._repr_markdown_()),
        ("exercise('course.exact_match')", exercise("course.exact_match")._repr_markdown_()),
        ("show(anything, lines=(1, 2))", show(show, lines=(1, 2))._repr_mimebundle_()["text/markdown"]),
        ("show(notebooks.names, 2, doc=False)", show(notebooks.names, 2, doc=False)._repr_mimebundle_()["text/markdown"]),
    ):
        cell = v4.new_code_cell(source, execution_count=1, outputs=[v4.new_output("execute_result", execution_count=1)])
        for stored, found in ((text, []), (text[:-1], [source]), (None, [source])):
            cell.outputs[0].data = {"text/plain": "t"} | ({} if stored is None else {"text/markdown": stored})
            assert stale(v4.new_notebook(cells=[cell])) == found
    cell.source = "2 + 2\nclaim('x')"
    assert stale(v4.new_notebook(cells=[cell])) == []
