"""The hardening of nbval, on small bad notebooks: one pytest run over all of them, each notebook one kernel."""

import subprocess
import sys
import xml.etree.ElementTree as ET

import nbformat
import pytest
from nbformat import v4

from llmsuite_lab.course.claims import MIME
from llmsuite_lab.course.nbval_plugin import Tolerant

pytest.importorskip("nbval", reason="nbval is not installed")


def code(source, *outputs, tags=(), run=True):
    """A code cell with stored outputs."""
    return v4.new_code_cell(
        source, outputs=list(outputs), execution_count=1 if run else None, metadata={"tags": list(tags)} if tags else {}
    )


def out(text):
    """A stored print."""
    return v4.new_output("stream", name="stdout", text=text + "\n")


def result(**data):
    """A stored result of several MIME types, underscores standing for the dash and slash."""
    return v4.new_output("execute_result", data=data, execution_count=1)


def error(name, value):
    """A stored exception."""
    return v4.new_output("error", ename=name, evalue=value, traceback=[])


CLAIM = 'from llmsuite_lab.course.claims import claim\nclaim("pal.loop").measure(%s, n=1, seeds=[0], control=61)'
FIGURE = 'from IPython.display import display\ndisplay({"image/svg+xml": "<svg>%s</svg>", "text/plain": "a figure"}, raw=True)'

# group → cells; the outcome each cell must have stands beside it: P passed, F failed, S skipped
GROUPS = {
    "compare": [
        ("P", code("print('same')", out("same"))),
        ("F", code("print('new')", out("old"))),
        ("P", code("print('after a difference the rest still runs')", out("after a difference the rest still runs"))),
        ("P", code("1 + 1;")),
        ("F", code("1 + 1", out("3"))),
        ("P", code("print('noise')", out("other"), tags=["nbval-ignore-output"])),
        ("F", code("print('x')", out("x"), tags=["nbval-ignore-outputs"])),
        ("P", code("import sys; print('careful', file=sys.stderr)")),
        ("P", code("print(object())", out("<object object at 0xADDRESS>"))),
        ("P", code("print('took 12.5 ms')", out("took 900 ms"))),
        ("P", code(FIGURE % "new", v4.new_output("display_data", data={"image/svg+xml": "<svg>old</svg>", "text/plain": "a figure"}))),
    ],
    "numbers": [
        ("P", code("print('loss 1.2345 after 20 steps')", out("loss 1.2350 after 20 steps"), tags=["nbval-tol-1e-3"])),
        ("F", code("print('loss 1.2345 after 20 steps')", out("loss 1.2445 after 20 steps"), tags=["nbval-tol-1e-3"])),
        ("F", code("print('loss 1.2345 after 20 steps')", out("gain 1.2345 after 20 steps"), tags=["nbval-tol-1e-3"])),
        ("F", code("print('off by 0.0001')", out("off by 0.0002"), tags=["nbval-tol-1e-3"])),
        ("P", code("print('off by 0.0001')", out("off by 0.0002"), tags=["nbval-atol-1e-3"])),
        ("F", code("print(5)", out("6"), tags=["nbval-tol-1e-2", "nbval-atol-1e-3"])),
        ("F", code("print(1.0, 2.0)", out("1.0"), tags=["nbval-tol-1e-2"])),
    ],
    "unrun": [
        ("F", code("print('never run')", run=False)),
        ("P", code("# only a comment", run=False)),
        ("S", code("never_run_by_the_tests()", run=False, tags=["nbval-skip"])),
    ],
    "exceptions": [
        ("P", code("1 / 0", error("ZeroDivisionError", "division by zero"), tags=["raises-exception"])),
        ("F", code("'it raised once'; None", error("ValueError", "once"), tags=["raises-exception", "nbval-ignore-output"])),
        ("F", code("1 / 0", tags=["raises-exception"])),
    ],
    "cascade": [
        ("P", code("a = 1")),
        ("F", code("b = a / 0")),
        ("S", code("b + 1", out("2"))),
        ("S", code("b + 2", out("3"))),
    ],
    "killed": [
        ("F", code("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")),
        ("S", code("print('unreached')", out("unreached"))),
    ],
    "endless": [
        ("F", code("while True:\n    try:\n        while True: print('x' * 50_000)\n    except KeyboardInterrupt:\n        continue")),
        ("S", code("print('unreached')", out("unreached"))),
    ],
    "claims": [
        ("P", code(CLAIM % 74, result(**{"text/plain": "pal.loop: reproduced (n = 1)", "text/html": "<b>other figures</b>", MIME: {"value": 1}}))),
        ("F", code(CLAIM % 73, result(**{"text/plain": "pal.loop: reproduced (n = 1)", "text/html": "<b>x</b>", MIME: {"value": 74}}))),
    ],
}  # fmt: skip


