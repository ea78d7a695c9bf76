"""A conversation: pieces as they are written, how much the model sees, and which engine writes for a person who waits."""

import pytest
from typer.testing import CliRunner

from llmsuite_lab.course import cli
from llmsuite_lab.lm import chatting, language_model
from llmsuite_lab.lm.language_model import LanguageModel


class Told:
    """A model that says how many messages it was shown."""

    name, adapter, quantize, model = "told", None, None, None

    def __init__(self):
        self.shown = []

    def chat_prompt(self, turns):
        self.shown.append([turn["content"] for turn in turns])
        return "prompt"

    def stream(self, prompt, max_new_tokens):
        yield from (f"{len(self.shown[-1])}", " seen")


def test_each_line_is_answered_in_pieces_and_the_model_sees_the_last_exchanges():
    lm, said = Told(), []
    turns = chatting.converse(lm, ["one\n", "  \n", "two", "three", "four"], said.append)
    assert "".join(said) == "1 seen\n3 seen\n5 seen\n5 seen\n"
    assert lm.shown[-1] == ["two", "3 seen", "three", "5 seen", "four"]
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 4
    with pytest.raises(ValueError, match="max_new_tokens"):
        chatting.converse(lm, [], said.append, 0)


def test_who_waits_gets_the_codes_where_they_run_and_otherwise_the_usual_engine_without_a_word(monkeypatch, recwarn):
    loaded = language_model.profile().model
    monkeypatch.setattr(language_model, "why_not", lambda: None)
    monkeypatch.setattr(language_model.zoo, "source_file", lambda name: f"the codes of {name}")
    assert language_model._codes(loaded, "auto", None, "cpu") == f"the codes of {loaded}"
    assert language_model._codes(loaded, "auto", None, "cuda") is None
    assert language_model._codes(loaded, "auto", "hub", "cpu") is None
    monkeypatch.setattr(language_model, "why_not", lambda: "no compiler in this test")
    assert language_model._codes(loaded, "auto", None, "cpu") is None
    assert not recwarn.list
    with pytest.warns(UserWarning, match="no compiler in this test"):
        assert language_model._codes(loaded, "q4", None, "cpu") is None


def test_the_command_loads_for_one_who_waits_and_says_what_writes(monkeypatch):
    asked = []
    monkeypatch.setattr(LanguageModel, "load", lambda model, adapter, quantize: asked.append((model, adapter, quantize)) or Told())
    done = CliRunner().invoke(cli.app, ["chat", "--adapter", "reader"], input="hello\nagain\n")
    assert done.exit_code == 0, done.output
    assert asked == [(None, "reader", "auto")]
    assert "1 seen\n3 seen\n" in done.stdout
    assert "told, written from" in done.output
