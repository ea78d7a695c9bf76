"""Traces: who said what, and what was refused."""

import re

import pytest

from llmsuite_lab.agents.react import Step, Trajectory
from llmsuite_lab.agents.trace import COLOURS, Trace, as_text, lines


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


def contrast(one, other):
    """WCAG 2's contrast ratio of two #rrggbb colours, from 1 to 21."""
    light = []
    for colour in (one, other):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        light.append(sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear)))
    return (max(light) + 0.05) / (min(light) + 0.05)


def test_the_trace_can_be_read_on_a_dark_page_and_on_a_light_one():
    made = Trace(Trajectory("Question: who?\nThought:", [step("Search", "A", "A is a city.")], None, "step limit"))._repr_html_()
    cells = re.findall(r"<td[^>]*>", made)
    assert len(cells) == 8
    for cell in cells:  # ground and ink both its own: whatever the page is, the pair is this one
        ground, ink = re.search(r"background:(#\w{6})", cell)[1], re.search(r";color:(#\w{6})", cell)[1]
        assert contrast(ground, ink) > 7
    assert min(contrast("#ffffff", colour) for colour in COLOURS.values()) > 3, "bold labels"
