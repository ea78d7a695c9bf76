"""The chains say what our own loops say: same prompts to the model, same answers, on the frozen splits."""

import pytest
from langchain_core.runnables import RunnableLambda

from llmsuite_lab.chains import applications
from llmsuite_lab.chains.gathering import GatheringModel
from llmsuite_lab.chains.retriever import LabRetriever, as_document
from llmsuite_lab.reasoning import pal
from llmsuite_lab.reasoning.interpreter import Interpreter, Limits
from llmsuite_lab.retrieval.abstention import Gate
from llmsuite_lab.retrieval.pipeline import I_DO_NOT_KNOW, RAG
from llmsuite_lab.retrieval.prompting import few_shot
from llmsuite_lab.world import word_problems
from tests.waiting import quiet_after


@pytest.mark.parametrize("k", [1, 3])
def test_the_rag_chain_answers_as_the_pipeline_on_the_frozen_questions(k, book, retriever, stand_in):
    asked = [q.text for q in book.questions[::17]]
    ours = RAG(retriever, stand_in(), k=k, budget=8000).answer(asked)
    lm = stand_in()
    chain = applications.rag_chain(LabRetriever(retriever=retriever, k=k), lm)
    theirs = applications.answer_all(chain, asked)
    assert [row["answer"] for row in theirs] == [a.text for a in ours]
    assert sorted(p for batch in lm.batches for p in batch) == sorted(a.prompt.text for a in ours)
    assert [[d.metadata["id"] for d in row["documents"]] for row in theirs] == [[h.passage.id for h in a.hits] for a in ours]


def test_with_a_gate_the_chain_declines_as_the_pipeline_does(book, retriever, stand_in):
    asked = [q.text for q in book.questions[::13]]
    gate = Gate(("cosine", "coverage"), (0.5, 0.5), (0.1, 0.1), (1.0, 1.0), 0.0)
    ours = RAG(retriever, stand_in(), budget=8000, gate=gate).answer(asked)
    theirs = applications.answer_all(applications.rag_chain(LabRetriever(retriever=retriever), stand_in(), gate), asked)
    assert [row["answer"] for row in theirs] == [a.text for a in ours]
    assert len({a.declined for a in ours}) == 2  # both outcomes are really there
    own = applications.answer_all(applications.rag_chain(LabRetriever(retriever=retriever), stand_in(), gate, unknown="Not there."), asked)
    assert [row["answer"] for row in own] == ["Not there." if a.declined else a.text for a in ours]


def test_without_a_passage_the_chain_does_not_ask(retriever, stand_in):
    lm = stand_in()
    nothing = RunnableLambda(lambda question: [])
    assert applications.rag_chain(nothing, lm).invoke("Who?")["answer"] == I_DO_NOT_KNOW
    assert applications.rag_chain(nothing, lm, unknown="Keine Ahnung.").invoke("Who?")["answer"] == "Keine Ahnung."
    assert lm.batches == []


def test_the_template_writes_what_our_prompt_writes():
    text = applications.RAG_TEMPLATE.format(context="The lamp. It costs {3} crowns.", question="What does it cost?")
    assert text == few_shot("What does it cost?", ["The lamp. It costs {3} crowns."])


def test_side_by_side_the_model_sees_one_batch(book, retriever, stand_in):
    lm = stand_in()
    model = GatheringModel(lm)
    quiet_after(9, model.gathered)
    chain = applications.rag_chain(LabRetriever(retriever=retriever), model)
    applications.answer_all(chain, [q.text for q in book.questions[:9]])
    assert [len(batch) for batch in lm.batches] == [9]


def test_a_document_carries_what_the_hit_held(retriever):
    ((hit,),) = retriever.retrieve(["Who leads the project?"], 1)
    document = as_document(hit)
    assert (document.id, document.metadata["score"], document.metadata["title"]) == (hit.passage.id, hit.score, hit.passage.title)
    assert hit.passage.text in document.page_content


def test_the_retriever_refuses_an_empty_question_and_a_k_beyond_the_corpus(retriever):
    with pytest.raises(ValueError, match="empty"):
        LabRetriever(retriever=retriever).invoke("  ")
    with pytest.raises(ValueError, match="k=100000"):
        LabRetriever(retriever=retriever, k=100_000).invoke("What?")


def writes_programs(prompt):
    """Programs of every outcome, by the length of the question: right, failing, endless, and without an answer."""
    if "# output:" in prompt:
        return f" {prompt.split('# output: ')[1].split(chr(10))[0]}.\nQ: and more"
    programs = ("a = 6\nanswer = a * 7\n", "answer = 1 / 0\n", "while True:\n    pass\n", "total = 3\n", "answer = 'text'\n")
    return programs[len(prompt) % 5] + "\nQ: the next one"


def test_the_pal_chain_gives_programs_outcomes_and_sentences_as_our_loop_does(stand_in):
    asked = [p.text for p in word_problems.load("test")[:15]]
    with Interpreter(Limits(seconds=0.2)) as interpreter:  # every fifth program is endless
        ours = pal.solve(stand_in(writes_programs), asked, interpreter)
        theirs = applications.answer_all(applications.pal_chain(stand_in(writes_programs), interpreter, final=True), asked)
    assert {t.outcome.error for t in ours} >= {None, "ZeroDivisionError", "NoAnswer"}  # the cases are really there
    assert [(r["program"], r["answer"], r["completion"]) for r in theirs] == [(t.program, t.value, t.completion) for t in ours]


def test_pal_templates_are_those_of_the_section():
    from llmsuite_lab.reasoning import prompting

    assert applications.PAL_TEMPLATE.format(question="How many?") == prompting.prompt(prompting.PAL, "How many?")
    filled = applications.PAL_FINAL_TEMPLATE.format(question="How many?", code="x = {1}", value="1")
    assert filled == prompting.final_prompt("How many?", "x = {1}\n", "1")


def test_answer_all_wants_a_list():
    with pytest.raises(TypeError, match="pass a list"):
        applications.answer_all(RunnableLambda(str), "one question")
    assert applications.answer_all(RunnableLambda(str), []) == []


@pytest.mark.real_model
def test_real_answers_are_those_of_the_pipeline(lm, book, retriever):
    asked = [q.text for q in book.questions[:4]]
    ours = RAG(retriever, lm).answer(asked)
    chain = applications.rag_chain(LabRetriever(retriever=retriever), GatheringModel(lm))
    assert [row["answer"] for row in applications.answer_all(chain, asked)] == [a.draft for a in ours]
