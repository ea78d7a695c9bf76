"""The sandbox's Python beside the Python that runs this test: the same answer, or a counted failure, or one of the limits that are told."""

import ast
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from llmsuite_lab.reasoning import dialect
from llmsuite_lab.reasoning.interpreter import Interpreter, Limits

PROGRAMS = Path(__file__).with_name("programs.txt").read_text(encoding="utf-8").rstrip("\n").split("\n---\n")
PYTHON = """
import contextlib, io, json, sys
told = []
for program in json.load(sys.stdin):
    names = {}
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(program, "<program>", "exec"), names)
        value = names["answer"]
        told.append([type(value).__name__, repr(value)])
    except Exception as error:
        told.append(["error", type(error).__name__])
json.dump(told, sys.stdout)
"""
# The limits that the interpreter's docstring and notebook 03 tell, each with the programs that show it.
TOLD = {
    "a set lists its members in the order of their arrival": ["answer = str({3, 1, 2})", "answer = list({30, 10, 20})[0]", "answer = str({1, 2} | {0})"],
    "a key equal to an older one replaces it": ['answer = str({1: "a", 1.0: "b", True: "c"})'],
    "each run draws the same random numbers": ["import random\nanswer = random.random()"],
    "the text of an AssertionError repeats the condition": [p for p in PROGRAMS if "except AssertionError as e" in p],
    "`math.cbrt`, `gamma`, `lgamma`, `erfc` and `atanh` may differ in the last digits": [p for p in PROGRAMS if "math.gamma(k + " in p],
    "a lazy value computes at once": [p for p in PROGRAMS if p.startswith("def side(log, x)")],
}
SINCE_312 = [p for p in PROGRAMS if "sum(" in p and ("0.1" in p or "1e16" in p)]  # Python 3.12 adds floats with compensation; the sandbox does not


@pytest.fixture(scope="module")
def compared():
    """{program: (Python's [type, repr], the sandbox's outcome)}."""
    asked = subprocess.run([sys.executable, "-I", "-c", PYTHON], input=json.dumps(PROGRAMS), capture_output=True, text=True, timeout=60, check=True)
    with Interpreter() as sandbox:
        return {p: (told, sandbox.run(p)) for p, told in zip(PROGRAMS, json.loads(asked.stdout), strict=True)}


def silent(told, outcome):
    """Whether the sandbox gave an answer, and another one than Python."""
    return outcome.ok and told != [type(outcome.value).__name__, repr(outcome.value)]


def test_what_the_sandbox_answers_is_what_python_answers_or_is_told(compared):
    expected = {program for programs in TOLD.values() for program in programs}
    if sys.version_info >= (3, 12):
        expected |= set(SINCE_312)
    different = {program for program, (told, outcome) in compared.items() if silent(told, outcome)}
    assert different - expected == set(), [(p, compared[p][0], compared[p][1].value) for p in different - expected]
    assert {p for programs in TOLD.values() for p in programs} - different == set(), "a limit that is told, but is none any more"


def test_most_programs_are_answered_and_a_refusal_has_a_reason_of_its_own(compared):
    answerable = {p: outcome for p, (told, outcome) in compared.items() if told[0] in ("int", "float", "str", "bool")}
    assert len(answerable) > 400
    failed = Counter(outcome.error for outcome in answerable.values() if not outcome.ok)
    assert sum(outcome.ok for outcome in answerable.values()) / len(answerable) > 0.85, failed
    assert all(outcome.message for outcome in answerable.values() if not outcome.ok)


def test_the_limits_are_told_where_they_are_met():
    from llmsuite_lab.core.paths import repo_dir
    from llmsuite_lab.reasoning import interpreter

    notebook = json.loads((repo_dir() / "notebooks" / "03_program_aided_language_models.ipynb").read_text(encoding="utf-8"))
    told = " ".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    for limit in [*TOLD, "floats are added without compensation"]:
        assert limit in " ".join(interpreter.__doc__.split()), limit
        assert limit in " ".join(told.split()), limit


