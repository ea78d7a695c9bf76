"""The agent of LangChain's parts against our own loop: the same turns, observations and answers, whatever the model writes."""

import time

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.memory import InMemorySaver

from llmsuite_lab.agents.demonstrations import demonstrate, opening_text, render_turn
from llmsuite_lab.agents.react import react
from llmsuite_lab.agents.tools import Argument, Tool, almanac_tools
from llmsuite_lab.chains.agent import ReActRules, answer_of, langchain_tool, react_agent, since_last_question, steps_of
from llmsuite_lab.chains.applications import almanac_agent, almanac_chain, answer_all
from llmsuite_lab.chains.chat_model import LabChatModel
from llmsuite_lab.world import almanac_frozen


@pytest.fixture(scope="module")
def almanac():
    return almanac_frozen.load_almanac()


@pytest.fixture(scope="module")
def questions():
    return almanac_frozen.load_questions(per_kind=2)


def follows(questions, almanac):
    """A model that answers each question by its demonstration, turn by turn."""
    scripts = {opening_text(q): [render_turn(turn) for turn in demonstrate(q, almanac)] for q in questions}

    def reply(prompt):
        opening = next(o for o in scripts if prompt.startswith(o))
        return scripts[opening][prompt.count("\nObservation:")]

    return reply


def says(*turns):
    """A model that writes these turns, the last one again and again."""
    return lambda prompt: turns[min(prompt.count("\nObservation:"), len(turns) - 1)]


def test_answers_and_steps_equal_our_loops_on_the_frozen_questions(stand_in, almanac, questions):
    reply = follows(questions, almanac)
    ours = react(stand_in(reply), [opening_text(q) for q in questions], lambda: almanac_tools(almanac))
    theirs = answer_all(almanac_chain(stand_in(reply), almanac), [q.text for q in questions])
    assert [row["answer"] for row in theirs] == [t.answer for t in ours] == [q.answer for q in questions]
    for row, trajectory in zip(theirs, ours):
        steps = steps_of(since_last_question(row["messages"]))
        for step, own in zip(steps, trajectory.steps[:-1], strict=True):
            assert (step.action, step.argument, step.observation, step.kind, step.ran) == (
                own.action, own.argument, own.observation, own.kind, own.ran,
            )  # fmt: skip


STRANGE = {
    "no action": " I just talk.\nAnd talk.",
    "unknown action": " I delete.\nAction: Delete[everything]\n",
    "two actions": " Both.\nAction: Search[A] and Lookup[b]\n",
    "empty argument": " Hm.\nAction: Search[]\n",
    "empty finish": " Hm.\nAction: Finish[]\n",
    "too long": f" Hm.\nAction: Search[{'x' * 100}]\n",
    "lookup first": " Hm.\nAction: Lookup[mayor]\n",
    "missing page": " Hm.\nAction: Search[Nowhere at all]\n",
    "cut": " I think and think and",
}


@pytest.mark.parametrize("turn", STRANGE.values(), ids=STRANGE.keys())
def test_whatever_the_model_writes_is_answered_as_in_our_loop(turn, stand_in, almanac):
    reply = says(turn, turn, " Enough.\nAction: Finish[done]\n")  # said twice: the second time may be a repetition
    (own,) = react(stand_in(reply), ["Question: What?\nThought:"], lambda: almanac_tools(almanac))
    state = almanac_agent(stand_in(reply), almanac).invoke({"messages": [("user", "What?")]})
    steps = steps_of(state["messages"])
    assert answer_of(state) == own.answer == "done"
    assert [(s.observation, s.kind, s.ran) for s in steps] == [(s.observation, s.kind, s.ran) for s in own.steps[:-1]]


def test_a_tool_that_raises_or_hangs_is_an_observation(stand_in):
    def hang(text):
        time.sleep(5)
        return "late"

    def fail(text):
        raise RuntimeError("no connection")

    def tools():
        return [Tool("Slow", "hangs", Argument("x"), hang, timeout_s=0.2), Tool("Broken", "raises", Argument("x"), fail)]

    reply = says(" A.\nAction: Slow[1]\n", " B.\nAction: Broken[1]\n", " C.\nAction: Finish[neither]\n")
    model = LabChatModel(language_model=stand_in(reply))
    state = react_agent(model, tools).invoke({"messages": [("user", "Try both")]})
    slow, broken = steps_of(state["messages"])
    assert slow.kind == "timed out"
    assert "0.2 s" in slow.observation
    assert broken.kind == "raised"
    assert "no connection" in broken.observation
    assert answer_of(state) == "neither"


def test_an_agent_that_never_finishes_ends_at_its_step_limit(stand_in, almanac):
    turns = [f" Hm.\nAction: Search[page {i}]\n" for i in range(30)]
    model = LabChatModel(language_model=stand_in(says(*turns)))
    state = react_agent(model, lambda: almanac_tools(almanac), max_steps=4).invoke({"messages": [("user", "What?")]})
    assert answer_of(state) is None
    assert len(steps_of(state["messages"])) == 4


def test_the_open_page_survives_the_checkpoint_and_a_second_question_starts_afresh(stand_in, almanac, questions):
    first, second = questions[0], questions[-1]
    agent = almanac_agent(stand_in(follows([first, second], almanac)), almanac, checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "a"}}
    assert answer_of(agent.invoke({"messages": [("user", first.text)]}, thread)) == first.answer
    state = agent.invoke({"messages": [("user", second.text)]}, thread)
    assert answer_of(state) == second.answer
    assert sum(isinstance(m, HumanMessage) for m in state["messages"]) == 2


