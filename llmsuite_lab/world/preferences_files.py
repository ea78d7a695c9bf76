"""Preferences of one's own: a JSON Lines file (or a JSON list) of pairs; every bad row named by its line.

    {"chosen": "\\n\\nHuman: …\\n\\nAssistant: …", "rejected": "\\n\\nHuman: …\\n\\nAssistant: …"}        HH-RLHF: one dialogue, two last turns
    {"prompt": "…", "chosen": "…", "rejected": "…"}
    {"prompt": [{"role": "user", "content": "…"}], "chosen": [{"role": "assistant", "content": "…"}], "rejected": […]}
    {"chosen": [{"role": "user", …}, {"role": "assistant", …}], "rejected": […]}                        the prompt is what both begin with

A number under "margin" says how much better the chosen one is. What is learnt is one reply of the assistant: rows whose dialogues part before the last turn
are bad. In production: `trl.extract_prompt`, `trl.maybe_extract_prompt`, `datasets.load_dataset("Anthropic/hh-rlhf")`.
"""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmsuite_lab.core.values import finite
from llmsuite_lab.world.readers import usable_rows
from llmsuite_lab.world.rows import json_kind, turns_of

FORM = 'a row is {"prompt": …, "chosen": …, "rejected": …}, or {"chosen": …, "rejected": …} with two dialogues that begin alike'
_ANSWER = "\n\nAssistant:"
_SPEAKER = re.compile(r"\n\n(Human|Assistant):")


@dataclass(frozen=True)
class Preference:
    """Two replies to one prompt, and which of them was preferred.

    margin: how much better the chosen one is, where that is known. flipped: known to be labelled against the truth (only in a world that has a judge).
    turns: the prompt as a conversation, (role, words) each, where it is one; then `prompt` is the same as one text.
    where: the place in a file, "my.jsonl, line 3"; not compared.
    """

    prompt: str
    chosen: str
    rejected: str
    margin: float | None = None
    flipped: bool = False
    turns: tuple[tuple[str, str], ...] = ()
    where: str = field(default="", compare=False)


@dataclass(frozen=True)
class PairsFile:
    """The pairs of a file, and (where, reason) of the rows that cannot be used; `sha256` of the file."""

    pairs: list[Preference]
    bad: list[tuple[str, str]]
    sha256: str


def read_pairs(path: Path | str) -> list[Preference]:
    """The pairs of a file of one's own. Raises LabError for a missing file, one that is no JSON, and for any bad row, named by its line."""
    return read_file(path).pairs


def read_file(path: Path | str, *, skip_bad: bool = False) -> PairsFile:
    """The same with what could not be used: with `skip_bad` bad rows are left out and listed in `bad`. Raises LabError where none is left."""
    path = Path(path)
    rows, bad = usable_rows(path, _pair, FORM, skip_bad=skip_bad)
    return PairsFile(rows, bad, hashlib.sha256(path.read_bytes()).hexdigest())


def _pair(where: str, row: Any) -> Preference:
    if not isinstance(row, dict):
        raise ValueError(f"it is {json_kind(row)}, not an object")
    if missing := [key for key in ("chosen", "rejected") if key not in row]:
        raise ValueError(f"it has no {missing[0]!r} (but {', '.join(map(repr, row)) or 'nothing'}); {FORM}")
    sides = (row["chosen"], row["rejected"])
    kinds = {json_kind(side) for side in sides}
    if kinds - {"text", "a list"} or len(kinds) > 1:
        raise ValueError(f"its chosen and rejected are {json_kind(sides[0])} and {json_kind(sides[1])}, and both must be texts, or both lists of messages")
    turns: tuple[tuple[str, str], ...] = ()
    if kinds == {"a list"}:
        prompt, turns, replies = _conversation(row.get("prompt"), [turns_of(side) for side in sides])
    elif row.get("prompt") is None:
        prompt, turns, replies = _dialogue(sides)
    elif isinstance(row["prompt"], str):
        prompt, replies = row["prompt"], list(sides)
    else:
        raise ValueError(f"its prompt is {json_kind(row['prompt'])}, and its replies are texts: write it as a text")
    if not prompt.strip():
        raise ValueError("its prompt is empty")
    for name, reply in zip(("chosen", "rejected"), replies, strict=True):
        if not reply.strip():
            raise ValueError(f"its {name} reply is empty")
    if replies[0] == replies[1]:
        raise ValueError("its chosen and rejected replies are the same: there is no preference")
    margin = row.get("margin")
    return Preference(prompt, *replies, None if margin is None else _margin(margin), turns=turns, where=where)


def _margin(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or finite(value) < 0:
        raise ValueError(f"its margin is {str(value)[:40]}, and it must be a number from 0 up")
    return float(value)


def _dialogue(sides: tuple[str, str]) -> tuple[str, tuple[tuple[str, str], ...], list[str]]:
    """HH-RLHF: (the common dialogue up to where the assistant answers, its turns, what stands behind it on either side)."""
    cuts = [side.rfind(_ANSWER) for side in sides]
    if min(cuts) < 0:
        raise ValueError(f"it has no 'prompt', and its texts are no dialogues with '{_ANSWER.strip()}'; {FORM}")
    prompts = [side[: cut + len(_ANSWER)] for side, cut in zip(sides, cuts, strict=True)]
    if prompts[0] != prompts[1]:
        raise ValueError("its two dialogues part before the last turn of the assistant: keep pairs that differ in that turn alone")
    replies = [side[cut + len(_ANSWER) :].strip() for side, cut in zip(sides, cuts, strict=True)]
    if any(_SPEAKER.search(f"\n\n{reply}") or "\n\nHuman:" in reply for reply in replies):
        raise ValueError("somebody else speaks after the last turn of the assistant: end both dialogues with the assistant's reply")
    before = prompts[0][: -len(_ANSWER)]
    spoken = _SPEAKER.split(before if before.startswith("\n\n") else f"\n\n{before}")
    turns = tuple(({"Human": "user", "Assistant": "assistant"}[who], words.strip()) for who, words in zip(spoken[1::2], spoken[2::2], strict=True))
    if not turns or spoken[0].strip():
        raise ValueError("it does not begin with 'Human:': a dialogue alternates '\\n\\nHuman: …' and '\\n\\nAssistant: …'")
    return prompts[0], turns, replies


def _conversation(prompt: Any, sides: list[list[tuple[str, str]]]) -> tuple[str, tuple[tuple[str, str], ...], list[str]]:
    """Chat form: (the prompt as one text, its turns, the two replies)."""
    before: list[tuple[str, str]] = [("user", prompt)] if isinstance(prompt, str) else [] if prompt is None else turns_of(prompt)
    if prompt is None:
        while sides[0][:-1] and sides[1][:-1] and sides[0][0] == sides[1][0]:
            before.append(sides[0][0])
            sides = [side[1:] for side in sides]
    if any(len(side) != 1 for side in sides):
        raise ValueError("its chosen and rejected are more than one turn apart: they may differ in the last turn alone")
    if other := [role for ((role, _),) in sides if role != "assistant"]:
        raise ValueError(f"its last turn is the {other[0]}'s, and what is preferred is a reply of the assistant")
    return "\n".join(f"{role}: {words}" for role, words in before), tuple(before), [words for ((_, words),) in sides]
