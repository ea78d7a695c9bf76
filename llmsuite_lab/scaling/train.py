"""A training that runs as it is under every launcher: `launch.ranks` in a notebook, torchrun, accelerate launch and deepspeed on a server.

    ranks(train, 2, "zero2", steps=5)                                                                       in a cell
    torchrun --nproc-per-node 8 -m llmsuite_lab.scaling.train --engine zero2 --steps 200                    on one node
    torchrun --nnodes 4 --nproc-per-node 8 --rdzv-endpoint HOST:29500 -m llmsuite_lab.scaling.train …        on each of four
    accelerate launch --config_file … -m llmsuite_lab.scaling.train --engine accelerate …
    deepspeed --module llmsuite_lab.scaling.train --engine deepspeed --config data/configs/deepspeed/zero2_gpu.json …

It trains a byte-level decoder on the course's handbook. Each step reads the same rows of the text whatever the number of ranks, which share them out, so
the losses are those of one process.
"""

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from llmsuite_lab.core.errors import unknown, whole
from llmsuite_lab.core.files import as_json, write_output
from llmsuite_lab.core.seeding import seeded
from llmsuite_lab.scaling.budget import byte_budget
from llmsuite_lab.scaling.checkpoint import load_sharded, save_sharded
from llmsuite_lab.scaling.ddp import DataParallel
from llmsuite_lab.scaling.deepspeed import with_deepspeed
from llmsuite_lab.scaling.fsdp import fully_sharded
from llmsuite_lab.scaling.launch import leave, process_group
from llmsuite_lab.scaling.layout import local_loss, local_rows, world
from llmsuite_lab.scaling.what_runs import check_accelerate
from llmsuite_lab.scaling.zero1 import Zero1
from llmsuite_lab.scaling.zero2 import Zero2
from llmsuite_lab.scaling.zero3 import Zero3
from llmsuite_lab.transformer.config import TransformerConfig, llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.optimizer import AdamW, decay_groups
from llmsuite_lab.world import handbook

OURS = {"zero1": Zero1, "zero2": Zero2, "zero3": Zero3}
ALONE = "alone"  # nothing is exchanged: no training that `train` offers
ENGINES = ("ddp", *OURS, "torch-ddp", "torch-fsdp")
CONFIGURED = ("accelerate", "deepspeed")  # what these do is written in a file: of `accelerate launch --config_file`, or `config`
VOCABULARY = 256  # bytes


@dataclass(frozen=True)
class Trained:
    """What a run gave: the mean loss of each step over all ranks, in nats a byte, and how it was done."""

    engine: str
    ranks: int
    losses: list[float]
    first_step: int  # 0, or where a checkpoint went on
    wall_s: float


