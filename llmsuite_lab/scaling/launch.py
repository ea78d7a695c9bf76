"""Start n processes ("ranks") from a notebook cell, run one function in each, and get what they returned.

    def who():
        return f"rank {dist.get_rank()} of {dist.get_world_size()}"

    ranks(who, 3)   →   ["rank 0 of 3", "rank 1 of 3", "rank 2 of 3"]

Notable:

- the processes come from a fork server, a clean process that has torch loaded: a fork of the notebook itself would deadlock in torch's threads;
- the function travels by cloudpickle, so it may be defined in a cell; a file, not a network port, is where the ranks find each other (gloo);
- every wait has a limit. A rank that raises, is killed, leaves early or hangs ends the run within seconds, with its stack and the others' stacks;
- nothing is left running: not after an error, not after the stop button, not when the notebook's kernel is killed.

The same functions run on a server under the field's launchers: `process_group` reads what `torchrun`, `accelerate launch` and `deepspeed` write into the
environment, `leave` ends such a script. In production those three; `torch.multiprocessing.spawn` for functions of a module.
"""

import ctypes
import faulthandler
import linecache
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import cloudpickle

from llmsuite_lab.core.errors import LabError, whole
from llmsuite_lab.core.runtime import machine_cores

MAX_RANKS = 64  # processes on one machine: each is a whole Python with torch, about 0.2 GB
LONGEST_S = 1e6  # of a limit: eleven days
GRACE_S = 1.0  # what the others get to end by themselves once a rank has failed
_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"  # Windows has spawn alone: slower, same results
_PRELOAD = ["torch", "torch._dynamo", "torch.distributed", "torch.distributed.fsdp", "torch.distributed.optim", "torch.distributed.checkpoint"]
_DUMP = getattr(signal, "SIGUSR1", None)  # Windows: no signal asks a process where it is


class RankError(LabError):
    """Ranks failed. `failures`: {rank: what happened}, the earliest first; `stuck`: {rank: where it was} of those still running then."""

    def __init__(self, message: str, failures: dict[int, str], stuck: dict[int, str]) -> None:
        super().__init__(message)
        self.failures, self.stuck = failures, stuck


def ranks(
    fn: Callable[..., Any],
    n: int = 2,
    *args: Any,
    timeout_s: float = 60.0,
    collective_timeout_s: float = 20.0,
    threads: int = 1,
    show: bool = True,
    **kwargs: Any,
) -> list[Any]:
    """[fn(*args, **kwargs) on rank 0, on rank 1, …], each in a process of its own, in one process group on the CPU.

    Args:
        timeout_s: seconds for everything, the start included (a few for the first call in a process, a fraction of one afterwards).
        collective_timeout_s: seconds that a collective waits for the other ranks; gloo's own 30 minutes are no limit to work with.
        threads: torch's threads in each rank.
        show: print afterwards what the ranks printed, each line with its rank.

    More ranks than cores are allowed, with a warning. Raises ValueError for a number of ranks outside 1 … 64 and limits outside 0 … 10⁶ s,
    TypeError for a function or argument that cannot be sent to another process, RankError when a rank fails.
    """
    whole("n", n, 1, MAX_RANKS)
    whole("threads", threads, 1, 1024)
    for name, value in (("timeout_s", timeout_s), ("collective_timeout_s", collective_timeout_s)):
        _check_limit(name, value)
    if not callable(fn):
        raise TypeError(f"fn={str(fn)[:40]!r} is a {type(fn).__name__}, but it must be a function to run in every rank")
    if n > machine_cores():
        warnings.warn(
            f"{n} ranks share {machine_cores()} cores: results, bytes and failures are as on {n} machines, the speed is not", stacklevel=3
        )
    try:
        work = cloudpickle.dumps((fn, args, kwargs, _cells(fn)))
    except Exception as error:  # pickling calls any object's own code, which may raise anything
        raise TypeError(f"fn or one of its arguments cannot be sent to another process: {type(error).__name__}: {error}") from error
    folder = Path(tempfile.mkdtemp(prefix="llmsuite_ranks_"))
    context, started = multiprocessing.get_context(_METHOD), time.monotonic()
    if _METHOD == "forkserver":
        context.set_forkserver_preload(_PRELOAD)
    options = (dict(os.environ), n, str(folder), timeout_s, collective_timeout_s, threads)
    processes = [context.Process(target=_rank, args=(rank, work, *options), name=f"rank {rank}") for rank in range(n)]
    try:
        for process in processes:
            process.start()
        failures, stuck = _watch(processes, folder, started, timeout_s)
        if failures:
            raise RankError(_report(failures, stuck, n, time.monotonic() - started), failures, stuck)
        if show:
            for rank in range(n):
                for line in _read(folder / f"{rank}.log").splitlines():
                    print(f"[rank {rank}] {line}")
        return [cloudpickle.loads((folder / f"{rank}.out").read_bytes()) for rank in range(n)]
    finally:  # also at the stop button
        for process in processes:
            _end(process)
        shutil.rmtree(folder, ignore_errors=True)


