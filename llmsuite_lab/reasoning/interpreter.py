"""Where a model's program runs: `pydantic-monty`, a Python interpreter of its own in a worker process, never this process.

    Interpreter().run("loaves = 200 - 93\nanswer = loaves") → Outcome(value=107)

Three walls. The program is read (not run) here first: too long, not Python, or an import outside a short list is refused. The worker knows no
files, network, processes or environment, and ends a program at its limits of time, memory, recursion and output. Should a worker itself die
or hang, the pool kills and replaces it. Whatever happens becomes an `Outcome`; only wrong arguments, and a sandbox that cannot start, raise.

Limits to know. The sandbox's Python is a part of Python, and what it lacks fails by name (`yield`, `del`, inheritance, most modules). What it would
silently do otherwise is refused before it runs ("Unfaithful", see `dialect`); an answer that is no number, text or truth value (a function, a range,
an iterator) is a failure that says what came. What remains, without a word: a lazy value computes at once (its side effects come early); a set lists
its members in the order of their arrival; a key equal to an older one replaces it (1 and True); the text of an AssertionError repeats the condition;
each run draws the same random numbers; floats are added without compensation (as Python did before 3.12); `math.cbrt`, `gamma`, `lgamma`, `erfc` and
`atanh` may differ in the last digits.
In a process that was forked from one that had used the sandbox it refuses to start: those workers belong to the parent.

Source: the interpreter of PAL (Gao et al. 2023), whose authors ran programs with plain `exec`: do not.
"""

import ast
import keyword
import math
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from llmsuite_lab.reasoning import dialect
from llmsuite_lab.reasoning.workers import Workers

LIMIT_NAMES = ("time", "memory", "recursion", "output", "source", "worker")
_LARGEST = 1e300
_MESSAGE = 1000  # characters of an error that are kept
_RUNS_CODE = frozenset({"eval", "exec", "compile", "__import__"})  # would carry an import past the reading below


@dataclass(frozen=True)
class Limits:
    """What a program may use: `seconds` of running, `memory_bytes` of heap, `recursion` calls deep, `output_bytes` printed, `source_chars` of text,
    and the modules it may import."""

    seconds: float = 1.0
    memory_bytes: int = 64 * 2**20
    recursion: int = 200
    output_bytes: int = 10_000
    source_chars: int = 10_000
    imports: tuple[str, ...] = ("math", "datetime", "itertools", "functools", "collections", "decimal", "random")

    def __post_init__(self) -> None:
        numbers = {"seconds": self.seconds, "memory_bytes": self.memory_bytes, "recursion": self.recursion}
        numbers |= {"output_bytes": self.output_bytes, "source_chars": self.source_chars}
        for name, value in numbers.items():
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name}={value}, but a limit is a positive number: nothing runs without one")


@dataclass(frozen=True)
class Outcome:
    """What became of a program. Either `value` (int, float, str or bool) or `error`, the kind ("SyntaxError", "NameError", "ImportRefused",
    "NoAnswer", "ValueType", "Unfaithful", "WorkerDied", "WorkerBusy",
    …) with `message`; `limit` names the limit that was hit, if one was. `output` is what it printed."""

    value: int | float | str | bool | None = None
    error: str | None = None
    message: str = ""
    limit: str | None = None
    output: str = ""
    wall_s: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.error is None

    @property
    def text(self) -> str:
        """The value as it goes back into a prompt: "74" for 74 and 74.0, else at most six decimals; the error's kind when there is none."""
        return f"error: {self.error}" if self.error is not None else format_value(self.value)


def format_value(value: int | float | str | bool | None) -> str:
    """A value as people write it: whole floats without ".0", others with at most six decimals."""
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.6f}".rstrip("0").rstrip(".")
    return str(value)


def _end(workers: Workers) -> None:
    with suppress(Exception):  # nobody is left to whom a fault could be told
        workers.close()


