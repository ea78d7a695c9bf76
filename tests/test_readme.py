"""The recipes of README, under "On your own material": each has five lines and runs as it stands, in a folder that holds such material."""

import re
import sys

import pytest

from llmsuite_lab.core.paths import repo_dir

README = (repo_dir() / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("## On your own material\n")[2].partition("\n## ")[0]
RECIPES = dict(re.findall(r"\*\*([^*]+)\.\*\*(?:(?!```).)*```python\n(.*?)```", SECTION, re.DOTALL))

TOOLS = """def price(item: str, count: int = 1) -> float:
    \'\'\'What so many of an item cost.\'\'\'
    return 9.0 * count
"""


@pytest.fixture
def material(tmp_path, monkeypatch, tiny_model, tiny_tokenizer):
    """A folder of a person's own: a model (a random one, for speed) and a module of functions."""
    tiny_model.config.max_position_embeddings = 4096
    tiny_model.save_pretrained(tmp_path / "my-model")
    tiny_tokenizer.save_pretrained(tmp_path / "my-model")
    (tmp_path / "my_tools.py").write_text(TOOLS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_tools", raising=False)
    return tmp_path


def test_every_recipe_is_found():
    assert len(RECIPES) == SECTION.count("```python") > 0


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_and_prints(name, material, capsys):
    lines = [line for line in RECIPES[name].splitlines() if line.strip() and not line.startswith(("from ", "import "))]
    assert len(lines) <= 5
    exec(compile(RECIPES[name], f"README: {name}", "exec"), {})
    assert capsys.readouterr().out.strip()
