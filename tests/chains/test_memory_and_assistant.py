"""The assistant: routes, remembers, keeps threads apart, asks back, and survives a skill that fails."""

import json
from dataclasses import replace

import pytest

from llmsuite_lab.chains.assistant import APOLOGY, Assistant, Reply, almanac_skill, handbook_skill, said, sums_skill
from llmsuite_lab.chains.memory import MORE, conversation, refers_back, resolve, subject_of
from llmsuite_lab.chains.routing import UNCLEAR, Choice
from llmsuite_lab.retrieval import own_questions

PRICES = {"the Huxum kettle": "67 crowns", "the Velm lamp": "41 crowns"}


@pytest.mark.parametrize(
    ("question", "pronoun"),
    [
        ("How much does it cost?", "it"),
        ("And its weight?", "its"),
        ("Who is his manager?", "his"),
        ("How much does the Huxum kettle cost, and what is its weight?", None),  # it brings its own subject
        ("Ben has 4 pears and he buys 3 more. How many are there?", None),
        ("Who designed this?", None),
        ("What is the limit of an item?", None),  # 'it' inside a word
    ],
)
def test_which_questions_refer_back(question, pronoun):
    assert refers_back(question) == pronoun


def test_resolving_keeps_the_sentence():
    assert resolve("How much does it cost?", "the Velm lamp") == "How much does the Velm lamp cost?"
    assert resolve("What is its weight?", "the Velm lamp") == "What is the Velm lamp's weight?"
    assert resolve("It costs what?", "the Velm lamp") == "The Velm lamp costs what?"
    assert resolve("Who leads project Velm?", "the lamp") == "Who leads project Velm?"
    with pytest.raises(ValueError, match="no subject"):
        resolve("How much does it cost?", " ")


