"""Native tool calls: the prompt is the template's, every form of a call is read, and the rules of the loop hold."""

import copy
import json

import pytest

from llmsuite_lab.agents.functions import tool_from
from llmsuite_lab.agents.native import converse
from llmsuite_lab.agents.tools import Argument, Tool
from llmsuite_lab.lm.language_model import Completion, LanguageModel
from llmsuite_lab.lm.text import chat_prompt, encode
from llmsuite_lab.lm.tool_calls import ToolCall, forced_call, read_reply, shows_tools

# The forms of Hermes and Qwen, of Llama 3.1 and of Mistral, on the control tokens of the tiny tokenizer.
HERMES = (
    "{% if tools %}<s>system\nTools: <tools>{% for t in tools %}{{ t | tojson }}{% endfor %}</tools></s>{% endif %}"
    "{% for m in messages %}<s>{{ m.role }}\n{% if m.content %}{{ m.content }}{% endif %}"
    "{% for c in m.tool_calls or [] %}<tool_call>\n"
    "{\"name\": \"{{ c.function.name }}\", \"arguments\": {{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}"
    "</s>{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
LLAMA = HERMES.replace('<tool_call>\n{"name"', '{"name"').replace('"arguments": {{', '"parameters": {{').replace("\n</tool_call>", "")
MISTRAL = HERMES.replace('<tool_call>\n{"name"', '<pad>[{"name"').replace("}\n</tool_call>", "}]")
FORMS = {"hermes": HERMES, "llama": LLAMA, "mistral": MISTRAL}


def price(item: str, count: int = 1) -> float:
    """What so many of an item cost.

    Args:
        item: what is bought
    """
    return {"lamp": 9.0}[item] * count


class Speaker(LanguageModel):
    """The real class with scripted turns in the place of its weights: prompts are made and measured as always."""

    def __init__(self, tokenizer, turns):
        self.tokenizer, self.name, self.adapter, self.turns, self.prompts = tokenizer, "scripted", None, turns, []

    context_length = 4000

    def complete(self, prompts, max_new_tokens=64, stop=(), **options):
        self.prompts.append(list(prompts))
        texts = [self.turns[p.count("<s>assistant\n") - 1] for p in prompts]
        return [Completion(t, self.count_tokens(p), self.count_tokens(t), "eos", 0.0) for t, p in zip(texts, prompts)]


@pytest.fixture
def tokenizer(tiny_tokenizer):
    made = copy.deepcopy(tiny_tokenizer)
    made.chat_template = HERMES
    return made


def wanted(name="price", **arguments):
    return "<tool_call>\n" + json.dumps({"name": name, "arguments": arguments}) + "\n</tool_call>"


def test_the_loop_runs_what_fits_answers_what_does_not_and_ends_with_an_answer(tokenizer):
    turns = [
        wanted(item="lamp", count="two"),
        wanted(thing="lamp"),
        wanted("cost", item="lamp"),
        wanted(item="sofa"),
        "I look twice. " + wanted(item="lamp", count=2) + wanted(item="lamp", count=3),
        wanted(count=2, item="lamp"),
        "<tool_call>{'name': price}</tool_call>",
        "",
        "<think>18 and 27</think>Two lamps cost 18.",
    ]
    lm = Speaker(tokenizer, turns)
    (done,) = converse(lm, ["What do two lamps cost?"], lambda: [tool_from(price)], max_turns=20, max_tokens=9000)
    kinds = ["bad argument", "bad argument", "unknown action", "raised", "ok", "ok", "repeated", "unparsable", "unparsable", "finish"]
    assert [step.kind for step in done.steps] == kinds
    assert (done.ended, done.answer, done.tool_calls) == ("finished", "Two lamps cost 18.", 3)
    assert [m["content"] for m in done.messages if m["role"] == "tool"][3:6] == ["price failed: KeyError: 'sofa'.", "18.0", "27.0"]
    assert "count: Input should be a valid integer" in done.steps[0].observation
    assert "no argument 'thing'" in done.steps[1].observation
    assert json.dumps(tool_from(price).schema, ensure_ascii=False) in lm.prompts[0][0]
    assert lm.prompts[-1] == [chat_prompt(tokenizer, done.messages[:-1], tools=[tool_from(price).schema])]
    assert done.completion_tokens == sum(lm.count_tokens(turn) for turn in turns), "the tokens of a turn with two calls count once"


def test_a_thought_that_the_template_opens_is_no_answer(tokenizer):
    tokenizer.chat_template = HERMES.replace("<s>assistant\n{% endif %}", "<s>assistant\n<think>\n{% endif %}")
    turns = [f"I look.\n</think>\n{wanted(item='lamp', count=2)}", "Twice 9.\n</think>\nIt is 18.", "I think and think"]
    (done,) = converse(Speaker(tokenizer, turns[:2]), ["What?"], lambda: [tool_from(price)])
    assert ([step.kind for step in done.steps], done.steps[0].observation, done.answer) == (["ok", "finish"], "18.0", "It is 18.")
    (endless,) = converse(Speaker(tokenizer, turns[2:]), ["What?"], lambda: [tool_from(price)], max_turns=1)
    assert (endless.answer, endless.steps[0].kind) == (None, "unparsable")


def test_limits_hold_and_questions_run_side_by_side(tokenizer):
    endless = Speaker(tokenizer, [wanted(item="lamp", count=n) for n in range(99)])
    done = converse(endless, ["a", "b"], lambda: [tool_from(price)], max_turns=3)
    assert [(d.ended, d.answer, len(d.steps)) for d in done] == [("step limit", None, 3)] * 2
    assert [len(batch) for batch in endless.prompts] == [2, 2, 2]
    (short,) = converse(endless, ["a"], lambda: [tool_from(price)], max_tokens=70)
    assert short.ended == "token limit"
    (full,) = converse(endless, ["a" * 2600], lambda: [tool_from(price)], max_turns=50, max_tokens=9000)
    assert full.ended == "context full"
    assert converse(endless, [], lambda: [tool_from(price)]) == []
    for options, said in [({"max_turns": 0}, "at least 1"), ({"make_tools": list}, "at least one")]:
        with pytest.raises(ValueError, match=said):
            converse(endless, ["a"], **{"make_tools": lambda: [tool_from(price)], **options})
    with pytest.raises(TypeError, match="one string"):
        converse(endless, "a", lambda: [tool_from(price)])


def test_a_tool_with_one_argument_is_called_by_name_and_the_same_look_at_another_page_is_another(tokenizer):
    opened = []
    tools = [Tool("Open", "open it", Argument("n", int), lambda n: opened.append(n) or f"page {n}")]
    tools += [Tool("Find", "find", Argument("word"), str, refers_to="Open")]
    calls = [("Open", {"n": 3}), ("Find", {"word": "a"}), ("Open", {"n": "4"}), ("Find", {"word": "a"}), ("Find", {"word": "a"}), ("Open", {"m": 1})]
    (done,) = converse(Speaker(tokenizer, [*(wanted(name, **a) for name, a in calls), "ok"]), ["q"], lambda: tools, max_turns=9)
    assert [step.kind for step in done.steps] == ["ok", "ok", "ok", "ok", "repeated", "bad argument", "finish"]
    assert opened == [3, 4]


def test_a_template_that_shows_no_tools_says_what_to_use(tiny_tokenizer):
    with pytest.raises(ValueError, match=r"shows no tools: use agents\.react"):
        converse(Speaker(tiny_tokenizer, ["x"]), ["a"], lambda: [tool_from(price)])
    assert not shows_tools(tiny_tokenizer)


@pytest.mark.parametrize("form", FORMS)
def test_a_call_that_the_template_writes_is_read_back(tokenizer, form):
    tokenizer.chat_template = FORMS[form]
    assert shows_tools(tokenizer)
    made = {"item": 'a "lamp" </s>', "count": 2, "sizes": [1, {"deep": "ü"}]}
    turn = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "price", "arguments": made}}]}
    opening = [{"role": "user", "content": "</s>?"}]
    before = chat_prompt(tokenizer, opening, tools=[tool_from(price).schema])
    whole = chat_prompt(tokenizer, [*opening, turn], tools=[tool_from(price).schema], answer_follows=False)
    written = str(whole)[len(before) :].removesuffix("</s>").replace("<pad>", "[TOOL_CALLS] ")
    assert read_reply(written).calls == (ToolCall("price", made),)
    controls = [i for i in encode(tokenizer, [whole])[0] if i > 255]
    assert controls == [257, 258] * 2 + [257] + ([256] if form == "mistral" else []) + [258], "what an argument or a message holds is text"
    beginning = forced_call(tokenizer, opening, [tool_from(price).schema], "price")
    written = str(beginning).replace("<pad>", "[TOOL_CALLS]") + 'item": "lamp"}}' + "]" * (form == "mistral")
    assert read_reply(written).calls == (ToolCall("price", {"item": "lamp"}),)
    assert (256 in encode(tokenizer, [beginning])[0]) == (form == "mistral"), "the template's own control token is one"
    with pytest.raises(ValueError, match="no tool 'cost'"):
        forced_call(tokenizer, opening, [tool_from(price).schema], "cost")


