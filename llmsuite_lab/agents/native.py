"""Native tool calls: the loop of ReAct in an instruct model's own form, through its chat template.

    messages_0 = [question];   reply_t ~ P(· | template(messages_t, schemas));   messages_{t+1} = messages_t + reply_t + what its calls came to

The template shows the tools, the model answers with text or with calls, and what a call came to goes back as a message of the role "tool". The rules are
those of `agents.react`: a closed set of tools, typed arguments, a time limit, no call twice, limits on turns and tokens; a call that breaks one is counted and
answered, not run. A turn without a call is the answer. For a model whose template shows no tools, `agents.react` has the same loop in plain text.
Source: Yao et al. 2022 for the loop; transformers' documentation, "Tool use". In production: `langchain.agents.create_agent`, a server's function calling.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llmsuite_lab.agents.react import Step, Trajectory, done_before
from llmsuite_lab.agents.tools import Tool, ToolResult, call, tools_in
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.lm.tool_calls import ToolCall, read_reply, whole_turn


@dataclass
class Dialogue(Trajectory):
    """All that happened for one question, as in `agents.react`: one step per call, and one for the answer; `messages` are what the template reads."""

    messages: list[dict[str, Any]] = field(default_factory=list)

    def text(self) -> str:
        """The messages, one a line: role and content."""
        return "\n".join(f"{turn['role']}: {turn['content'] or turn.get('tool_calls', '')}" for turn in self.messages)


def converse(
    lm: LanguageModel,
    questions: Sequence[str],
    make_tools: Callable[[], Sequence[Tool]],
    *,
    system: str = "",
    max_turns: int = 6,
    max_tokens: int = 1024,
    turn_tokens: int = 256,
) -> list[Dialogue]:
    """Answer all `questions` side by side with native tool calls; one Dialogue each, in order, its `answer` None unless it `ended` "finished".

    make_tools: called once per question, since tools may keep state. `system`: a message in front. At most max_turns turns and max_tokens written tokens a
    question, turn_tokens a turn. Raises ValueError for limits below one, no tools or two of one name, a template that shows no tools, a question that
    overfills the context.
    """
    if isinstance(questions, str):
        raise TypeError("questions is one string; pass a list of questions")
    if min(max_turns, max_tokens, turn_tokens) < 1:
        raise ValueError(f"max_turns={max_turns}, max_tokens={max_tokens}, turn_tokens={turn_tokens}: each must be at least 1")
    start = time.perf_counter()
    opening = [{"role": "system", "content": system}] if system else []
    dialogues = [Dialogue(question, messages=[*opening, {"role": "user", "content": question}]) for question in questions]
    tools = [_by_name(tools_in(make_tools())) for _ in dialogues]
    while running := [i for i, dialogue in enumerate(dialogues) if not dialogue.ended]:
        prompts = [lm.chat_prompt(dialogues[i].messages, [tool.schema for tool in tools[i].values()]) for i in running]
        fitting = [(i, p) for i, p in zip(running, prompts) if not dialogues[i].steps or lm.count_tokens(p) + turn_tokens <= lm.context_length]
        for i in set(running) - {i for i, _ in fitting}:
            dialogues[i].ended = "context full"
        done = lm.complete([prompt for _, prompt in fitting], max_new_tokens=turn_tokens) if fitting else []
        for (i, prompt), turn in zip(fitting, done, strict=True):
            _advance(dialogues[i], replace(turn, text=whole_turn(prompt, turn.text)), tools[i])
            turns = sum(message["role"] == "assistant" for message in dialogues[i].messages)
            spent = dialogues[i].completion_tokens >= max_tokens
            dialogues[i].ended = dialogues[i].ended or ("step limit" if turns >= max_turns else "token limit" if spent else "")
            dialogues[i].wall_s = time.perf_counter() - start
    return dialogues


def refusal(tools: dict[str, Tool], made: ToolCall, before: Sequence[Step] = ()) -> ToolResult | str:
    """Why this call is not run, or the text of its arguments for `agents.tools.call`."""
    if made.name not in tools:
        return ToolResult(f"There is no tool {made.name}. There is: {', '.join(tools)}.", "unknown action")
    try:
        text = tools[made.name].text_of(made.arguments)
        tools[made.name].argument.parse(text)
    except ValueError as error:
        return ToolResult(f"{made.name} was not run: {error}.", "bad argument")
    if done_before(made.name, text, before, tools):
        return ToolResult(f"{made.name} was called with these arguments before. Use what it said, or answer.", "repeated")
    return text


def _advance(dialogue: Dialogue, turn: Any, tools: dict[str, Tool]) -> None:
    reply, messages = read_reply(turn.text, [tool.schema for tool in tools.values()]), dialogue.messages
    read, written = turn.prompt_tokens, turn.completion_tokens
    if not reply.calls and not reply.fault:
        messages.append({"role": "assistant", "content": reply.text})
        if reply.text:
            dialogue.answer, dialogue.ended = reply.text, "finished"
            dialogue.steps.append(Step("", "", reply.text, "", "finish", turn.text, False, read, written))
        else:
            _observed(dialogue, "", "", ToolResult("The answer is empty. Call a tool, or answer.", "unparsable"), turn.text, (False, read, written))
        return
    calls = [{"type": "function", "id": f"call{len(dialogue.steps) + n:05d}", "function": vars(made)} for n, made in enumerate(reply.calls)]
    said = turn.text if reply.fault and not calls else reply.text
    messages.append({"role": "assistant", "content": said, **({"tool_calls": calls} if calls else {})})
    for made, sent in zip(reply.calls, calls):
        found = refusal(tools, made, dialogue.steps)
        result, ran = (found, False) if isinstance(found, ToolResult) else (call(tools[made.name], found), True)
        argument = found if isinstance(found, str) else str(made.arguments)
        _observed(dialogue, made.name, argument, result, turn.text, (ran, read, written), sent["id"])
        read = written = 0
    if reply.fault:
        _observed(dialogue, "", "", ToolResult(f"That call could not be read: {reply.fault}.", "unparsable"), turn.text, (False, read, written))


def _observed(dialogue: Dialogue, name: str, argument: str, result: ToolResult, raw: str, spent: tuple[bool, int, int], made: str = "") -> None:
    role = {"role": "tool", "name": name, "tool_call_id": made} if made else {"role": "user"}  # an answer to no call is no tool's
    dialogue.messages.append({**role, "content": result.text})
    dialogue.steps.append(Step("", name, argument, result.text, result.kind, raw, *spent))


def _by_name(tools: Sequence[Tool]) -> dict[str, Tool]:
    names = [tool.name for tool in tools]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"tools {', '.join(names) or '(none)'}: at least one, each with a name of its own")
    return dict(zip(names, tools, strict=True))


