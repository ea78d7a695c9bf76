"""Cells that wait in tools/drafts fit the notebooks that they are for, and are put where they say."""

import ast
import importlib.util

import nbformat
import pytest

from llmsuite_lab.core.paths import repo_dir

DRAFTS = repo_dir() / "tools" / "drafts"
WAITING = sorted(DRAFTS.glob("cells_*.txt"))


@pytest.fixture(scope="module")
def insert():
    spec = importlib.util.spec_from_file_location("insert", DRAFTS / "insert.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("draft", WAITING, ids=lambda path: path.stem)
def test_waiting_cells_find_their_place_and_are_python(insert, draft):
    book = nbformat.read(next((repo_dir() / "notebooks").glob(f"{draft.stem[-2:]}_*.ipynb")), as_version=4)
    before, text = [cell.id for cell in book.cells], draft.read_text(encoding="utf-8")
    replaced = sum(where == "instead" for where, _, _ in insert.groups(text))
    insert.put_in(book, text)
    nbformat.validate(book)
    kept = [cell.id for cell in book.cells if cell.id in set(before)]
    assert len(kept) == len(before) - replaced
    assert kept == [name for name in before if name in set(kept)], "what was there stays, in its order"
    for _, _, cells in insert.groups(text):
        for kind, _, source in cells:
            if kind == "code":
                ast.parse(source)


def test_a_place_that_is_nowhere_or_twice_is_refused(insert):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text) for text in ("one", "two", "two more")])
    for beginning, count in (("three", 0), ("two", 2)):
        with pytest.raises(ValueError, match=f"{count} cells begin"):
            insert.put_in(book, f"=== after {beginning}\n=== md\nnew\n")
    insert.put_in(book, "=== instead one\n=== code tag\nx = 1\n=== after two more\n=== md\nnew\n")
    assert [cell.source for cell in book.cells] == ["x = 1", "two", "two more", "new"]
    assert book.cells[0].metadata.tags == ["tag"]
