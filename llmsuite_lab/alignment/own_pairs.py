"""Pairs of one's own, ready to be learnt: read, put into token ids, and divided so that no prompt stands on both sides.

    file → Preference (world.preferences_files) → Pair (alignment.pairs), with where it stands and which prompt it belongs to

Prompts that differ in case, marks or spaces alone are one prompt. Of a dialogue the prompt goes through the model's chat template, where it has one. A
margin in the file is in somebody's unit, not in the reward's, and is not read. In production: `trl.apply_chat_template`, `datasets.train_test_split`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmsuite_lab.alignment.pairs import Pair, encode
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.finetuning.templates import words_of
from llmsuite_lab.lm import text
from llmsuite_lab.lm.text import chat_prompt
from llmsuite_lab.world.preferences_files import PairsFile, Preference

_SHOWN = 5


@dataclass(frozen=True)
class OwnPair:
    """A pair in words and in token ids; `cut`: its prompt was too long and lost its beginning."""

    preference: Preference
    pair: Pair
    cut: bool

    @property
    def id(self) -> str:
        """What a split keeps together: pairs with the same prompt."""
        return hashlib.sha256(words_of(self.preference.prompt).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def ready(file: PairsFile, tokenizer: Any, limit: int, *, skip_bad: bool = False) -> tuple[list[OwnPair], list[tuple[str, str]]]:
    """(the file's pairs in token ids, what cannot be used as (where, reason), the file's own bad rows first).

    limit: most tokens of a prompt with a reply and its end token. Raises LabError, naming the rows by line, for a reply that does not fit, two replies that
    are the same tokens, and a conversation that the tokenizer's template refuses, unless they are skipped; and where no pair is left.
    """
    found, bad = [], []
    for preference in file.pairs:
        try:
            found.append(_ready(preference, tokenizer, limit))
        except ValueError as error:
            bad.append((preference.where, str(error).removeprefix(f"{preference.where} ")))
    if bad and (not skip_bad or not found):
        shown = "; ".join(f"{where}: {reason}" for where, reason in bad[:_SHOWN])
        raise LabError(f"{len(bad)} of {len(file.pairs)} pairs cannot be learnt ({shown}): shorten them, drop them (--skip-bad), or raise the limit")
    return found, [*file.bad, *bad]


def _ready(preference: Preference, tokenizer: Any, limit: int) -> OwnPair:
    prompt = preference.prompt
    if preference.turns and getattr(tokenizer, "chat_template", None):
        prompt = chat_prompt(tokenizer, [{"role": role, "content": words} for role, words in preference.turns])
    (pair,) = encode([replace(preference, prompt=prompt, margin=None)], tokenizer, limit)
    return OwnPair(preference, pair, len(text.encode(tokenizer, [prompt])[0]) > len(pair.prompt_ids))


def prompts(pairs: Sequence[OwnPair], longest: int) -> list[list[int]]:
    """The different prompts, in order, as token ids: the last `longest` of each. Raises ValueError for a longest below 1."""
    if longest < 1:
        raise ValueError(f"longest={longest} leaves no token of a prompt: ask for fewer tokens of a reply")
    return [list(ids) for ids in dict.fromkeys(tuple(own.pair.prompt_ids[-longest:]) for own in pairs)]


def overlaps(train: Sequence[OwnPair], held: Sequence[OwnPair]) -> dict[str, int]:
    """What the two sides share although their prompts differ, and what speaks against itself: counts, for the card.

    "held out with a reply seen in training": held-out pairs one of whose replies stands, word for word, in a pair to train on; "preferred both ways": pairs
    of either side whose two replies are preferred the other way round to the same prompt.
    """
    seen = {reply for own in train for reply in (own.preference.chosen, own.preference.rejected)}
    ways = {(own.id, own.preference.chosen, own.preference.rejected) for own in (*train, *held)}
    return {
        "held out with a reply seen in training": sum(own.preference.chosen in seen or own.preference.rejected in seen for own in held),
        "preferred both ways": sum((own.id, own.preference.rejected, own.preference.chosen) in ways for own in (*train, *held)),
    }
