"""What a LangChain user expects of a model whose template shows tools, of structured output, of options in a call, and of the async side."""

import asyncio
import copy
import json
from dataclasses import replace
from random import Random
from typing import Literal

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage, trim_messages
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel, Field, RootModel
from typing_extensions import TypedDict

from llmsuite_lab.agents.functions import described, tool_from
from llmsuite_lab.chains.agent import answer_of, react_agent
from llmsuite_lab.chains.chat_model import LabChatModel
from llmsuite_lab.chains.native_format import speakable
from llmsuite_lab.lm.language_model import Completion, LanguageModel
from llmsuite_lab.lm.structured import request, structured, value_of
from llmsuite_lab.lm.tool_calls import read_reply
from tests.agents.test_native import HERMES, price, wanted


class Speaker(LanguageModel):
    """The real class with a script in the place of its weights: `reply(prompt)` is what it writes."""

    context_length = 4000

    def __init__(self, tokenizer, reply):
        self.tokenizer, self.name, self.adapter, self.model, self.reply, self.calls = tokenizer, "scripted", None, None, reply, []

    def complete(self, prompts, max_new_tokens=64, stop=(), **options):
        self.calls.append((list(prompts), {"max_tokens": max_new_tokens, "stop": list(stop), **options}))
        texts = [self.reply(str(p)) for p in prompts]
        return [Completion(t, self.count_tokens(p), self.count_tokens(t), "eos", 0.0) for t, p in zip(texts, prompts)]

    def stream(self, prompt, *args, **options):
        (done,) = self.complete([prompt], *args, **options)
        yield from (done.text[i : i + 5] for i in range(0, len(done.text), 5))
        return done


@pytest.fixture
def model(tiny_tokenizer):
    def make(reply, template=HERMES, **options):
        tokenizer = copy.deepcopy(tiny_tokenizer)
        tokenizer.chat_template = template
        return LabChatModel(language_model=Speaker(tokenizer, reply), **options)

    return make


def two_turns(prompt):
    return "It is 18." if "<s>tool" in prompt else f"I look. {wanted(item='lamp', count=2)}"


def test_an_agent_calls_tools_in_the_models_own_form(model):
    speaking = model(two_turns)
    state = react_agent(speaking, lambda: [tool_from(price)]).invoke({"messages": [("user", "What do two lamps cost?")]})
    assert [message.content for message in state["messages"] if message.type == "tool"] == ["18.0"]
    assert answer_of(state) == "It is 18."
    prompt, _ = speaking.language_model.calls[1]
    assert "<tool_call>" in prompt[0]
    assert "<s>tool\n18.0</s>" in prompt[0]
    assert "Action:" not in prompt[0]
    assert '"name": "price", "description": "What so many of an item cost."' in prompt[0]


def test_a_call_that_cannot_be_read_is_answered_and_the_agent_goes_on(model):
    def reply(prompt):
        return "It is 18." if "not one thought" in prompt else "<tool_call>price of a lamp</tool_call>"

    state = react_agent(model(reply), lambda: [tool_from(price)]).invoke({"messages": [("user", "What?")]})
    assert [m.artifact["kind"] for m in state["messages"] if m.type == "tool"] == ["unparsable"]
    assert answer_of(state) == "It is 18."


def test_a_streamed_turn_says_text_as_it_comes_and_its_call_at_the_end(model):
    bound = model(two_turns).bind_tools([tool_from(price)])
    asked = [HumanMessage("How much?")]
    called = AIMessage("", tool_calls=[{"name": "price", "args": {"item": "lamp"}, "id": "1"}])
    for question in (asked, [*asked, called, ToolMessage("18.0", tool_call_id="1")]):
        whole, chunks = bound.invoke(question), list(bound.stream(question))
        joined = sum(chunks[1:], chunks[0])
        assert len([c for c in chunks if c.content]) > 1
        assert (joined.content, joined.tool_calls) == (whole.content, whole.tool_calls)
        assert joined.usage_metadata == whole.usage_metadata
        assert joined.response_metadata["finish_reason"] == whole.response_metadata["finish_reason"] == "eos"
    for text, ready in {"pri": "", "price{": "", "price is": "price is", "<to": "", "A <too": "A", "A <b": "A <b", '{"na': "", " Well \n": "Well"}.items():
        assert speakable(text) == ready, text


