"""Traces: who said what, and what was refused."""

import pytest

from llmsuite_lab.agents.react import Step, Trajectory
from llmsuite_lab.agents.trace import Trace, as_text, lines


def step(action, argument, observation, kind="ok", ran=True, raw=""):
    return Step("I look." if action else "", action, argument, observation, kind, raw, ran, 9, 4)


def test_roles_are_told_apart():
    steps = [
        step("Search", "A<b>", "A is a city."),
        step("Delete", "A", "There is no action Delete.", "unknown action", ran=False),
        step("", "", "That is not one thought and one action.", "unparsable", ran=False, raw="gib\nberish"),
        step("Finish", "Ada", "", "finish", ran=False),
    ]
    done = Trajectory("Question: who?\nThought:", steps, "Ada", "finished")
    roles = [role for role, _ in lines(done)]
    expected = "question thought action observation thought action refused thought refused thought action"
    assert roles == expected.split()
    text = as_text(done, width=60)
    assert "Observation A is a city." in " ".join(text.split())
    assert all(len(line) <= 60 for line in text.splitlines())
    assert "A&lt;b&gt;" in Trace(done)._repr_html_()
    assert repr(Trace(done)) == as_text(done)


def test_an_unfinished_run_says_why():
    assert lines(Trajectory("Claim: x\nThought:", [], None, "step limit"))[-1] == ("end", "Ended: step limit, without an answer")
    with pytest.raises(ValueError, match="at least 40"):
        as_text(Trajectory("Q"), width=10)
