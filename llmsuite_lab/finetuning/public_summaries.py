"""Somebody else's dialogues, with summaries that people wrote: DialogSum and SAMSum, the untuned model beside the desk's adapter.

    details(text)    its words with a digit, and its names: words with a capital that do not open a sentence, and the speakers
    kept = |details(reference) ∩ words(summary)| / |details(reference)|        true = |details(summary) ∩ words(dialogue)| / |details(summary)|

The desk knows its facts (`world.support_desk.facts_in`), these sets do not: what can be counted here is whether the names and numbers of the human summary
are in the model's, and whether those of the model's occur in the dialogue at all. A sentence may hold the right names and be wrong. A made-up name that opens
a sentence is missed. Chen et al. 2021 (DialogSum), Gliwa et al. 2019 (SAMSum). In production: `evaluate` for ROUGE, an NER model for the names.
"""

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from llmsuite_lab.core import text as core_text
from llmsuite_lab.core.errors import LabError, unknown
from llmsuite_lab.core.runs import Outcome
from llmsuite_lab.finetuning import measuring
from llmsuite_lab.finetuning.templates import completion_of, text_of
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.world import readers
from llmsuite_lab.world.rows import Dialogue

TITLES = {"dialogsum": "DialogSum", "samsum": "SAMSum"}
ITEMS = 40  # dialogues of a set, the first of its file
WAYS = ("untuned, by chat", "untuned, four examples", "tuned on our desk")
_WORD = re.compile(r"[^\W_]+(?:[:.,][0-9]+)*")
_OPENS = re.compile(r"(?:^|[.!?:\n])[\s\"'“‘(*-]*$")


def details(text: str, names: Collection[str] = ()) -> set[str]:
    """The names and numbers of a text, folded. A word that opens a sentence counts when it is one of `names`, or holds a digit."""
    found = set()
    for match in _WORD.finditer(text):
        word = core_text.fold(match[0])
        named = match[0][0].isupper() and len(word) > 1 and (word in names or not _OPENS.search(text[: match.start()]))
        if named or any(letter.isdigit() for letter in word):
            found.add(word)
    return found


def judged(said: str, dialogue: Dialogue) -> dict[str, float | None]:
    """{"kept", "true"} of a summary against the first human one and the dialogue; None where there is nothing to keep, or nothing was named."""
    text, reference = text_of(dialogue), completion_of(dialogue, "summary")
    names = details(text) | {word for speaker, _ in dialogue.turns for word in _words(speaker)}
    wanted, named = details(reference, names), details(said, names)
    return {"kept": _share(wanted, _words(said)), "true": _share(named, _words(text))}


def measured(folder: Path | str | None = None) -> Outcome:
    """Set → way → a row a dialogue {"task", "item", "rouge1", "rougeL", "kept", "true", …}; what was written is not kept, as it may quote the dialogue.

    `folder` holds dialogsum.jsonl, samsum.jsonl or both; None: the folder that LLMSUITE_REAL_DATA names. Raises LabError when that is not set, neither
    file is there, or one is of another format.
    """
    sets = given(folder)
    found: dict[str, dict[str, list[dict[str, Any]]]] = {name: {} for name in sets}
    untuned, tuned = LanguageModel.load(), LanguageModel.load(adapter="desk_summary")
    for name, dialogues in sets.items():
        found[name][WAYS[0]] = _rows(measuring.by_chat(untuned, dialogues, ["summary"]), dialogues)
        found[name][WAYS[1]] = _rows(measuring.answers(untuned, dialogues, ["summary"], shots=measuring.SHOTS), dialogues)
        found[name][WAYS[2]] = _rows(measuring.answers(tuned, dialogues, ["summary"]), dialogues)
    return Outcome({"items": ITEMS, "shots": measuring.SHOTS, "adapter": "desk_summary"}, found)


def given(folder: Path | str | None = None, limit: int = ITEMS) -> dict[str, list[Dialogue]]:
    """The first `limit` dialogues of each set whose file is in the folder. Raises as `measured`."""
    place = folder or os.environ.get("LLMSUITE_REAL_DATA")
    if not place:
        raise LabError("set LLMSUITE_REAL_DATA to a folder that holds dialogsum.jsonl, samsum.jsonl or both")
    files = {name: Path(place) / f"{name}.jsonl" for name in TITLES}
    there = {name: readers.read(name, file, limit=limit) for name, file in files.items() if file.is_file()}
    if not there:
        raise LabError(f"neither dialogsum.jsonl nor samsum.jsonl is in {place}: LLMSUITE_REAL_DATA names the folder that holds them")
    return there


def part(rows: Sequence[dict[str, Any]], name: str) -> list[float]:
    """One part of the rows, "rouge1", "rougeL", "kept" or "true", where it is defined. Raises ValueError for another part."""
    if name not in ("rouge1", "rougeL", "kept", "true"):
        raise ValueError(unknown("part of a summary's score", name, ["rouge1", "rougeL", "kept", "true"]))
    return [float(row[name]) for row in rows if row[name] is not None]


def _rows(answers: Sequence[dict[str, Any]], dialogues: Sequence[Dialogue]) -> list[dict[str, Any]]:
    judgements = [judged(row["said"], dialogue) for row, dialogue in zip(answers, dialogues, strict=True)]
    return [{key: value for key, value in row.items() if key != "said"} | found for row, found in zip(answers, judgements, strict=True)]


def _words(text: str) -> set[str]:
    return {core_text.fold(word) for word in _WORD.findall(text)}


def _share(wanted: set[str], there: set[str]) -> float | None:
    return len(wanted & there) / len(wanted) if wanted else None