PIECES = ["Foo", "price", " ", "\n", ".", "<", ";", '{"a": 1}', '{"name": "a", "arguments": {}}', "<think>", "</think>", "<tool_call>", "</tool_call>"]
PIECES += ["[TOOL_CALLS]", "<|python_tag|>", "<function=f>", "<parameter=x>1</parameter>", "</function>", "[ARGS]", '{"name": "a", "arguments": ', "["]


def test_what_is_streamed_is_what_is_read_in_the_end_whatever_is_written(model):
    for written, said in [('Result {"total": 3}', 'Result {"total": 3}'), ('price {"item": "lamp"}', 'price {"item": "lamp"}'), ('other{"item": "lamp"}', "")]:
        bound = model(lambda prompt, written=written: written).bind_tools([tool_from(price)])
        whole, chunks = bound.invoke("How much?"), list(bound.stream("How much?"))
        joined = sum(chunks[1:], chunks[0])
        assert (joined.content, [made["args"] for made in joined.tool_calls]) == (whole.content, [made["args"] for made in whole.tool_calls])
        assert (whole.content, len(whole.tool_calls)) == (said, int(not said))
    rng = Random(0)
    for _ in range(4000):
        written = "".join(rng.choices(PIECES, k=rng.randint(1, 6)))
        text = read_reply(written, rng.choice(([], [tool_from(price).schema]))).text
        assert all(text.startswith(speakable(written[:i])) for i in range(len(written) + 1)), written


def test_a_thought_that_the_template_opens_is_shown_to_nobody(model):
    template = HERMES.replace("<s>assistant\n{% endif %}", "<s>assistant\n<think>\n{% endif %}")
    for written, said in {"So 18.\n</think>\nIt is 18.": "It is 18.", f"I look.</think>{wanted(item='lamp')}": "", "So, so": ""}.items():
        bound = model(lambda prompt, written=written: written, template).bind_tools([tool_from(price)])
        turns = [bound.invoke("How much?"), *bound.batch(["How much?"]), sum(list(bound.stream("How much?"))[1:], next(iter(bound.stream("How much?"))))]
        assert [(turn.content, len(turn.tool_calls)) for turn in turns] == [(said, int("look" in written))] * 3


def test_a_forced_tool_is_begun_in_its_own_form(model):
    def reply(prompt):
        assert prompt.endswith('<s>assistant\n<tool_call>\n{"name": "price", "arguments": {"')
        return 'item": "lamp"}}\n</tool_call><tool_call>{}</tool_call>'

    forced = model(reply).bind_tools([tool_from(price)], tool_choice="price")
    assert [call["args"] for call in forced.invoke("How much?").tool_calls] == [{"item": "lamp"}]
    assert sum(list(forced.stream("How much?"))[1:], next(iter(forced.stream("How much?")))).tool_calls[0]["args"] == {"item": "lamp"}


def test_the_react_form_is_kept_where_it_is_asked_for_or_shown(model):
    for options in ({"tool_form": "react"}, {"examples": "Question: x\nThought: y\nAction: Finish[z]\n\n"}):
        speaking = model(lambda prompt: " I know.\nAction: Finish[18]\n", **options)
        assert speaking.bind_tools([tool_from(price)]).invoke("What?").content == "18"
        assert speaking.language_model.calls[0][0][0].endswith("Question: What?\nThought:")


