"""Every exercise: the solution passes, the stub counts as not attempted, each wrong answer fails with the hint it must draw."""

import importlib.util
from collections import Counter
from pathlib import Path

import nbformat
import pytest

from llmsuite_lab.core.paths import repo_dir
from llmsuite_lab.course.exercises import Exercise, Task, exercise, exercises
from llmsuite_lab.course.exercises.mutants import survivors

ALL = exercises()
by_id = pytest.mark.parametrize("item", ALL, ids=lambda item: item.id)
strict_by_id = pytest.mark.parametrize("item", [item for item in ALL if item.right], ids=lambda item: item.id)


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


@strict_by_id
def test_right_answers_in_unusual_form_pass(item):
    assert len(item.right) >= 6
    for answer in item.right:
        report = Task(item).check(answer)
        assert report.passed, f"{answer.__name__}: {report.message}"


@strict_by_id
def test_no_mutant_of_the_solution_passes_but_those_named_equivalent(item):
    count, lived = survivors(item)
    print(f"{item.id}: {count} mutants, {len(lived)} lived, {len(item.equivalent)} named as equivalent")
    assert count > 3
    assert sorted(set(lived)) == sorted(item.equivalent), "lived, and those named as equivalent in the exercise's file"
    assert all(reason.strip() for reason in item.equivalent.values())


@by_id
def test_is_complete(item):
    assert len(item.wrong) >= 3
    assert len(item.hints) >= 2
    assert all(text.strip() for text in (item.title, item.statement, item.name, item.starter, *item.hints, *(w.hint for w in item.wrong)))
    assert item.name in item.starter
    assert item.solution.__doc__, "the solution is shown to the reader: it needs a docstring"
    assert "def " in repr(Task(item).solution()._repr_mimebundle_()) or "class " in repr(Task(item).solution()._repr_mimebundle_())


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
