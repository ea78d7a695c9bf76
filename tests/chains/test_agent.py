"""The agent of LangChain's parts against our own loop: the same turns, observations and answers, whatever the model writes."""

import time

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from llmsuite_lab.agents.demonstrations import demonstrate, opening_text, render_turn
from llmsuite_lab.agents.react import react
from llmsuite_lab.agents.tools import Argument, Tool, almanac_tools
from llmsuite_lab.chains.agent import answer_of, langchain_tool, react_agent, since_last_question, steps_of
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
