"""What notebook 06 runs on its ranks: parity with one process, bytes by stage, volumes by stage. Small enough for two cores, in float64 where equal is meant.

    ranks(parity, 4)            [{engine: Distance(gradients, weights)}] of every rank
    ranks(states, 4)            [{stage: (parameters, gradients, optimizer)}] in bytes
    ranks(volume, 2)            [{engine: elements moved a step, in Ψ}]
    savings()                   {what else saves memory: peak of a step, in bytes}, in this process
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from llmsuite_lab.core.errors import unknown, whole
from llmsuite_lab.core.seeding import seeded
from llmsuite_lab.scaling.budget import byte_budget
from llmsuite_lab.scaling.communication import Traffic, weight_bytes
from llmsuite_lab.scaling.ddp import DataParallel
from llmsuite_lab.scaling.layout import local_loss, local_rows, world
from llmsuite_lab.scaling.measuring import states_held
from llmsuite_lab.scaling.recompute import recomputed
from llmsuite_lab.scaling.train import ENGINES, OURS, prepared
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.optimizer import AdamW

STAGES = {"ddp": DataParallel, **OURS}
APART = "nothing exchanged"
CONFIG = llama_config(61, n_layers=6, d_model=48, n_heads=4, d_ff=128, max_length=16)
ROWS, SEQ = 7, 12  # seven rows: no number of ranks but one and seven divides them
BUCKET_BYTES = 40_000  # a handful of buckets in so small a model


@dataclass(frozen=True)
class Distance:
    """Largest absolute differences from one process: of a gradient in the first step, and of a weight after the last."""

    gradients: float
    weights: float


def batch(step: int) -> Tensor:
    """The rows of a step, the same on every rank and for one process."""
    whole("step", step, 0, 10**9)
    return torch.randint(CONFIG.vocab_size, (ROWS, SEQ + 1), generator=torch.Generator().manual_seed(step))


def _total(model: nn.Module, ids: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")


def _model(dtype: torch.dtype = torch.float64) -> nn.Module:
    with seeded(0):
        return Decoder(CONFIG).to(dtype)


def _made(name: str, model: nn.Module, make: Callable[..., AdamW]) -> tuple[Any, AdamW]:
    """(engine, its optimizer)."""
    if name == "ddp":
        return DataParallel(model, BUCKET_BYTES), make(model.parameters())
    engine = STAGES[name](model, make, **({} if name == "zero3" else {"bucket_bytes": BUCKET_BYTES}))
    return engine, engine.optimizer


def _one_process(steps: int, make: Callable[..., AdamW]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    model = _model()
    optimizer, first = make(model.parameters()), {}
    for step in range(steps):
        optimizer.zero_grad()
        (_total(model, batch(step)) / (ROWS * SEQ)).backward()
        first = first or {name: p.grad.clone() for name, p in model.named_parameters()}
        optimizer.step()
    return first, {name: p.detach() for name, p in model.named_parameters()}


def parity(names: Sequence[str] = (*STAGES, APART), steps: int = 5) -> dict[str, Distance]:
    """Train with each engine, in float64, and hold it against one process with the whole batch. Every rank calls it.

    "nothing exchanged" is the control: each rank steps by the gradient of its own rows. Raises ValueError for another name.
    """
    world()
    whole("steps", steps, 1, 1000)
    _known(names, (*STAGES, APART))
    make = partial(AdamW, lr=3e-3)
    gradients, weights = _one_process(steps, make)
    found = {}
    for name in names:
        model = _model()
        if name == APART:
            optimizer = make(model.parameters())
            backward: Callable[[Tensor], Any] = Tensor.backward
        else:
            engine, optimizer = _made(name, model, make)
            backward = engine.backward
        for step in range(steps):
            backward(local_loss(_total(model, local_rows(batch(step))), ROWS * SEQ))
            if name in ("ddp", APART):
                own = {n: p.grad.clone() for n, p in model.named_parameters()}
                optimizer.step()
                optimizer.zero_grad()
            else:
                engine.reduce()
                own = engine.full(engine.gradients)
                engine.step()
            first = own if step == 0 else first
        last = engine.full(engine.shards) if name == "zero3" else dict(model.named_parameters())
        found[name] = Distance(_apart(first, gradients), _apart(last, weights))
    return found


def _known(names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(unknown("engine", name, list(known)))


def _apart(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    return max(float((ours[name].detach() - theirs[name]).abs().max()) for name in theirs)


def states(precision: str = "mixed") -> dict[str, tuple[int, int, int]]:
    """{engine: bytes of (parameters, gradients, optimizer state)} on this rank, in the second step, when all of them are there. Every rank calls it.

    precision: "mixed" (bfloat16 with float32 masters and moments) or "float32".
    """
    world()
    dtypes = {"mixed": torch.bfloat16, "float32": torch.float32}
    if precision not in dtypes:
        raise ValueError(unknown("precision", precision, list(dtypes)))
    found = {}
    for name in STAGES:
        model = _model(dtypes[precision])
        engine, optimizer = _made(name, model, partial(AdamW, lr=1e-3))
        for step in range(2):
            engine.backward(local_loss(_total(model, local_rows(batch(step))), ROWS * SEQ))
            if step == 0:
                (engine if name != "ddp" else optimizer).step()
                if name == "ddp":
                    optimizer.zero_grad()
        found[name] = states_held(model, optimizer, engine)
    return found


def savings(rows: int = 32, parts: int = 4) -> dict[str, int]:
    """{what a training does to need less: the most bytes that one process holds at once in two steps of so many rows}.

    parts: micro-batches of the step whose gradients add up. Raises ValueError for counts that are not positive, and more parts than rows.
    """
    whole("rows", rows, 1, 4096)
    whole("parts", parts, 1, rows)
    ids = torch.randint(CONFIG.vocab_size, (rows, SEQ + 1), generator=torch.Generator().manual_seed(0))
    found = {}
    for name, dtype, pieces, again in (
        ("nothing", torch.float32, 1, False),
        ("mixed precision", torch.bfloat16, 1, False),
        (f"{parts} micro-batches", torch.float32, parts, False),
        ("activations recomputed", torch.float32, 1, True),
        ("all three", torch.bfloat16, parts, True),
    ):
        model = _model(dtype)
        optimizer = AdamW(model.parameters(), lr=1e-3)
        with recomputed(model) if again else nullcontext(), byte_budget() as account:
            for _ in range(2):  # Adam's moments are there from the second step on
                for piece in ids.chunk(pieces):
                    (_total(model, piece) / (rows * SEQ)).backward()
                optimizer.step()
                optimizer.zero_grad()
        found[name] = account.peak
    return found


def volume(names: Sequence[str] = ENGINES) -> dict[str, float]:
    """{engine: logical volume of one step, in Ψ}. Every rank calls it, two or more."""
    world()
    _known(names, ENGINES)
    found = {}
    for name in names:
        model = _model(torch.float32)
        psi = weight_bytes(model)
        logits, backward, step, _ = prepared(name, model, 1e-3)
        for _ in range(2):  # the first step of torch's DDP builds its buckets
            with Traffic() as traffic:
                backward(local_loss(_total(logits, local_rows(batch(0))), ROWS * SEQ))
                step()
        found[name] = traffic.volume / psi
    return found
