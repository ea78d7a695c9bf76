"""llama.cpp behind its wheel: what it answers is taken apart, what it cannot answer is told; on the real model where the wheel is installed."""

import sys

import pytest
import torch

from llmsuite_lab.core import zoo
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.llama_cpp import LlamaCpp, wheel


def stands_in(answer):
    """One whose server gives this answer and keeps what it was asked."""
    asked = []

    class Server:
        def handle_completions(self, request):
            asked.append(request)
            return answer

    theirs = LlamaCpp.__new__(LlamaCpp)
    theirs.server = Server()
    return theirs, asked


def test_the_likeliest_tokens_come_in_the_order_of_the_answer_and_of_likeliest_tokens_alone():
    listed = [{"id": 7, "logprob": -0.5}, {"id": 2, "logprob": -1.5}]
    theirs, asked = stands_in({"choices": [{"logprobs": {"content": [{"top_logprobs": listed}]}}]})
    assert list(theirs.listed([1, 2, 3], 2).items()) == [(7, -0.5), (2, -1.5)]
    assert (asked[0]["prompt"], asked[0]["n_probs"], asked[0]["temperature"]) == ([1, 2, 3], 2, 0.0)


def test_an_answer_without_a_list_is_refused_with_its_reason():
    for answer in ({"error": "no such token"}, {"choices": []}):
        with pytest.raises(LabError, match="did not answer"):
            stands_in(answer)[0].listed([1, 2], 3)
    for logprobs in (None, {"content": []}):
        with pytest.raises(LabError, match="no likely tokens after 2 tokens"):
            stands_in({"choices": [{"text": "", "logprobs": logprobs}]})[0].listed([1, 2], 3)


def test_without_the_wheel_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    for call in (wheel, lambda: LlamaCpp("model.gguf", 64)):
        with pytest.raises(LabError, match="pip install"):
            call()


def test_a_file_that_is_no_gguf_is_named(tmp_path):
    pytest.importorskip("xllamacpp")
    (tmp_path / "other.gguf").write_bytes(b"something else")
    with pytest.raises(LabError, match="does not take .*other.gguf"):
        LlamaCpp(tmp_path / "other.gguf", 64)


@pytest.mark.real_model
@pytest.mark.slow
def test_it_lists_what_is_likely_after_an_end_and_within_a_character_too(lm):
    pytest.importorskip("xllamacpp")
    theirs = LlamaCpp(zoo.source_file(lm.name), 64)
    end = lm.tokenizer.encode("<|im_start|>user\nSay yes.<|im_end|>\n<|im_start|>assistant\nYes.")
    character = lm.tokenizer.encode("😀 smile: 😀\n" * 3 + "😀 smile:")
    for prompt, broken in ((end, False), (character, True)):
        with torch.no_grad():
            ours = lm.model(torch.tensor([prompt])).logits[0, -1].float().log_softmax(-1)
        listed = theirs.listed(prompt, 5)
        likeliest = next(iter(listed))
        assert likeliest == int(ours.argmax())
        assert (likeliest == lm.tokenizer.eos_token_id, "\ufffd" in lm.tokenizer.decode([likeliest])) == (not broken, broken), "the case it is for"
        assert listed[likeliest] == pytest.approx(float(ours[likeliest]), abs=0.2)  # activations in int8 there
