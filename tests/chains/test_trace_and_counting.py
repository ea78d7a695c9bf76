"""The recorder sees what ran, inside what; lines are counted as a person would."""

import pytest
from langchain_core.runnables import RunnableLambda

from llmsuite_lab.chains import applications, counting, trace
from llmsuite_lab.chains.assistant import Assistant, Reply
from llmsuite_lab.chains.retriever import LabRetriever
from llmsuite_lab.chains.routing import Choice


def test_a_rag_call_shows_retriever_and_model(retriever, book, stand_in):
    recorder = trace.Recorder()
    chain = applications.rag_chain(LabRetriever(retriever=retriever), stand_in()).with_config(run_name="handbook")
    found = chain.invoke(book.questions[0].text, {"callbacks": [recorder]})
    rows = [(depth, span.kind, span.name) for depth, span in recorder.rows()]
    assert rows == [(0, "chain", "handbook"), (1, "retriever", "LabRetriever"), (1, "model", "LabLLM")]
    assert found["documents"][0].metadata["id"] in trace.as_text(recorder)
    assert all(span.end_s >= span.start_s for _, span in recorder.rows())


def test_a_failed_part_is_marked():
    def fail(_):
        raise ValueError("no luck")

    recorder = trace.Recorder()
    with pytest.raises(ValueError):
        RunnableLambda(fail).with_config(run_name="lottery").invoke("x", {"callbacks": [recorder]})
    ((_, span),) = recorder.rows()
    assert span.failed
    assert "no luck" in span.result


def test_the_assistants_trace_as_text_and_mermaid():
    assistant = Assistant({"prices": lambda q: Reply("67 crowns")}, lambda qs: [Choice("prices", 1.0, "")])
    recorder = trace.Recorder()
    assistant.ask("How much?", "ann", {"callbacks": [recorder], "run_name": "assistant"})
    names = [span.name for _, span in recorder.rows()]
    assert names == ["assistant", "recall", "route", "prices"]
    drawn = trace.as_mermaid(recorder)
    assert drawn.startswith("flowchart TD")
    assert drawn.count("-->") == 3


def counted(x):
    """A docstring
    of two lines."""
    # a comment

    text = """one
    two"""
    return x + text  # the end


def test_lines_without_blanks_comments_and_docstrings():
    assert counting.lines_of_code(counted) == 4
    assert counting.lines_of_values(trace, "_PLUMBING") == 1
    with pytest.raises(ValueError, match="assigns no nothing"):
        counting.lines_of_values(trace, "nothing")
    with pytest.raises(TypeError):
        counting.lines_of_code(3)


def test_agreement_and_what_chance_would_give():
    parts = [[("a", "a"), ("b", "b"), ("c", "x")], [(1, 1), (1, 1)]]
    assert counting.agreement(parts).mean == 4 / 5
    assert counting.agreement(parts, shift=1).mean == 2 / 5  # only where the next question has the same answer
    with pytest.raises(ValueError, match="no answers"):
        counting.agreement([[]])


def test_the_compositions_are_shorter_than_our_loops():
    for name, (ours, composed) in counting.comparison().items():
        assert 0 < composed < ours, name
    assert counting.adapter_lines() > 100


def test_the_adapters_pay_off_after_as_many_applications_as_their_lines_hold_savings(monkeypatch):
    monkeypatch.setattr(counting, "comparison", lambda: {"a": (50, 20), "b": (30, 20)})
    monkeypatch.setattr(counting, "adapter_lines", lambda: 90)
    assert counting.break_even() == 4.5
    monkeypatch.setattr(counting, "comparison", lambda: {"a": (20, 20)})
    with pytest.raises(ValueError, match="never pay off"):
        counting.break_even()
