"""The sandbox: values out of honest programs; nothing out of hostile ones, quickly, and the pool works afterwards."""

import os
import signal
import sys
import time

import pytest

from llmsuite_lab.reasoning.interpreter import Interpreter, Limits, Outcome, format_value
from tests.reasoning.conftest import workers

LIMITS = Limits(seconds=0.3, memory_bytes=32 * 2**20, recursion=100, output_bytes=5_000)


@pytest.fixture(scope="module")
def interpreter():
    with Interpreter(LIMITS) as running:
        yield running


@pytest.mark.parametrize(
    ("program", "value"),
    [
        ("answer = 200 - 93 - 39 + 6", 74),
        ("# loaves\nloaves = 12 * 10 ** 12\nanswer = loaves / 4", 3e12),
        ("import math\nanswer = math.floor(7.9)", 7),
        ("from datetime import date\nanswer = (date(2024, 3, 1) - date(2024, 2, 1)).days", 29),
        ("def solution(n):\n    return sum(i for i in range(n))\nanswer = solution(5)", 10),
        ("answer = f'{3 / 4:.2f}'", "0.75"),
        ("print('working')\nanswer = True", True),
    ],
)
def test_honest_programs(interpreter, program, value):
    outcome = interpreter.run(program)
    assert outcome.ok
    assert outcome.value == value
    assert outcome.limit is None


def test_another_result_name_output_and_order(interpreter):
    assert interpreter.run("total = 5", result="total").value == 5
    assert interpreter.run("print('a', 1)\nanswer = 2").output == "a 1\n"
    assert [o.value for o in interpreter.run_all(["answer = 3", "answer = 1", "answer = 2"])] == [3, 1, 2]


def test_programs_do_not_see_each_other(interpreter):
    assert interpreter.run("secret = 41\nanswer = secret").value == 41
    assert interpreter.run("answer = secret").error == "NameError"


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("loaves = 3", "NoAnswer"),
        ("", "NoAnswer"),
        ("answer = 1 / 0", "ZeroDivisionError"),
        ("answer = loaves + 1", "NameError"),
        ("answer = (1", "SyntaxError"),
        ("200 loaves minus 93", "SyntaxError"),
        ("answer = 1\0", "SyntaxError"),
        ("answer = [1, 2]", "ValueType"),
        ("answer = None", "ValueType"),
        ("answer = float('nan')", "ValueType"),
        ("answer = float('inf')", "ValueType"),
        ("answer = 10 ** 5000", "ValueType"),
        ("answer = 'x' * 6000", "ValueType"),
        ("answer = 1\nraise KeyError('k')", "KeyError"),
    ],
)
def test_what_goes_wrong_is_an_outcome(interpreter, program, error):
    outcome = interpreter.run(program)
    assert outcome.error == error
    assert outcome.value is None
    assert not outcome.ok
    assert error in outcome.text


