"""Structured output: an answer as a value of a pydantic model, checked, and asked for again where it does not fit.

    text_0 = LM(question, schema);   value = validate(JSON in text_t), or text_{t+1} = LM(…, text_t, why it does not fit),   t ≤ retries

Nothing is repaired in silence: a text that is no JSON object of this schema counts as an error, goes back to the model with the reason, and after
`retries` further texts there is no value. Greedy decoding gives another text because the conversation is another. In production: constrained decoding
(outlines, xgrammar), which makes the form certain and leaves the content as it is; langchain's `with_structured_output`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError

from llmsuite_lab.core.errors import within
from llmsuite_lab.lm.language_model import Completion, LanguageModel
from llmsuite_lab.lm.schemas import in_words
from llmsuite_lab.lm.text import listed
from llmsuite_lab.lm.tool_calls import decoded

RETRIES, MOST_RETRIES = 2, 20
CUT = "; the text was cut off at its limit of tokens: allow more of them, or ask for less"
_SHOWN_ERRORS = 3


@dataclass
class Structured:
    """What came of one question: the `value` (None when no text fitted), every text and of each that did not fit why; tokens over all of them.

    `cut`: whether the last text ended at its limit of tokens.
    """

    value: Any = None
    texts: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cut: bool = False

    @property
    def retries(self) -> int:
        """How often it was asked for again."""
        return len(self.texts) - 1


def structured(
    lm: LanguageModel, conversations: Sequence[Any], model: type[BaseModel], *, retries: int = RETRIES, max_new_tokens: int = 256, **options: Any
) -> list[Structured]:
    """Answer each conversation (as in `LanguageModel.chat`) with a value of the pydantic `model`; each round is one batch of those still open.

    Options as in `LanguageModel.complete`. Raises ValueError for retries outside 0…MOST_RETRIES, for a `model` without fields and as `LanguageModel.chat`.
    """
    asked = [
        [{"role": "user", "content": turns}] if isinstance(turns, str) else list(turns) for turns in listed(conversations, "structured", (str, list))
    ]
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise TypeError(f"model={model!r:.60}: it must be a pydantic class, class Person(BaseModel): …")
    asked = [with_request(turns, request(model.model_json_schema())) for turns in asked]

    def ask(rows: Sequence[tuple[int, Structured]]) -> list[str]:
        done: list[Completion] = lm.chat([[*asked[i], *again(found)] for i, found in rows], max_new_tokens=max_new_tokens, **options)
        for (_, found), completion in zip(rows, done, strict=True):
            found.prompt_tokens += completion.prompt_tokens
            found.completion_tokens += completion.completion_tokens
            found.cut = completion.finish_reason == "length"
        return [completion.text for completion in done]

    return until_valid(ask, len(asked), lambda text: value_of(text, model), retries)


def until_valid(
    ask: Callable[[Sequence[tuple[int, Structured]]], Sequence[str]], count: int, read: Callable[[str], Any], retries: int = RETRIES
) -> list[Structured]:
    """Ask for `count` texts, then again for those that `read` refuses (ValueError), `retries` times at most.

    `ask` is given (number, what came so far) of each one that is open, and returns their texts. Raises ValueError for retries outside 0…MOST_RETRIES.
    """
    within("retries", retries, 0, MOST_RETRIES)
    within("count", count, 0, 10_000_000)
    found = [Structured() for _ in range(count)]
    waiting = list(range(count))
    for _ in range(retries + 1):
        if not waiting:
            break
        for i, text in zip(list(waiting), ask([(i, found[i]) for i in waiting]), strict=True):
            found[i].texts.append(text)
            try:
                found[i].value = read(text)
                waiting.remove(i)
            except ValueError as error:
                found[i].errors.append(f"{error}{CUT if found[i].cut else ''}")
    return found


def request(schema: dict[str, Any]) -> str:
    """What is asked of the model for this JSON schema: an object, its fields with their types and descriptions.

    Raises ValueError for the schema of something else than an object with fields.
    """
    fields = []
    top = schema.get("$defs", {}).get(schema["$ref"].rpartition("/")[2], {}) if "$ref" in schema else schema  # a model that holds itself
    if not top.get("properties"):
        raise ValueError(f"the answer must be an object with fields, and this schema asks for {in_words(top)}: put it in a field of a class")
    for name, about in top["properties"].items():
        need = "" if name in top.get("required", ()) else ", may be left out"
        fields.append(f'- "{name}": {in_words(about)}{need}' + (f" ({about['description']})" if about.get("description") else ""))
    more = f"\nwhere {json.dumps(schema['$defs'], ensure_ascii=False)}" if "$defs" in schema else ""
    example = "{" + ", ".join(f'"{name}": …' for name in top["properties"]) + "}"
    return "Answer with one JSON object and nothing else. Its fields:\n" + "\n".join(fields) + f"{more}\nIts form: {example}"


def with_request(turns: Sequence[dict[str, Any]], wanted: str) -> list[dict[str, Any]]:
    """The messages, the last of them ending with what is wanted. Raises ValueError where the last is not the user's."""
    if not turns or not isinstance(turns[-1], dict) or turns[-1].get("role") != "user":
        raise ValueError("a conversation that is to be answered ends with a message of the user")
    return [*turns[:-1], turns[-1] | {"content": f"{turns[-1]['content']}\n\n{wanted}"}]


def again(found: Structured) -> list[dict[str, str]]:
    """The messages that follow a text that did not fit: that text, and why. Of several only the last: a small model repeats what it reads."""
    if not found.errors:
        return []
    return [{"role": "assistant", "content": found.texts[-1]}, {"role": "user", "content": complaint(found.errors[-1])}]


def complaint(error: str) -> str:
    """What is said of a text that did not fit."""
    return f"That does not fit: {error}. Write the JSON object again, and nothing else."


def object_of(text: str) -> dict[str, Any]:
    """The JSON object that begins at the first brace of `text`, behind the model's thoughts. Raises ValueError where there is none."""
    text = said(text)
    if (start := text.find("{")) < 0:
        raise ValueError("there is no JSON object in it")
    try:
        found, _ = decoded(text, start)
    except ValueError as error:
        raise ValueError(f"it is no JSON object ({str(error)[:100]})") from error
    return found


def said(text: str) -> str:
    """What stands behind the model's thoughts: an object that it only considers, between <think> and </think>, is no answer."""
    if text.lstrip().startswith("{"):
        return text  # a thought would come first: what looks like its end stands in a value
    behind = text.rpartition("</think>")[2]  # the template may have opened it, in the prompt
    return behind.partition("<think>")[0]


def value_of(text: str, model: type[BaseModel]) -> BaseModel:
    """The value that the first JSON object in `text` is. Raises ValueError, saying what does not fit."""
    try:
        return model.model_validate(object_of(text))
    except ValidationError as error:
        told = [f"{'.'.join(map(str, e['loc'])) or 'the object'}: {e['msg']}" for e in error.errors()[:_SHOWN_ERRORS]]
        raise ValueError("; ".join(told)) from error