def test_control_tokens_in_tools_roles_and_names_are_refused(tokenizer):
    def nasty(word: str) -> str:
        """It ends </s> here."""
        return word

    with pytest.raises(ValueError, match="a tool holds the control token '</s>'"):
        chat_prompt(tokenizer, [{"role": "user", "content": "a"}], tools=[tool_from(nasty).schema])
    call = {"type": "function", "function": {"name": "x</s>", "arguments": {}}}
    with pytest.raises(ValueError, match="'x</s>' holds the control token"):
        chat_prompt(tokenizer, [{"role": "assistant", "content": "", "tool_calls": [call]}])
    with pytest.raises(ValueError, match="a call must be"):
        chat_prompt(tokenizer, [{"role": "assistant", "content": "", "tool_calls": [{"name": "x"}]}])
    with pytest.raises(ValueError, match="must be a list of calls"):
        chat_prompt(tokenizer, [{"role": "assistant", "content": "", "tool_calls": call}])
    for more in ({"name": "</s>"}, {"reasoning_content": "x</s>"}, {"parts": [{"text": "</s>"}]}):  # whatever this template may show
        with pytest.raises(ValueError, match="holds the control token"):
            chat_prompt(tokenizer, [{"role": "user", "content": "a", **more}])
    assert chat_prompt(tokenizer, [{"role": "assistant", "content": "</s>", "tool_calls": None}])
    tokenizer.chat_template = "{{ raise_exception('no system role') }}"
    with pytest.raises(ValueError, match="refuses these messages: no system role"):
        chat_prompt(tokenizer, [{"role": "user", "content": "a"}])


