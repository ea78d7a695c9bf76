"""In notebooks 02 to 05 one name takes a question set or corpus of one's own, and what draws or asks anything that it changes is given it. Then they
run from top to bottom on documents, problems and pages that are not the course's."""

import ast
import json
import re

import pytest

from llmsuite_lab.core.paths import repo_dir
from llmsuite_lab.course.execution import execute, read_notebook

# by notebook: figures that are drawn from what was measured on the set, and the functions that load the course's own set, with how often they stand:
# where the course's world is what is explained or what a claim was judged on
NOTEBOOKS = {
    "02_retrieval_augmented_generation": ({"accuracy", "outcomes", "abstention", "attacked", "rankings", "readers"}, {"handbook.load": 1}),
    "03_program_aided_language_models": ({"by_size", "by_steps", "equation_truth", "tuned_or_not", "seen_and_unseen"}, {"word_problems.load": 1}),
    "04_react_agents": ({"dots_by_kind", "draw_cost", "draw_confusion"}, {"load_almanac": 1, "load_questions": 3, "load_claims": 0}),
    "05_langchain_applications": ({"routing_table", "assistant_graph", "run_tree"}, {"handbook.load": 0, "load_questions": 0}),
}
SAME = {"assistant_graph"}  # its states are those of the code, whatever the documents say
# what would still speak of the course's own set, were it not told that it is another: by notebook, function and argument
TOLD = [
    ("02_retrieval_augmented_generation", "figures.accuracy", "own"),
    ("02_retrieval_augmented_generation", "figures.abstention", "own"),
    ("05_langchain_applications", "routing.Router.trained", "own"),
    ("05_langchain_applications", "routing.held_out_questions", "own"),
    ("05_langchain_applications", "assistant.Assistant", "documents"),
]

LIMIT_S = 600  # of one cell: one thread, beside another test
DOCUMENT = """# The ferry Halda

The ferry Halda sails from Brum to Wick at 07:40 every weekday. A ticket costs 14 crowns. Bicycles travel free of charge.

## Crew

The captain of the Halda is Ada Holt. She has a crew of 9 people.

# The mill at Tave

The mill at Tave was built in 1790. It grinds 3 tons of rye a day. The miller is Jon Berg.

## Visits

The mill is open to visitors on Saturdays from 10:00 to 16:00. A visit costs 6 crowns.

# The library

The library of Wick lends 5 books at a time for 28 days. A lost card costs 4 crowns. It is closed on Mondays.
"""
QUESTIONS = {
    "When does the ferry Halda sail from Brum?": "07:40",
    "What does a ticket for the ferry Halda cost?": "14 crowns",
    "Who is the captain of the Halda?": "Ada Holt",
    "When was the mill at Tave built?": "1790",
    "How many books does the library of Wick lend at a time?": "5 books",
    "On which day is the library closed?": "Mondays",
    "How fast is the ferry Halda?": None,
    "Who built the mill at Tave?": None,
    "How many books does the library own?": None,
}
PROBLEMS = {
    "A crate holds 12 jars. How many jars are in 7 crates?": 84,
    "Ben has 140 pears and sells 15. How many are left?": 125,
    "A coat costs 120.50 crowns and a hat 30 crowns. What do both cost?": 150.5,
    "Ann reads 14 pages a day. How many pages does she read in a week?": 98,
    "A farm has 2300 hens and buys 1450 more. How many are there?": 3750,
}
CLAIMS = {
    "The mill at Tave was built in 1790.": "supports",
    "The ferry Halda sails to Rome.": "refutes",
    "The library owns 900 books.": "not enough info",
}
OWN = {"02": ("my-notes", "my-questions.jsonl"), "03": "my-problems.jsonl", "04": "my-pages", "05": ("my-notes", "my-questions.jsonl")}


