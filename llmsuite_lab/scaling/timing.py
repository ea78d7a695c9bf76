"""Step times of every engine on one, two and four processes, the link between them, and what really travels: one record, for a quiet machine.

    round      1 process: all engines at both sizes, step by step in turn; 2 processes: the same; 4 processes: the same; and again

What is compared is interleaved: an engine's step stands beside the other engines' steps of the same second, and 1 process beside 2 and 4 of the same
round. "alone" is the same step without any communication: independent models on so many processes, which share the cores as the others do. All of them
update with the same AdamW, so that what differs is what is exchanged. Before each launch, while nothing of ours runs, the record notes what share of the
machine's cores others are using: a quiet machine is a figure in it, not a promise.
"""

import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psutil
import torch
import torch.distributed as dist
from torch import nn

from llmsuite_lab.core.errors import unknown, whole
from llmsuite_lab.core.runs import Outcome
from llmsuite_lab.core.seeding import seeded
from llmsuite_lab.scaling import train
from llmsuite_lab.scaling.communication import Traffic, weight_bytes, wire
from llmsuite_lab.scaling.launch import ranks
from llmsuite_lab.scaling.layout import world
from llmsuite_lab.scaling.measuring import timed_collectives
from llmsuite_lab.transformer.config import TransformerConfig, llama_config
from llmsuite_lab.transformer.decoder import Decoder

ENGINES = (train.ALONE, *train.ENGINES)
SIZES = {"small": (64, 4), "larger": (256, 6)}  # d_model, layers
ROWS, SEQ, VOCABULARY = 8, 64, 256
LIMITS = {"timeout_s": 600.0, "collective_timeout_s": 200.0}  # of each launch, which takes half a minute: for a rank that hangs, not for one that is slow
QUIET = 0.05  # of the cores, used by others


@dataclass(frozen=True)
class Settings:
    """What one recorded run does."""

    processes: tuple[int, ...] = (1, 2, 4)
    rounds: int = 8
    steps: int = 3  # of each engine and size in a round, after one that is not timed
    collective_bytes: tuple[int, ...] = (2**12, 2**14, 2**16, 2**18, 2**20, 2**22, 2**24)
    repeats: int = 25  # of each collective


def model_config(size: str) -> TransformerConfig:
    """The decoder of a size of `SIZES`. Raises ValueError for another."""
    if size not in SIZES:
        raise ValueError(f"size={size!r} is not known; choose one of {', '.join(SIZES)}")
    d_model, layers = SIZES[size]
    return llama_config(VOCABULARY, d_model, layers, n_heads=d_model // 16, d_ff=3 * d_model, max_length=SEQ)


def _step(engine: str, size: str) -> Any:
    with seeded(0):
        model = Decoder(model_config(size))
    ids = torch.randint(VOCABULARY, (ROWS, SEQ + 1), generator=torch.Generator().manual_seed(1 + world()[0]))
    logits, backward, update, _ = train.prepared(engine, model, 1e-4)

    def step() -> None:
        backward(nn.functional.cross_entropy(logits(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()))
        update()

    return step


def step_times(size: str, engines: Sequence[str] = ENGINES, steps: int = 5) -> dict[str, list[float]]:
    """{engine: seconds of each step, the slowest rank's}; the engines take turns. Every rank calls it, within a process group."""
    world()
    whole("steps", steps, 1, 10_000)
    if strange := [engine for engine in engines if engine not in ENGINES]:
        raise ValueError(unknown("engine", strange[0], list(ENGINES)))
    made = {engine: _step(engine, size) for engine in engines}
    spent: dict[str, list[float]] = {engine: [] for engine in engines}
    for n in range(steps + 1):
        for engine, step in made.items():
            dist.barrier()
            began = time.perf_counter()
            step()
            seconds = torch.tensor(time.perf_counter() - began, dtype=torch.float64)
            dist.all_reduce(seconds, op=dist.ReduceOp.MAX)
            if n:
                spent[engine].append(float(seconds))
    return spent


def volumes(size: str, engines: Sequence[str] = train.ENGINES) -> dict[str, tuple[float, float]]:
    """{engine: (logical volume, bytes on the wire as if all of a ring went out)} of one step, in Ψ. Every rank calls it; Linux counts the wire."""
    _, n = world()
    found = {}
    for engine in engines:
        step = _step(engine, size)
        step()
        with torch.device("meta"):  # counted, not made
            psi = weight_bytes(Decoder(model_config(size)))
        with Traffic() as traffic:
            step()
        dist.barrier()
        with wire() as sent:
            step()
        found[engine] = traffic.volume / psi, sent[0] * n / max(1, n - 1) / psi
    return found


def measure(settings: Settings | None = None) -> Outcome:
    """The record's settings and results; takes some minutes, and warns on a machine that does something else. Raises RankError where a rank fails or hangs."""
    settings = settings or Settings()
    steps, links, traffic, others = [], [], [], []
    for number in range(settings.rounds):
        for n in settings.processes:
            others.append(used_by_others())
            if others[-1] > QUIET and max(others[:-1], default=0.0) <= QUIET:
                warnings.warn(f"others use {others[-1]:.0%} of this machine's cores: these times are not those of a quiet one", stacklevel=3)
            for size, found in ranks(_both_sizes, n, settings.steps, show=False, **LIMITS)[0].items():
                steps += [{"round": number, "ranks": n, "size": size, "engine": engine, "seconds": seconds} for engine, seconds in found.items()]
    for n in (n for n in settings.processes if n > 1):
        links += ranks(timed_collectives, n, settings.collective_bytes, settings.repeats, show=False, **LIMITS)[0]
        for engine, (logical, sent) in ranks(volumes, n, "larger", show=False, **LIMITS)[0].items():
            traffic.append({"ranks": n, "engine": engine, "logical": logical, "wire": sent})
    return Outcome(asdict(settings), {"steps": steps, "links": [list(row) for row in links], "traffic": traffic, "others": others})


def _both_sizes(steps: int) -> dict[str, dict[str, list[float]]]:
    return {size: step_times(size, steps=steps) for size in SIZES}


def used_by_others(wait_s: float = 0.5) -> float:
    """The share of all cores that is in use while this process waits. Raises ValueError for a wait that is not above 0 and at most a minute."""
    if not 0 < wait_s <= 60:
        raise ValueError(f"wait_s={wait_s} must be above 0 and at most 60")
    return psutil.cpu_percent(wait_s) / 100