def test_a_model_that_was_not_tuned_reads_in_the_react_form_which_tools_there_are(model):
    asking = model(lambda prompt: " I know.\nAction: Finish[18]\n", tool_form="react")
    mine = tool_from(price)
    asking.bind_tools([mine]).invoke("What?")
    create_agent(asking, [mine]).invoke({"messages": [("user", "What?")]})
    assert [prompts for prompts, _ in asking.language_model.calls] == [[described([mine]) + "Question: What?\nThought:"]] * 2
    asking.language_model.adapter = "react"
    asking.bind_tools([mine]).invoke("What?")
    assert asking.language_model.calls[-1][0] == ["Question: What?\nThought:"], "a tuned model knows its tools"


class Person(BaseModel):
    """A person."""

    name: str
    age: int = Field(description="in years")
    kind: Literal["child", "adult"] = "adult"


class Place(TypedDict):
    """A place."""

    name: str
    size: int


GOOD = '```json\n{"name": "Ada", "age": 36}\n```'


def test_a_schema_s_choices_and_lists_of_types_are_read(model):
    about = {"colour": {"enum": ["red", "blue"]}, "note": {"type": ["string", "null"]}, "size": {"anyOf": [{"type": ["integer", "null"]}, {"type": "string"}]}}
    schema = {"title": "Thing", "type": "object", "properties": about, "required": ["colour"]}

    def reply(prompt):
        return '{"colour": "red", "note": null}' if "green" in prompt else '{"colour": "green"}'

    asking = model(reply)
    assert asking.with_structured_output(schema).invoke("Which?") == {"colour": "red", "note": None}
    asked = asking.language_model.calls[0][0][0]
    assert '- "note": string or null' in asked
    assert '- "size": integer or null or string' in asked


def test_structured_output_is_validated_and_a_wrong_text_goes_back_with_the_reason(model):
    def reply(prompt):
        return GOOD if "valid integer" in prompt else '{"name": "Ada", "age": "many"}' if "no JSON object" in prompt else "She is Ada."

    asking = model(reply)
    found = asking.with_structured_output(Person, include_raw=True).invoke("Who is Ada?")
    assert found["parsed"] == Person(name="Ada", age=36)
    assert found["parsing_error"] is None
    counted = found["raw"].response_metadata["structured_output"]
    assert (counted["retries"], len(counted["errors"])) == (2, 2)
    first, last = asking.language_model.calls[0][0][0], asking.language_model.calls[-1][0][0]
    assert '- "age": integer (in years)' in first
    assert '- "kind": one of "child", "adult", may be left out' in first
    assert '{"name": "Ada", "age": "many"}' in last
    assert "She is Ada." not in last, "of several texts only the last goes back"
    with pytest.raises(OutputParserException, match="none of 2 texts fitted the schema; the last: age: Input should be a valid integer"):
        asking.with_structured_output(Person, retries=1).invoke("Who is Ada?")
    failed = asking.with_structured_output(Person, retries=0, include_raw=True).invoke("Who?")
    assert failed["parsed"] is None
    assert isinstance(failed["parsing_error"], OutputParserException)
    with pytest.raises(ValueError, match="retries=-1"):
        asking.with_structured_output(Person, retries=-1).invoke("Who?")
    for no_schema in (None, "Person", list[int]):
        with pytest.raises(ValueError, match="a pydantic class, a TypedDict, or a JSON schema"):
            asking.with_structured_output(no_schema)
    with pytest.raises(TypeError, match="it must be a pydantic class"):
        structured(asking.language_model, ["Ada?"], dict)
    with pytest.raises(ValueError, match="the methods are"):
        asking.with_structured_output(Person, method="guess")


def test_a_message_in_the_cache_is_left_as_it_was(model):
    asking = model(lambda prompt: GOOD, cache=InMemoryCache())
    request = asking.with_structured_output(Person, include_raw=True)
    assert request.invoke("Ada?")["raw"].response_metadata["structured_output"]["retries"] == 0
    (kept,) = [generation.message for held in asking.cache._cache.values() for generation in held]
    assert "structured_output" not in kept.response_metadata
    assert request.invoke("Ada?")["parsed"].age == 36
    assert len(asking.language_model.calls) == 1