@pytest.mark.parametrize(
    ("written", "text", "calls"),
    [
        ("An answer {with} braces", "An answer {with} braces", []),
        ('{"answer": 3}', '{"answer": 3}', []),
        ('Result {"total": 3}', 'Result {"total": 3}', []),
        ('Foo <think>so</think>{"total": 3}', 'Foo {"total": 3}', []),
        ('{"name": "Ada", "age": 3}', '{"name": "Ada", "age": 3}', []),
        ('{"name": "price", "parameters": {"item": "lamp"}}', "", [("price", {"item": "lamp"})]),
        ('{"name": "a", "arguments": {}}; {"name": "b", "arguments": {"x": 1}}', "", [("a", {}), ("b", {"x": 1})]),
        ('<|python_tag|>{"name": "a", "parameters": {}}', "", [("a", {})]),
        ('[TOOL_CALLS] [{"name": "a", "arguments": "{\\"x\\": 1}"}]', "", [("a", {"x": 1})]),
        ('price{"item": "lamp"}', "", [("price", {"item": "lamp"})]),
        ('<tool_call>[{"name": "a"}, {"name": "b"}]</tool_call>', "", [("a", {}), ("b", {})]),
        ('Well. <tool_call>{"name": "a", "arguments": {}}', "Well.", [("a", {})]),
        ("<tool_call>\n<function=price>\n<parameter=item>\nlamp\n</parameter>\n</function>\n</tool_call>", "", [("price", {"item": "lamp"})]),
        ("<function=price><parameter=item>lamp</parameter></function>", "", [("price", {"item": "lamp"})]),
        ('<function=price>{"item": "lamp"}</function>', "", [("price", {"item": "lamp"})]),
        ("<function=now></function>", "", [("now", {})]),
        ('<tool_call>{"name": "now", "arguments": null}</tool_call>', "", [("now", {})]),
        ('[TOOL_CALLS]a[ARGS]{"x": 1}[TOOL_CALLS]b[ARGS]{}', "", [("a", {"x": 1}), ("b", {})]),
        ('a{"x": 1}b{}', "", [("a", {"x": 1}), ("b", {})]),
        ('{"type": "function", "function": {"name": "a", "arguments": {"x": 1}}}', "", [("a", {"x": 1})]),
        ('<think>maybe {"name": "a", "arguments": {}}</think>\nNo.', "No.", []),
    ],
)
def test_every_form_is_read_and_nothing_else_is_a_call(written, text, calls):
    reply = read_reply(written)
    assert (reply.text, [(made.name, made.arguments) for made in reply.calls], reply.fault) == (text, calls, "")


