"""Native tool calls: what an instruct model was trained to write when it wants a function run, in the form of its own chat template.

    messages, schemas  —template→  prompt          text  —read_reply→  what it says, calls (name, arguments)

The template shows the schemas and past calls; the model's text comes back in one of a few forms, all of which are a name and arguments:
`<tool_call>{"name": …, "arguments": {…}}</tool_call>` (Hermes, Qwen, SmolLM), bare JSON (Llama 3), a list of them (Mistral), `name{…}` or `name[ARGS]{…}`,
`<function=name>{…}</function>` (Llama 3.1) and `<function=name><parameter=key>value</parameter></function>` (Qwen coder), where values are text and
become what the tool's schema asks for. What cannot be read is a counted fault, never a guess. Source: Schick et al. 2023, "Toolformer".
In production: the tool parsers of vLLM, `tokenizer.parse_response` of transformers for models that ship a response template.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmsuite_lab.core.values import finite
from llmsuite_lab.lm.text import Prompt, chat_prompt, template_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TAGGED = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_TAGGED_FUNCTION = re.compile(r"<function=([^\s<>]+)>(.*?)(</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^\s<>]+)>\n?(.*?)\n?(</parameter>|\Z)", re.DOTALL)  # up to the end, or each unclosed one is sought to the end
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_MARKERS = re.compile(r"^(?:\[TOOL_CALLS\]|<\|python_tag\|>)\s*")
_NAMED = re.compile(r"(?:\[TOOL_CALLS\])?(\w+)(?:\[ARGS\])?(?=\{)")  # nothing in between: `Result {"total": 3}` is an answer
_BEGUN = re.compile(r'\[?\s*\{\s*(?:"type"\s*:\s*"function"\s*,\s*)?"name"\s*:\s*"[^"]*"\s*,\s*"(?:arguments|parameters)"\s*:')  # no answer begins so
_BETWEEN = re.compile(r"[ \n\r\t,;]*")  # JSON values that follow one another
_NAME = re.compile(r"[\w.:/ -]{1,100}")  # of a function: a template writes names unescaped, and "<|im_end|>" is none
_KEYS = {"name", "arguments", "parameters", "id", "type"}
_MARK = "\uf8ff"  # a character for private use: where a call's arguments begin in the template's text


@dataclass(frozen=True)
class ToolCall:
    """A function that the model wants run, with its arguments by name; nothing about them is checked yet."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """A model's turn: its `text` without thoughts and calls, the `calls` in their order, and a `fault`: why a call in it could not be read ("")."""

    text: str
    calls: tuple[ToolCall, ...] = ()
    fault: str = ""


def whole_turn(prompt: str, written: str) -> str:
    """What a model wrote as `read_reply` reads it: some templates open the thought themselves, at the end of the prompt, and the model only closes it."""
    return f"<think>{written}" if prompt.rstrip().endswith("<think>") else written


def read_reply(written: str, tools: Sequence[dict[str, Any]] = ()) -> Reply:
    """The parts of a model's turn (`whole_turn`). Text between tags of thought is left out; JSON with infinite numbers is a fault.

    `tools`: the schemas that the model was shown; they say what a value that is written as text is, and which names call one.
    """
    text = _THOUGHT.sub("", written)
    tagged = _TAGGED.findall(text) or ([text] if _TAGGED_FUNCTION.search(text) else [])
    outside = (_TAGGED if "<tool_call>" in text else _TAGGED_FUNCTION).sub("", text).strip()
    known = {tool["function"]["name"]: tool["function"].get("parameters", {}).get("properties", {}) for tool in tools}
    if not tagged:
        marked = _MARKERS.match(text.strip())
        bare = _MARKERS.sub("", text.strip())
        calls = _bare(bare)
        if calls is None and marked:
            return Reply("", (), "after the mark of a call must stand its name and arguments as JSON")
        if calls is None and (_BEGUN.match(bare) or ((named := _NAMED.match(bare)) and named[1] in known)):
            return Reply("", (), "a call must be a name and its arguments as one JSON object, with nothing behind it")
        return Reply(bare) if calls is None else Reply("", tuple(calls))
    calls = []
    for inside in tagged:
        try:
            calls += _tagged(inside, known)
        except (ValueError, RecursionError) as error:
            return Reply(outside, tuple(calls), f"a call must be one JSON object with a name and arguments ({str(error)[:120]})")
    return Reply(outside, tuple(calls))


def read_json(text: str) -> Any:
    """The JSON value that `text` is. Raises ValueError for anything else, numbers that are not finite and half a character (a lone surrogate) among it."""
    value, end = decoded(text, len(text) - len(text.lstrip()))
    if text[end:].strip():
        raise ValueError(f"behind it stands {text[end:].strip()[:40]!r}")
    return value


def types_of(schema: dict[str, Any]) -> set[str]:
    """The JSON types that a schema allows at its top; empty where it does not say."""
    kind = schema.get("type", ())
    return {kind} if isinstance(kind, str) else set(kind).union(*(types_of(one) for one in schema.get("anyOf", ())))


def typed(text: str, schema: dict[str, Any]) -> Any:
    """The value that a text stands for where this schema is asked: the text itself where it may be one, else what it is as JSON, if it is any."""
    if "string" in types_of(schema):
        return text
    try:
        return read_json(text)
    except ValueError:
        return text


