"""What Windows lacks or refuses: no Unix-only module or call is needed, no loaded weight keeps its file mapped, no text depends on the code page."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from llmsuite_lab.core.paths import repo_dir

ROOT = repo_dir()
UNIX_ONLY = ("resource", "fcntl", "pwd", "grp", "termios", "pty", "tty")
UNIX_CALLS = ("fork", "uname", "sysconf", "geteuid", "getuid", "getpgid", "killpg", "setsid", "sched_getaffinity", "sched_setaffinity", "mkfifo")

# The libraries come first, as themselves: they choose their own ways at import. Then the platform is faked for our modules alone.
CHILD = f"""
import importlib, os, pathlib, pkgutil, signal, sys
import torch, transformers, langchain.agents, langgraph.graph, matplotlib.pyplot, nbformat, pydantic_monty, faiss, peft, typer, psutil, pytest, nbval.plugin
import llmsuite_lab
for name in {UNIX_ONLY}:
    sys.modules[name] = None
for name in {UNIX_CALLS}:
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGALRM", "alarm", "setitimer", "SIGHUP"):
    delattr(signal, name)
sys.platform = "win32"
real = pathlib.Path.is_file
pathlib.Path.is_file = lambda self: not str(self).startswith("/proc") and real(self)
done = []
for module in pkgutil.walk_packages(llmsuite_lab.__path__, "llmsuite_lab."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
        done.append(module.name)
from llmsuite_lab.core.paths import cache_dir
from llmsuite_lab.core.runtime import available_cores
from llmsuite_lab.course import bench, headers
from llmsuite_lab.reasoning.interpreter import Interpreter
os.environ.pop("LLMSUITE_CACHE", None)
os.environ["LOCALAPPDATA"] = "C:/AppData/Local"
assert cache_dir().parts[-1] == "llmsuite-lab" and "AppData" in cache_dir().parts
assert available_cores() >= 1 and headers.machine()["cores"] >= 1
psutil.Process.memory_info = lambda self: type("Memory", (), {{"peak_wset": 12345}})()
assert bench.peak_resident_bytes() == 12345
with Interpreter() as sandbox:
    assert sandbox.run("answer = 6 * 7").value == 42
print(len(done))
"""


def test_every_module_imports_and_the_platforms_questions_are_answered_without_unix():
    done = subprocess.run([sys.executable, "-c", CHILD], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 100


def mapped(name):
    """Whether a file of this name is mapped into this process (Linux); skips elsewhere."""
    if not Path("/proc/self/maps").is_file():
        pytest.skip("seeing what is mapped needs Linux's /proc")
    return any(name in line for line in Path("/proc/self/maps").read_text().splitlines())


@pytest.fixture
def weights(tmp_path, tiny_model):
    """A folder with a model's file, named so that it is found among what is mapped."""
    tiny_model.save_pretrained(tmp_path / "weights-of-a-test")
    return tmp_path / "weights-of-a-test"


def test_a_loaded_model_leaves_its_file_free_on_windows(weights, monkeypatch):
    from llmsuite_lab.core import files, zoo
    from llmsuite_lab.transformer.weights import load

    monkeypatch.setattr(zoo, "path", lambda name: weights)
    held = []
    for platform, expected in (("linux", True), ("win32", False)):
        held.clear()
        monkeypatch.setattr(sys, "platform", platform)
        for name, use in {
            "load_tensors": lambda: files.load_tensors(weights / "model.safetensors"),
            "load_model": lambda: zoo.load_model("smollm2-135m-instruct"),
            "load": lambda: load(weights),
        }.items():
            held.append(use())
            assert mapped("weights-of-a-test") == expected, (platform, name)
            held.clear()


def test_no_text_file_is_read_or_written_in_the_code_page_of_a_machine():
    found = []
    for file in [*(ROOT / "llmsuite_lab").rglob("*.py"), *(ROOT / "tools").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or any(word.arg == "encoding" for word in node.keywords):
                continue
            method, name = isinstance(node.func, ast.Attribute), getattr(node.func, "attr", getattr(node.func, "id", ""))
            modes = [a.value for a in node.args[not method :] if isinstance(a, ast.Constant)] or ([] if node.args and method else ["r"])
            if name == "read_text" or (name == "write_text" and method) or (name == "open" and modes and "b" not in modes[0]):
                found.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert not found, "\n".join(found)
