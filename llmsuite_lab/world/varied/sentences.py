"""Running stories told in many more sentences: every verb in every frame, instead of each sentence once.

    "<lead>{name} <lose> {a} of the {item}<tail>."  →  "All at once {name} squanders {a} of the {item} before supper."

A sentence is a frame with words put in. `widened` adds a fixed sample of them to each kind of sentence of the training stories; the kinds, their
program lines and their slots stay those of `world.word_stories`. Nothing of the test's sentences was used, and `world.leakage` compares the two.
"""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

EACH = 120  # sentences that a kind is given, where its frames have so many
_WORDS = re.compile(r"<(\w+)>")


def widened(pool: Mapping[str, Any]) -> dict[str, Any]:
    """A pool of training sentences (`word_stories.templates`) with up to EACH more for each kind that the lexicon has frames for."""
    found = {key: dict(kinds) if isinstance(kinds, dict) else kinds for key, kinds in pool.items()}
    for context, lexicon in lexicons().items():
        for kind, frames in lexicon.items():
            if kind in found.get(context, ()):
                found[context][kind] = [*found[context][kind], *_sampled(f"{context} {kind}", frames, lexicon)]
    return found


@cache
def lexicons() -> dict[str, dict[str, list[str]]]:
    """The frames and words by context; words that all contexts share are in each."""
    text = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    shared = text.pop("words")
    return {context: shared | own for context, own in text.items()}


def _sampled(name: str, frames: list[str], words: Mapping[str, list[str]]) -> list[str]:
    rng, found = Random(f"sentences {name}"), dict.fromkeys(frame for frame in frames if "<" not in frame)
    for i in range(12 * EACH):
        if len(found) >= EACH:
            break
        sentence = frames[i % len(frames)]
        while match := _WORDS.search(sentence):
            sentence = sentence[: match.start()] + rng.choice(words[match[1]]) + sentence[match.end() :]
        found.setdefault(_tidy(sentence))
    return list(found)


def _tidy(sentence: str) -> str:
    """Never two times of day in one sentence, and a capital where it begins with a plain word."""
    head, mark, tail = sentence.partition("{when}")
    sentence = head + mark + tail.replace(" {when}", "")
    return sentence if sentence.startswith("{") else sentence[:1].upper() + sentence[1:]
