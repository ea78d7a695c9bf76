"""A stand-in for the language model that says what a test tells it to, and the sandbox's worker processes."""

from collections.abc import Callable, Sequence
from contextlib import suppress

import psutil
import pytest

from llmsuite_lab.lm.language_model import Completion


class ScriptedModel:
    """`complete` answers each prompt with `reply(prompt, how often this prompt came before)` and keeps what it was asked."""

    def __init__(self, reply: Callable[[str, int], str]) -> None:
        self.reply, self.prompts, self.options = reply, [], []

    def complete(self, prompts: Sequence[str], **options) -> list[Completion]:
        """Answer by the script, cutting at stop strings as the real one does."""
        self.options.append(options)
        done = []
        for prompt in prompts:
            text = self.reply(prompt, self.prompts.count(prompt))
            self.prompts.append(prompt)
            cut = min((text.find(s) for s in options.get("stop", ()) if s in text), default=-1)
            text = text if cut < 0 else text[:cut]
            done.append(Completion(text, len(prompt.split()), len(text.split()), "eos", 0.0))
        return done


@pytest.fixture
def scripted():
    return ScriptedModel


def workers() -> set[int]:
    """Sandbox workers that are children of this process; one that ends while they are looked for is none."""
    found = set()
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if any("monty" in word for word in child.cmdline()):
                found.add(child.pid)
    return found
