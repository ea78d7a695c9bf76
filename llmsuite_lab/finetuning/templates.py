"""Prompt templates: one item of data and several phrasings of the instruction become prompt–completion pairs.

    pair(item) = (template_k(item), completion(item)),     k = SHA-256(seed, item's id) mod (number of templates)

The phrasing of an item depends on its id and the seed alone: neither order nor neighbours matter. Items are split before they are rendered, by a hash
of the id as well (`splits`), so that an item is never on two sides. Text is put into a template once and not looked at again: braces
in a dialogue are only braces. Source: paper 5.2; Wei et al. 2022 (FLAN, ten templates a data set). In production: `promptsource`, `datasets.map`.
"""

import hashlib
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmsuite_lab.core import text as core_text
from llmsuite_lab.core.errors import unknown
from llmsuite_lab.finetuning.entities import entity_line
from llmsuite_lab.lm.batching import Example, encode
from llmsuite_lab.lm.text import chat_prompt
from llmsuite_lab.world.support_desk import ENTITY_KINDS, INTENTS, SENTIMENTS

_FILE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_LABELS: dict[str, tuple[str, ...]] = {"intent": INTENTS, "sentiment": SENTIMENTS, "entities": ENTITY_KINDS}
TASKS = ("summary", "intent", "sentiment", "entities", "answer")
TRAINING: dict[str, tuple[str, ...]] = {task: tuple(_FILE[task]["train"]) for task in TASKS}
HELD_OUT: dict[str, tuple[str, ...]] = {task: tuple(_FILE[task]["held_out"]) for task in TASKS}
_FIELDS = {"summary": (), "intent": ("labels",), "sentiment": ("labels",), "entities": ("kinds",), "answer": ("question",)}  # beside {text}
SLOT = re.compile(r"\{(\w*)\}")


@dataclass(frozen=True)
class Pair:
    """A prompt and its completion, made of `item` (its id) for `task` by `template`; `text` is the item's own text, which the prompt holds."""

    item: str
    task: str
    template: str
    prompt: str
    completion: str
    text: str = ""


def training(task: str) -> list[str]:
    """The phrasings of a task that models are tuned on. Raises ValueError for an unknown task."""
    return list(TRAINING[_checked_task(task)])


def held_out(task: str) -> list[str]:
    """The phrasings of a task that no training sees. Raises ValueError for an unknown task."""
    return list(HELD_OUT[_checked_task(task)])


def render(dialogues: Sequence[Any], task: str, templates: Sequence[str] | None = None, seed: int = 0) -> list[Pair]:
    """One pair a dialogue, in order; `templates` None takes the training phrasings of the task.

    dialogues: of `world.support_desk`, or for the summary rows of DialogSum and SAMSum (`world.rows.Dialogue`). A completion begins with a space, as words
    after a colon do, and is one line.
    Raises ValueError for an unknown task, no templates, a template without {text} or with an unknown {slot}, and a dialogue that lacks what the task asks.
    """
    _checked_task(task)
    chosen = training(task) if templates is None else _checked(task, templates)
    pairs = []
    for dialogue in dialogues:
        item, text = item_of(dialogue), text_of(dialogue)
        template = chosen[drawn(seed, item) % len(chosen)]
        values = {"text": text} | {field: _field(field, task, dialogue) for field in _FIELDS[task]}
        prompt = SLOT.sub(lambda slot, values=values: values[slot[1]], template)
        pairs.append(Pair(item, task, template, prompt, f" {completion_of(dialogue, task)}", text))
    return pairs


def completion_of(dialogue: Any, task: str) -> str:
    """What a perfect model answers, in one line. Raises ValueError for an unknown task or a dialogue without it."""
    _checked_task(task)
    found = getattr(dialogue, task, None)
    if task == "entities" and found is not None:
        return entity_line(found)
    if not isinstance(found, str) or not found.strip():
        raise ValueError(f"dialogue {item_of(dialogue)!r} has no {task}: it cannot be used for this task")
    for speaker, _ in getattr(dialogue, "turns", ()) if task == "summary" and not hasattr(dialogue, "text") else ():
        found = found.replace(f"#{speaker}#", speaker)  # DialogSum's marks, which the reader took off the turns
    return " ".join(found.split())


