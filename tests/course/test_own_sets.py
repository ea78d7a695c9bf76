"""In notebooks 02 to 05 one name takes a question set or corpus of one's own, and what draws or asks anything that it changes is given it."""

import ast
import json

import pytest

from llmsuite_lab.core.paths import repo_dir

# by notebook: figures that are drawn from what was measured on the set, and the functions that load the course's own set, with how often they stand:
# where the course's world is what is explained or what a claim was judged on
NOTEBOOKS = {
    "02_retrieval_augmented_generation": ({"accuracy", "outcomes", "abstention", "attacked", "rankings", "readers"}, {"handbook.load": 1}),
    "03_program_aided_language_models": ({"by_size", "by_steps", "equation_truth", "tuned_or_not", "seen_and_unseen"}, {"word_problems.load": 1}),
    "04_react_agents": ({"dots_by_kind", "draw_cost", "draw_confusion"}, {"load_almanac": 1, "load_questions": 3, "load_claims": 0}),
    "05_langchain_applications": ({"routing_table", "assistant_graph", "run_tree"}, {"handbook.load": 0, "load_questions": 0}),
}
# what would still speak of the course's own set, were it not told that it is another: by notebook, function and argument
TOLD = [
    ("02_retrieval_augmented_generation", "figures.accuracy", "own"),
    ("02_retrieval_augmented_generation", "figures.abstention", "own"),
    ("05_langchain_applications", "routing.Router.trained", "own"),
    ("05_langchain_applications", "routing.held_out_questions", "own"),
]


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
