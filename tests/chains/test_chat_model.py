"""What the chat model does beyond the standard suite: batching, roles, the ReAct form, and clear refusals."""

from types import SimpleNamespace

import pytest
from langchain_core.messages import AIMessage, ChatMessage, FunctionMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool

from llmsuite_lab.chains import react_format
from llmsuite_lab.chains.chat_model import LabChatModel
from llmsuite_lab.chains.completion_model import LabLLM
from llmsuite_lab.chains.retriever import LabRetriever


@tool
def Search(title: str) -> str:
    """Open a page."""
    return f"{title} is a city."


@tool
def Add(a: int, b: int) -> int:
    """Add."""
    return a + b


@pytest.fixture
def model(stand_in):
    return lambda reply=None, **options: LabChatModel(language_model=stand_in(reply), **options)


def test_a_batch_is_one_generation_and_equals_single_calls(model):
    one = model()
    together = one.batch(["a", "b", [SystemMessage("s"), HumanMessage("c")]])
    assert [len(batch) for batch in one.language_model.batches] == [3]
    single = [one.invoke(x) for x in ("a", "b", [SystemMessage("s"), HumanMessage("c")])]
    assert [m.content for m in together] == [m.content for m in single]
    assert one.batch([]) == []


def test_streamed_pieces_join_to_the_answer_with_its_usage(model):
    streaming = model(stop=["\n"])
    chunks = list(streaming.stream("Hello there"))
    assert len(chunks) > 2
    whole = sum(chunks[1:], chunks[0])
    assert whole.content == streaming.invoke("Hello there").content
    assert whole.usage_metadata["total_tokens"] == whole.usage_metadata["input_tokens"] + whole.usage_metadata["output_tokens"]


def test_roles_reach_the_template(model):
    messages = [SystemMessage("be brief"), HumanMessage("hi"), AIMessage("hello"), ChatMessage("more", role="user")]
    assert model().prompt(messages) == "<system>be brief<user>hi<assistant>hello<user>more<assistant>"


def test_no_message_an_image_and_an_unknown_role_are_refused_with_a_reason(model):
    with pytest.raises(ValueError, match="at least one message"):
        model().invoke([])
    with pytest.raises(ValueError, match="no question"):
        model().bind_tools([Search]).invoke([SystemMessage("only this")])
    picture = HumanMessage(
        [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]
    )
    for asked in (model(), model().bind_tools([Search])):
        with pytest.raises(ValueError, match="reads text only.*image_url"):
            asked.invoke([picture])
    with pytest.raises(ValueError, match="has no role"):
        model().invoke([FunctionMessage("x", name="f")])


def test_a_turn_becomes_a_tool_call_and_an_answer_ends(model):
    called = model(lambda p: " I look.\nAction: Search[Velm Mills & Sons]\n").bind_tools([Search]).invoke("Where is it?")
    assert called.tool_calls[0]["name"] == "Search"
    assert called.tool_calls[0]["args"] == {"title": "Velm Mills & Sons"}
    assert called.content == "I look."
    finished = model(lambda p: " It is Velm.\nAction: Finish[Velm]\n").bind_tools([Search]).invoke("Where is it?")
    assert finished.content == "Velm"
    assert not finished.tool_calls
    assert finished.additional_kwargs["thought"] == "It is Velm."


def test_the_conversation_is_written_as_our_loop_writes_it(model):
    asked = model().bind_tools([Search])
    messages = [
        HumanMessage("old question"),
        AIMessage("old answer"),
        HumanMessage("Where is Ada?"),
        AIMessage("I look.", tool_calls=[{"name": "Search", "args": {"title": "Ada"}, "id": "1"}]),
        ToolMessage("Ada is\n a city.", tool_call_id="1"),
    ]
    asked.invoke(messages)
    written = "Question: Where is Ada?\nThought: I look.\nAction: Search[Ada]\nObservation: Ada is a city.\nThought:"
    assert asked.bound.language_model.batches == [[written]]


def test_a_forced_tool_is_called_whatever_the_model_would_write(model):
    forced = model(lambda p: "Oslo]\n and more").bind_tools([Search, Add], tool_choice="Search").invoke("Where?")
    assert [(c["name"], c["args"]) for c in forced.tool_calls] == [("Search", {"title": "Oslo"})]
    nested = model(lambda p: "Oslo\nin Norway").bind_tools([Search], tool_choice="any").invoke("Where?")
    assert nested.tool_calls[0]["args"] == {"title": "Oslo"} or nested.tool_calls[0]["name"] == react_format.UNPARSABLE
    with pytest.raises(ValueError, match="not among the tools: Search"):
        model().bind_tools([Search], tool_choice="Delete")


def test_several_arguments_travel_as_json_and_nonsense_stays_text():
    schema = {"function": {"name": "Add", "parameters": {"properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}}}
    assert react_format.arguments_of('{"a": 1, "b": 2}', schema) == {"a": 1, "b": 2}
    assert react_format.argument_text({"a": 1, "b": 2}) == '{"a": 1, "b": 2}'
    one = {"function": {"name": "N", "parameters": {"properties": {"n": {"type": "integer"}}}}}
    assert react_format.arguments_of("41", one) == {"n": 41}
    assert react_format.arguments_of("many", one) == {"n": "many"}
    for nonsense in ('{"a": 1e9999, "b": 2}', '{"a": -Infinity, "b": NaN}'):  # no number becomes infinite
        assert react_format.arguments_of(nonsense, schema) == {"a": nonsense}


def test_any_of_several_tools_is_the_likeliest(model):
    asked = model(lambda p: "1]\n")
    asked.language_model.score = lambda prompts, texts: [SimpleNamespace(logprob=-9.0 if "Search" in t else -2.0, tokens=3) for t in texts]
    called = asked.bind_tools([Search, Add], tool_choice="any").invoke("What is 1 + 1?")
    assert called.tool_calls[0]["name"] == "Add"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda lm: LabChatModel(language_model=lm, max_new_tokens=8), "unknown option 'max_new_tokens'; did you mean 'max_tokens'"),
        (lambda lm: LabLLM(language_model=lm, temperature=0.5), "unknown option 'temperature'"),
        (lambda lm: LabRetriever(retriever=lm), "retriever is a .*, but it must be a Retriever"),
        (lambda lm: LabChatModel(language_model="my-model"), "language_model is a str, but it must be a loaded model"),
        (lambda lm: LabLLM(language_model="my-model"), "language_model is a str, but it must be a loaded model"),
        (lambda lm: LabChatModel(language_model=lm).with_structured_output(int), "schema=.*int.* it must be a pydantic class"),
        (lambda lm: LabLLM(language_model=lm).invoke("a", temperature=0.5), "no option 'temperature' to set in a call"),
        (lambda lm: list(LabLLM(language_model=lm).stream("a", top_k=2)), "no option 'top_k' to set in a call"),
    ],
)
def test_what_would_be_dropped_or_stumble_later_is_refused_where_it_is_given(tiny_lm, make, said):
    with pytest.raises(ValueError, match=said):
        make(tiny_lm)


def test_any_model_takes_what_is_for_networks(tiny_lm):
    assert LabLLM(language_model=tiny_lm, max_tokens=2, timeout=3, max_retries=2).invoke("a") == tiny_lm.complete(["a"], 2)[0].text
    assert LabChatModel(language_model=tiny_lm, timeout=3).max_tokens == 128
