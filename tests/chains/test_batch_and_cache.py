"""What LangChain promises of a model: an error stays in its place, a cached answer is the answer to the same question, threads do not mix."""

import copy
import os
import sys
import threading

import pytest
import torch
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import BaseChatModel, BaseLLM
from langchain_core.messages import HumanMessage

from llmsuite_lab.chains.chat_model import LabChatModel
from llmsuite_lab.chains.completion_model import LabLLM
from llmsuite_lab.chains.gathering import Gathered, GatheringModel
from llmsuite_lab.lm.language_model import LanguageModel


@pytest.fixture
def tiny(tiny_tokenizer, tiny_model):
    return LanguageModel(tiny_model, tiny_tokenizer, "tiny")


MODELS = {"chat": LabChatModel, "text": LabLLM}
LONG = "x" * 200  # more than the tiny model's context holds


def text(answer):
    return getattr(answer, "content", answer)


@pytest.mark.parametrize("kind", MODELS)
def test_an_error_is_returned_in_its_place_and_the_others_are_answered(tiny, kind):
    model = MODELS[kind](language_model=tiny, max_tokens=3)
    answers = model.batch(["a", LONG, "b", LONG], return_exceptions=True)
    assert [isinstance(answer, ValueError) for answer in answers] == [False, True, False, True]
    assert "context" in str(answers[1])
    assert [text(answers[0]), text(answers[2])] == [text(model.invoke("a")), text(model.invoke("b"))]
    with pytest.raises(ValueError, match="context"):
        model.batch(["a", LONG])
    assert [text(a) for a in model.batch(["a", "b"], return_exceptions=True)] == [text(answers[0]), text(answers[2])]
    assert model.batch([], return_exceptions=True) == []


def test_an_input_of_a_wrong_kind_is_an_error_in_its_place_too(stand_in):
    model = LabChatModel(language_model=stand_in())
    answers = model.batch(["a", 3, [HumanMessage([{"type": "image_url", "image_url": "x"}])]], return_exceptions=True)
    assert text(answers[0]) == text(model.invoke("a"))
    assert [type(answer) for answer in answers[1:]] == [ValueError, ValueError]


def test_a_batch_asks_the_cache_first_and_fills_it(stand_in):
    model = LabChatModel(language_model=stand_in(), cache=InMemoryCache())
    first = model.invoke("a")
    assert len(model.language_model.batches) == 1
    assert text(model.batch(["a"])[0]) == text(first)
    assert len(model.language_model.batches) == 1, "a cached answer is not generated again"
    model.batch(["a", "b"])
    assert model.language_model.batches[1:] == [model.language_model.batches[0] + [model.prompt([HumanMessage("b")])]]
    model.batch(["b", "a"])
    assert len(model.language_model.batches) == 2


OPTIONS = {
    "max_tokens": 5,
    "temperature": 0.7,
    "top_k": 3,
    "top_p": 0.5,
    "seed": 7,
    "stop": ["\n"],
    "examples": "an example",
    "tool_form": "react",
}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_cache_key_holds_every_option_of_a_chat_model(tiny, name):
    sampled = {"temperature": 1.0, "top_k": 5, "top_p": 0.9, "max_tokens": 4}
    cache = InMemoryCache()
    LabChatModel(language_model=tiny, cache=cache, **sampled).invoke("a")
    LabChatModel(language_model=tiny, cache=cache, **sampled).invoke("a")
    assert len(cache._cache) == 1, "the same question to the same model is a hit"
    LabChatModel(language_model=tiny, cache=cache, **{**sampled, name: OPTIONS[name]}).invoke("a")
    assert len(cache._cache) == 2, f"{name} changes the answer, and must change the key"


def test_every_field_that_is_an_option_stands_in_the_test_above():
    assert set(LabChatModel.model_fields) - set(BaseChatModel.model_fields) - {"language_model"} == set(OPTIONS)
    assert set(LabLLM.model_fields) - set(BaseLLM.model_fields) == {"language_model", "max_tokens", "stop"}


@pytest.mark.parametrize("kind", MODELS)
def test_the_cache_key_holds_the_model_its_adapter_dtype_and_weights(tiny, kind):
    cache = InMemoryCache()

    def ask(lm, **options):
        MODELS[kind](language_model=lm, cache=cache, max_tokens=3, **options).invoke("a")
        return len(cache._cache)

    tokenizer = tiny.tokenizer
    assert ask(tiny) == 1
    assert ask(LanguageModel(tiny.model, tokenizer, "tiny")) == 1
    assert ask(GatheringModel(tiny)) == 1
    assert ask(LanguageModel(tiny.model, tokenizer, "another")) == 2
    assert ask(LanguageModel(tiny.model, tokenizer, "tiny", adapter="pal")) == 3
    with torch.no_grad():
        next(tiny.model.parameters()).add_(0.01)
    assert ask(tiny) == 4
    assert ask(LanguageModel(copy.deepcopy(tiny.model).to(torch.bfloat16), tokenizer, "tiny")) == 5
    assert ask(tiny, stop="z") == 6
    assert ask(tiny, stop=["z"]) == 6, "one stop string is a list of one"
    MODELS[kind](language_model=tiny, cache=cache, max_tokens=3).invoke("a", stop=["q"])
    assert len(cache._cache) == 7


@pytest.mark.parametrize("kind", MODELS)
def test_one_stop_string_is_one_stop_string(stand_in, kind):
    model = MODELS[kind](language_model=stand_in(lambda prompt: " the answer is 3"), stop="answer")
    assert text(model.invoke("a")) == " the "
    assert text(MODELS[kind](language_model=stand_in(lambda prompt: " the answer is 3")).invoke("a", stop="answer")) == " the "
    with pytest.raises(ValueError, match="empty"):
        MODELS[kind](language_model=stand_in(), stop=["a", ""]).invoke("a")


def test_several_threads_on_one_model_get_their_own_answers(tiny):
    model = LabChatModel(language_model=tiny, max_tokens=3)
    alone = {word: model.invoke(word).content for word in ("a", "bc", "def", "ghij")}
    found, threads = {}, []
    for word in alone:
        threads.append(threading.Thread(target=lambda word=word: found.update({word: model.batch([word, "z"])[0].content}), daemon=True))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == alone


def test_one_bad_item_among_gathered_ones_spoils_no_other():
    def run(items):
        if "bad" in items:
            raise ValueError(f"{len(items)} items, one of them bad")
        return [item.upper() for item in items]

    gathered, told = Gathered(run), {}

    def ask(word):
        try:
            told[word] = gathered(word)
        except ValueError as error:
            told[word] = str(error)

    threads = [threading.Thread(target=ask, args=(word,), daemon=True) for word in ("a", "bad", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert told == {"a": "A", "c": "C", "bad": "1 items, one of them bad"}


@pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "win32", reason="fork is Unix's")
def test_gathered_calls_work_in_a_fork_made_while_a_batch_ran():
    begun, go = threading.Event(), threading.Event()

    def run(items):
        begun.set()
        go.wait(30)
        return items

    gathered = Gathered(run)
    asking = threading.Thread(target=gathered, args=("parent",), daemon=True)
    asking.start()
    assert begun.wait(30)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            gathered.run = lambda items: items
            code = 0 if gathered("child") == "child" else 1
        finally:
            os._exit(code)
    go.set()
    asking.join(30)
    assert os.waitpid(child, 0)[1] == 0
