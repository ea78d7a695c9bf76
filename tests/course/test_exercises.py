"""Every exercise: the solution and right answers in unusual form pass, the stub counts as not attempted, each wrong answer fails with the hint
it must draw, and no mutant of the solution passes unless it is named as equivalent. `pytest -s -k mutant` prints how many there are."""

import ast
import importlib.util
import re
from collections import Counter
from dataclasses import fields
from pathlib import Path

import nbformat
import pytest

from llmsuite_lab.core.paths import repo_dir
from llmsuite_lab.course.exercises import Exercise, Task, exercise, exercise_line, exercises
from llmsuite_lab.course.exercises.mutants import survivors
from llmsuite_lab.course.exercises.values import agrees

ALL = exercises()
by_id = pytest.mark.parametrize("item", ALL, ids=lambda item: item.id)


def _stub(item: Exercise, folder: Path):
    file = folder / "stub.py"
    file.write_text(item.starter + "\n", encoding="utf-8")
    spec = importlib.util.spec_from_file_location("stub", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, item.name)


@by_id
def test_solution_passes(item):
    assert repr(Task(item).check(item.solution)).startswith(f"{item.id}: passed")


@by_id
def test_stub_is_not_attempted(item, tmp_path):
    assert Task(item).check(_stub(item, tmp_path)).status == "not attempted"


@by_id
def test_each_wrong_answer_draws_its_hint(item):
    drawn = []
    for wrong in item.wrong:
        report = Task(item).check(wrong.answer)
        assert report.status == "not yet", f"{wrong.answer} was taken as {report.status}"
        assert wrong.hint in report.message, f"{wrong.answer} drew {report.message!r}, not {wrong.hint!r}"
        drawn += [] if wrong.shares_hint else [report.message]
    doubled = [message for message, count in Counter(drawn).items() if count > 1]
    assert not doubled, f"two wrong answers draw the same hint, say shares_hint=True if meant: {doubled}"


@by_id
def test_right_answers_in_unusual_form_pass(item):
    assert len(item.right) >= 6
    for answer in item.right:
        report = Task(item).check(answer)
        assert report.passed, f"{answer.__name__}: {report.message}"


@by_id
def test_no_mutant_of_the_solution_passes_but_those_named_equivalent(item):
    count, lived = survivors(item)
    print(f"{item.id}: {count} mutants, {len(lived)} lived, {len(item.equivalent)} named as equivalent")
    assert count > 3
    assert sorted(set(lived)) == sorted(item.equivalent), "lived, and those named as equivalent in the exercise's file"
    assert all(reason.strip() for reason in item.equivalent.values())


@by_id
def test_an_answer_that_is_none_of_a_functions_kind_is_refused_in_a_sentence(item):
    def prints(*args, **kwargs):
        print(end="")

    for answer in (
        3,
        "def",
        [item.solution],
        item.solution.__code__,
        lambda: 3,
        lambda a, b, c, d, e, f: 3,
        prints,
        lambda *args: object(),
    ):
        report = Task(item).check(answer)
        assert report.status == "not yet"
        assert len(report.message) > 20


EXAMPLE = re.compile(r"`(\w+)(\([^`]*\))` (?:is|gives) `([^`]+)`")


def test_examples_in_the_statements_are_true():
    found = 0
    for item in ALL:
        for name, call, value in EXAMPLE.findall(item.statement):
            try:
                args, want = ast.literal_eval(f"[{call[1:-1]}]"), ast.literal_eval(value)
            except (ValueError, SyntaxError):  # an example with names in it, such as compose(add, double)
                continue
            assert name == item.name
            assert agrees(item.solution(*args), want), f"{item.id}: {name}{call}"
            found += 1
    assert found >= 4


@by_id
def test_is_complete(item):
    assert len(item.wrong) >= 3
    assert len(item.hints) >= 2
    assert all(text.strip() for text in (item.title, item.statement, item.name, item.starter, *item.hints, *(w.hint for w in item.wrong)))
    assert item.name in item.starter
    assert item.solution.__doc__, "the solution is shown to the reader: it needs a docstring"
    assert "def " in repr(Task(item).solution()._repr_mimebundle_()) or "class " in repr(Task(item).solution()._repr_mimebundle_())


@by_id
def test_says_how_hard_it_is_and_how_long_it_takes(item):
    assert item.difficulty in range(1, 6)
    assert 5 <= item.minutes <= 90
    assert f"(difficulty {item.difficulty} of 5, about {item.minutes} min)" in Task(item)._repr_markdown_()


def test_a_difficulty_outside_its_range_is_refused():
    given = {field.name: getattr(ALL[0], field.name) for field in fields(ALL[0])}
    for wrong in ({"difficulty": 0}, {"difficulty": 6}, {"minutes": 0}):
        with pytest.raises(ValueError, match="must be"):
            Exercise(**(given | wrong))
    assert exercise_line(None, None) == ""


def test_a_cell_that_goes_on_takes_the_answer_where_it_passes_and_the_solution_elsewhere(capsys):
    task = exercise("transformer.split_heads")
    mine = lambda x, n_heads: x.unflatten(-1, (n_heads, -1)).transpose(1, 2)  # noqa: E731
    assert task.working(mine) is mine
    assert task.working(lambda x, n_heads: x) is task.exercise.solution
    assert task.working(...) is task.exercise.solution
    assert capsys.readouterr().out.splitlines() == ["split_heads: yours", *["split_heads: the solution (yours does not pass yet)"] * 2]


def test_ids_are_unique_and_name_their_file():
    assert len({item.id for item in ALL}) == len(ALL) >= 3
    assert all(exercise(item.id).exercise is item for item in ALL)


@by_id
def test_notebook_poses_it_with_the_same_stub(item):
    path = repo_dir() / "notebooks" / f"{item.notebook}.ipynb"
    if not path.is_file():
        pytest.skip(f"{item.notebook} is not written yet")
    sources = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert any(source.strip() == item.starter.strip() for source in sources), (
        f"{path.name} has no stub cell equal to the starter of {item.id}"
    )
    assert any(f'exercise("{item.id}").check({item.name})' in source for source in sources)
