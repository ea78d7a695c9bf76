"""Where a model's program runs: `pydantic-monty`, a Python interpreter of its own in a worker process, never this process.

    Interpreter().run("loaves = 200 - 93\nanswer = loaves") → Outcome(value=107)

Three walls. The program is read (not run) here first: too long, not Python, or an import outside a short list is refused. The worker knows no
files, network, processes or environment, and ends a program at its limits of time, memory, recursion and output. Should a worker itself die
or hang, the pool kills and replaces it. Whatever happens becomes an `Outcome`; only wrong arguments raise.
Source: the interpreter of PAL (Gao et al. 2023), whose authors ran programs with plain `exec`: do not.
"""

import ast
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from llmsuite_lab.core.errors import LabError

LIMIT_NAMES = ("time", "memory", "recursion", "output", "source", "worker")
_LARGEST = 1e300
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
    "NoAnswer", "ValueType", "WorkerDied", …) with `message`; `limit` names the limit that was hit, if one was. `output` is what it printed."""

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


class Interpreter:
    """A pool of sandboxed workers, usable as a context manager. Workers start on first use and cost a few milliseconds a program."""

    def __init__(self, limits: Limits | None = None, workers: int = 1) -> None:
        """`workers` programs may run at once (from several threads). Raises ValueError below one."""
        if workers < 1:
            raise ValueError(f"workers={workers}, but at least one is needed")
        self.limits = limits or Limits()
        self.workers = workers
        self._pool: Any = None

    def __enter__(self) -> "Interpreter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the workers. The next `run` starts new ones."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.__exit__(None, None, None)

    def __del__(self) -> None:
        with suppress(Exception):  # at interpreter exit the pool's own parts may be gone already
            self.close()

    def run(self, program: str, result: str = "answer") -> Outcome:
        """Run `program` and read the variable `result` from it. Raises TypeError/ValueError for arguments that are no text and no name."""
        if not isinstance(program, str):
            raise TypeError(f"program is {type(program).__name__}, but it must be Python source as a string")
        if not result.isidentifier():
            raise ValueError(f"result={result!r} is not a variable name")
        start = time.perf_counter()
        found = self._refused(program) or self._feed(program, result)
        return Outcome(**found, wall_s=time.perf_counter() - start)

    def run_all(self, programs: Sequence[str], result: str = "answer") -> list[Outcome]:
        """Run many, in order."""
        return [self.run(program, result) for program in programs]

    def _refused(self, program: str) -> dict[str, Any] | None:
        """Why this text is not run at all; None when it may be."""
        if len(program) > self.limits.source_chars:
            message = f"the program has {len(program)} characters, {self.limits.source_chars} are allowed"
            return {"error": "SourceTooLong", "message": message, "limit": "source"}
        try:
            tree = ast.parse(program)
        except (SyntaxError, ValueError) as error:  # ValueError: a null byte
            return {"error": "SyntaxError", "message": str(error)}
        except (MemoryError, RecursionError):
            return {"error": "SyntaxError", "message": "the program is nested too deeply", "limit": "source"}
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or "."] if isinstance(node, ast.ImportFrom) else []
            if bad := [name for name in names if name.split(".")[0] not in self.limits.imports]:
                return {"error": "ImportRefused", "message": f"{bad[0]!r} may not be imported; allowed: {', '.join(self.limits.imports)}"}
            if isinstance(node, ast.Name) and node.id in _RUNS_CODE:
                return {"error": "NameRefused", "message": f"{node.id!r} is not available here"}
        return None

    def _feed(self, program: str, result: str) -> dict[str, Any]:
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
        read = False
        try:
            with self._workers().checkout(limits=granted, os_policy=policy) as session:
                session.feed_run(program, print_callback=printed)
                read = True
                value = session.feed_run(result, print_callback=printed)
        except monty.MontyCrashedError as error:
            return {"error": "WorkerDied", "message": str(error), "limit": "worker", "output": printed.output}
        except monty.MontyError as error:
            kind = type(error.exception()).__name__
            if read and kind == "NameError":
                return {"error": "NoAnswer", "message": f"the program sets no {result!r}", "output": printed.output}
            return {"error": kind, "message": str(error), "limit": _limit(str(error), limits.output_bytes), "output": printed.output}
        except (ValueError, OverflowError) as error:  # a number with thousands of digits does not cross the border
            return {"error": "ValueType", "message": str(error), "output": printed.output}
        except TimeoutError as error:  # no worker became free
            return {"error": "WorkerDied", "message": f"no worker became free: {error}", "limit": "worker", "output": printed.output}
        if not isinstance(value, int | float | str) or isinstance(value, str) and len(value) > limits.output_bytes:
            return {
                "error": "ValueType",
                "message": f"{result} is {type(value).__name__}, not a number or a short text",
                "output": printed.output,
            }
        if not isinstance(value, str) and not abs(value) < _LARGEST:  # also what is not a number, and infinity
            return {"error": "ValueType", "message": f"{result} is no number below 1e300", "output": printed.output}
        return {"value": value, "output": printed.output}

    def _workers(self) -> Any:
        if self._pool is None:
            import pydantic_monty as monty

            wait = 0.3  # seconds past the limit before a worker that does not stop by itself is killed
            pool = monty.Monty(
                min_processes=1,
                max_processes=self.workers,
                feed_duration_limit_grace=wait,
                request_timeout=self.limits.seconds + 2 * wait,
                checkout_timeout=10.0 + self.limits.seconds,
            )
            try:
                self._pool = pool.__enter__()
            except (OSError, RuntimeError, monty.MontyError) as error:
                raise LabError(
                    f"the sandbox for model-written programs does not start ({error}): reinstall it with `pip install pydantic-monty`"
                ) from error
        return self._pool


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