def test_a_batch_asks_again_only_for_what_did_not_fit(model):
    def reply(prompt):
        return GOOD if "Ada" in prompt or "does not fit" in prompt else "no"

    asking = model(reply)
    out = asking.with_structured_output(Person).batch(["Ada?", "Bob?", "Ada!"])
    assert [person.age for person in out] == [36] * 3
    assert [len(prompts) for prompts, _ in asking.language_model.calls] == [3, 1]
    chain = asking.with_structured_output(Person) | RunnableLambda(lambda person: person.age)
    assert asyncio.run(chain.abatch(["Ada?", "Bob?"])) == [36, 36]
    assert list(asking.with_structured_output(Person).stream("Ada?")) == [Person(name="Ada", age=36)]
    mixed = model(lambda prompt: GOOD if "Ada" in prompt else "no").with_structured_output(Person, retries=0).batch(["Bob", 3, "Ada"], return_exceptions=True)
    assert [type(one) for one in mixed] == [OutputParserException, ValueError, Person]


@pytest.mark.parametrize("schema", [Place, Person.model_json_schema()])
def test_a_dictionary_schema_is_validated_too(model, schema):
    asking = model(lambda prompt: '{"name": "Rome", "size": "3", "age": 3, "more": 1}')
    found = asking.with_structured_output(schema).invoke("Which?")
    assert found["name"] == "Rome"
    with pytest.raises(OutputParserException):
        model(lambda prompt: '{"name": "Rome"}').with_structured_output(schema).invoke("Which?")


def test_without_langchain_it_is_one_call(model):
    lm = model(lambda prompt: GOOD if "does not fit" in prompt or "Ada" in prompt else '{"name": "Bob", "age": NaN}').language_model
    ada, bob = structured(lm, ["Ada?", [{"role": "user", "content": "Bob?"}]], Person)
    assert (ada.value.age, ada.retries, ada.errors) == (36, 0, [])
    assert (bob.value.age, bob.retries) == (36, 1)
    assert "NaN" in bob.errors[0]
    assert bob.completion_tokens == lm.count_tokens('{"name": "Bob", "age": NaN}') + lm.count_tokens(GOOD)
    with pytest.raises(ValueError, match="ends with a message of the user"):
        structured(lm, [[{"role": "assistant", "content": "x"}]], Person)


def test_options_of_one_call_reach_the_model_and_unknown_ones_are_refused(model):
    speaking = model(lambda prompt: "ok", max_tokens=9)
    speaking.invoke("a", max_tokens=3, temperature=0.5, top_k=2, seed=4, stop=["x"])
    assert speaking.language_model.calls[-1][1] == {"max_tokens": 3, "temperature": 0.5, "top_k": 2, "top_p": None, "seed": 4, "stop": ["x"]}
    speaking.bind(max_tokens=4).batch(["a", "b"])
    assert speaking.language_model.calls[-1][1]["max_tokens"] == 4
    list(speaking.stream("a", max_tokens=5))
    assert speaking.language_model.calls[-1][1]["max_tokens"] == 5
    with pytest.raises(ValueError, match="no option 'temprature' to set"):
        speaking.invoke("a", temprature=1.0)


def test_abatch_is_one_generation_and_async_streams_equal_the_others(model):
    speaking = model(lambda prompt: f"said {len(prompt)} letters")

    async def ask():
        answers = await speaking.abatch(["a", "bc", "def"])
        pieces = [chunk.content async for chunk in speaking.astream("bc")]
        return answers, pieces, await speaking.ainvoke("bc")

    answers, pieces, alone = asyncio.run(ask())
    assert [len(prompts) for prompts, _ in speaking.language_model.calls] == [3, 1, 1]
    assert answers[1].content == "".join(pieces) == alone.content
    assert len(pieces) > 2
    errors = asyncio.run(speaking.abatch(["a", 3], return_exceptions=True))
    assert isinstance(errors[1], ValueError)