def written(tmp_path, *asked):
    """A book of two pages and these (question, answer) pairs."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "boat.md").write_text("# The ferry Halda\n\nIt sails at 07:40 and costs 14 crowns.\n\n# The mill\n\nIt was built in 1790 by Jon.\n")
    rows = [json.dumps({"question": question, "answer": answer}) for question, answer in asked]
    (tmp_path / "q.jsonl").write_text("\n".join(rows) + "\n")
    return own_questions.load(tmp_path / "notes", tmp_path / "q.jsonl")


SAILS, COSTS, BUILT = ("When does the ferry Halda sail?", "07:40"), ("What does the ferry Halda cost?", "14 crowns"), ("When was the mill built?", "1790")


@pytest.mark.parametrize(
    ("asked", "begin", "again", "subject"),
    [
        ([BUILT, SAILS, COSTS], SAILS, "What does it cost?", "The ferry Halda"),
        ([SAILS, ("What is the ferry Halda\u2019s price?", "14 crowns")], SAILS, "What is its price?", "The ferry Halda"),
        ([SAILS, ("Who pays what on board?", "14 crowns"), BUILT], SAILS, MORE, "The ferry Halda"),  # the second one does not name it
        ([("Who is on the ferry Halda?", None), BUILT, ("Has the mill at Tave a miller?", "Jon")], BUILT, MORE, "The mill"),  # a name stays
    ],
)
def test_a_conversation_begins_with_the_books_own_questions(tmp_path, asked, begin, again, subject):
    book = written(tmp_path, *asked)
    question, second, about = conversation(book, "What is the price of the Daernum Classic printer?", "How much does it weigh?")
    assert (question.text, second, about) == (begin[0], again, subject)
    assert refers_back(second)
    assert about in resolve(second, about)
    assert about == subject_of(book.passage(question.gold[0]).title)


def test_the_courses_conversation_is_the_one_that_is_named(book):
    question, again, subject = conversation(book, "What is the price of the Daernum Classic printer?", "How much does it weigh?")
    assert (question.answer, again, subject) == ("216 crowns", "How much does it weigh?", "the Daernum Classic printer")
    with pytest.raises(ValueError, match="answers none"):
        conversation(replace(book, questions=tuple(book.of_kind("unanswerable"))))


def price(question):
    name = next((n for n in PRICES if n in question), "")
    return Reply(PRICES.get(name, "I don't know"), name, ("p1",))


def broken(question):
    raise RuntimeError("the line is dead")


def pick(questions):
    table = {"kettle": "prices", "lamp": "prices", "call": "phone"}
    return [Choice(next((r for w, r in table.items() if w in q), UNCLEAR), 1.0, "") for q in questions]


@pytest.fixture
def assistant():
    return Assistant({"prices": price, "phone": broken}, pick)


def test_a_follow_up_is_answered_from_memory_and_threads_do_not_mix(assistant):
    assistant.ask("How much is the Huxum kettle?", "ann")
    assistant.ask("How much is the Velm lamp?", "bob")
    assert said(assistant.ask("How much does it cost?", "ann")) == "67 crowns"
    assert said(assistant.ask("How much does it cost?", "bob")) == "41 crowns"
    stranger = assistant.ask("How much does it cost?", "cid")
    assert stranger["route"] == UNCLEAR
    assert "'it'" in said(stranger)
    assert [who for who, _ in assistant.history("ann")] == ["human", "ai", "human", "ai"]


def test_the_subject_outlives_a_turn_that_names_none(assistant):
    assistant.ask("How much is the Huxum kettle?", "ann")
    assistant.ask("Well, well.", "ann")
    assert said(assistant.ask("How much does it cost again?", "ann")) == "67 crowns"


def test_what_fits_nowhere_is_met_with_a_question(assistant):
    state = assistant.ask("Sing!", "ann")
    assert state["route"] == UNCLEAR
    assert said(state).endswith("?")
    notes = Assistant({"prices": price}, pick, documents="your notes")
    assert "look things up in your notes" in said(notes.ask("Sing!", "ann"))
    for nothing in ("", " ", None):
        with pytest.raises(ValueError, match="documents=.* must be some words"):
            Assistant({"prices": price}, pick, documents=nothing)


def test_a_failing_skill_becomes_an_apology_and_the_conversation_goes_on(assistant):
    state = assistant.ask("call somebody", "ann")
    assert state["route"] == APOLOGY
    assert "the line is dead" in said(state)
    assert said(assistant.ask("How much is the Velm lamp?", "ann")) == "41 crowns"


def test_an_unknown_thread_and_empty_input_are_named(assistant):
    assistant.ask("Hello", "ann")
    with pytest.raises(KeyError, match="no conversation 'eve'; there are: ann"):
        assistant.history("eve")
    for message, thread in (("  ", "ann"), ("Hello", "")):
        with pytest.raises(ValueError, match="need some text"):
            assistant.ask(message, thread)
    with pytest.raises(ValueError, match="at least one"):
        Assistant({}, pick)


def test_the_same_conversation_goes_on_from_a_saved_checkpoint():
    from langgraph.checkpoint.memory import InMemorySaver

    saver = InMemorySaver()
    Assistant({"prices": price}, pick, saver).ask("How much is the Velm lamp?", "ann")
    assert said(Assistant({"prices": price}, pick, saver).ask("How much does it cost?", "ann")) == "41 crowns"


def test_the_handbook_skill_remembers_the_title_of_its_passage(book, retriever, stand_in):
    from llmsuite_lab.chains.applications import rag_chain
    from llmsuite_lab.chains.retriever import LabRetriever

    question = next(q for q in book.questions if q.attribute == "price")
    passage = book.passage(question.gold[0])
    skill = handbook_skill(rag_chain(LabRetriever(retriever=retriever), stand_in(lambda prompt: " 5 crowns\n")))
    reply = skill(question.text)
    assert reply.text == "5 crowns"
    assert len(reply.sources) == 1
    assert reply.subject == book.passage(reply.sources[0]).title.split(": ", 1)[1]
    assert passage.title  # the question has a gold passage


def test_the_sums_skill_gives_the_value_and_its_program_or_says_what_went_wrong(stand_in):
    from llmsuite_lab.chains.applications import pal_chain
    from llmsuite_lab.reasoning.interpreter import Interpreter

    programs = {"How much is it?": "answer = 6 * 7\n", "How little is it?": "answer = 1 / 0\n"}
    writer = stand_in(lambda prompt: next(program for question, program in programs.items() if question in prompt))
    with Interpreter() as interpreter:
        skill = sums_skill(pal_chain(writer, interpreter))
        assert skill("How much is it?") == Reply("42", "", ("answer = 6 * 7\n",))
        assert "ZeroDivisionError" in skill("How little is it?").text


def test_the_almanac_skill_names_the_pages_it_opened(stand_in):
    from llmsuite_lab.agents.demonstrations import demonstrate, render_turn
    from llmsuite_lab.chains.applications import almanac_chain
    from llmsuite_lab.world.almanac_frozen import load_almanac, load_questions

    almanac = load_almanac()
    (question,) = load_questions(("founder_birthplace",), per_kind=1)
    turns = [render_turn(turn) for turn in demonstrate(question, almanac)]
    skill = almanac_skill(almanac_chain(stand_in(lambda prompt: turns[prompt.count("Observation:")]), almanac))
    opened = tuple(hop[0] for hop in question.hops)
    assert skill(question.text) == Reply(question.answer, opened[-1], opened)
    lost = almanac_skill(almanac_chain(stand_in(lambda prompt: " I look.\nAction: Search[nothing]\n"), almanac, max_steps=2))
    assert lost(question.text) == Reply("I did not find it in the almanac.")
