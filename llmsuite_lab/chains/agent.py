"""The ReAct agent from LangChain's parts: `create_agent` runs the loop, our tuned model writes the turns, a middleware keeps the rules.

The rules are those of `agents.react` and the same code decides them: a closed set of actions, no action twice, typed arguments, a time limit on
every tool. What LangChain adds is the graph: checkpoints, streaming, tracing. Paper 2.3 and 2.4.
"""

import asyncio
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelCallLimitMiddleware
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import create_model

from llmsuite_lab.agents.functions import FunctionTool
from llmsuite_lab.agents.react import ParsedTurn, Step, take_turn
from llmsuite_lab.agents.tools import Tool, call, tools_in
from llmsuite_lab.chains.chat_model import LabChatModel
from llmsuite_lab.chains.react_format import UNPARSABLE, argument_text

MakeTools = Callable[[], Sequence[Tool]]
_AT_HAND = 1024  # questions whose tools are kept; those of older ones are made anew from the conversation


def langchain_tool(tool: Tool) -> BaseTool:
    """One of our tools as a LangChain tool: the same name, description, typed argument and limits. Raises TypeError for what is none.

    What goes wrong in it, and arguments that do not fit, are its answer, of the status "error": an agent reads it and goes on.
    """
    (tool,) = tools_in([tool])
    schema = getattr(tool, "arguments", None) or create_model(f"{tool.name}Arguments", **{tool.argument.name: (tool.argument.type, ...)})

    def run(**arguments: Any) -> str:
        given = tool.text_of(arguments) if isinstance(tool, FunctionTool) else argument_text(arguments)
        result = call(tool, given)
        if result.kind not in ("ok", "empty"):
            raise ToolException(result.text)
        return result.text

    def unfit(error: Any) -> str:
        return f"{tool.name} was not run: " + "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3]) + "."

    return StructuredTool.from_function(
        run, name=tool.name, description=tool.description, args_schema=schema, handle_tool_error=True, handle_validation_error=unfit
    )


@dataclass
class _Desk:
    """The tools of one question, the actions that ran on them so far, and what was answered to every call. One call at a time."""

    tools: dict[str, Tool] = field(default_factory=dict)
    ran: list[tuple[str, str]] | None = None  # None: the tools are not made yet
    replies: dict[str, ToolMessage] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class ReActRules(AgentMiddleware):
    """Answers every tool call as our own loop would: `take_turn` decides, and a call outside the rules is refused, not run.

    Tools keep state within one question (the page that is open), so every question has tools of its own, which stay at hand until it is answered: no
    action runs a second time to bring state back. A conversation that another process takes up from its checkpoint, or takes up at an earlier point,
    gets fresh tools with what their `Tool.restore` puts back. Several calls in one turn run one after another, in their order. What no checkpoint
    can know is an action during which its process died: whoever takes that conversation up runs it again.
    """

    def __init__(self, make_tools: MakeTools) -> None:
        super().__init__()
        self.make_tools = make_tools
        self._desks: OrderedDict[tuple[str | None, str | None], _Desk] = OrderedDict()
        self._lock = threading.Lock()

    def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> ToolMessage:
        """The observation for one call, as a message whose artifact tells its kind and whether a tool ran."""
        messages = request.state["messages"]
        desk, here = self._desk(messages, request.runtime), since_last_question(messages)
        turn = next(m for m in reversed(here) if isinstance(m, AIMessage) and request.tool_call in m.tool_calls)
        with desk.lock:
            answered = here
            for made in turn.tool_calls[: turn.tool_calls.index(request.tool_call) + 1]:
                key = json.dumps([turn.id, made["id"], made["name"], made["args"]], sort_keys=True, default=str)
                if key not in desk.replies:
                    desk.replies[key] = self._reply(desk, made, steps_of(answered))
                answered = [*answered, desk.replies[key]]
            return desk.replies[key]

    def _desk(self, messages: Sequence[BaseMessage], runtime: Any) -> _Desk:
        question = next((m.id for m in reversed(messages) if isinstance(m, HumanMessage)), None)
        thread = ((runtime and runtime.config) or {}).get("configurable", {}).get("thread_id")
        with self._lock:
            desk = self._desks.setdefault((thread, question), _Desk())
            self._desks.move_to_end((thread, question))
            while len(self._desks) > _AT_HAND:
                self._desks.popitem(last=False)
        return desk

    def _reply(self, desk: _Desk, made: dict[str, Any], before: Sequence[Step]) -> ToolMessage:
        done = [step for step in before if step.ran]
        if desk.ran != [(step.action, step.argument) for step in done]:
            desk.tools, desk.ran = {tool.name: tool for tool in self.make_tools()}, [(step.action, step.argument) for step in done]
            for step in done:
                tool = desk.tools.get(step.action)
                if tool is not None and tool.restore is not None and step.kind in ("ok", "empty"):
                    tool.restore(tool.argument.parse(step.argument))
        name, argument = made["name"], argument_text(made["args"]) if made["args"] else ""
        result, ran = take_turn(desk.tools, None if name == UNPARSABLE else ParsedTurn("", name, argument), before)
        desk.ran += [(name, argument)] * ran
        return ToolMessage(
            " ".join(result.text.split()),
            tool_call_id=made["id"],
            name=name,
            status="success" if result.kind in ("ok", "empty") else "error",
            artifact={"kind": result.kind, "ran": ran},
        )

    async def awrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> ToolMessage:
        """The same for `agent.ainvoke`: the tool runs in a thread, under its own time limit."""
        return await asyncio.to_thread(self.wrap_tool_call, request, handler)


def react_agent(model: LabChatModel, make_tools: MakeTools, *, max_steps: int = 10, checkpointer: Any = None) -> Any:
    """A compiled LangChain agent: `agent.invoke({"messages": [("user", question)]})`. At most `max_steps` turns of the model per question."""
    limit = ModelCallLimitMiddleware(run_limit=max_steps, exit_behavior="end")
    tools = [langchain_tool(tool) for tool in make_tools()]
    return create_agent(model, tools, middleware=[ReActRules(make_tools), limit], checkpointer=checkpointer)


def answer_of(state: dict[str, Any]) -> str | None:
    """The agent's final answer, or None when it ran out of steps before it finished."""
    last = state["messages"][-1]
    finished = isinstance(last, AIMessage) and not last.tool_calls and "thought" in last.additional_kwargs
    return last.text if finished else None


def since_last_question(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The messages after the last HumanMessage: the turns of the question that is being answered."""
    last = max((i for i, message in enumerate(messages) if isinstance(message, HumanMessage)), default=-1)
    return list(messages[last + 1 :])


def steps_of(messages: Sequence[BaseMessage]) -> list[Step]:
    """The answered calls among `messages` as our loop's steps: same thought, action, argument, observation and kind; a turn's tokens with its first."""
    replies = {message.tool_call_id: message for message in messages if isinstance(message, ToolMessage)}
    steps = []
    for message in messages:
        usage = getattr(message, "usage_metadata", None) or {"input_tokens": 0, "output_tokens": 0}
        read, written = usage["input_tokens"], usage["output_tokens"]
        for made in message.tool_calls if isinstance(message, AIMessage) else ():
            if (reply := replies.get(made["id"])) is None:
                continue
            outcome, known = reply.artifact or {"kind": "ok", "ran": True}, made["name"] != UNPARSABLE
            thought, action = (message.text, made["name"]) if known else ("", "")
            argument = argument_text(made["args"]) if known and made["args"] else ""
            steps.append(Step(thought, action, argument, reply.text, outcome["kind"], message.text, outcome["ran"], read, written))
            read = written = 0
    return steps
