"""A stand-in for the language model, whose text is a function of the prompt and the settings alone, and a retriever over the handbook."""

import asyncio
import inspect
import threading
import zlib
from types import SimpleNamespace

import pytest

from llmsuite_lab.lm.language_model import Completion


class StandIn:
    """Answers by `reply(prompt)`, cut at stop strings as the real one does; without `reply`, by a checksum: equal prompts, equal answers."""

    name, adapter, context_length, tokenizer = "stand-in", "react", 8192, None

    def __init__(self, reply=None):
        self.reply = reply or (lambda prompt: f" {zlib.crc32(prompt.encode())}\nmore")
        self.batches, self.lock = [], threading.Lock()

    def count_tokens(self, text):
        return len(text.split())

    def chat_prompt(self, conversation, tools=()):
        if not conversation:
            raise ValueError("a conversation needs at least one message")
        return "".join(f"<{turn['role']}>{turn['content']}" for turn in conversation) + "<assistant>"

    def complete(self, prompts, max_new_tokens=64, stop=(), **options):
        with self.lock:
            self.batches.append(list(prompts))
        done = []
        for prompt in prompts:
            text = self.reply(prompt)
            cut = min((text.find(s) for s in stop if s in text), default=-1)
            text, reason = (text[:cut], "stop") if cut >= 0 else (text, "length")
            done.append(Completion(text, self.count_tokens(prompt), self.count_tokens(text), reason, 0.0))
        return done

    def stream(self, prompt, max_new_tokens=64, stop=(), **options):
        (done,) = self.complete([prompt], max_new_tokens, stop)
        yield from (done.text[i : i + 3] for i in range(0, len(done.text), 3))
        return done

    def score(self, prompts, continuations, **options):
        return [SimpleNamespace(logprob=-1.0, tokens=1) for _ in prompts]


@pytest.fixture
def stand_in():
    return StandIn


@pytest.fixture(scope="session")
def book():
    from llmsuite_lab.world import handbook

    return handbook.load()


@pytest.fixture(scope="session")
def retriever(book, word_embedder):
    from llmsuite_lab.retrieval.retriever import Retriever

    return Retriever(book.passages, word_embedder())


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run async tests (the standard suite has some, without a marker of their own) to their end in a loop of their own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True