def test_async_runs_give_the_same(stand_in, almanac, questions):
    import asyncio

    agent = almanac_agent(stand_in(follows(questions[:1], almanac)), almanac)
    state = asyncio.run(agent.ainvoke({"messages": [("user", questions[0].text)]}))
    assert answer_of(state) == questions[0].answer


def test_a_langchain_tool_keeps_name_argument_and_limits():
    tool = langchain_tool(Tool("Add", "adds one", Argument("n", int), lambda n: str(n + 1)))
    assert tool.name == "Add"
    assert tool.invoke({"n": 41}) == "42"


def test_few_shot_text_stands_in_front_of_every_prompt_as_in_our_loop(stand_in, almanac):
    own, theirs = stand_in(says(" Hm.\nAction: Search[A]\n")), stand_in(says(" Hm.\nAction: Search[A]\n"))
    react(own, ["Question: What?\nThought:"], lambda: almanac_tools(almanac), examples="EXAMPLES\n\n", max_steps=3)
    almanac_chain(theirs, almanac, examples="EXAMPLES\n\n", max_steps=3).invoke("What?")
    assert own.batches == theirs.batches


class Mailer:
    """A tool set whose every action is counted; each question gets a set with a state of its own, the number of mails it sent."""

    def __init__(self):
        self.sent = []

    def __call__(self):
        mine = []

        def mail(name):
            mine.append(name)
            self.sent.append(name)
            if name == "nobody":
                raise RuntimeError("no such address")
            return f"mail {len(mine)} is out"

        return [Tool("Mail", "sends a mail", Argument("name"), mail)]


MAILS = ["ann", "bob", "nobody", "dora", "ann"]  # one that fails, and one that was sent before
COUNTED = ["mail 1 is out", "mail 2 is out", "Mail failed: RuntimeError: no such address.", "mail 4 is out"]


@pytest.mark.parametrize("way", ["invoke", "stream", "batch", "ainvoke"])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_no_action_runs_twice(way, checkpointed, stand_in):
    import asyncio

    mailer = Mailer()
    reply = says(*(f" Next.\nAction: Mail[{name}]\n" for name in MAILS), " Done.\nAction: Finish[sent]\n")
    model = LabChatModel(language_model=stand_in(reply))
    agent = react_agent(model, mailer, checkpointer=InMemorySaver() if checkpointed else None)
    inputs = [{"messages": [("user", f"Write to all, {i}")]} for i in range(3 if way == "batch" else 1)]
    settings = [{"configurable": {"thread_id": str(i)}} for i in range(len(inputs))]
    if way == "batch":
        states = agent.batch(inputs, settings)
    elif way == "ainvoke":
        states = [asyncio.run(agent.ainvoke(inputs[0], settings[0]))]
    elif way == "stream":
        *_, last = agent.stream(inputs[0], settings[0], stream_mode="values")
        states = [last]
    else:
        states = [agent.invoke(inputs[0], settings[0])]
    assert sorted(mailer.sent) == sorted(MAILS[:4] * len(inputs))
    for state in states:
        steps = steps_of(since_last_question(state["messages"]))
        assert [s.observation for s in steps[:4]] == COUNTED
        assert [s.kind for s in steps[4:]] == ["repeated"]
        assert answer_of(state) == "sent"


class SeveralCalls(LabChatModel):
    """A model that asks for all its actions in one turn."""

    def _generate(self, messages, *args, **options):
        if any(message.type == "tool" for message in messages):
            message = AIMessage("sent", additional_kwargs={"thought": "Done."})
        else:
            calls = [{"name": "Mail", "args": {"name": name}, "id": f"c{i}"} for i, name in enumerate(MAILS)]
            message = AIMessage("All at once.", tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=message)])


@pytest.mark.parametrize("asynchronous", [False, True])
def test_several_calls_in_one_turn_run_once_each_in_their_order(asynchronous, stand_in):
    import asyncio

    mailer = Mailer()
    agent = react_agent(SeveralCalls(language_model=stand_in()), mailer)
    question = {"messages": [("user", "Write to all")]}
    state = asyncio.run(agent.ainvoke(question)) if asynchronous else agent.invoke(question)
    assert mailer.sent == MAILS[:4]
    steps = steps_of(state["messages"])
    assert [s.observation for s in steps[:4]] == COUNTED
    assert steps[4].kind == "repeated"


def test_a_conversation_taken_up_elsewhere_restores_state_and_acts_no_more(stand_in, almanac, questions):
    """Stopped before every tool call and continued by a new agent each time, as another process would: the page is open, no mail goes out twice."""
    mailer, asked = Mailer(), next(q for q in questions if any(t.action == "Lookup" for t in demonstrate(q, almanac)))
    turns = [render_turn(turn) for turn in demonstrate(asked, almanac)]
    reply = says(" First.\nAction: Mail[ann]\n", *turns)
    saver, thread = InMemorySaver(), {"configurable": {"thread_id": "a"}}

    def agent():
        rules = ReActRules(lambda: [*mailer(), *almanac_tools(almanac)])
        tools = [langchain_tool(tool) for tool in rules.make_tools()]
        model = LabChatModel(language_model=stand_in(reply))
        return create_agent(model, tools, middleware=[rules], checkpointer=saver, interrupt_before=["tools"])

    state = agent().invoke({"messages": [("user", asked.text)]}, thread)
    while answer_of(state) is None:
        state = agent().invoke(None, thread)
    assert answer_of(state) == asked.answer
    assert mailer.sent == ["ann"]
    assert [s.kind for s in steps_of(state["messages"])] == ["ok"] * len(turns)
