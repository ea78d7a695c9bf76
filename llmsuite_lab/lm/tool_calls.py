"""Native tool calls: what an instruct model was trained to write when it wants a function run, in the form of its own chat template.

    messages, schemas  —template→  prompt          text  —read_reply→  what it says, calls (name, arguments)

The template shows the schemas and past calls; the model's text comes back in one of a few forms, all of which are a name and arguments:
`<tool_call>{"name": …, "arguments": {…}}</tool_call>` (Hermes, Qwen, SmolLM), bare JSON (Llama 3), a list of them (Mistral), `name{…}`, and
`<function=name><parameter=key>value` (Qwen coder). What cannot be read is a counted fault, never a guess. Source: Schick et al. 2023, "Toolformer".
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
_TAGGED_FUNCTION = re.compile(r"<function=([^\s<>]+)>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^\s<>]+)>\n?(.*?)\n?(?:</parameter>|\Z)", re.DOTALL)
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_MARKERS = re.compile(r"^(?:\[TOOL_CALLS\]|<\|python_tag\|>)\s*")
_NAMED = re.compile(r"^(\w+)(?=\{)")  # nothing in between: `Result {"total": 3}` is an answer
_BETWEEN = re.compile(r"[ \n\r\t,;]*")  # JSON values that follow one another
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


def read_reply(written: str) -> Reply:
    """The parts of a model's turn (`whole_turn`). Text between tags of thought is left out; JSON with infinite numbers is a fault."""
    text = _THOUGHT.sub("", written)
    tagged = _TAGGED.findall(text) or ([text] if _TAGGED_FUNCTION.search(text) else [])
    outside = (_TAGGED if "<tool_call>" in text else _TAGGED_FUNCTION).sub("", text).strip()
    if not tagged:
        marked = _MARKERS.match(text.strip())
        bare = _MARKERS.sub("", text.strip())
        calls = _bare(bare)
        if calls is None and marked:
            return Reply("", (), "after the mark of a call must stand its name and arguments as JSON")
        return Reply(bare) if calls is None else Reply("", tuple(calls))
    calls = []
    for inside in tagged:
        try:
            calls += _tagged(inside)
        except (ValueError, RecursionError) as error:
            return Reply(outside, tuple(calls), f"a call must be one JSON object with a name and arguments ({str(error)[:120]})")
    return Reply(outside, tuple(calls))


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


def _tagged(inside: str) -> list[ToolCall]:
    if functions := _TAGGED_FUNCTION.findall(inside):
        return [ToolCall(name, dict(_PARAMETER.findall(body))) for name, body in functions]
    if not (calls := [call for value in _values(inside) for call in _calls(value)]):
        raise ValueError("it is empty")
    return calls


def _bare(text: str) -> list[ToolCall] | None:
    """The calls that a text without tags consists of, None where it is an answer."""
    try:
        if named := _NAMED.match(text):
            (arguments,) = _values(text[named.end() :])
            return [ToolCall(named[1], arguments)]
        values = _values(text) if text[:1] in ("{", "[") else []
        calls = [call for value in values for call in _calls(value, only=True)]
    except (ValueError, RecursionError):
        return None
    return calls or None


def _calls(value: Any, *, only: bool = False) -> list[ToolCall]:
    if isinstance(value, list):
        return [call for item in value for call in _calls(item, only=only)]
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ValueError("it has no name")
    if only and (not {"arguments", "parameters"} & set(value) or not set(value) <= _KEYS):
        raise ValueError("it is no call")
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):
        (arguments,) = _values(arguments) or [{}]
    if not isinstance(arguments, dict):
        raise ValueError("its arguments have no names")
    return [ToolCall(value["name"], arguments)]


def _values(text: str) -> list[Any]:
    """The JSON values that a text consists of, one after another, commas and semicolons between them. Raises ValueError for anything else."""
    decoder = json.JSONDecoder(parse_float=finite, parse_constant=finite)
    found, at = [], _BETWEEN.match(text).end()
    while at < len(text):
        value, end = decoder.raw_decode(text, at)
        found.append(value)
        at = _BETWEEN.match(text, end).end()
    return found