REFUSED = {
    "a generator used twice": "g = (i for i in range(3))\nanswer = sum(g) * 10 + sum(g)",
    "used in a loop": "g = (i for i in range(3))\nfor k in range(2):\n    total = sum(g)\nanswer = total",
    "tested": "g = (i for i in [])\nanswer = 'full' if g else 'empty'",
    "measured": "answer = len(map(abs, [1]))",
    "indexed": "answer = zip([1], [2])[0]",
    "handed to a function of the program": "def f(xs):\n    return sum(xs) + sum(xs)\nanswer = f(x for x in [1, 2])",
    "kept in a list": "kept = []\nkept.append(x for x in [1])\nanswer = sum(kept[0])",
    "kept in a tuple": "pair = (map(abs, [1]), 2)\nanswer = sum(pair[0])",
    "given back": "def f(n):\n    return map(abs, [n])\nanswer = sum(f(1))",
    "shown": "answer = str(x for x in [1])",
    "under another name": "f = map\nm = f(int, '12')\nlist(m)\nanswer = len(list(m))",
    "under its own name": "zip = zip([1], [2])\nlist(zip)\nanswer = len(list(zip))",
    "through another lazy one": "answer = len(list(map(reversed, [[1, 2]]))[0])",
    "hasattr": "answer = hasattr([], 'append')",
    "getattr with a default": "answer = getattr('a', 'upper', None) is None",
    "half a character": "answer = 1 if '\\ud800' == '\\udfff' else 2",
    "half a character that is shown": "x = 3\nprint(f'{x}\\udfff')\nanswer = x",
    "__bool__": "class A:\n    def __bool__(self):\n        return False\nanswer = 1 if A() else 2",
    "__len__": "class A:\n    def __len__(self):\n        return 0\nanswer = 1 if A() else 2",
    "__slots__": "class A:\n    __slots__ = ('x',)\nanswer = 1",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_silently_be_otherwise_is_a_counted_failure(name):
    with Interpreter() as sandbox:
        outcome = sandbox.run(REFUSED[name])
    assert outcome.error == "Unfaithful"
    assert "sandbox's Python" in outcome.message
    assert outcome.value is None


@pytest.mark.parametrize(
    "program",
    [
        "total = sum(x for x in [1, 2])",
        "pairs = dict(zip('ab', [1, 2]))",
        "for i, x in enumerate([5]):\n    print(i, x)",
        "names = map(str, [1])\nprint(','.join(names))",
        "a, b = (x for x in [1, 2])",
        "xs = sorted(map(abs, [1]))\nprint(xs, xs)",
        "def zip(a, b):\n    return [a, b]\nz = zip(1, 2)\nprint(z[0], z[1])",
        "zip = 90210\nfilter: int = zip + 1\ndef f(map):\n    return map\nprint(f(zip), filter)",
        "class A:\n    x = 1\nprint(getattr(A(), 'x'))\ndef hasattr(a, b):\n    return True\nprint(hasattr(1, 2))",
        "class A:\n    def __init__(self):\n        self.x = 1\n    def __add__(self, other):\n        return 2",
    ],
)
def test_what_is_the_same_in_both_is_not_refused(program):
    assert dialect.otherwise(ast.parse(program)) is None


CAME = {
    "def f():\n    return 1\nanswer = f": "<function 'f'",
    "answer = lambda x: x": "<function '<lambda>'",
    "class A:\n    pass\nanswer = A": "<class 'A'>",
    "class A:\n    pass\nanswer = A()": "MontyClassProxy",
    "answer = range(3)": "range(0, 3)",
    "answer = (i for i in range(3))": "list",
    "answer = iter([1])": "<list_iterator object>",
    "answer = map(str, [1])": "list",
    "import math\nanswer = math": "<module 'math'>",
    "answer = slice(1)": "slice(None, 1, None)",
    "answer = {1: 2}.keys()": "dict_keys([1])",
    "answer = len": "MontyStdTypeProxy",
    "answer = [1]": "list",
    "answer = None": "NoneType",
    "answer = 'x' * 20_000": "a text of 20000 characters",
    "str = repr = type = isinstance = 3\ndef f():\n    return 1\nanswer = f": "<function 'f'",
}


@pytest.mark.parametrize("program", CAME)
def test_an_answer_that_is_no_plain_value_is_a_failure_that_says_what_came(program):
    with Interpreter() as sandbox:
        outcome = sandbox.run(program)
    assert (outcome.error, outcome.value) == ("ValueType", None)
    assert outcome.message.startswith(f"answer is {CAME[program]}")


@pytest.mark.parametrize("text", ["", "range(0, 3)", "<function 'f' at 0xc>", "it's", '"', "\\", "é\n", "{answer}"])
def test_a_text_that_looks_like_one_of_those_is_a_text(text):
    with Interpreter(Limits(seconds=1.0)) as sandbox:
        assert sandbox.run(f"answer = {text!r}").value == text