def decoder_config(d_model: int, n_layers: int, seq: int) -> TransformerConfig:
    """The decoder that `train` trains: over bytes, heads of eight. Raises ValueError for sizes that cannot be."""
    for name, value, low in (("d_model", d_model, 8), ("n_layers", n_layers, 0), ("seq", seq, 1)):
        whole(name, value, low, 10**6)
    return llama_config(VOCABULARY, d_model, n_layers, n_heads=d_model // 8, d_ff=3 * d_model, max_length=seq)


def train(
    engine: str = "ddp",
    *,
    steps: int = 20,
    rows: int = 8,
    seq: int = 64,
    d_model: int = 64,
    n_layers: int = 4,
    lr: float = 3e-3,
    seed: int = 0,
    checkpoint: Path | None = None,
    every: int = 0,
    budget_bytes: float | None = None,
    config: Path | None = None,
) -> Trained:
    """Train a decoder for `steps` steps of rows × seq bytes, with one of `ENGINES` or `CONFIGURED`; every rank calls it, and gets the same answer.

    checkpoint: a folder to go on from, if there is a checkpoint in it; every `every` steps and at the end one is saved there (ours only). budget_bytes:
    what a rank may hold at once (`budget`). config: DeepSpeed's file. Raises ValueError for an unknown engine and sizes that cannot be, LabError outside a
    process group and where accelerate was told to share out what it does not, OverBudget where the training does not fit.
    """
    _, n = world()
    if engine not in (*ENGINES, *CONFIGURED):
        raise ValueError(unknown("engine", engine, [*ENGINES, *CONFIGURED]))
    if (engine == "deepspeed") != (config is not None):
        raise ValueError(f"engine={engine!r} with config={config}: DeepSpeed is told by a file of data/configs/deepspeed, and nothing else takes one")
    for name, value, low in (("steps", steps, 1), ("rows", rows, 1), ("seq", seq, 1), ("n_layers", n_layers, 1), ("d_model", d_model, 8), ("every", every, 0)):
        whole(name, value, low, 10**6)
    if checkpoint is not None and engine not in ("ddp", *OURS):
        raise ValueError(f"engine={engine!r} has checkpoints of its own: leave checkpoint out, or use one of ours")
    with contextlib.nullcontext() if budget_bytes is None else byte_budget(budget_bytes):
        device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
        with seeded(seed):
            model = Decoder(decoder_config(d_model, n_layers, seq)).to(device)
        text = torch.tensor(list(handbook.as_markdown(handbook.generate("train", seed, one=20, two=4, unanswerable=4)).encode()), device=device)
        logits, backward, step, saved = prepared(engine, model, lr, config)
        done = load_sharded(checkpoint, *saved)["steps"] if checkpoint is not None and (Path(checkpoint) / "checkpoint.json").is_file() else 0
        losses, began = [], time.perf_counter()
        for t in range(done, steps):
            starts = torch.randint(len(text) - seq - 1, (rows,), generator=torch.Generator().manual_seed(seed + 1000 + t)).tolist()
            mine = local_rows(torch.stack([text[s : s + seq + 1] for s in starts]))
            total = nn.functional.cross_entropy(logits(mine[:, :-1]).flatten(0, 1), mine[:, 1:].flatten(), reduction="sum")
            backward(local_loss(total, rows * seq))
            step()
            if engine == "accelerate" and t == 0:
                check_accelerate(logits, *saved)
            everyones = total.detach().double()
            dist.all_reduce(everyones)
            losses.append(float(everyones) / (rows * seq))
            if checkpoint is not None and (t + 1 == steps or (every and (t + 1) % every == 0)):
                save_sharded(checkpoint, *saved, extra={"steps": t + 1})
        return Trained(engine, n, losses, done, time.perf_counter() - began)


def prepared(
    name: str, model: nn.Module, lr: float, config: Path | None = None
) -> tuple[nn.Module, Callable[[Tensor], None], Callable[[], Any], tuple[Any, ...]]:
    """(what gives the logits, backward, update, what a checkpoint needs) of an engine around `model`, with AdamW. Every rank calls it.

    "alone" is the same step with nothing exchanged, to compare with. Raises ValueError for an engine that is not known, LabError outside a process group.
    """
    world()
    if name not in (known := (ALONE, *ENGINES, *CONFIGURED)):
        raise ValueError(unknown("name", name, list(known)))
    groups, make = decay_groups(model.parameters(), 0.1), partial(AdamW, lr=lr, betas=(0.9, 0.95))
    torchs = partial(torch.optim.AdamW, **make.keywords, foreach=False)
    if name in OURS:
        ours = OURS[name](model, make, groups)
        return model, ours.backward, ours.step, (ours,)
    if name == "deepspeed":
        wrapped = with_deepspeed(model, torchs(groups), config)
        return wrapped, wrapped.backward, wrapped.step, ()
    if name == "accelerate":
        from accelerate import Accelerator

        accelerator = Accelerator()  # it reads what `accelerate launch` wrote into the environment
        model, optimizer = accelerator.prepare(model, torchs(groups))
        return model, accelerator.backward, partial(_update, optimizer), (optimizer,)
    if name == "torch-fsdp":
        model = fully_sharded(model)
        return model, Tensor.backward, partial(_update, make(decay_groups(model.parameters(), 0.1))), ()
    optimizer = make(groups)
    if name == ALONE:
        return model, Tensor.backward, partial(_update, optimizer), ()
    if name == "torch-ddp":
        return nn.parallel.DistributedDataParallel(model), Tensor.backward, partial(_update, optimizer), ()
    parallel = DataParallel(model)
    return model, parallel.backward, partial(_update, optimizer), (parallel, optimizer)


def _update(optimizer: torch.optim.Optimizer) -> None:
    optimizer.step()
    optimizer.zero_grad()


def main(arguments: Sequence[str] | None = None) -> None:
    """What a launcher runs: train within the launcher's group; rank 0 prints the result as JSON, or writes it where --out says."""
    given = vars(_parser().parse_args(arguments))
    out, _ = given.pop("out"), given.pop("local_rank")
    with process_group() as (rank, _):
        found = train(**given)
        if rank == 0:
            if out is not None:
                write_output(out, as_json(asdict(found)))
            else:
                print(json.dumps(asdict(found)), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m llmsuite_lab.scaling.train", description=train.__doc__)
    parser.add_argument("--engine", default="ddp", choices=(*ENGINES, *CONFIGURED))
    for name, default in (("steps", 20), ("rows", 8), ("seq", 64), ("d-model", 64), ("n-layers", 4), ("seed", 0), ("every", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--budget-bytes", type=float)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--local_rank", type=int, help=argparse.SUPPRESS)  # deepspeed passes it, and sets LOCAL_RANK as well
    return parser


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(sys.argv[1:])
    leave()
