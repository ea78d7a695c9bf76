"""Two ways of writing one thing: LangChain's messages with tool calls, and the text our tuned model was trained on.

    HumanMessage(q)                    ↔  Question: q
    AIMessage(thought, tool_calls=[t]) ↔  Thought: thought / Action: name[argument]
    ToolMessage(o)                     ↔  Observation: o
    AIMessage(answer)                  ↔  Action: Finish[answer]

With this translation `create_agent` drives the tuned model of notebook 04 (paper 2.3, 2.4). In production: a model's native tool-call format.
"""

import json
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from llmsuite_lab.agents.react import FINISH, STOPS, close_bracket, parse_turn
from llmsuite_lab.core.values import finite, number
from llmsuite_lab.lm.tool_calls import read_json, typed, types_of

UNPARSABLE = (
    "unparsable"  # the name under which a turn without a valid action reaches the loop: no tool has it, so it is refused and answered
)
_OPENINGS = ("Question:", "Claim:")


def text_of(message: BaseMessage) -> str:
    """The text of a message, its content blocks joined. Raises ValueError for a block that is not text (an image, say)."""
    if isinstance(message.content, str):
        return message.content
    parts = []
    for block in message.content:
        if isinstance(block, str):
            parts.append(block)
        elif block.get("type") in ("text", "text-plain"):
            parts.append(block["text"])
        elif block.get("type") not in ("tool_use", "tool_call"):  # calls are carried by message.tool_calls
            raise ValueError(f"this model reads text only, and a message holds a block of type {block.get('type')!r}")
    return "\n".join(parts)


def prompt_of(messages: Sequence[BaseMessage]) -> str:
    """The ReAct text of a conversation from its last question on, ready for the model's next turn: ends in "Thought:".

    The tuned model knows one question at a time; earlier questions and system messages are left out. Raises ValueError without a question.
    """
    last = max((i for i, message in enumerate(messages) if isinstance(message, HumanMessage)), default=None)
    if last is None:
        raise ValueError("the conversation holds no question: a HumanMessage is needed")
    question = text_of(messages[last]).strip()
    text = question if question.startswith(_OPENINGS) else f"Question: {question}"
    text += "\nThought:"
    for message in messages[last + 1 :]:
        if isinstance(message, AIMessage):
            text += f" {_turn(message)}\n"
        elif isinstance(message, ToolMessage):
            text += f"Observation: {' '.join(text_of(message).split())}\nThought:"
    return text


def _turn(message: AIMessage) -> str:
    calls = [call for call in message.tool_calls if call["name"] != UNPARSABLE]
    thought = text_of(message).strip()
    if not calls:
        return " ".join(thought.split())[:200]
    return f"{thought}\nAction: {calls[0]['name']}[{argument_text(calls[0]['args'])}]"


def beginning_of(name: str) -> str:
    """What is put into the model's mouth to make it call a tool; its argument is left to the model."""
    return f" I use {name}.\nAction: {name}["


def first_action(raw: str) -> str:
    """A turn up to the bracket that ends its action, where it goes on: a bracket within JSON ends none."""
    ends = [at + 1 for at, letter in enumerate(raw) if letter == "]"]
    return next((raw[:end] for end in ends if parse_turn(raw[:end])), raw.partition("]")[0].rstrip("\n") + "]")


def argument_text(arguments: dict[str, Any]) -> str:
    """A call's arguments as they stand between the brackets: the value of a single one, a text as it is; else JSON."""
    values = list(arguments.values())
    return values[0] if len(values) == 1 and isinstance(values[0], str) else json.dumps(values[0] if len(values) == 1 else arguments, ensure_ascii=False)


def arguments_of(text: str, tool: dict[str, Any] | None) -> dict[str, Any]:
    """What stands between the brackets as the named arguments of `tool` (an OpenAI-style schema), with numbers and lists as the schema asks.

    A text that does not fit stays a string: the tool's own validation refuses it, and the model reads why.
    """
    properties = (tool or {}).get("function", {}).get("parameters", {}).get("properties", {})
    try:
        value = read_json(text)  # 1e9999 and Infinity are no arguments
    except ValueError:
        value = None
    if isinstance(value, dict) and (len(properties) != 1 or set(value) == set(properties)):
        return value
    name, schema = next(iter(properties.items()), ("input", {}))
    if not properties and tool is not None:
        return {}
    if schema.get("type") == "integer" and (whole := number(text)) is not None and whole.denominator == 1:
        return {name: int(whole)}
    if schema.get("type") == "number":
        try:
            return {name: finite(text)}
        except ValueError:
            return {name: text}
    return {name: typed(text, schema) if types_of(schema) else text}


def message_of(raw: str, finish_reason: str, tools: Sequence[dict[str, Any]], call_id: str) -> AIMessage:
    """The model's turn as a message: an answer for Finish, a tool call for any other action, a call to `UNPARSABLE` for anything else."""
    turn = parse_turn(close_bracket(raw, finish_reason))
    if turn is not None and turn.name == FINISH and turn.argument:
        return AIMessage(turn.argument, additional_kwargs={"thought": turn.thought})
    if turn is None:
        return AIMessage(raw.strip(), tool_calls=[{"name": UNPARSABLE, "args": {"text": raw.strip()[:200]}, "id": call_id}])
    tool = next((t for t in tools if t["function"]["name"] == turn.name), None)
    return AIMessage(turn.thought, tool_calls=[{"name": turn.name, "args": arguments_of(turn.argument, tool), "id": call_id}])


__all__ = ["STOPS", "UNPARSABLE", "argument_text", "arguments_of", "beginning_of", "first_action", "message_of", "prompt_of", "text_of"]