def test_tokens_are_counted_by_the_models_own_tokenizer(model):
    speaking = model(lambda prompt: "ok")
    assert speaking.get_num_tokens("naïve") == len("naïve".encode())
    kept = trim_messages([HumanMessage("a" * 50), AIMessage("b"), HumanMessage("c")], max_tokens=30, token_counter=speaking, strategy="last", start_on="human")
    assert [message.content for message in kept] == ["c"]
    assert json.loads(json.dumps(speaking._identifying_params))["tool_form"] == "auto"


class Street(BaseModel):
    """A street."""

    name: str
    numbers: list[int] = []
    leads_to: list["Street"] = []


class Home(BaseModel):
    """A home."""

    street: Street
    size: tuple[int, float] | None = None


def test_what_is_inside_of_lists_and_objects_is_asked_for(model):
    plain = request(Home.model_json_schema())
    assert '- "size": list of exactly (integer, number) or null, may be left out' in plain
    assert '"numbers": {"default": [], "items": {"type": "integer"}' in plain
    itself = request(Street.model_json_schema())
    assert '- "leads_to": list of Street, may be left out' in itself
    assert 'Its form: {"name": …, "numbers": …, "leads_to": …}' in itself
    written = '{"street": {"name": "Way", "leads_to": [{"name": "End"}]}, "size": [3, 0.5]}'
    asking = model(lambda prompt: written)
    assert asking.with_structured_output(Home).invoke("Where?").street.leads_to[0].name == "End"
    assert plain in asking.language_model.calls[0][0][0]
    inside = {"title": "Trip", "type": "object", "properties": {"to": {"type": "object", "properties": {"city": {"type": "string", "format": "date"}}}}}
    assert asking.with_structured_output(inside).invoke("Where?") == json.loads(written)
    assert '- "to": {"city": string (date)}, may be left out' in asking.language_model.calls[-1][0][0]
    for call in (lambda: structured(asking.language_model, ["?"], RootModel[list[int]]), lambda: asking.with_structured_output(RootModel[int]).invoke("?")):
        with pytest.raises(ValueError, match="must be an object with fields"):
            call()


def test_an_object_in_a_thought_is_no_answer(model):
    def reply(prompt):
        thought = 'I try {"name": "Bob", "age": 1}.</think>'
        return f"<think>{thought}{GOOD}" if "Ada?" in prompt else thought + GOOD if "Eve?" in prompt else "<think>" + GOOD

    asking = model(reply)
    found = structured(asking.language_model, ["Ada?", "Eve?", "Who?"], Person, retries=1)
    assert [one.value and one.value.name for one in found] == ["Ada", "Ada", None]
    assert [one.retries for one in found] == [0, 0, 1]
    assert [one["parsed"] and one["parsed"].name for one in asking.with_structured_output(Person, include_raw=True).batch(["Ada?", "Who?"])] == ["Ada", None]
    assert value_of('{"name": "</think>", "age": 3}', Person).name == "</think>"
    with pytest.raises(ValueError, match="half a character"):
        value_of('{"name": "\\ud800", "age": 3}', Person)


def test_a_text_that_was_cut_off_is_told_so(model):
    asking = model(lambda prompt: '{"name": "Ada", ')
    lm = asking.language_model
    whole = lm.complete
    assert "cut off" not in structured(lm, ["Ada?"], Person, retries=0)[0].errors[0]
    lm.complete = lambda *args, **options: [replace(done, finish_reason="length") for done in whole(*args, **options)]
    (found,) = structured(lm, ["Ada?"], Person, retries=1)
    assert [error.endswith("the text was cut off at its limit of tokens: allow more of them, or ask for less") for error in found.errors] == [True] * 2
    with pytest.raises(OutputParserException, match="cut off at its limit of tokens"):
        asking.with_structured_output(Person).invoke("Ada?")