def code(name: str) -> ast.Module:
    """The notebook's cells as one program."""
    cells = json.loads((repo_dir() / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return ast.parse("\n".join(source for source in sources if "%pip" not in source))


def calls(program: ast.Module) -> list[tuple[str, ast.Call]]:
    """Every call with its name as it is written."""
    return [(ast.unparse(node.func), node) for node in ast.walk(program) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_one_name_is_all_that_is_changed(name):
    program = code(name)
    given = [node for node in ast.walk(program) if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "OWN"]
    assert len(given) == 1
    assert not ast.literal_eval(given[0].value), "the course's own set is what stands in the repository"
    loaded = [called for called, node in calls(program) if called.startswith("own_") and any("OWN" in ast.unparse(argument) for argument in node.args)]
    assert loaded


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_figure_that_it_changes_is_given_what_was_measured(name):
    drawn, own = NOTEBOOKS[name]
    found = calls(code(name))
    figures = [(called, node) for called, node in found if called.partition("figures.")[2] in drawn]
    assert {called.partition("figures.")[2] for called, _ in figures} == drawn
    assert not [called for called, node in figures if not node.args]
    assert {loader: sum(called == loader for called, _ in found) for loader in own} == own


@pytest.mark.parametrize(("name", "function", "argument"), TOLD)
def test_what_names_or_asks_the_courses_own_set_is_told_of_another(name, function, argument):
    program = code(name)
    values = {ast.unparse(node.targets[0]): ast.unparse(node.value) for node in ast.walk(program) if isinstance(node, ast.Assign)}
    given = [{kw.arg: ast.unparse(kw.value) for kw in node.keywords}.get(argument, "") for called, node in calls(program) if called == function]
    assert given
    assert all("OWN" in values.get(value, value) for value in given)


def test_the_assistant_of_05_is_asked_what_the_book_holds():
    asked = [node for called, node in calls(code("05_langchain_applications")) if called == "desk.ask"]
    assert len(asked) == 5
    assert not [node for node in asked if isinstance(node.args[0], ast.Constant)], "a question typed here would be about the course's handbook"


def write(folder):
    """The sets in the forms that the README names."""
    for name in ("my-notes", "my-pages"):
        (folder / name).mkdir()
        (folder / name / "boat.md").write_text(DOCUMENT, encoding="utf-8")
    for file, key, value, rows in (
        ("my-questions.jsonl", "question", "answer", QUESTIONS),
        ("my-problems.jsonl", "question", "answer", PROBLEMS),
        ("my-pages/questions.jsonl", "question", "answer", {q: a for q, a in QUESTIONS.items() if a}),
        ("my-pages/claims.jsonl", "claim", "label", CLAIMS),
    ):
        (folder / file).write_text("".join(json.dumps({key: a, value: b}) + "\n" for a, b in rows.items()), encoding="utf-8")


def pictures(cell):
    """The images of a cell, as they are stored."""
    return [out["data"]["image/png"] for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]


def draws(cell, module):
    """The functions of `module` that the cell's code calls."""
    calls = [node.func for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]
    return {ast.unparse(func).removeprefix(f"{module}.") for func in calls if ast.unparse(func).startswith(f"{module}.")}


@pytest.mark.real_model
@pytest.mark.slow
@pytest.mark.timeout(1200)  # two minutes alone on one thread
@pytest.mark.parametrize("number", OWN)
def test_a_notebook_runs_on_a_set_of_ones_own_and_its_figures_follow(number, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMSUITE_PROFILE", "cpu")
    (path,) = (repo_dir() / "notebooks").glob(f"{number}_*.ipynb")
    book = read_notebook(path)
    stored = {cell.id: pictures(cell) for cell in book.cells if cell.cell_type == "code"}
    (given,) = [cell for cell in book.cells if cell.cell_type == "code" and re.search(r"^OWN = ", cell.source, re.M)]
    given.source = re.sub(r"^OWN = .*$", f"OWN = {OWN[number]!r}", given.source, flags=re.M)
    write(tmp_path)
    ran = execute(tmp_path / path.name, book, LIMIT_S).notebook
    follow, same = set(), 0
    for cell in ran.cells:
        if cell.cell_type != "code" or not stored[cell.id]:
            continue
        drawn = draws(cell, "figures") & NOTEBOOKS[path.stem][0] - SAME
        if drawn:
            assert pictures(cell), f"{cell.id} draws nothing"
            assert not set(pictures(cell)) & set(stored[cell.id]), f"{cell.id}: the figure of the course's own set"
            follow |= drawn
        elif draws(cell, "concepts"):
            same += pictures(cell) == stored[cell.id]
    assert follow == NOTEBOOKS[path.stem][0] - SAME
    assert same, "no picture of an idea is as it was stored: a difference says nothing"
