"""The sandbox's workers under load: every program is answered or refused, whatever happens to the workers, and nothing waits without end."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress

import pytest

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.reasoning import workers
from llmsuite_lab.reasoning.interpreter import Interpreter, Limits
from tests.reasoning.conftest import workers as worker_pids

SHORT = Limits(seconds=0.3)
LIMIT_S = 30
unix = pytest.mark.skipif(sys.platform == "win32", reason="fork and signals are Unix's")


def at_once(count, call):
    """`call(i)` from `count` threads that begin together; all their results, every thread ended within LIMIT_S."""
    results, gate = [], threading.Barrier(count)

    def work(i):
        gate.wait(LIMIT_S)
        try:
            results.append(call(i))
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + LIMIT_S
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    assert not any(thread.is_alive() for thread in threads), "a thread still waits"
    return results


@pytest.mark.parametrize("count", [1, 3])
def test_first_use_from_many_threads_starts_one_pool(count):
    before = worker_pids()
    with Interpreter(workers=count) as sandbox:
        results = at_once(40, lambda i: sandbox.run(f"answer = {i} * 2"))
        assert Counter(r.value for r in results) == Counter(i * 2 for i in range(40))
        assert 1 <= len(worker_pids() - before) <= count
    assert worker_pids() <= before


def test_a_program_that_waits_too_long_for_a_worker_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setattr(workers, "WAIT_S", 0.2)
    with Interpreter(SHORT) as sandbox:
        results = at_once(8, lambda i: sandbox.run("while True: pass"))
        assert {r.error for r in results} == {"TimeoutError", "WorkerBusy"}
        busy = next(r for r in results if r.error == "WorkerBusy")
        assert "more workers" in busy.message
        assert busy.limit == "worker"
        assert sandbox.run("answer = 1").value == 1


@unix
@pytest.mark.parametrize("kind", ["SIGKILL", "SIGSTOP"])
def test_workers_that_die_or_freeze_under_load_cost_their_programs_and_no_others(kind):
    before = worker_pids()
    with Interpreter(SHORT, workers=2) as sandbox:
        sandbox.run("answer = 1")
        stop, harmed = threading.Event(), []

        def harm():
            while not stop.wait(0.05):
                for pid in worker_pids() - before:
                    with suppress(ProcessLookupError):  # it ended before it was harmed
                        os.kill(pid, getattr(signal, kind))
                        harmed.append(pid)

        villain = threading.Thread(target=harm, daemon=True)
        villain.start()
        results = at_once(6, lambda i: [sandbox.run("answer = sum(range(200_000))") for _ in range(3)])
        stop.set()
        villain.join(LIMIT_S)
        assert harmed, "no worker was harmed: the test would prove nothing"
        outcomes = [outcome for result in results for outcome in result]
        assert {o.value for o in outcomes if o.ok} <= {sum(range(200_000))}
        assert {o.error for o in outcomes if not o.ok} <= {"WorkerDied", "WorkerBusy", "TimeoutError"}
        answered = [sandbox.run("answer = 7").value for _ in range(3)]
        assert answered[-1] == 7


def test_closing_while_programs_run_ends_them_and_the_next_run_starts_anew():
    with Interpreter(SHORT, workers=2) as sandbox:
        sandbox.run("answer = 1")
        threading.Timer(0.1, sandbox.close).start()
        results = at_once(4, lambda i: [sandbox.run("answer = sum(range(300_000))") for _ in range(3)])
        outcomes = [outcome for result in results for outcome in result]
        assert {o.error for o in outcomes} <= {None, "WorkerDied", "TimeoutError"}
        assert sandbox.run("answer = 2").value == 2


FORKED = """
import os, signal, sys
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.reasoning.interpreter import Interpreter
used = Interpreter()
if sys.argv[1] == "used":
    assert used.run("answer = 1").value == 1
child = os.fork()
if child == 0:
    signal.alarm(20)
    told = []
    for sandbox in (used, Interpreter()):
        try:
            told.append(str(sandbox.run("answer = 2").value))
        except LabError as error:
            told.append(str(error))
        sandbox.close()
    print("|".join(told), flush=True)
    del used, sandbox
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(used.run("answer = 3").value)
"""


@unix
@pytest.mark.parametrize(("state", "told"), [("fresh", "2|2"), ("used", "was forked from one that had used the sandbox")])
def test_after_a_fork_it_works_or_refuses_and_the_parents_workers_are_untouched(state, told):
    done = subprocess.run([sys.executable, "-c", FORKED, state], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    child, parent = done.stdout.strip().splitlines()
    assert told in child
    assert child.count("forked") == (2 if state == "used" else 0)
    assert parent == "3"


def test_a_spawned_process_has_workers_of_its_own():
    with Interpreter(SHORT) as sandbox:
        sandbox.run("answer = 1")
        code = "from llmsuite_lab.reasoning.interpreter import Interpreter\nprint(Interpreter().run('answer = 6 * 7').value)"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout.strip() == "42"


def test_python_ends_without_a_word_however_long_a_sandbox_was_kept():
    code = """if True:
        import threading
        from llmsuite_lab.reasoning.interpreter import Interpreter
        threading.kept = Interpreter()  # in a module that is taken apart after the sandbox's own
        print(threading.kept.run('answer = 6 * 7').value)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("42", "")


def test_a_sandbox_that_cannot_start_says_so(monkeypatch):
    import pydantic_monty

    def broken(**options):
        raise RuntimeError("no binary")

    monkeypatch.setattr(pydantic_monty, "Monty", broken)
    with pytest.raises(LabError, match="does not start.*pip install pydantic-monty"):
        Interpreter().run("answer = 1")
