"""A tool made of a function is the same tool in LangChain: its arguments, its checks, and an agent that calls it."""

import asyncio

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool as as_tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from llmsuite_lab.agents.functions import tool_from
from llmsuite_lab.agents.tools import Argument, Tool
from llmsuite_lab.chains.agent import answer_of, langchain_tool, react_agent
from llmsuite_lab.chains.chat_model import LabChatModel
from llmsuite_lab.chains.react_format import argument_text, arguments_of, first_action
from tests.agents.test_functions import later, parcel


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
    assert (theirs.description, theirs.args["item"]["description"]) == ("What so many of an item cost.", "what is bought")
    assert convert_to_openai_tool(mine)["function"]["parameters"]["properties"]["item"]["description"] == "what is bought"
    assert convert_to_openai_tool(mine)["function"]["description"] == "What so many of an item cost."
    assert theirs.invoke({"item": "lamp", "count": 2}) == 18.0
    assert convert_to_openai_tool(mine)["function"]["parameters"]["required"] == ["item"]
    turns = ['price[{"item": "lamp", "count": 2}]', "Finish[18.0]"]
    model = LabChatModel(language_model=stand_in(lambda prompt: f" I look.\nAction: {turns[prompt.count('Observation:')]}\n"))
    state = create_agent(model, [mine]).invoke({"messages": [("user", "What do two lamps cost?")]})
    assert [message.content for message in state["messages"] if message.type == "tool"] == ["18.0"]
    assert state["messages"][-1].content == "18.0"


PARCEL = {"things": ["it's", "]"], "to": {"street": "Way", "code": 3}, "size": {"wide": 2}, "colour": "blue", "day": "2024-05-01", "table": {"x": 1}}
SENT = """["it's", ']'] Way 2 BLUE 2024-05-01 {'x': 1}"""


def names(items: list[str]) -> str:
    """Joined."""
    return "+".join(items)


def sizes(table: dict[str, float]) -> str:
    """Sorted."""
    return str(sorted(table.items()))


@pytest.mark.parametrize(
    ("function", "given", "said"),
    [
        (parcel, PARCEL, SENT),
        (parcel, {key: PARCEL[key] for key in ("things", "to", "size")}, """["it's", ']'] Way 2 RED None {}"""),
        (names, {"items": ["it's", "b"]}, "it's+b"),
        (sizes, {"table": {"b": 1, "a": 0.5}}, "[('a', 0.5), ('b', 1.0)]"),
        (later, {"n": 2}, "3"),
    ],
)
def test_whatever_the_types_langchain_runs_what_our_loop_runs(function, given, said, stand_in):
    mine = tool_from(function)
    theirs = langchain_tool(mine)
    assert theirs.invoke(given) == asyncio.run(theirs.ainvoke(given)) == said
    assert str(as_tool(mine).invoke(given)) == said
    written = [argument_text(given), "x"]
    assert arguments_of(written[0], convert_to_openai_tool(mine)) == given
    for agent in (react_agent, lambda model, tools: create_agent(model, tools())):
        turns = [f"{mine.name}[{written[0]}]", "Finish[done]"]
        model = LabChatModel(language_model=stand_in(lambda prompt, turns=turns: f" I do.\nAction: {turns[prompt.count('Observation:')]}\n"))
        state = agent(model, lambda: [mine]).invoke({"messages": [("user", "Do it.")]})
        assert [message.content for message in state["messages"] if message.type == "tool"] == [" ".join(said.split())]
        assert state["messages"][-1].content == "done"


def test_a_forced_call_ends_at_its_own_bracket():
    begun = " I use names.\nAction: names["
    assert first_action(begun + '["a", "b"]] and more]').endswith('names[["a", "b"]]')
    assert first_action(begun + "a] and more]").endswith("names[a]")
    assert first_action(begun + "a\n").endswith("names[a]")
    schema = convert_to_openai_tool(tool_from(names))
    assert arguments_of('["a"]', schema) == arguments_of('{"items": ["a"]}', schema) == {"items": ["a"]}
    assert arguments_of("a, b", schema) == {"items": "a, b"}
    assert arguments_of("true", {"function": {"parameters": {"properties": {"on": {"type": "boolean"}}}}}) == {"on": True}
    assert arguments_of("12", {"function": {"parameters": {"properties": {"s": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}}}) == {"s": "12"}


@pytest.mark.parametrize(
    ("given", "said", "status"),
    [
        ({"item": "lamp"}, "9.0", "success"),
        ({"item": "sofa"}, "price failed: KeyError: 'sofa'.", "error"),
        ({"thing": "lamp"}, "price was not run: item: Field required; thing: Extra inputs are not permitted.", "error"),
        ({"item": "x" * 3000}, "price was not run: the arguments have 3012 characters, at most 2000 are allowed.", "error"),
    ],
)
def test_what_goes_wrong_in_langchain_is_read_by_the_agent_and_told_apart_from_an_answer(given, said, status):
    theirs = langchain_tool(tool_from(price))
    made = {"name": "price", "args": given, "id": "1", "type": "tool_call"}
    graph = StateGraph(MessagesState).add_node("tools", ToolNode([theirs])).add_edge(START, "tools").compile()
    (_, in_a_node) = graph.invoke({"messages": [AIMessage("", tool_calls=[made])]})["messages"]
    for message in (theirs.invoke(made), asyncio.run(theirs.ainvoke(made)), in_a_node):
        assert (message.content, message.status) == (said, status)
    assert theirs.invoke(given) == said


def test_a_function_that_is_no_tool_yet_is_told_how_to_become_one(stand_in):
    for use in (lambda: langchain_tool(price), lambda: react_agent(LabChatModel(language_model=stand_in()), lambda: [price])):
        with pytest.raises(TypeError, match="price is a function, no tool: agents.functions.tool_from"):
            use()


def test_one_of_our_plain_tools_can_be_bound_as_it_is(stand_in):
    plain = Tool("Look", "looks", Argument("page"), str)
    bound = LabChatModel(language_model=stand_in(lambda prompt: " I look.\nAction: Look[Ada]\n")).bind_tools([plain])
    assert bound.invoke("Who?").tool_calls[0]["args"] == {"page": "Ada"}
