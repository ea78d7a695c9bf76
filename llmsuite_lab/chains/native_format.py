"""LangChain's messages in an instruct model's own form: what its chat template reads, and what it writes when it calls a tool.

    HumanMessage(q)               →  {"role": "user", "content": q}
    AIMessage(text, tool_calls)   ↔  {"role": "assistant", "content": text, "tool_calls": […]}      as the template writes it
    ToolMessage(o)                →  {"role": "tool", "name": …, "content": o}

The other form is `react_format`, for a model that was tuned on it or whose template shows no tools. What is read out of a text: `lm.tool_calls`.
"""

import re
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, ToolMessage

from llmsuite_lab.chains.react_format import UNPARSABLE, text_of
from llmsuite_lab.lm.stops import held_back
from llmsuite_lab.lm.tool_calls import read_reply

_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool"}
_TAGS = ("<tool_call>", "<function=", "<think>")
_BEGINS = ("<|python_tag|>", "{", "[")
_NAMED = re.compile(r"\w+(?:\[[ARGS]{0,4}\]?)?(?:\{|\Z)")  # a call by name, or a first word that may become one


def conversation_of(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """The messages as a chat template reads them. Raises ValueError for a role that it does not know, and for content that is not text."""
    names = {call["id"]: call["name"] for message in messages if isinstance(message, AIMessage) for call in message.tool_calls}
    turns = []
    for message in messages:
        turn: dict[str, Any] = {"role": role_of(message), "content": text_of(message)}
        if isinstance(message, AIMessage) and (calls := [call for call in message.tool_calls if call["name"] != UNPARSABLE]):
            made = [{"type": "function", "id": str(c["id"]), "function": {"name": c["name"], "arguments": c["args"]}} for c in calls]
            turn["tool_calls"] = made
        if isinstance(message, ToolMessage):
            turn |= {"name": str(message.name or names.get(message.tool_call_id, "tool")), "tool_call_id": str(message.tool_call_id)}
            if turn["name"] == UNPARSABLE:  # an answer to what was no call
                turn = {"role": "user", "content": turn["content"]}
        turns.append(turn)
    return turns


def role_of(message: BaseMessage) -> str:
    """The role of a message in a chat template. Raises ValueError for a type that has none."""
    role = message.role if isinstance(message, ChatMessage) else _ROLES.get(message.type)
    if role is None:
        raise ValueError(f"a message of type {message.type!r} has no role in the model's chat template; it knows system, user and assistant")
    return role


def message_of(raw: str, call_id: str, tools: Sequence[dict[str, Any]] = (), *, only_first: bool = False) -> AIMessage:
    """The model's turn as a message: its text, its calls, and for one that cannot be read a call to `UNPARSABLE`, which the loop refuses and answers.

    `tools`: as for `read_reply`. `only_first`: the model was made to call one tool, and what it writes after that call is left out.
    """
    reply = read_reply(raw, tools)
    calls = [{"name": made.name, "args": made.arguments, "id": f"{call_id}_{n}" if n else call_id} for n, made in enumerate(reply.calls)]
    if reply.fault and not (only_first and calls):
        calls.append({"name": UNPARSABLE, "args": {"text": raw.strip()[:200]}, "id": f"{call_id}_{len(calls)}" if calls else call_id})
    return AIMessage(reply.text, tool_calls=calls[:1] if only_first else calls, additional_kwargs={} if calls else {"thought": ""})


def speakable(written: str) -> str:
    """As much of an unfinished turn as is text for certain: nothing that is, or could become, a call or a thought."""
    text = written.lstrip()
    if any(begin.startswith(text) or text.startswith(begin) for begin in _BEGINS):
        return ""
    text = text[: min((at for tag in _TAGS if (at := text.find(tag)) >= 0), default=len(text) - held_back(text, _TAGS))]
    return "" if _NAMED.match(text) else text.rstrip()
