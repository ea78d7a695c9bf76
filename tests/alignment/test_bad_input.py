"""Whatever is put in the place of an argument, alignment answers with a sentence (see tests/bad_input.py)."""

import importlib.util
from pathlib import Path

import torch

from llmsuite_lab.alignment.actions import action_mask
from llmsuite_lab.lm.batching import Example

_conftest = importlib.util.spec_from_file_location("tiny_policies", Path(__file__).with_name("conftest.py"))
models = importlib.util.module_from_spec(_conftest)
_conftest.loader.exec_module(models)

LEFT_OUT: dict[str, str] = {}


def valid(folder, call, tokenizer):
    """Valid calls, where the signature does not say enough."""

    def fresh():
        return models.make()

    replies = [Example([5, 6], [7, models.END]), Example([8], [9])]
    mask = action_mask([2, 1])
    return {
        "alignment.actions.Actions": call(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2, 2, 3), mask),
        "alignment.actions.score": call(fresh, replies),
        "alignment.actions.action_mask": call([2, 1]),
        "alignment.actions.grid": call(torch.zeros(3), mask),
        "alignment.actions.masked_mean": call(torch.zeros(2, 2), mask),
    }


def test_every_callable_answers_a_wrong_argument_with_a_sentence(bad_input, tiny_tokenizer, tmp_path, monkeypatch):
    bad_input.check("llmsuite_lab.alignment", tmp_path, monkeypatch, valid=valid(tmp_path, bad_input.call, tiny_tokenizer), left_out=LEFT_OUT)


def test_the_same_nonsense_everywhere_is_answered_too(bad_input, tmp_path, monkeypatch):
    bad_input.check_nonsense("llmsuite_lab.alignment", tmp_path, monkeypatch, left_out=LEFT_OUT)
