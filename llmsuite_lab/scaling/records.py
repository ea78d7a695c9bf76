"""What is read off the section's record: speed-ups, the cost model's predictions beside the measured steps, and what travelled."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from llmsuite_lab.core import records
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.scaling.cost import fit_link, step_time
from llmsuite_lab.scaling.experiments import STAGES
from llmsuite_lab.scaling.memory import parameters
from llmsuite_lab.scaling.timing import ROWS, SEQ, model_config
from llmsuite_lab.scaling.train import ALONE

RECORD = "scaling_steps"
STAGE = {name: number for number, name in enumerate(STAGES)}
_STEP = {"round", "ranks", "size", "engine", "seconds"}  # what a row of its steps holds


def results() -> dict[str, Any]:
    """The record's results. Raises LabError, with the command that makes it, where there is none."""
    return records.read(RECORD).results


def seconds(engine: str, ranks: int, size: str = "small", found: dict[str, Any] | None = None) -> list[float]:
    """The median step of every round, in the record or in `found`. Raises LabError for what was not measured, ValueError for a `found` without steps."""
    found = results() if found is None else found
    steps = found.get("steps") if isinstance(found, dict) else None
    if not isinstance(steps, list) or not all(isinstance(row, dict) and row.keys() >= _STEP for row in steps):
        raise ValueError(f"found={str(found)[:60]} holds no steps with {', '.join(sorted(_STEP))}: give the results of a run of {RECORD}, or leave it out")
    rows = [row for row in steps if (row["engine"], row["ranks"], row["size"]) == (engine, ranks, size)]
    if not rows:
        raise LabError(f"the record {RECORD} holds no steps of {engine!r} on {ranks} processes at size {size!r}")
    return [median(row["seconds"]) for row in sorted(rows, key=lambda row: row["round"])]


def ratio(above: Sequence[float], below: Sequence[float]) -> Interval:
    """Mean ratio over rounds with its 95 % interval, round by round: what slows a whole round down slows both."""
    return mean_interval([a / b for a, b in zip(above, below, strict=True)])


def speedup(engine: str = "ddp", ranks: int = 2, size: str = "larger") -> Interval:
    """Throughput of so many processes over one, each with rows of its own: n · t₁ / tₙ."""
    found = results()
    return ratio([ranks * t for t in seconds(ALONE, 1, size, found)], seconds(engine, ranks, size, found))


def slower(engine: str, than: str = "torch-ddp", ranks: int = 2, size: str = "small") -> Interval:
    """Step time of one engine over another's."""
    found = results()
    return ratio(seconds(engine, ranks, size, found), seconds(than, ranks, size, found))


def predicted(size: str = "larger") -> list[dict[str, Any]]:
    """[{stage, ranks, own, plain_s, predicted_s, measured_s}]: the cost model beside the steps, which it has not seen.

    plain_s: a fitted link, and the arithmetic of processes that do not communicate. own: how many times longer than a plain step the engine's takes on one
    process, where nothing travels; predicted_s: with this work, too. Nothing hides (overlap 0): gloo's threads and the arithmetic share the same cores. The
    link is fitted to timed collectives alone.
    """
    found = results()
    rows, config = [], model_config(size)
    once = median(seconds(ALONE, 1, size, found))
    for n in sorted({row["ranks"] for row in found["steps"]} - {1}):
        link = fit_link([tuple(sample) for sample in found["links"] if sample[0] == n])
        flops = 6 * parameters(config) * ROWS * SEQ / median(seconds(ALONE, n, size, found))
        for engine, stage in STAGE.items():
            own = median(seconds(engine, 1, size, found)) / once
            plain, whole = (
                step_time(config, ROWS * SEQ, stage=stage, ranks=n, link=link, flops_per_s=speed, precision="float32", overlap=0.0).total_s
                for speed in (flops, flops / own)
            )
            measured = median(seconds(engine, n, size, found))
            rows.append({"stage": stage, "ranks": n, "own": own, "plain_s": plain, "predicted_s": whole, "measured_s": measured})
    return rows


def used_by_others() -> float:
    """The largest share of the machine's cores that others used while the record was made, looked at before each launch."""
    return max(results()["others"])


def traffic() -> list[dict[str, Any]]:
    """[{engine, ranks, logical, wire}] in Ψ, as counted."""
    return results()["traffic"]