HOSTILE = {
    "read a file": "answer = open('/etc/passwd').read()",
    "read through pathlib": "from pathlib import Path\nanswer = Path('/etc/passwd').read_text()",
    "write a file": "f = open('{canary}', 'w')\nf.write('out')\nanswer = 1",
    "append to a file": "open('{canary}', 'a').write('out')\nanswer = 1",
    "list a folder": "import os\nanswer = str(os.listdir('/'))",
    "delete": "import os\nos.remove('{canary}')\nanswer = 1",
    "rmtree": "import shutil\nshutil.rmtree('/tmp/nothing')\nanswer = 1",
    "open a socket": "import socket\nsocket.create_connection(('127.0.0.1', 80))\nanswer = 1",
    "fetch a page": "import urllib.request\nanswer = urllib.request.urlopen('http://127.0.0.1').read()",
    "http client": "import http.client\nhttp.client.HTTPConnection('127.0.0.1')\nanswer = 1",
    "run a command": "import os\nanswer = os.system('touch {canary}')",
    "subprocess": "import subprocess\nanswer = subprocess.run(['touch', '{canary}'])",
    "fork": "import os\nanswer = os.fork()",
    "kill the parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nanswer = 1",
    "threads": "import threading\nthreading.Thread(target=print).start()\nanswer = 1",
    "environment": "import os\nanswer = str(dict(os.environ))",
    "getenv": "from os import getenv\nanswer = getenv('PATH')",
    "exit": "import sys\nsys.exit(3)",
    "raise SystemExit": "raise SystemExit(3)",
    "builtin exit": "exit()",
    "endless loop": "while True:\n    pass",
    "endless loop that catches": "while True:\n    try:\n        while True: pass\n    except BaseException:\n        continue",
    "endless generator": "def g():\n    while True:\n        yield 1\nanswer = sum(g())",
    "long count": "answer = 0\nfor i in range(10 ** 12):\n    answer += i",
    "sleep": "import time\ntime.sleep(60)\nanswer = 1",
    "huge list": "answer = [0] * 10 ** 10",
    "list that grows": "x = [0]\nwhile True:\n    x = x + x",
    "string that doubles": "s = 'ab'\nwhile True:\n    s = s + s",
    "dictionary that grows": "d = {}\ni = 0\nwhile True:\n    d[i] = str(i) * 100\n    i += 1",
    "power tower": "answer = 9 ** 9 ** 9",
    "shift": "answer = 1 << 10 ** 11",
    "factorial": "import math\nanswer = math.factorial(10 ** 8)",
    "huge range as list": "answer = list(range(10 ** 10))",
    "huge format": "answer = f'{1:>9999999999}'",
    "deep recursion": "def f(n):\n    return f(n + 1)\nanswer = f(0)",
    "mutual recursion": "def f(n):\n    return g(n)\ndef g(n):\n    return f(n)\nanswer = f(0)",
    "recursion that catches": "def f():\n    try:\n        return f()\n    except RecursionError:\n        return f()\nwhile True:\n    f()",
    "subclasses": "answer = str(().__class__.__bases__[0].__subclasses__())",
    "mro": "answer = str(type(1).__mro__[1].__subclasses__())",
    "function globals": "def f():\n    return 1\nanswer = str(f.__globals__['__builtins__'])",
    "frame": "import sys\nanswer = str(sys._getframe().f_back.f_globals)",
    "generator frame": "g = (i for i in [1])\nanswer = str(g.gi_frame.f_back.f_globals)",
    "code object": "def f():\n    return 1\nf.__code__ = (lambda: 2).__code__\nanswer = f.__code__.co_consts",
    "format string escape": "answer = '{0.__class__.__init__.__globals__}'.format(print)",
    "builtins dictionary": "answer = __builtins__['open']('/etc/passwd').read()",
    "loader": "answer = str(__loader__.get_data('/etc/passwd'))",
    "print without end": "while True:\n    print('x' * 1000)",
    "one huge print": "print('x' * 20_000_000)\nanswer = 1",
    "import by name": "answer = __import__('os').listdir('/')",
    "importlib": "import importlib\nanswer = importlib.import_module('os').getcwd()",
    "import inside exec": "exec('import os')\nanswer = 1",
    "eval": "answer = eval('open(\"/etc/passwd\").read()')",
    "relative import": "from . import secrets\nanswer = 1",
    "ctypes": "import ctypes\nctypes.string_at(0)\nanswer = 1",
    "pickle": "import pickle\nanswer = pickle.loads(b'cos\\nsystem\\n.')",
    "import through an allowed module": "import random\nanswer = random._os.listdir('/')",
    "import of a submodule": "import collections.abc, os.path\nanswer = os.path.exists('/etc')",
    "nesting": "answer = " + "(" * 4000 + "1" + ")" * 4000,
    "unary chain": "answer = " + "-" * 9000 + "1",
    "long source": "answer = 1\n" + "#" * 20_000,
    "slow pattern": "import re\nanswer = re.match('(a|a)*$', 'a' * 60 + 'b')",
    "sort bomb": "x = list(range(10 ** 6))\nwhile True:\n    x.sort(key=lambda i: -i)",
    "hash of a huge tuple": "t = ()\nwhile True:\n    t = (t, t)\n    hash(t)",
    "redefined answer": "class A:\n    def __repr__(self):\n        while True:\n            pass\nanswer = A()",
}


