"""With the network cut, after set-up, the model still loads and answers, and notebook 00 runs to its end."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from llmsuite_lab.core.paths import repo_dir

RUNNER = Path(__file__).with_name("cut_network.py")
pytestmark = pytest.mark.real_model
ASK = """
from llmsuite_lab.lm.language_model import LanguageModel
print(LanguageModel.load().complete(["The capital of France is"], max_new_tokens=2)[0].text)  # " Paris" by far, in every dtype
"""
REACH = """
import urllib.request
try:
    urllib.request.urlopen("http://192.0.2.1/", timeout=5)
    print("reached")
except OSError as error:
    print("cut:", type(error).__name__)
"""


def run(notebook: Path, way: str, limit_s: int) -> str:
    """Run a notebook by cut_network.py; the text that its cells printed. The hub's offline switch is off: the cut itself must do."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))}
    done = subprocess.run(
        [sys.executable, RUNNER, notebook, way], capture_output=True, text=True, timeout=limit_s, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow  # it runs a notebook: `make test-fast` leaves those out
def test_the_model_answers_where_sockets_are_refused(lm, tmp_path):
    """The way for machines that allow no network namespace; the namespace itself is tested by notebook 00 below."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (REACH, ASK)])
    nbformat.write(notebook, tmp_path / "small.ipynb")
    said = run(tmp_path / "small.ipynb", "refuse", limit_s=250)
    assert "sockets refused" in said
    assert "cut: URLError" in said
    assert "Paris" in said


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_notebook_00_runs_with_the_network_cut(lm):
    root = repo_dir()
    if root is None:
        pytest.skip("no clone, so no notebooks")
    said = run(root / "notebooks" / "00_start_here.ipynb", "namespace", limit_s=580)
    assert said.startswith("network: ")  # how it was cut; run() has checked that every cell ended well