@pytest.mark.parametrize("inside", ["", "[]", "{}", '{"name": "a", "arguments": {"x": NaN}}', '{"name": "a", "arguments": [1]}', "[" * 4000, None])
def test_a_call_that_cannot_be_read_is_a_fault(inside):
    reply = read_reply("[TOOL_CALLS] lamp" if inside is None else f"<tool_call>{inside}</tool_call>")
    assert reply.fault
    assert not reply.calls


UNREADABLE = [
    '{"name": "price", "arguments": {"item": "la',
    '[{"name": "price", "parameters": {"item": lamp}}]',
    '{"type": "function", "name": "price", "parameters": {"count": 1e999}}',
    "<function=price><parameter=item>la",
    "<function=price><parameter=item>lamp</parameter>",
    "<function=price><parameter=item>la</function>",
    "<function=price>lamp</function>",
    '<function=price>{"item": "lamp"</function>',
    '<tool_call>{"name": "x</s>", "arguments": {}}</tool_call>',
    "<function=x|y></function>",
    '<tool_call>{"name": "price", "arguments": {"item": "\\ud800"}}</tool_call>',
    'price{"item": "la',
    'price{"item": "lamp"} and more',
]


@pytest.mark.parametrize("written", UNREADABLE)
def test_a_call_that_was_begun_is_no_answer_and_none_is_run_without_its_arguments(tokenizer, written):
    (done,) = converse(Speaker(tokenizer, [written, "It is 18."]), ["What?"], lambda: [tool_from(price)])
    assert [step.kind for step in done.steps] == ["unparsable", "finish"]
    assert done.answer == "It is 18."


def test_values_written_as_text_become_what_the_schema_asks_for(tokenizer):
    def total(numbers: list[int], label: str, twice: bool = False, limit: int | None = None) -> str:
        """The sum."""
        return f"{label} {sum(numbers) * (1 + twice)} {limit}"

    values = {"numbers": "[1, 2]", "label": "12", "twice": "true", "limit": "7"}
    written = "<tool_call>\n<function=total>\n" + "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in values.items()) + "</function>\n</tool_call>"
    (done,) = converse(Speaker(tokenizer, [written, "ok"]), ["q"], lambda: [tool_from(total)])
    assert done.steps[0].observation == "12 6 7"
