"""`ranks`: results come back in order, and whatever a rank does wrong reaches the caller in seconds, with stacks, leaving no process behind."""

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import cloudpickle
import psutil
import pytest
import torch
import torch.distributed as dist

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.paths import repo_dir
from llmsuite_lab.scaling import launch
from llmsuite_lab.scaling.launch import RankError, process_group, ranks
from tests.waiting import LIMIT_S, until

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as in a notebook: no rank can import this file
LONG_S = 60.0
pytestmark = pytest.mark.filterwarnings("ignore:.* ranks share")


@pytest.fixture(autouse=True)
def nothing_is_left():
    """No process and no folder of a launch outlives it."""
    yield
    assert until(lambda: not own_ranks(), 5), own_ranks()


def own_ranks():
    """Processes below this one that are ranks: they lead a group of their own."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.status() != psutil.STATUS_ZOMBIE and os.getpgid(process.pid) == process.pid:
                found.append(process)
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return found


def test_results_come_back_by_rank_and_the_ranks_make_one_group(capsys):
    offset = 10

    def work(factor, plus=0):
        x = torch.full((3,), float(dist.get_rank()))
        dist.all_reduce(x)
        print(f"sum {x[0]:.0f}")
        return dist.get_rank() * factor + plus + offset, x, os.environ["WORLD_SIZE"], torch.get_num_threads()

    results = ranks(work, 3, 7, plus=2)
    assert [r[0] for r in results] == [12, 19, 26]
    assert all(r[1].tolist() == [3.0] * 3 and r[2:] == ("3", 1) for r in results)
    assert capsys.readouterr().out.splitlines() == ["[rank 0] sum 3", "[rank 1] sum 3", "[rank 2] sum 3"]


def test_one_rank_is_a_group_too():
    assert ranks(dist.get_world_size, 1) == [1]


def test_what_ends_a_launched_script_ends_no_rank():
    def script():
        launch.leave()
        return "here"

    assert ranks(script, 1) == ["here"]


def test_an_exception_of_one_rank_arrives_with_its_stack_while_the_others_wait():
    def divide():
        if dist.get_rank() == 1:
            return 1 / (dist.get_rank() - 1)
        dist.barrier()

    began = time.monotonic()
    with pytest.raises(RankError, match="ZeroDivisionError") as caught:
        ranks(divide, 2, timeout_s=LONG_S)
    assert time.monotonic() - began < LONG_S / 3  # not the time limit, nor gloo's, is what ended it
    assert "return 1 / (dist.get_rank() - 1)" in caught.value.failures[1]
    assert next(iter(caught.value.failures)) == 1


def test_errors_of_all_ranks_are_told_once_each():
    def fail():
        raise ValueError(f"no batch for {'anyone'}")

    with pytest.raises(RankError) as caught:
        ranks(fail, 3)
    assert sorted(caught.value.failures) == [0, 1, 2]
    assert str(caught.value).count("Traceback") == 1
    assert str(caught.value).count("the same") == 2


def test_a_killed_rank_is_named_with_its_signal_and_the_others_stacks():
    def die():
        if dist.get_rank() == 0:
            print("last words", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(50)  # waits for what never comes

    with pytest.raises(RankError, match="killed by SIGKILL") as caught:
        ranks(die, 2, timeout_s=LONG_S)
    assert "last words" in caught.value.failures[0]
    assert "in die" in caught.value.stuck[1]


def test_a_rank_that_hangs_ends_at_the_limit_with_its_stack():
    def hang():
        if dist.get_rank() == 1:
            time.sleep(50)

    with pytest.raises(RankError) as caught:
        ranks(hang, 2, timeout_s=LONG_S, collective_timeout_s=1.5)  # rank 0 waits for it at the end, and not for long
    assert "in hang" in caught.value.stuck[1]
    with pytest.raises(RankError, match=r"still running after 4 s \(timeout_s\)") as caught:
        ranks(lambda: time.sleep(50), 2, timeout_s=4)
    assert sorted(caught.value.failures) == [0, 1]


def test_a_rank_that_leaves_early_is_no_result():
    def leave():
        if dist.get_rank() == 1:
            os._exit(0)
        return 1

    with pytest.raises(RankError, match="ended with exit code 0 and returned nothing"):
        ranks(leave, 2)
    with pytest.raises(RankError, match="SystemExit: 3"):
        ranks(lambda: sys.exit(3), 2)


def test_a_result_that_cannot_travel_is_told_by_the_rank():
    with pytest.raises(RankError, match="cannot pickle"):
        ranks(threading.Lock, 1)


def test_what_cannot_be_sent_is_refused_before_anything_starts():
    with pytest.raises(TypeError, match="cannot be sent to another process"):
        ranks(print, 1, threading.Lock())


class Late:
    """Takes its time to arrive in rank 1, as a module does on a busy machine."""

    def __reduce__(self):
        return (arrive, ())


def arrive():
    """Called where a Late is unpickled."""
    if os.environ["RANK"] == "1":
        time.sleep(8)


def test_a_rank_that_starts_late_is_waited_for_until_the_limit_of_the_start():
    def together(_):
        dist.barrier()
        return dist.get_rank()

    assert ranks(together, 2, Late(), timeout_s=LONG_S, collective_timeout_s=6) == [0, 1]


def test_more_ranks_than_cores_are_allowed_and_said(monkeypatch):
    monkeypatch.setattr(launch, "machine_cores", lambda: 1)
    with pytest.warns(UserWarning, match="2 ranks share 1 cores"):
        assert ranks(dist.get_rank, 2) == [0, 1]
    monkeypatch.setattr(launch, "machine_cores", lambda: 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ranks(dist.get_rank, 2)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes as Linux shows them")
def test_no_rank_outlives_a_caller_that_is_killed(tmp_path):
    script = tmp_path / "caller.py"
    script.write_text(
        f"""
import os, pathlib, time
from llmsuite_lab.scaling.launch import ranks
def wait():
    (pathlib.Path({str(tmp_path)!r}) / f"{{os.environ['RANK']}}.pid").write_text(str(os.getpid()))
    time.sleep(200)
if __name__ == "__main__":
    ranks(wait, 2, timeout_s=200)
"""
    )
    caller = subprocess.Popen([sys.executable, str(script)], cwd=repo_dir(), stderr=subprocess.DEVNULL)
    files = [Path(tmp_path / f"{r}.pid") for r in range(2)]
    try:
        assert until(lambda: all(f.is_file() and f.read_text() for f in files))
        pids = [int(f.read_text()) for f in files]
    finally:
        caller.kill()
        caller.wait(LIMIT_S)
    assert until(lambda: not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids))


def test_a_launchers_environment_is_used_whole_or_not_at_all(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with process_group() as place, process_group() as inner:
        assert place == inner == (0, 1)
    assert not dist.is_initialized()
    for limit in (0, 1e300, float("inf")):
        with pytest.raises(ValueError, match="above 0 and below 1,000,000"), process_group(limit):
            pass
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(LabError, match="WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT not"), process_group():
        pass