class Interpreter:
    """A pool of sandboxed workers, usable as a context manager. Workers start on first use and cost a few milliseconds a program."""

    def __init__(self, limits: Limits | None = None, workers: int = 1) -> None:
        """`workers` programs may run at once (from several threads). Raises ValueError below one."""
        if workers < 1:
            raise ValueError(f"workers={workers}, but at least one is needed")
        self.limits = limits or Limits()
        self.workers = workers
        self._workers = Workers(workers, self.limits.seconds)
        weakref.finalize(self, _end, self._workers)  # when nobody holds it, or at Python's exit while its own parts are still there

    def __enter__(self) -> "Interpreter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the workers. The next `run` starts new ones."""
        self._workers.close()

    def run(self, program: str, result: str = "answer") -> Outcome:
        """Run `program` and read the variable `result` from it. Raises TypeError/ValueError for arguments that are no text and no name;
        LabError when the sandbox cannot be started in this process."""
        if not isinstance(program, str):
            raise TypeError(f"program is {type(program).__name__}, but it must be Python source as a string")
        if not isinstance(result, str):
            raise TypeError(f"result is {type(result).__name__}, but it must be the name of a variable as a string")
        if not result.isidentifier() or keyword.iskeyword(result):
            raise ValueError(f"result={result!r} is not a variable name")
        start = time.perf_counter()
        tree, found = self._read(program)
        found = found or self._feed(program, result, dialect.PRELUDE if dialect.needs_prelude(tree) else "")
        if len(message := found.get("message", "")) > _MESSAGE:  # a program words its own errors
            found["message"] = message[:_MESSAGE] + "…"
        return Outcome(**found, wall_s=time.perf_counter() - start)

    def run_all(self, programs: Sequence[str], result: str = "answer") -> list[Outcome]:
        """Run many, in order. Raises TypeError for one program where a list is meant."""
        if isinstance(programs, str):
            raise TypeError("programs is one string; pass a list of programs, or call run(program)")
        return [self.run(program, result) for program in programs]

    def _read(self, program: str) -> tuple[ast.Module, dict[str, Any]]:
        """The program's syntax tree, and why it is not run at all (nothing when it may be)."""
        empty = ast.Module([], [])
        if len(program) > self.limits.source_chars:
            message = f"the program has {len(program)} characters, {self.limits.source_chars} are allowed"
            return empty, {"error": "SourceTooLong", "message": message, "limit": "source"}
        try:
            tree = ast.parse(program)
        except (SyntaxError, ValueError) as error:  # ValueError: a null byte
            return empty, {"error": "SyntaxError", "message": str(error)}
        except (MemoryError, RecursionError):
            return empty, {"error": "SyntaxError", "message": "the program is nested too deeply", "limit": "source"}
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or "."] if isinstance(node, ast.ImportFrom) else []
            if bad := [name for name in names if name.split(".")[0] not in self.limits.imports]:
                message = f"{bad[0]!r} may not be imported; allowed: {', '.join(self.limits.imports)}"
                return tree, {"error": "ImportRefused", "message": message}
            if isinstance(node, ast.Name) and node.id in _RUNS_CODE:
                return tree, {"error": "NameRefused", "message": f"{node.id!r} is not available here"}
        different = dialect.otherwise(tree)
        return tree, {"error": "Unfaithful", "message": different} if different else {}

    def _feed(self, program: str, result: str, prelude: str) -> dict[str, Any]:
        import pydantic_monty as monty

        limits = self.limits
        granted = monty.ResourceLimits(
            max_feed_duration_secs=limits.seconds,
            max_memory=limits.memory_bytes,
            max_recursion_depth=limits.recursion,
            max_suspensions=20,
            max_total_sleep_secs=0.0,
        )
        policy = monty.OSPolicy(sleep="zero", random_start={"seed": 0})
        printed = monty.CollectString(max_bytes=limits.output_bytes)
        read, plain = False, True
        pool = self._workers.pool()
        try:
            with pool.checkout(limits=granted, os_policy=policy) as session:
                if prelude:
                    session.feed_run(prelude)
                session.feed_run(program, print_callback=printed)
                read = True
                value = session.feed_run(result, print_callback=printed)
                if isinstance(value, str) and len(value) <= limits.output_bytes:  # a function crosses the border as text; its repr has no quotes
                    plain = session.feed_run(f"f'{{{result}!r}}'", print_callback=printed)[:1] in ("'", '"')
        except monty.MontyCrashedError as error:
            return {"error": "WorkerDied", "message": str(error), "limit": "worker", "output": printed.output}
        except monty.MontyError as error:
            kind = type(error.exception()).__name__
            if read and kind == "NameError":
                return {"error": "NoAnswer", "message": f"the program sets no {result!r}", "output": printed.output}
            return {"error": kind, "message": str(error), "limit": _limit(str(error), limits.output_bytes), "output": printed.output}
        except (ValueError, OverflowError) as error:  # a number with thousands of digits does not cross the border
            return {"error": "ValueType", "message": str(error), "output": printed.output}
        except TimeoutError as error:
            message = f"none of the {self.workers} workers became free ({error}): ask for fewer programs at once, or give the Interpreter more workers"
            return {"error": "WorkerBusy", "message": message, "limit": "worker", "output": printed.output}
        except RuntimeError as error:  # the pool was closed by another thread meanwhile
            return {"error": "WorkerDied", "message": f"the sandbox was closed: {error}", "limit": "worker", "output": printed.output}
        long = isinstance(value, str) and len(value) > limits.output_bytes
        if not isinstance(value, int | float | str) or long or not plain:
            came = f"a text of {len(value)} characters" if long else type(value).__name__ if plain else value[:60]
            return {"error": "ValueType", "message": f"{result} is {came}, not a number or a short text", "output": printed.output}
        if not isinstance(value, str) and not abs(value) < _LARGEST:  # also what is not a number, and infinity
            return {"error": "ValueType", "message": f"{result} is no number below 1e300", "output": printed.output}
        return {"value": value, "output": printed.output}


def _limit(message: str, output_bytes: int) -> str | None:
    """Which limit a worker's message speaks of; printing too much is told as a memory error with the output's own bound."""
    if message.startswith("MemoryError") and message.endswith(f"> {output_bytes} bytes"):
        return "output"
    if message.startswith("TimeoutError: "):
        return "time"
    if message.startswith("RecursionError"):
        return "recursion"
    if message.startswith("MemoryError"):
        return "memory"
    return "source" if "too deeply nested" in message else None