def forced_call(tokenizer: "PreTrainedTokenizerBase", conversation: Sequence[dict[str, Any]], tools: Sequence[dict[str, Any]], name: str) -> Prompt:
    """What the model's next turn begins with when it calls this tool, up to its arguments, as its template writes a call.

    Raises ValueError for an unknown tool, and for a template whose calls do not follow where an answer would.
    """
    known = {tool["function"]["name"]: tool for tool in tools}
    if name not in known:
        raise ValueError(f"there is no tool {name!r} to call, only {', '.join(known)}")
    made = {"type": "function", "id": "call00000", "function": {"name": name, "arguments": {_MARK: 1}}}
    before = chat_prompt(tokenizer, conversation, tools=tools)
    whole = chat_prompt(tokenizer, [*conversation, {"role": "assistant", "content": "", "tool_calls": [made]}], answer_follows=False, tools=tools)
    if not whole.startswith(str(before)) or _MARK not in whole[len(before) :]:
        raise ValueError("this chat template writes a call elsewhere than an answer: the model cannot be made to call a tool")
    beginning = str(whole)[len(before) :].partition(_MARK)[0]
    if not known[name]["function"].get("parameters", {}).get("properties"):
        beginning = beginning.rstrip('"')  # it may close the braces at once
    return template_text(tokenizer, beginning)


def shows_tools(tokenizer: Any) -> bool:
    """Whether this tokenizer's chat template shows tools to the model."""
    if not getattr(tokenizer, "chat_template", None):
        return False
    probe = {"type": "function", "function": {"name": "probe", "description": "p", "parameters": {"type": "object", "properties": {}}}}
    try:
        chat_prompt(tokenizer, [{"role": "user", "content": "p"}], tools=[probe])
    except ValueError:
        return False
    return True


def _tagged(inside: str, known: dict[str, dict[str, Any]]) -> list[ToolCall]:
    if functions := _TAGGED_FUNCTION.findall(inside):
        return [_function(name, body, end, known.get(name, {})) for name, body, end in functions]
    if not (calls := [call for value in _values(inside) for call in _calls(value)]):
        raise ValueError("it is empty")
    return calls


def _function(name: str, body: str, end: str, properties: dict[str, Any]) -> ToolCall:
    if not end:
        raise ValueError(f"<function={name}> is not closed")
    if body.strip().startswith("{"):
        return _call(name, read_json(body))
    if rest := _PARAMETER.sub("", body).strip():
        raise ValueError(f"it holds {rest[:40]!r} beside its parameters")
    found = _PARAMETER.findall(body)
    if open_ones := [key for key, _, closed in found if not closed]:
        raise ValueError(f"<parameter={open_ones[0]}> is not closed")
    return _call(name, {key: typed(value, properties.get(key, {"type": "string"})) for key, value, _ in found})


def _bare(text: str) -> list[ToolCall] | None:
    """The calls that a text without tags consists of, None where it is an answer."""
    try:
        if _NAMED.match(text):
            return _one_after_another(text)
        values = _values(text) if text[:1] in ("{", "[") else []
        calls = [call for value in values for call in _calls(value, only=True)]
    except (ValueError, RecursionError):
        return None
    return calls or None


def _one_after_another(text: str) -> list[ToolCall]:
    """Calls by name: `price{…}`, several of them. Raises ValueError for anything in between."""
    calls, at = [], 0
    while at < len(text):
        if not (named := _NAMED.match(text, at)):
            raise ValueError("it is no call")
        value, end = decoded(text, named.end())
        calls.append(_call(named[1], value))
        at = _BETWEEN.match(text, end).end()
    return calls


def _calls(value: Any, *, only: bool = False) -> list[ToolCall]:
    if isinstance(value, list):
        return [call for item in value for call in _calls(item, only=only)]
    if isinstance(value, dict) and isinstance(value.get("function"), dict) and set(value) <= {"id", "type", "function"}:
        value = value["function"]  # as it is told to a server
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ValueError("it has no name")
    if only and (not {"arguments", "parameters"} & set(value) or not set(value) <= _KEYS):
        raise ValueError("it is no call")
    arguments = value.get("arguments", value.get("parameters"))
    if isinstance(arguments, str):
        arguments = read_json(arguments) if arguments.strip() else None
    return [_call(value["name"], {} if arguments is None else arguments)]


def _call(name: str, arguments: Any) -> ToolCall:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name[:40]!r} is no name of a function")
    if not isinstance(arguments, dict):
        raise ValueError("its arguments have no names")
    return ToolCall(name, arguments)


def _values(text: str) -> list[Any]:
    """The JSON values that a text consists of, one after another, commas and semicolons between them. Raises ValueError for anything else."""
    found, at = [], _BETWEEN.match(text).end()
    while at < len(text):
        value, end = decoded(text, at)
        found.append(value)
        at = _BETWEEN.match(text, end).end()
    return found


def decoded(text: str, at: int) -> tuple[Any, int]:
    """The JSON value that begins at `text[at]`, and where it ends. Raises ValueError where none does, as for `read_json`."""
    try:
        value, end = json.JSONDecoder(parse_float=finite, parse_constant=finite).raw_decode(text, at)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a character, which no text does") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value, end