def examples(pairs: Sequence[Pair], tokenizer: Any, *, chat: bool = False) -> list[Example]:
    """What `lm.training.fit` takes: ids of each pair, the completion ended by the tokenizer's end-of-text token.

    chat: the prompt is a user's message in the tokenizer's chat template, the completion the assistant's, without its first space.
    Control tokens come from the chat template alone; text that looks like one stays text. Raises ValueError for no pairs, and as `lm.batching.encode`.
    """
    if len(pairs) == 0:
        raise ValueError("there are no pairs to make examples of: the list is empty")
    if not chat:
        return [encode(tokenizer, pair.prompt, pair.completion) for pair in pairs]
    messages = [[{"role": "user", "content": pair.prompt}] for pair in pairs]
    prompts = [chat_prompt(tokenizer, message) for message in messages]
    return [encode(tokenizer, prompt, pair.completion.lstrip()) for prompt, pair in zip(prompts, pairs, strict=True)]


def item_of(row: Any) -> str:
    """The id of a dialogue or pair; for a row without one (DialogSum, SAMSum) a hash of its text."""
    found = row.item if isinstance(row, Pair) else getattr(row, "id", None)
    return str(found) if found is not None else hashlib.sha256(words_of(text_of(row)).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def text_of(row: Any) -> str:
    """The text of a dialogue or pair; the turns of a row of DialogSum or SAMSum as lines "speaker: words". Raises TypeError for anything else."""
    if isinstance(row, Pair):
        return row.text or row.prompt
    if isinstance(text := getattr(row, "text", None), str):
        return text
    if turns := getattr(row, "turns", None):
        return "\n".join(f"{speaker}: {words}" if speaker else words for speaker, words in turns)
    raise TypeError(f"{row!r:.80} is {type(row).__name__}, but a dialogue (with .text or .turns) or a Pair is needed")


def labels(task: str) -> tuple[str, ...]:
    """The classes of "intent" or "sentiment", the kinds of detail of "entities". Raises ValueError for another task."""
    if task not in _LABELS:
        raise ValueError(unknown("task with labels", task, list(_LABELS)))
    return _LABELS[task]


def drawn(seed: int, *parts: str) -> int:
    """A whole number below 2⁶⁴, the same on every machine for the same seed and words."""
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed={seed!r} is {type(seed).__name__}, but a seed is a whole number")
    return int.from_bytes(hashlib.sha256("\x1f".join((str(seed), *parts)).encode("utf-8", "surrogatepass")).digest()[:8], "big")


def words_of(text: str) -> str:
    """The words of a text alone, folded: the form in which two texts are the same. A text without words stays itself, folded."""
    return " ".join(core_text.words(text)) or core_text.fold(text)


def _checked_task(task: str) -> str:
    if task not in TASKS:
        raise ValueError(unknown("task", task, list(TASKS)))
    return task


def _checked(task: str, templates: Sequence[str]) -> list[str]:
    if isinstance(templates, str) or len(templates) == 0:
        raise ValueError(f"templates={templates!r}, but a list of at least one template is needed")
    allowed = ("text", *_FIELDS[task])
    for template in templates:
        slots = SLOT.findall(template)
        if missing := {"text", *({"question"} & set(allowed))} - set(slots):
            raise ValueError(f"the template {template!r:.80} has no {{{min(missing)}}}: the model would not see it")
        if foreign := [slot for slot in slots if slot not in allowed]:
            raise ValueError(f"the template {template!r:.80} has the slot {{{foreign[0]}}}, but {task} fills {', '.join(allowed)}")
    return list(templates)


def _field(field: str, task: str, dialogue: Any) -> str:
    if field != "question":
        return ", ".join(_LABELS[task])
    if not isinstance(found := getattr(dialogue, "question", None), str) or not found.strip():
        raise ValueError(f"dialogue {item_of(dialogue)!r} has no question: it cannot be used for this task")
    return found.strip()
