"""Benchmarks: ours beside the library that does the same in production, measured in one run, as ratios with n and spread.

A ratio of two numbers taken minutes apart measures the machine's mood. So ours and the reference alternate, each pair gives a ratio, and the
median of those is reported with the smallest and the largest. One module per name (`core`, `transformer`, …) with `rows() -> list[Row]`.

On a machine that others keep busy even neighbours in time are not comparable: `LLMSUITE_BENCH_CLOCK=cpu` counts this process's processor
seconds instead of wall time (use one thread then, `OMP_NUM_THREADS=1`: waiting threads burn cycles); the units say so.
"""

import importlib
import json
import os
import pkgutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from llmsuite_lab.core.errors import LabError, within

CHILD_LIMIT_S = 900


@dataclass(frozen=True)
class Row:
    """One comparison. `ours` and `reference` are medians in `unit`; `ratio` is how many times better ours is, except where the unit is
    bytes: there it is ours ÷ reference, 1.0 or less being better. `n` pairs were measured; `spread` is their (lowest, highest) ratio."""

    name: str
    ours: float
    reference: float
    unit: str
    ratio: float
    n: int
    spread: tuple[float, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain data under the keys name, ours, reference, unit, ratio, n, spread."""
        return {**vars(self), "spread": list(self.spread)}


def peak_resident_bytes() -> int:
    """Largest resident memory this process has had, in bytes.

    On Linux from /proc: `getrusage` counts what the process weighed before it became this program, which is its parent's size.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        return 1024 * next(int(line.split()[1]) for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):  # Windows, which has no `resource`
        return memory.peak_wset
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss counts bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def child_peak_bytes(module: str, *words: str) -> float:
    """Peak resident memory of `python -m module words…`, a process of its own that prints {"peak_bytes": …} last. Raises LabError when it does not finish."""
    try:
        done = subprocess.run([sys.executable, "-m", module, *words], capture_output=True, text=True, timeout=CHILD_LIMIT_S, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise LabError(f"the memory benchmark of {' '.join(words)} did not finish: {(error.stderr or str(error))[-800:]}") from error
    peak = json.loads(done.stdout.strip().splitlines()[-1])["peak_bytes"]
    say(f"  {' '.join(words)}: peak {peak / 2**20:,.0f} MiB")
    return peak


def names() -> list[str]:
    """The benchmarks there are: modules of this package whose name does not begin with an underscore."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def run(name: str) -> list[Row]:
    """Measure benchmark `name` and return its rows. Raises ValueError for an unknown name."""
    if name not in names():
        raise ValueError(f"there is no benchmark {name!r}: choose from {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}").rows()


def interleaved(ours: Callable[[], float], *references: Callable[[], float], n: int, warmup: int = 1) -> list[list[float]]:
    """Call ours and each reference in turn, `n` times after `warmup` rounds; one list of measured values per callable, ours first.

    Each callable returns what it measured (seconds, tokens per second). Every second round runs in reverse order, so that none of them
    always follows the same neighbour. Raises ValueError when n is below 1 or warmup below 0, or either is above a million.
    """
    within("n", n, 1, 1_000_000)
    within("warmup", warmup, 0, 1_000_000)
    calls = (ours, *references)
    values: list[list[float]] = [[] for _ in calls]
    for turn in range(warmup + n):
        order = range(len(calls)) if turn % 2 == 0 else reversed(range(len(calls)))
        measured = {i: calls[i]() for i in order}
        if turn >= warmup:
            for i, value in measured.items():
                values[i].append(value)
    return values


def compare(name: str, unit: str, ours: Sequence[float], reference: Sequence[float]) -> Row:
    """The row of paired measurements. Seconds and bytes are better when small, anything else (tokens/s) when large.

    Raises ValueError for lists of different length or none, and for a measurement that is not above zero.
    """
    if len(ours) != len(reference) or not ours:
        raise ValueError(f"{len(ours)} measurements of ours and {len(reference)} of the reference: they are pairs, at least one")
    if min(*ours, *reference) <= 0:
        raise ValueError(f"{name}: a measurement is not above zero, so no ratio exists")
    inverse = unit in ("s", "CPU s")
    ratios = [b / a if inverse else a / b for a, b in zip(ours, reference)]
    return Row(
        name,
        statistics.median(ours),
        statistics.median(reference),
        unit,
        statistics.median(ratios),
        len(ratios),
        (min(ratios), max(ratios)),
    )


def seconds_unit() -> str:
    """What `clock` counts: "s" of wall time, or "CPU s" with LLMSUITE_BENCH_CLOCK=cpu. Raises ValueError for another value of it."""
    asked = os.environ.get("LLMSUITE_BENCH_CLOCK", "wall")
    if asked not in ("wall", "cpu"):
        raise ValueError(f"LLMSUITE_BENCH_CLOCK={asked!r}: set it to wall (the default) or cpu")
    return "s" if asked == "wall" else "CPU s"


def clock() -> float:
    """A reading in seconds of the clock that the benchmarks use; differences are what counts."""
    return time.perf_counter() if seconds_unit() == "s" else time.process_time()


def table(rows: Sequence[Row]) -> str:
    """The rows as text in aligned columns."""
    head = ("benchmark", "ours", "reference", "unit", "ratio", "n", "spread")
    lines = [head]
    for row in rows:
        scale, unit = (2**20, "MiB") if row.unit == "bytes" else (1, row.unit)
        low, high = row.spread
        numbers = (
            f"{row.ours / scale:,.4g}",
            f"{row.reference / scale:,.4g}",
            unit,
            f"{row.ratio:.2f}x",
            str(row.n),
            f"{low:.2f} – {high:.2f}",
        )
        lines.append((row.name, *numbers))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    left = {0, 3}
    return "\n".join(
        "  ".join(c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))).rstrip() for line in lines
    )


def say(text: str) -> None:
    """A line of progress on stderr: stdout belongs to the table or the JSON."""
    print(text, file=sys.stderr, flush=True)