def test_there_are_at_least_forty_hostile_programs():
    assert len(HOSTILE) >= 40


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_program_stays_inside_and_ends(interpreter, name, tmp_path):
    canary = tmp_path / "canary"
    canary.write_text("untouched")
    before = os.getpid()
    start = time.monotonic()
    outcome = interpreter.run(HOSTILE[name].replace("{canary}", str(canary)))
    assert time.monotonic() - start < 2.0
    assert os.getpid() == before
    assert canary.read_text() == "untouched"
    assert list(tmp_path.iterdir()) == [canary]
    assert not outcome.ok
    assert "root:" not in outcome.output + outcome.message
    assert interpreter.run("answer = 6 * 7").value == 42


@pytest.mark.parametrize("name", ["endless loop", "huge list", "deep recursion", "print without end"])
def test_within_the_shipped_limits_too_each_ends_in_under_two_seconds(name):
    with Interpreter() as shipped:
        shipped.run("answer = 1")  # the worker's own start is not the program's
        start = time.monotonic()
        outcome = shipped.run(HOSTILE[name])
        assert time.monotonic() - start < 2.0
        assert not outcome.ok
        assert shipped.run("answer = 6 * 7").value == 42


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("endless loop", "time"),
        ("huge list", "memory"),
        ("deep recursion", "recursion"),
        ("print without end", "output"),
        ("long source", "source"),
        ("nesting", None),
    ],
)
def test_the_limit_is_named(interpreter, name, limit):
    assert interpreter.run(HOSTILE[name]).limit == limit


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is Unix's")
def test_the_pool_survives_a_killed_worker():
    before = workers()
    with Interpreter(Limits(seconds=0.5)) as fresh:
        assert fresh.run("answer = 1").value == 1
        found = workers() - before
        assert found, "no worker process was found: the test would prove nothing"
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        outcomes = [fresh.run("answer = 2") for _ in range(3)]
        assert outcomes[-1].value == 2
        assert all(o.ok or o.error == "WorkerDied" for o in outcomes)


def test_closed_and_used_again():
    running = Interpreter(LIMITS)
    assert running.run("answer = 1").value == 1
    running.close()
    running.close()
    assert running.run("answer = 2").value == 2
    running.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seconds": 0}, "seconds=0"),
        ({"memory_bytes": -1}, "memory_bytes=-1"),
        ({"seconds": float("inf")}, "positive"),
        ({"recursion": 0}, "recursion=0"),
    ],
)
def test_limits_must_limit(arguments, words):
    with pytest.raises(ValueError, match=words):
        Limits(**arguments)


def test_wrong_arguments_raise(interpreter):
    with pytest.raises(TypeError, match="source as a string"):
        interpreter.run(None)
    with pytest.raises(ValueError, match="not a variable name"):
        interpreter.run("answer = 1", result="a b")
    with pytest.raises(ValueError, match="workers=0"):
        Interpreter(workers=0)


@pytest.mark.parametrize(("value", "text"), [(74, "74"), (74.0, "74"), (0.1 + 0.2, "0.3"), (2.5, "2.5"), ("ten", "ten")])
def test_value_as_text(value, text):
    assert format_value(value) == text
    assert Outcome(value=value).text == text


def test_an_error_of_a_program_s_own_words_is_kept_short():
    with Interpreter() as interpreter:
        outcome = interpreter.run("raise ValueError('x' * 10**6)")
    assert (outcome.error, len(outcome.message)) == ("ValueError", 1001)
    assert outcome.message.startswith("ValueError: xxx")