MALFORMED = {"not_json": "{", "no_notebook": "[1]", "no_cells": '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}'}
SHARED = [name for name in GROUPS if name not in ("cascade", "killed", "endless")]  # one kernel for all groups that leave it whole


def _notebooks():
    """{notebook: [(group, number in the group, cell)]}."""
    books = {"shared": [(group, number, cell) for group in SHARED for number, (_, cell) in enumerate(GROUPS[group])]}
    return books | {
        group: [(group, number, cell) for number, (_, cell) in enumerate(GROUPS[group])] for group in GROUPS if group not in SHARED
    }


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """{(group, cell number): (outcome, what pytest said, seconds)} of one run over all notebooks."""
    folder = tmp_path_factory.mktemp("bad_notebooks")
    books = _notebooks()
    for name, cells in books.items():
        nbformat.write(v4.new_notebook(cells=[cell for _, _, cell in cells]), folder / f"{name}.ipynb")
    for name, text in MALFORMED.items():
        (folder / f"{name}.ipynb").write_text(text, encoding="utf-8")
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-p", "llmsuite_lab.course.nbval_plugin", "--nbval", "-p", "no:cacheprovider", "-q"]
    command += ["--rootdir", str(folder), "-c", "/dev/null", f"--junitxml={report}", "--nbval-cell-timeout=60", "--continue-on-collection-errors", "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert report.is_file(), done.stdout + done.stderr
    found = {"said": done.stdout}
    for case in ET.parse(report).getroot().iter("testcase"):
        bad = [child for child in case if child.tag in ("failure", "error", "skipped")]
        if not case.get("name").split()[-1].isdigit():  # a file that could not be collected
            continue
        letter = "P" if not bad else "S" if bad[0].tag == "skipped" else "F"
        group, number, _ = books[case.get("classname").removesuffix(".ipynb")][int(case.get("name").split()[-1])]
        found[group, number] = (letter, " ".join(f"{b.get('message')} {b.text}" for b in bad), float(case.get("time")))
    return found


@pytest.mark.parametrize("name", GROUPS)
def test_each_cell_ends_as_it_must(outcomes, name):
    wanted = "".join(letter for letter, _ in GROUPS[name])
    mine = {key: value for key, value in outcomes.items() if key[0] == name}
    assert "".join(mine[key][0] for key in sorted(mine)) == wanted, mine


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (("unrun", 0), "never run"),
        (("exceptions", 1), "no longer raises"),
        (("exceptions", 2), "stored run raised nothing"),
        (("cascade", 2), "Cell 1 of this notebook broke"),
        (("killed", 0), "kernel died"),
        (("endless", 0), "wrote more than 20 MB and was stopped"),
        (("compare", 6), "unknown tag nbval-ignore-outputs"),
    ],
)
def test_the_reason_is_said(outcomes, where, said):
    assert said in outcomes[where][1]


def test_a_malformed_notebook_is_one_sentence(outcomes):
    for name, words in (("not_json", "is not JSON"), ("no_notebook", "but no notebook"), ("no_cells", "holds no cells")):
        assert any(f"{name}.ipynb" in line and words in line for line in outcomes["said"].splitlines()), outcomes["said"][-3000:]
    assert "json.decoder" not in outcomes["said"]


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_cell_timeout_that_is_no_limit_is_refused(seconds):
    from types import SimpleNamespace

    from llmsuite_lab.course import nbval_plugin

    option = SimpleNamespace(nbval_kernel_name=None, nbval_current_env=False, nbval_sanitize_with="x", nbval_cell_timeout=seconds)
    with pytest.raises(pytest.UsageError, match="nothing runs without one"):
        nbval_plugin.pytest_configure(SimpleNamespace(option=option))


def test_dead_kernel_is_noticed_long_before_the_cell_timeout(outcomes):
    assert outcomes["killed", 0][2] < 30


def test_tolerance_keeps_relative_and_absolute_apart():
    relative = Tolerant.of("a 100.0 b 0.001", 0.01, 0.0)
    assert relative == "a 100.9 b 0.001"
    assert relative != "a 100.0 b 0.002"
    assert Tolerant.of("0.001 100.0", 0.0, 0.01) == "0.009 100.0"
    assert Tolerant.of("0.001 100.0", 0.0, 0.01) != "0.001 100.5"
    assert Tolerant.of("nan", 0.1, 0.1) == "nan"
    assert Tolerant.of("SmolLM2 v1", 1.0, 1.0) != "SmolLM3 v1"


def test_another_nbval_is_refused(monkeypatch):
    from llmsuite_lab.course import nbval_plugin

    monkeypatch.setattr(nbval_plugin, "version", lambda name: "0.12.0")
    with pytest.raises(pytest.UsageError, match="nbval 0.12.0 is installed"):
        nbval_plugin.pytest_configure(None)
