"""House rules that a machine can check: floors, docstrings, no machine's paths, tidy code."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llmsuite_lab.core.paths import repo_dir

ROOT = repo_dir()
MODULES = sorted((ROOT / "llmsuite_lab").rglob("*.py"))
TEXT_SUFFIXES = {".py", ".md", ".ipynb", ".toml", ".yml", ".cfg", ".txt", ".json", ".css"}
LIMIT_S = 120


def tracked() -> list[Path]:
    """Files of the project (tracked, and new ones git does not ignore)."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_floors_hold():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"[1-9]\d* kept, 0 broken", done.stdout)


def test_ruff_is_content():
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "llmsuite_lab", "tests", "tools"], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S
    )
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("module", MODULES, ids=lambda p: str(p.relative_to(ROOT / "llmsuite_lab")))
def test_public_names_are_documented_and_nothing_is_swallowed(module):
    tree = ast.parse(module.read_text())
    if not tree.body:
        return
    wanted = [tree] if module.name != "__init__.py" or len(tree.body) > 1 else []
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for owner in [tree, *[node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]]:
        wanted += [node for node in owner.body if isinstance(node, definitions) and not node.name.startswith("_")]
    bare = [
        getattr(node, "name", "the module") for node in wanted if not ast.get_docstring(node) and getattr(node, "name", "") != "forward"
    ]
    assert not bare, f"no docstring: {', '.join(bare)}"
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: bare except"
            assert not (len(node.body) == 1 and isinstance(node.body[0], ast.Pass)), f"line {node.lineno}: an error swallowed"
        if isinstance(node, ast.Call):
            assert getattr(node.func, "id", "") not in {"eval", "exec"}, f"line {node.lineno}: code is only run in the sandbox"
            assert not (
                getattr(node.func, "attr", "") == "load" and getattr(getattr(node.func, "value", None), "id", "") in {"torch", "pickle"}
            ), f"line {node.lineno}: weights load from safetensors or GGUF"


def test_no_file_names_a_machines_paths_or_holds_an_unfinished_mark():
    home, mark = r"(?<![\w.])/(?:work|root|home|Users)/" + r"\w+", r"\b(TO" + r"DO|FIX" + r"ME)\b"
    found = []
    for file in tracked():
        if file.suffix in TEXT_SUFFIXES or file.name in {"Makefile", "run"}:
            text = file.read_text(errors="replace")
            found += [f"{file.relative_to(ROOT)}: {match[0]}" for pattern in (home, mark) if (match := re.search(pattern, text))]
    assert not found, "\n".join(found)


def test_the_repository_stays_small():
    sizes = {file: file.stat().st_size for file in tracked()}
    assert max(sizes.values()) < 8e6, max(sizes, key=sizes.get)
    assert sum(sizes.values()) < 60e6


def test_importing_the_package_and_its_command_is_quick_because_nothing_heavy_comes_along():
    code = "import sys, llmsuite_lab, llmsuite_lab.course.cli; print(sorted({'torch', 'transformers', 'langchain', 'matplotlib', 'faiss'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
