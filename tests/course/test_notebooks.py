"""The runner on small notebooks of its own: same bytes twice, measured, rendered; failures leave the file alone."""

import json
import re

import nbformat
import pytest
from nbformat import v4

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.course import execution, headers, ledger, notebooks
from llmsuite_lab.course.execution import execute
from llmsuite_lab.course.headers import BEGIN, END
from llmsuite_lab.course.normalise import clean, normalise

README = f"# A course\n\n{BEGIN}\nold\n{END}\n\nthe end\n"


def code(source, *tags):
    """A code cell that was never run."""
    return v4.new_code_cell(source, metadata={"tags": list(tags), "collapsed": True} if tags else {})


def save(folder, name, *cells):
    """A notebook with a title and `cells`."""
    book = v4.new_notebook(cells=[v4.new_markdown_cell(f"# {name[:2]} A small one"), *cells])
    book.metadata["llmsuite"] = {"paper": "2.1", "see": "Numbers."}
    book.metadata["signature"] = "dropped"
    nbformat.write(book, folder / "notebooks" / f"{name}.ipynb")


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone with two good notebooks, refreshed twice; yields (folder, bytes after the first run)."""
    root = tmp_path_factory.mktemp("clone")
    (root / "notebooks").mkdir()
    (root / "README.md").write_text(README)
    chatty = "import sys, time\nfor i in range(3):\n    print(i); print('w', file=sys.stderr); time.sleep(0.01)"
    save(
        root,
        "01_first",
        code("import time\nx = b'x' * 60_000_000\ntime.sleep(0.6)\nprint(len(x))"),
        code(chatty, "nbval-ignore-output"),
        code("object()"),
        code("x = 1"),
    )
    save(root, "02_second", code("from llmsuite_lab.course.claims import claim\nclaim('pal.loop').measure(74, n=1, seeds=[0], control=61)"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notebooks, "repo_dir", lambda: root)
        patch.setattr(headers, "data_dir", lambda: root / "data")
        notebooks.refresh(["01"])
        notebooks.refresh(["02_second"])
        first = {path: path.read_bytes() for path in root.rglob("*.*")}
        notebooks.refresh(["01_first"])
        yield root, first


def test_two_runs_store_the_same_bytes(clone):
    root, first = clone
    assert first.keys() == set(root.rglob("*.*"))
    assert [path.name for path, content in first.items() if path.read_bytes() != content] == []


def test_timings_measure_what_they_say(clone):
    stored = json.loads((clone[0] / "data" / "timings.json").read_text())
    assert set(stored) == {"01_first", "02_second"}
    figures = stored["01_first"]
    assert (figures["code_cells"], figures["compared"], figures["ignored"]) == (4, 2, 1)
    assert figures["peak_bytes"] > 80e6, "the 60 MB that the notebook holds, and the interpreter"
    assert 0.1 < figures["wall_s"] < 200
    assert set(figures["machine"]) == {"cores", "memory_bytes", "cpu"}


def test_header_and_readme_come_from_the_timings(clone):
    root = clone[0]
    stored = json.loads((root / "data" / "timings.json").read_text())
    book = notebooks.read("01_first")
    assert book.cells[1].metadata.tags == [headers.TAG]
    assert book.cells[1].source == headers.header(stored["01_first"])
    assert re.search(r"\*\*\d+ s\*\*, \*\*\d\.\d GB\*\*.*compare 2 of its 3 outputs", book.cells[1].source)
    readme = (root / "README.md").read_text()
    assert "| [01 A small one](notebooks/01_first.ipynb) | 2.1 | Numbers. |" in readme
    assert readme.startswith("# A course\n\n" + BEGIN)
    assert readme.endswith(END + "\n\nthe end\n")


def test_stored_form_is_normalised(clone):
    book = notebooks.read("01_first")
    assert set(book.metadata) == {"kernelspec", "language_info", "llmsuite"}
    assert book.cells[3].metadata == {"tags": ["nbval-ignore-output"]}
    assert [output.get("name") for output in book.cells[3].outputs] == ["stdout", "stderr"], "streams are merged"
    assert "0xADDRESS" in book.cells[4].outputs[0].data["text/plain"]


def test_rehearsal_leaves_the_sources_and_sums_up(clone, tmp_path):
    root = clone[0]
    before = {path: path.read_bytes() for path in root.rglob("*.*")}
    save(root, "03_broken", code("1 / 0"))
    rows, failures = notebooks.rehearse(["02", "03"], tmp_path)
    (root / "notebooks" / "03_broken.ipynb").unlink()
    assert before == {path: path.read_bytes() for path in root.rglob("*.*")}
    assert "pal.loop" in (tmp_path / "02_second.html").read_text()
    assert notebooks.read("02_second").cells[2].outputs == nbformat.read(tmp_path / "02_second.ipynb", as_version=4).cells[2].outputs
    table = notebooks.summary(rows)
    assert re.search(r"02_second +\d+ s +\d\.\d GB +1/1  1 reproduced", table)
    assert "1 of 2 notebooks" in table
    assert "03_broken.ipynb, code cell 1 of 1 failed" in failures[0]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def f():\n    return 1 / 0\n\nf()", "code cell 2 of 3 failed.*ZeroDivisionError: division by zero"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "code cell 2 of 3: the kernel died.*begins `import os, signal`"),
        ("import time\ntime.sleep(60)", "code cell 2 of 3 ran longer than 2 s"),
    ],
)
def test_a_failing_cell_is_named_and_the_file_unharmed(tmp_path, source, said):
    (tmp_path / "notebooks").mkdir()
    save(tmp_path, "04_bad", code("print(1)"), code(source), code("print(2)"))
    path = tmp_path / "notebooks" / "04_bad.ipynb"
    before = path.read_bytes()
    with pytest.raises(LabError, match=f"(?s){said}"):
        execute(path, cell_timeout_s=2)
    assert path.read_bytes() == before


ENDLESS = {
    "prints little, at once": "while True:\n    print('x', flush=True)",
    "does not listen": "while True:\n    try:\n        while True: print('x' * 10_000)\n    except KeyboardInterrupt:\n        continue",
    "shows": "from IPython.display import display\nwhile True:\n    display('x' * 10_000)",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_output_without_end_is_cut_and_the_cell_ended(tmp_path, monkeypatch, name):
    (tmp_path / "notebooks").mkdir()
    save(tmp_path, "04_bad", code("print(1)"), code(ENDLESS[name]))
    monkeypatch.setattr(execution, "OUTPUT_LIMIT_BYTES", 2_000_000)
    book = nbformat.read(tmp_path / "notebooks" / "04_bad.ipynb", as_version=4)
    with pytest.raises(LabError, match="code cell 2 of 2 wrote more than 2 MB and was stopped; it begins `(while|from)"):
        execute(tmp_path / "notebooks" / "04_bad.ipynb", notebook=book, cell_timeout_s=60)
    assert len(json.dumps(book)) < 4_000_000


def test_much_output_over_several_cells_is_no_fault(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    save(tmp_path, "04_good", *[code("print('x' * 60_000)")] * 3)
    monkeypatch.setattr(execution, "OUTPUT_LIMIT_BYTES", 100_000)
    assert len(execute(tmp_path / "notebooks" / "04_good.ipynb").notebook.cells) == 4


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_cell_timeout_that_is_no_limit_is_refused_before_anything_runs(clone, tmp_path, seconds):
    for call in (lambda: notebooks.refresh(["01"], seconds), lambda: notebooks.rehearse(["01"], tmp_path / "out", seconds)):
        with pytest.raises(ValueError, match="nothing runs without one"):
            call()
    with pytest.raises(ValueError, match="a limit is a positive number"):
        execute(clone[0] / "notebooks" / "01_first.ipynb", cell_timeout_s=seconds)
    assert not (tmp_path / "out").exists()


GOOD = '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": %s}'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\x89PNG\r\n\x1a\n\x00", "is not text in UTF-8"),
        (b"[]", "but no notebook"),
        (b'"a text"', "but no notebook"),
        (b'{"cells": []}', "but no notebook"),
        (b'{"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": []}', "of format 3, and format 4 is needed"),
        (b'{"nbformat": "four", "cells": []}', "format 4 is needed"),
        (b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}}', "holds no cells"),
        ((GOOD % "[]").encode(), "holds no cells"),
        ((GOOD % '{"a": 1}').encode(), "holds no cells"),
        ((GOOD % "[3]").encode(), "form of a notebook"),
        ((GOOD % '[{"cell_type": "code"}]').encode(), "form of a notebook"),
        ((GOOD % '[{"cell_type": "poem", "id": "a", "metadata": {}, "source": ""}]').encode(), "form of a notebook"),
        (None, "cannot be read"),
    ],
)
def test_a_malformed_notebook_is_named_in_one_sentence(tmp_path, content, words):
    file = tmp_path / "notebooks" / "07_bad.ipynb"
    file.parent.mkdir()
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    for read in (execution.read_notebook, execute, lambda path: ledger.collect(path.parent)):
        with pytest.raises(LabError, match=words) as said:
            read(file)
        assert "07_bad.ipynb" in str(said.value)
        assert len(str(said.value).splitlines()) == 1


def test_names_are_found_by_their_beginning(clone):
    assert notebooks.find(["01", "02_second.ipynb", "notebooks/01_first.ipynb", "2"]) == ["01_first", "02_second", "01_first", "02_second"]
    for wrong, near in (("0", "01_first, 02_second"), ("07_frist", "01_first")):
        with pytest.raises(LabError, match=f"No single notebook is called '{wrong}'; did you mean {near}"):
            notebooks.find([wrong])


def test_noise_does_not_change_the_stored_timing():
    def figures(wall_s, peak_bytes, cores=2):
        return {"wall_s": wall_s, "peak_bytes": peak_bytes, "compared": 3, "profile": "cpu", "machine": {"cores": cores}}

    old = figures(40.0, 1.0e9)
    assert headers.settled(old, figures(44.0, 1.1e9)) == old
    assert headers.settled(old, figures(60.0, 1.1e9)) == figures(60.0, 1.0e9)
    assert headers.settled(old, figures(44.0, 1.1e9, cores=4)) == figures(44.0, 1.1e9, cores=4)
    assert headers.settled(None, old) == old


def test_clean_takes_the_machine_out_of_text():
    noisy = "/tmp/ipykernel_17/31.py:3: Warn in /usr/lib/python3/site-packages/torch/x.py at 0x7f3a5c0d1e80\nfit:  40%|####  | 4/10 [00:03<00:05, 1.2it/s]"
    assert clean(noisy) == "<cell>:3: Warn in <site-packages>/torch/x.py at 0xADDRESS\nfit:  40%|####  | 4/10"
    assert clean(["0x7f3a5c0d1e80", 3]) == ["0xADDRESS", 3]


def test_widget_views_leave_their_text():
    view = {"text/plain": "IntSlider(value=3)", "application/vnd.jupyter.widget-view+json": {"model_id": "random"}}
    book = v4.new_notebook(cells=[v4.new_code_cell("w", outputs=[v4.new_output("display_data", data=view)])])
    book.metadata["widgets"] = {"state": {}}
    assert normalise(book).cells[0].outputs[0].data == {"text/plain": "IntSlider(value=3)"}
    assert "widgets" not in book.metadata


def test_counts_claim_no_comparison_that_is_not_made():
    outputs = {
        "plain": v4.new_output("stream", name="stdout", text="x"),
        "stderr": v4.new_output("stream", name="stderr", text="x"),
        "picture": v4.new_output("display_data", data={"image/png": "x"}),
        "figure": v4.new_output("display_data", data={"image/png": "x", "text/plain": "<Figure>"}),
        "error": v4.new_output("error", ename="E", evalue="", traceback=[]),
    }
    cells = [v4.new_code_cell("c", outputs=[output]) for output in outputs.values()] + [v4.new_code_cell("silent")]
    cells.append(v4.new_code_cell("# NBVAL_IGNORE_OUTPUT\nc", outputs=[outputs["plain"]]))
    assert headers.counts(v4.new_notebook(cells=cells)) == {"code_cells": 7, "compared": 3, "ignored": 3}
