"""The messages of a conversation as plain dictionaries: what a well-formed one is, and the texts in it that are anybody's.

    {"role": "user", "content": "…"}
    {"role": "assistant", "content": "…", "tool_calls": [{"type": "function", "function": {"name": "price", "arguments": {"item": "lamp"}}}]}
    {"role": "tool", "name": "price", "content": "9.0"}

This is the form that chat templates read (transformers' documentation, "Tool use"). Contents and arguments may hold any text; a role, a name or an id stands in
the template's own text, so it holds no control token, and neither does a part that only one template knows ("reasoning_content").
"""

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any


def check_turn(turn: Any, controls: Collection[str] = ()) -> None:
    """Raise ValueError unless `turn` is a message, and nothing in it but its content and its calls' arguments holds one of the control tokens.

    A template may show any part of a message: a role, a name, an id, a part that only this template knows.
    """
    if not isinstance(turn, dict) or not all(isinstance(turn.get(key), str) for key in ("role", "content")):
        raise ValueError(f'a message must be {{"role": "user", "content": "…"}} with two strings, got {turn!r}')
    if not isinstance(turn.get("tool_calls") or [], list | tuple):
        raise ValueError(f"tool_calls must be a list of calls, got {turn['tool_calls']!r}")
    for made in turn.get("tool_calls") or ():
        function = made.get("function") if isinstance(made, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not isinstance(function.get("arguments"), dict):
            raise ValueError(f'a call must be {{"type": "function", "function": {{"name": "…", "arguments": {{…}}}}}}, got {made!r}')
    (bare,), _ = marked([turn], "")
    for word in strings_of(bare):
        if held := next((control for control in controls if control in word), None):
            raise ValueError(f"{word!r} holds the control token {held!r}: of a message only the content and a call's arguments may")


def strings_of(value: Any) -> list[str]:
    """Every key and string of a value as JSON has it, such as a message or a tool's schema."""
    found: list[str] = []
    each_string(value, lambda text: found.append(text) or text)
    return found


def marked(conversation: Sequence[dict[str, Any]], mark: str) -> tuple[list[dict[str, Any]], list[tuple[str, bool]]]:
    """The messages with a numbered mark in the place of each content and each text among the arguments; those texts by number, with whether they
    are arguments. An empty content stays empty: a template may ask whether there is any."""
    held: list[tuple[str, bool]] = []

    def put(said: str, argument: bool = True) -> str:
        held.append((said, argument))
        return f"{mark}{len(held) - 1}{mark}"

    turns = []
    for turn in conversation:
        calls = [
            made | {"function": made["function"] | {"arguments": each_string(made["function"]["arguments"], put)}}
            for made in turn.get("tool_calls") or ()
        ]
        turns.append(turn | {"content": put(turn["content"], False) if turn["content"] else ""} | ({"tool_calls": calls} if calls else {}))
    return turns, held


def each_string(value: Any, change: Callable[[str], str]) -> Any:
    """`value`, as JSON has it, with every key and string changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {each_string(key, change): each_string(item, change) for key, item in value.items()}
    return [each_string(item, change) for item in value] if isinstance(value, list | tuple) else value


def within_json(text: str) -> str:
    """A text as it stands between the quotation marks of JSON."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
