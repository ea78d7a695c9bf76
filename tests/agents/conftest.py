"""Scripted stand-ins for the language model, and a small almanac."""

from dataclasses import dataclass

import pytest

from llmsuite_lab.world import almanac_frozen


@dataclass
class Written:
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


class Scripted:
    """Writes the given turns, one list per opening; cuts them at stop strings as LanguageModel does. Counts its calls."""

    context_length = 4000

    def __init__(self, scripts):
        self.scripts, self.calls, self.prompts = scripts, 0, []

    def count_tokens(self, text):
        return len(text.split())

    def complete(self, prompts, max_new_tokens=64, stop=()):
        self.calls += 1
        self.prompts.append(list(prompts))
        done = []
        for prompt in prompts:
            opening = next(o for o in self.scripts if o in prompt)
            turn = self.scripts[opening][prompt.partition(opening)[2].count("Observation:")]
            cut = min((turn.find(s) for s in stop if s in turn), default=-1)
            done.append(
                Written(turn if cut < 0 else turn[:cut], "stop" if cut >= 0 else "length", self.count_tokens(prompt), len(turn.split()))
            )
        return done


@pytest.fixture(scope="session")
def frozen():
    return almanac_frozen.load_almanac()


@pytest.fixture
def scripted():
    return Scripted
