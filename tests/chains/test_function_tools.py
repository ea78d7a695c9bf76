"""A tool made of a function is the same tool in LangChain: its arguments, its checks, and an agent that calls it."""

from langchain.agents import create_agent
from langchain_core.tools import tool as as_tool
from langchain_core.utils.function_calling import convert_to_openai_tool

from llmsuite_lab.agents.functions import tool_from
from llmsuite_lab.chains.agent import answer_of, langchain_tool, react_agent
from llmsuite_lab.chains.chat_model import LabChatModel


def price(item: str, count: int = 1) -> float:
    """What so many of an item cost.

    Args:
        item: what is bought
    """
    return {"lamp": 9.0}[item] * count


def test_langchain_sees_the_same_arguments_and_runs_the_same_function():
    tool = langchain_tool(tool_from(price))
    assert (tool.name, tool.description) == ("price", "What so many of an item cost.")
    assert tool.args["item"]["description"] == "what is bought"
    assert tool.args["count"]["type"] == "integer"
    assert tool.invoke({"item": "lamp", "count": 2}) == "18.0"
    assert "KeyError" in tool.invoke({"item": "sofa"})


def test_an_agent_calls_it_with_several_arguments(stand_in):
    def reply(prompt):
        done = prompt.count("Observation:")
        turns = ['price[{"item": "lamp", "count": "two"}]', 'price[{"item": "lamp", "count": 2}]', "Finish[18.0]"]
        return f" I look.\nAction: {turns[done]}\n"

    agent = react_agent(LabChatModel(language_model=stand_in(reply)), lambda: [tool_from(price)])
    state = agent.invoke({"messages": [("user", "What do two lamps cost?")]})
    kinds = [message.artifact["kind"] for message in state["messages"] if message.type == "tool"]
    assert kinds == ["bad argument", "ok"]
    assert answer_of(state) == "18.0"


def test_the_same_object_is_a_tool_of_langchain_as_it_is(stand_in):
    mine = tool_from(price)
    theirs = as_tool(mine)
    assert (theirs.name, theirs.args["count"]["type"], theirs.args["count"]["default"]) == ("price", "integer", 1)
    assert theirs.invoke({"item": "lamp", "count": 2}) == 18.0
    assert convert_to_openai_tool(mine)["function"]["parameters"]["required"] == ["item"]
    turns = ['price[{"item": "lamp", "count": 2}]', "Finish[18.0]"]
    model = LabChatModel(language_model=stand_in(lambda prompt: f" I look.\nAction: {turns[prompt.count('Observation:')]}\n"))
    state = create_agent(model, [mine]).invoke({"messages": [("user", "What do two lamps cost?")]})
    assert [message.content for message in state["messages"] if message.type == "tool"] == ["18.0"]
    assert state["messages"][-1].content == "18.0"
