"""Rows of data files: texts checked key by key, and the conversations of DialogSum and SAMSum.

A line of a dialogue is "speaker: words". People write more than that: times, smileys, links, names with a colon, turns over several lines.
"""

import re
from dataclasses import dataclass
from typing import Any

_TIME = re.compile(r"[\[(]?\d{1,2}[:.]\d{2}(?::\d{2})?(?:\s?[ap]\.?m\b\.?)?[\])]?[\s,-]*", re.IGNORECASE)
_NAME_ENDS = re.compile(r":(?=\s|$)")
_NAME_ENDS_TIGHTLY = re.compile(r"(?<=\S):(?=[^\W\d_])")  # "Ann:hi" is a turn; a link, a ratio and a smiley are none
_MAX_NAME_WORDS = 5


@dataclass(frozen=True)
class Dialogue:
    """A conversation, its turns as (speaker, words), and its human summary; `others` are further summaries of it by other people."""

    turns: tuple[tuple[str, str], ...]
    summary: str
    topic: str = ""
    others: tuple[str, ...] = ()

    @property
    def summaries(self) -> tuple[str, ...]:
        """All human summaries: what `core.metrics.rouge` takes as the references of one text."""
        return (self.summary, *self.others)


def text_of(row: dict, key: str) -> str:
    """The text of a key. Raises ValueError for a value that is none, or empty."""
    if not isinstance(row[key], str):
        raise ValueError(f"{key!r} is {json_kind(row[key])}, not text")
    if not row[key].strip():
        raise ValueError(f"{key!r} is empty")
    return row[key].strip()


def optional_text_of(row: dict, key: str) -> str:
    """The text of a key that may be missing or null."""
    return "" if row.get(key) in (None, "") else text_of(row, key)


def json_kind(value: Any) -> str:
    """What JSON calls it."""
    return {type(None): "null", bool: "a truth value", int: "a number", float: "a number", str: "text", list: "a list"}.get(
        type(value), "an object"
    )


def turns_of(messages: Any) -> list[tuple[str, str]]:
    """The (role, words) of a conversation in chat form. Raises ValueError for what is no list of {"role": …, "content": …} with two texts."""
    if not isinstance(messages, list):
        raise ValueError(f"its messages are {json_kind(messages)}, not a list of turns")
    turns = []
    for number, turn in enumerate(messages, start=1):
        if not isinstance(turn, dict) or not all(isinstance(turn.get(key), str) for key in ("role", "content")):
            raise ValueError(f'its message {number} is not {{"role": …, "content": …}} with two strings')
        turns.append((turn["role"], turn["content"]))
    return turns


def read_dialogue(row: dict) -> Dialogue:
    """The conversation of a row of DialogSum or SAMSum. Raises ValueError for one without a named turn or a summary, KeyError for a missing key."""
    turns: list[tuple[str, str]] = []
    for line in filter(None, map(str.strip, text_of(row, "dialogue").splitlines())):
        speaker, words = _turn(line)
        if speaker or not turns:  # words before anybody is named are kept, nobody's
            turns.append((speaker, words))
        else:  # a turn that goes on in the next line
            turns[-1] = (turns[-1][0], f"{turns[-1][1]} {words}".strip())
    if not any(speaker for speaker, _ in turns):
        raise ValueError("'dialogue' holds no turn of the form 'Speaker: words'")
    several = "summary" not in row and "summary1" in row
    summaries = [text_of(row, key) for key in (sorted(k for k in row if re.fullmatch(r"summary[1-9]", k)) if several else ["summary"])]
    return Dialogue(tuple(turns), summaries[0], optional_text_of(row, "topic1" if several else "topic"), tuple(summaries[1:]))


def _turn(line: str) -> tuple[str, str]:
    """(speaker, words) of a line; ("", the line) where it names no speaker.

    A name ends at the first colon with a space behind it, so that it may hold one itself ("Re:Zero: hi"). A time in front is the turn's stamp when a
    name follows ("14:05 Ann: hi"), else it belongs to the words ("19:30 at the station").
    """
    stamp = _TIME.match(line)
    rest = line[stamp.end() :] if stamp else line
    colon = _NAME_ENDS.search(rest) or _NAME_ENDS_TIGHTLY.search(rest)
    name = rest[: colon.start()].strip().strip("#").strip() if colon else ""
    parts = name.split()
    named = 0 < len(parts) <= _MAX_NAME_WORDS and not re.search("[?!;]", name) and not (stamp and any(part[0].islower() for part in parts))
    return (name, rest[colon.end() :].strip()) if colon and named else ("", line)
