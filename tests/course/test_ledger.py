"""The ledger reads stored outputs, judges afresh, and reports what does not fit."""

import json

import nbformat
import pytest
from nbformat import v4
from typer.testing import CliRunner

from llmsuite_lab.course import cli, ledger, notebooks
from llmsuite_lab.course.claims import MIME, claim, claims


def stored(record):
    """A code cell whose output carries `record`."""
    return v4.new_code_cell("…", execution_count=1, outputs=[v4.new_output("display_data", data={"text/plain": "t", MIME: record})])


def put(folder, name, *records):
    """A notebook file with one cell per record."""
    nbformat.write(v4.new_notebook(cells=[stored(record) for record in records]), folder / f"{name}.ipynb")


def entry(folder, id):
    """The ledger's entry for `id`."""
    return next(e for e in ledger.collect(folder).entries if e["id"] == id)


@pytest.fixture
def good():
    return claim("limits.cutoff").measure(0.7, n=40, seeds=[0, 1], spread=(0.6, 0.8), control=0.75).record()


def test_entries_carry_the_handle_s_keys(tmp_path, good):
    put(tmp_path, "00_start_here", good)
    assert entry(tmp_path, "limits.cutoff") == {
        "id": "limits.cutoff", "section": "course", "verdict": "reproduced", "value": 0.7, "paper": claim("limits.cutoff").paper,
        "n": 40, "seeds": [0, 1], "spread": [0.6, 0.8], "margin": None, "notebook": "00_start_here",
        "control": {"what": claim("limits.cutoff").control_criterion, "value": 0.75, "holds": True},
    }  # fmt: skip
    book = ledger.collect(tmp_path)
    assert [e["id"] for e in book.entries] == list(claims())
    assert book.problems == []
    assert {e["verdict"] for e in book.entries if e["id"] != "limits.cutoff"} == {"not measured yet"}


def test_verdict_is_computed_never_read(tmp_path, good):
    put(tmp_path, "00_start_here", {**good, "value": 0.3, "spread": [0.2, 0.4]})
    assert entry(tmp_path, "limits.cutoff")["verdict"] == "not reproduced"
    assert "stored as 'reproduced', but value and criterion say 'not reproduced'" in ledger.collect(tmp_path).problems[0]


def test_its_own_notebook_and_the_last_cell_count(tmp_path, good):
    put(tmp_path, "00_start_here", good, {**good, "n": 41})
    put(tmp_path, "14_the_paper_measured", {**good, "n": 99})
    assert entry(tmp_path, "limits.cutoff")["n"] == 41


@pytest.mark.parametrize(
    ("change", "said"),
    [({"id": "no.such"}, "no row of claims.toml"), ({"value": "nan"}, "cannot be judged"), ({"spread": None}, "cannot be judged")],
)
def test_what_cannot_be_taken_is_reported(tmp_path, good, change, said):
    put(tmp_path, "00_start_here", {**good, **change})
    assert said in ledger.collect(tmp_path).problems[0]
    assert entry(tmp_path, "limits.cutoff")["verdict"] == "not measured yet"


def test_command_prints_a_list_and_keeps_problems_apart(tmp_path, good, monkeypatch):
    put(tmp_path, "00_start_here", {**good, "id": "no.such"}, good)
    monkeypatch.setattr(notebooks, "folder", lambda: tmp_path)
    done = CliRunner().invoke(cli.app, ["claims", "--json"])
    assert [e["id"] for e in json.loads(done.stdout)] == list(claims())
    assert "no.such" in done.stderr
    text = CliRunner().invoke(cli.app, ["claims"]).stdout
    assert "limits.cutoff            reproduced" in text
    assert "not measured yet" in text