def _watch(processes: Sequence[Any], folder: Path, started: float, timeout_s: float) -> tuple[dict[int, str], dict[int, str]]:
    """Wait until all have ended well, one has not, or the time is over: what happened to whom, and where the others were."""
    deadline, all_ranks = started + timeout_s, range(len(processes))

    def ended_badly() -> list[int]:
        return [r for r in all_ranks if processes[r].exitcode not in (None, 0) or (processes[r].exitcode == 0 and not _done(folder, r))]

    def wait_until(limit: float, until: Callable[[], Any]) -> None:
        while (running := [p.sentinel for p in processes if p.exitcode is None]) and not until() and time.monotonic() < limit:
            wait(running, timeout=max(0.0, min(1.0, limit - time.monotonic())))

    wait_until(deadline, ended_badly)
    if not ended_badly() and all(p.exitcode == 0 for p in processes):
        return {}, {}
    if ended_badly():
        wait_until(time.monotonic() + GRACE_S, lambda: False)
    running = [r for r in all_ranks if processes[r].exitcode is None]
    failures = dict(sorted(((r, _failure(folder, r, processes[r].exitcode)) for r in ended_badly()), key=lambda item: _when(folder, item[0])))
    stuck = _stacks(processes, folder, running)
    if not failures:
        failures = {r: f"still running after {timeout_s:g} s (timeout_s), here:\n{stuck[r]}" for r in running}
    return failures, stuck


def _failure(folder: Path, rank: int, code: int) -> str:
    if (told := _read(folder / f"{rank}.err")) != "":
        return told.partition("\n")[2].rstrip()
    log = _read(folder / f"{rank}.log")[-2000:].strip()
    what = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code} and returned nothing"
    return f"{what}; its last output:\n{log}" if log else f"{what}, without any output"


def _when(folder: Path, rank: int) -> float:
    """When it failed, by its own clock; one that could not tell comes first: the others' errors are most often its consequence."""
    with suppress(ValueError):
        return float(_read(folder / f"{rank}.err").partition("\n")[0])
    return 0.0


def _stacks(processes: Sequence[Any], folder: Path, running: Sequence[int]) -> dict[int, str]:
    """Ask the running ranks where they are; they write it into a file, within half a second."""
    if _DUMP is None:
        return dict.fromkeys(running, "(this system cannot ask a process for its stack)")
    for rank in running:
        with suppress(ProcessLookupError):
            os.kill(processes[rank].pid, _DUMP)
    limit = time.monotonic() + 0.5
    while time.monotonic() < limit and not all(_read(folder / f"{r}.stack").count("\n") > 1 for r in running):
        time.sleep(0.05)
    time.sleep(0.05 if running else 0.0)  # the last lines of the last one
    return {r: _read(folder / f"{r}.stack").rstrip() or "(it did not answer: stopped, or not yet started)" for r in running}


def _report(failures: dict[int, str], stuck: dict[int, str], n: int, wall_s: float) -> str:
    shown, texts = [], []
    for rank, text in failures.items():
        if text in texts:
            shown.append(f"rank {rank}: the same")
        else:
            texts.append(text)
            shown.append(f"rank {rank}: {text}")
    shown += [f"rank {rank} was still running, here:\n{text}" for rank, text in stuck.items() if rank not in failures]
    return f"{len(failures)} of {n} ranks failed after {wall_s:.1f} s; all were ended\n" + "\n".join(shown)


def _end(process: Any) -> None:
    if process.pid is None:
        return
    if process.exitcode is None:
        with suppress(OSError, AttributeError):  # its whole group: what it may have started itself; Windows has no groups
            if os.getpgid(process.pid) == process.pid:
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
    process.join(10)


def _cells(fn: Callable[..., Any]) -> dict[str, Any]:
    """The source of the notebook cell that holds fn, so that a rank's stack shows its lines."""
    file = getattr(getattr(fn, "__code__", None), "co_filename", "")
    return {file: linecache.cache[file]} if file in linecache.cache and not os.path.exists(file) else {}


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def _done(folder: Path, rank: int) -> bool:
    return (folder / f"{rank}.out").is_file()


