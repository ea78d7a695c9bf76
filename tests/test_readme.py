"""The recipes of README, under "On your own material": each has five lines and runs as it stands, in a folder that holds such material."""

import re
import sys

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from llmsuite_lab.core.paths import repo_dir
from llmsuite_lab.lm.language_model import LanguageModel
from tests.conftest import WordEmbedder

README = (repo_dir() / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("## On your own material\n")[2].partition("\n## ")[0]
RECIPES = dict(re.findall(r"\*\*([^*]+)\.\*\*(?:(?!```).)*```python\n(.*?)```", SECTION, re.DOTALL))

NOTES = "# Cat\n\nThe cat Mimi is fed 3 times a day.\n\n# Dog\n\nThe dog Rex sleeps until 9 o'clock.\n\n# Garden\n\nThere are 12 roses.\n"
QUESTIONS = """{"question": "How often is the cat Mimi fed?", "answer": "3"}
{"question": "Who is the captain of the ferry?", "answer": null}
"""
TEMPLATE = (  # one that shows tools
    "{% for t in tools or [] %}{{ t | tojson }}\n{% endfor %}{% for m in messages %}{{ m.role }}: {{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}\n{% endfor %}assistant:"
)
TOOLS = """from pydantic import BaseModel


class Person(BaseModel):
    \'\'\'Somebody.\'\'\'

    name: str
    age: int


def price(item: str, count: int = 1) -> float:
    \'\'\'What so many of an item cost.\'\'\'
    return 9.0 * count
"""


@pytest.fixture
def material(tmp_path, monkeypatch, tiny_model):
    """A folder of a person's own: a model (a random one that knows few words, for speed; the course's too), functions, documents and questions."""
    tiny_model.config.max_position_embeddings = 4096
    tiny_model.save_pretrained(tmp_path / "my-model")
    words = ["[?]", "</s>", *(f"word{i}" for i in range(257))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[?]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[?]", eos_token="</s>", pad_token="</s>")
    made.chat_template = TEMPLATE
    made.save_pretrained(tmp_path / "my-model")
    monkeypatch.setattr("llmsuite_lab.retrieval.embedding.Embedder.load", lambda name="words": WordEmbedder())
    (tmp_path / "my-notes").mkdir()
    (tmp_path / "my-notes" / "pets.md").write_text(NOTES, encoding="utf-8")
    (tmp_path / "my-questions.jsonl").write_text(QUESTIONS, encoding="utf-8")
    monkeypatch.setattr(LanguageModel, "load", staticmethod(lambda name="my-model", adapter=None, load=LanguageModel.load: load(name)))
    (tmp_path / "my-problems.jsonl").write_text('{"question": "What is 3 and 2?", "answer": 5}\n', encoding="utf-8")
    (tmp_path / "my-pages").mkdir()
    (tmp_path / "my-pages" / "pets.md").write_text(NOTES, encoding="utf-8")
    (tmp_path / "my-pages" / "questions.jsonl").write_text(QUESTIONS.splitlines()[0], encoding="utf-8")
    (tmp_path / "my-pages" / "claims.jsonl").write_text('{"claim": "There are 12 roses.", "label": "supports"}', encoding="utf-8")
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
