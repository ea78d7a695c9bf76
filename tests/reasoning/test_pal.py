"""PAL's orchestrator: every step kept, values that come from the interpreter, failures counted."""

import pytest

from llmsuite_lab.reasoning import pal
from llmsuite_lab.reasoning.interpreter import Interpreter, Limits

BAKERY_PROGRAM = (
    "# at first\ncount = 200\n# then fewer\ncount = count - 93\ncount = count - 39\n# then more\ncount = count + 6\nanswer = count\n"
)


@pytest.fixture(scope="module")
def interpreter():
    with Interpreter(Limits(seconds=0.3)) as running:
        yield running


def test_the_bakery_end_to_end(scripted, interpreter):
    def reply(prompt, seen):
        return f" {prompt.split('# output: ')[1].splitlines()[0]}.\n" if "# output: " in prompt else BAKERY_PROGRAM

    (trace,) = pal.solve(scripted(reply), [pal.BAKERY], interpreter)
    assert trace.value == "74"
    assert trace.final_value == "74"
    assert trace.final_prompt.startswith(trace.prompt + BAKERY_PROGRAM.rstrip())
    shown = str(trace)
    for words in (
        "200 loaves of bread",
        "count = count - 39",
        "[3 the interpreter runs it]\n74",
        "# output: 74",
        "[5 the model's final completion]\n74.",
    ):
        assert words in shown


def test_the_final_value_is_read_from_the_completion_not_from_the_interpreter(scripted, interpreter):
    (trace,) = pal.solve(scripted(lambda prompt, seen: " 75.\n" if "# output" in prompt else "answer = 74"), ["?!"], interpreter)
    assert (trace.value, trace.final_value) == ("74", "75")


def test_failures_are_outcomes_and_get_no_second_call(scripted, interpreter):
    programs = {
        "a": "answer = 1 +",
        "b": "count = 3",
        "c": "answer = 1 / 0",
        "d": "while True: pass",
        "e": "answer = 5",
        "f": "",
        "g": "import os\nanswer = 1",
    }

    def reply(prompt, seen):
        return " 5." if "# output" in prompt else programs[prompt[3]]

    lm = scripted(reply)
    traces = pal.solve(lm, list(programs), interpreter)
    errors = [t.outcome.error for t in traces]
    assert errors == ["SyntaxError", "NoAnswer", "ZeroDivisionError", "TimeoutError", None, "NoAnswer", "ImportRefused"]
    assert pal.outcomes(traces) == {
        "NoAnswer": 2,
        "SyntaxError": 1,
        "ZeroDivisionError": 1,
        "TimeoutError": 1,
        "value": 1,
        "ImportRefused": 1,
    }
    assert [bool(t.completion) for t in traces] == [False] * 4 + [True] + [False] * 2
    assert traces[0].value is None
    assert traces[0].final_value is None
    assert "SyntaxError" in str(traces[0])
    assert len(lm.prompts) == len(programs) + 1


def test_without_the_final_call(scripted, interpreter):
    lm = scripted(lambda prompt, seen: "answer = 3\nQ: next")
    (trace,) = pal.solve(lm, ["?!"], interpreter, final=False)
    assert (trace.value, trace.completion, len(lm.prompts)) == ("3", "", 1)


def test_its_own_interpreter_is_closed_again(scripted):
    (trace,) = pal.solve(scripted(lambda prompt, seen: "answer = 2.5"), ["?!"], final=False)
    assert trace.value == "2.5"


def test_bad_input(scripted, interpreter):
    with pytest.raises(ValueError, match="question is empty"):
        pal.solve(scripted(lambda prompt, seen: ""), [""], interpreter)
    assert pal.solve(scripted(lambda prompt, seen: ""), [], interpreter) == []