def _rank(rank: int, work: bytes, environment: dict[str, str], n: int, place: str, start_s: float, limit_s: float, threads: int) -> None:
    """What a rank's process does: join the group, run, leave its result (or its error, with the time) in a file."""
    folder = Path(place)
    _die_with_parent()
    log = os.open(folder / f"{rank}.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout, sys.stderr = (open(fd, "w", buffering=1, closefd=False, encoding="utf-8") for fd in (1, 2))
    if _DUMP is not None:
        faulthandler.register(_DUMP, file=(folder / f"{rank}.stack").open("w", encoding="utf-8"), all_threads=False)
    os.environ.update(environment)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(n), LOCAL_WORLD_SIZE=str(n), OMP_NUM_THREADS=str(threads))
    try:
        import torch
        import torch.distributed as dist

        torch.set_num_threads(threads)
        _use_loopback()
        fn, args, kwargs, cells = cloudpickle.loads(work)  # imports fn's modules, which takes long on a busy machine: before the ranks wait for one another
        linecache.cache.update(cells)
        store = dist.FileStore(str(folder / "store"), n)

        def together(what: str, seconds: float) -> None:
            store.set(f"{what} {rank}", "")
            store.wait([f"{what} {r}" for r in range(n)], timedelta(seconds=seconds))

        together("here", start_s)  # on a busy machine one may start long after another
        store.set_timeout(timedelta(seconds=limit_s))
        dist.init_process_group("gloo", store=store, rank=rank, world_size=n, timeout=timedelta(seconds=limit_s))
        together("joined", limit_s)  # who fails at once would break off the others' joining, and they would report that
        result = cloudpickle.dumps(fn(*args, **kwargs))
        if dist.is_initialized():
            dist.barrier()  # who leaves early would break the others' last collective
            dist.destroy_process_group()
        (folder / f"{rank}.part").write_bytes(result)
        os.replace(folder / f"{rank}.part", folder / f"{rank}.out")
    except BaseException as error:  # sys.exit and the like too: whatever it is, the caller is told
        told = f"{type(error).__name__}: {str(error).strip()}\n{''.join(traceback.format_exception(error))}"
        (folder / f"{rank}.err").write_text(f"{time.time()}\n{told}", encoding="utf-8")
        os._exit(1)
    sys.stdout.flush()
    sys.stderr.flush()


def _die_with_parent() -> None:
    """A process group of its own, and an end as soon as the caller ends, however that happens."""
    if hasattr(os, "setsid"):
        os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: holds even while this process is stuck outside of Python
    parent = multiprocessing.parent_process()

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _use_loopback() -> None:
    """Let gloo talk within this machine, whatever its name resolves to."""
    with suppress(OSError, AttributeError):
        names = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
        if names:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", names[0])


@contextmanager
def process_group(timeout_s: float = 600.0) -> Iterator[tuple[int, int]]:
    """Join the group that the launcher has described in the environment, yield (rank, world size), leave the group at the end.

    Under `torchrun`, `accelerate launch` and `deepspeed`: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT; NCCL and one GPU a rank where there
    are GPUs, else gloo. Inside `ranks` (or any group that exists already): that group, which stays. Without a launcher: a group of one process.

    Raises ValueError for a limit outside 0 … 10⁶ s, LabError for a launcher's environment that is not whole.
    """
    _check_limit("timeout_s", timeout_s)
    import torch
    import torch.distributed as dist

    if dist.is_initialized():
        yield dist.get_rank(), dist.get_world_size()
        return
    limit, gpus = timedelta(seconds=timeout_s), torch.cuda.device_count()
    if "RANK" not in os.environ:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1, timeout=limit)
    else:
        if missing := [name for name in ("WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
            raise LabError(f"RANK is set but {', '.join(missing)} not: start with torchrun, accelerate launch or deepspeed, or unset RANK")
        if gpus:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % gpus)
        dist.init_process_group("nccl" if gpus else "gloo", timeout=limit)
    try:
        yield dist.get_rank(), dist.get_world_size()
        dist.barrier()  # who leaves early would break the others' last collective
    finally:
        dist.destroy_process_group()


def _check_limit(name: str, seconds: float) -> None:
    if not 0 < seconds < LONGEST_S:
        raise ValueError(f"{name}={seconds} must be above 0 and below {LONGEST_S:,.0f}: a wait without a limit is a hang")


def leave() -> None:
    """End this process well and at once, its output written: the last line of a script that a launcher runs, after `process_group`. Elsewhere: nothing.

    gloo's threads hand back tensors a little later than their collective ends. A thread that does so while the interpreter is being taken down is ended by
    Python (before 3.14), in the middle of C++ code that allows no such end: the process aborts, "terminate called without an active exception", and the
    launcher reports a training that went well as failed. Seen with torch 2.13 in one launch of six; so the interpreter is not taken down.
    """
    if "RANK" in os.environ and multiprocessing.parent_process() is None:  # a rank of `ranks` has a parent, which waits for its result
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
