"""One's own data for tuning: a JSON Lines file (or a JSON list) of prompts and completions, or of conversations; every bad row named by its line.

    {"prompt": "…", "completion": "…"}
    {"instruction": "…", "input": "…", "output": "…"}         prompt = instruction, blank line, input
    {"messages": [{"role": "user", "content": "…"}, …, {"role": "assistant", "content": "…"}]}

Of a conversation the last turn is learnt, which must be the assistant's; what comes before it is the prompt, in the model's own chat template. What a
person wrote stays text: a control token comes from the template alone (`lm.text`). In production: `datasets.load_dataset("json")`, trl's formats.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.lm.batching import Example, encode
from llmsuite_lab.lm.text import chat_prompt
from llmsuite_lab.world.readers import usable_rows
from llmsuite_lab.world.rows import json_kind, turns_of

FORMS = ("prompt and completion", "instruction and output", "messages")
_SHOWN = 5


@dataclass(frozen=True)
class OwnRow:
    """One row: where it stands ("my.jsonl, line 3"), its `prompt` and `completion`; of a conversation also the `turns` before the last."""

    where: str
    prompt: str
    completion: str
    turns: tuple[tuple[str, str], ...] = ()

    @property
    def item(self) -> str:
        """What a split keeps together: rows with the same prompt, whatever their completions."""
        return hashlib.sha256(self.prompt.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    id = item
    text = property(lambda row: row.prompt)


@dataclass(frozen=True)
class OwnFile:
    """The rows of a file that can be used, and (where, reason) of those that cannot; `sha256` of the file."""

    rows: list[OwnRow]
    bad: list[tuple[str, str]]
    sha256: str


def read(path: Path | str, *, skip_bad: bool = False) -> OwnFile:
    """Read a file of one's own. With `skip_bad` bad rows are left out and counted in `bad`.

    Raises LabError for a missing file or one that is no JSON, for bad rows (the first ones by line, and how many) unless they are skipped, and where
    none is left.
    """
    path = Path(path)
    rows, bad = usable_rows(path, _row, 'a row is {"prompt": …, "completion": …} or {"messages": […]}', skip_bad=skip_bad)
    return OwnFile(rows, bad, hashlib.sha256(path.read_bytes()).hexdigest())


def fitting(own: OwnFile, tokenizer: Any, limit: int, *, separate: bool = False, skip_bad: bool = False) -> OwnFile:
    """The file with the rows that can be trained on, `limit` as in `examples`; with `skip_bad` the others join those in `bad`.

    Raises LabError, naming the rows, where a completion alone does not fit or a conversation cannot be put into the tokenizer's template, unless they are
    skipped; and where no row is left.
    """
    rows, bad = [], []
    for row in own.rows:
        try:
            _example(row, tokenizer, limit, separate)
            rows.append(row)
        except ValueError as error:
            bad.append((row.where, str(error)))
    if bad and (not skip_bad or not rows):
        shown = "; ".join(f"{where}: {reason}" for where, reason in bad[:_SHOWN])
        raise LabError(f"{len(bad)} of {len(own.rows)} rows cannot be trained on ({shown}): shorten them, drop them (--skip-bad), or raise the limit")
    return replace(own, rows=rows, bad=[*own.bad, *bad])


def examples(rows: Sequence[OwnRow], tokenizer: Any, limit: int, *, separate: bool = False) -> tuple[list[Example], list[OwnRow]]:
    """(what `fit` takes, the rows whose prompt was cut): ids of each row, the completion ended by the end-of-text token.

    limit: most tokens of prompt and completion together (with `separate`, of each). A prompt that is too long loses its beginning; a completion is never cut.
    Raises ValueError for a row that cannot be trained on: `fitting` names them all.
    """
    made = [_example(row, tokenizer, limit, separate) for row in rows]
    return [example for example, _ in made], [row for row, (_, cut) in zip(rows, made, strict=True) if cut]


def _example(row: OwnRow, tokenizer: Any, limit: int, separate: bool) -> tuple[Example, bool]:
    """The row's ids, and whether its prompt lost its beginning."""
    prompt = row.prompt if not row.turns else chat_prompt(tokenizer, [{"role": role, "content": words} for role, words in row.turns])
    example = encode(tokenizer, prompt, row.completion)
    room = limit if separate else limit - len(example.completion_ids)
    if room < 1 or len(example.completion_ids) > limit:
        raise ValueError(f"its completion has {len(example.completion_ids):,} tokens, and {limit:,} are the limit with its prompt")
    cut = len(example.prompt_ids) > room
    return Example(example.prompt_ids[-room:], example.completion_ids) if cut else example, cut


def _row(where: str, value: Any) -> OwnRow:
    if not isinstance(value, dict):
        raise ValueError(f"it is {json_kind(value)}, not an object")
    if "messages" in value:
        return _conversation(where, value["messages"])
    if "instruction" in value:
        parts = [_text(value, "instruction"), *([_text(value, "input")] if value.get("input") else [])]
        return OwnRow(where, "\n\n".join(parts), _completion(value, "output"))
    if missing := [key for key in ("prompt", "completion") if key not in value]:
        known = ", ".join(map(repr, value)) or "nothing"
        raise ValueError(f"it has no {missing[0]!r} (but {known}); the forms are {'; '.join(FORMS)}")
    return OwnRow(where, _text(value, "prompt"), _completion(value, "completion"))


def _conversation(where: str, messages: Any) -> OwnRow:
    turns = turns_of(messages)
    if len(turns) < 2:
        raise ValueError("its messages are no list of at least two turns")
    if turns[-1][0] != "assistant":
        raise ValueError(f"its last message is the {turns[-1][0]}'s, and what is learnt is the assistant's answer")
    if not turns[-1][1].strip():
        raise ValueError("its last message is empty")
    return OwnRow(where, "\n".join(f"{role}: {words}" for role, words in turns[:-1]), turns[-1][1], tuple(turns[:-1]))


def _text(value: dict[str, Any], key: str) -> str:
    if not isinstance(value[key], str):
        raise ValueError(f"its {key} is {json_kind(value[key])}, not a text")
    if not value[key].strip():
        raise ValueError(f"its {key} is empty")
    return value[key]


def _completion(value: dict[str, Any], key: str) -> str:
    if key not in value:
        raise ValueError(f"it has no {key!r}")
    return _text(value, key)
