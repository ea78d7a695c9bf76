"""The ReAct agent from LangChain's parts: `create_agent` runs the loop, our tuned model writes the turns, a middleware keeps the rules.

The rules are those of `agents.react` and the same code decides them: a closed set of actions, no action twice, typed arguments, a time limit on
every tool. What LangChain adds is the graph: checkpoints, streaming, tracing. Paper 2.3 and 2.4.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelCallLimitMiddleware
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import create_model

from llmsuite_lab.agents.react import ParsedTurn, Step, take_turn
from llmsuite_lab.agents.tools import Tool, call
from llmsuite_lab.chains.chat_model import LabChatModel
from llmsuite_lab.chains.react_format import UNPARSABLE, argument_text

MakeTools = Callable[[], Sequence[Tool]]


def langchain_tool(tool: Tool) -> BaseTool:
    """One of our tools as a LangChain tool: the same name, description, typed argument and limits."""
    schema = create_model(f"{tool.name}Arguments", **{tool.argument.name: (tool.argument.type, ...)})

    def run(**arguments: Any) -> str:
        return call(tool, argument_text(arguments)).text

    return StructuredTool.from_function(run, name=tool.name, description=tool.description, args_schema=schema)


class ReActRules(AgentMiddleware):
    """Answers every tool call as our own loop would: `take_turn` decides, and a call outside the rules is refused, not run.

    Tools keep state within one question (the page that is open); it is rebuilt from the conversation by running the earlier actions again, so
    that the checkpoint is the only state there is.
    """

    def __init__(self, make_tools: MakeTools) -> None:
        super().__init__()
        self.make_tools = make_tools

    def wrap_tool_call(self, request: Any, handler: Callable[[Any], Any]) -> ToolMessage:
        """The observation for one call, as a message whose artifact tells its kind and whether a tool ran."""
        messages = since_last_question(request.state["messages"])
        tools = {tool.name: tool for tool in self.make_tools()}
        before = steps_of(messages)
        for step in before:
            if step.ran:
                call(tools[step.action], step.argument)
        name, arguments = request.tool_call["name"], request.tool_call["args"]
        turn = None if name == UNPARSABLE else ParsedTurn("", name, argument_text(arguments) if arguments else "")
        result, ran = take_turn(tools, turn, before)
        return ToolMessage(
            " ".join(result.text.split()),
            tool_call_id=request.tool_call["id"],
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
    """The answered turns among `messages` as our loop's steps: same thought, action, argument, observation and kind."""
    replies = {message.tool_call_id: message for message in messages if isinstance(message, ToolMessage)}
    steps = []
    for message in messages:
        if isinstance(message, AIMessage) and message.tool_calls and (reply := replies.get(message.tool_calls[0]["id"])) is not None:
            made, outcome = message.tool_calls[0], reply.artifact or {"kind": "ok", "ran": True}
            usage = message.usage_metadata or {"input_tokens": 0, "output_tokens": 0}
            known = made["name"] != UNPARSABLE
            thought, action, argument = (message.text, made["name"], argument_text(made["args"])) if known else ("", "", "")
            read, written = usage["input_tokens"], usage["output_tokens"]
            steps.append(Step(thought, action, argument, reply.text, outcome["kind"], message.text, outcome["ran"], read, written))
    return steps
