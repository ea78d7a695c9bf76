"""A training that runs as it is under every launcher: `launch.ranks` in a notebook, torchrun, accelerate launch and deepspeed on a server.

    ranks(train, 2, "zero2", steps=5)                                                                       in a cell
    torchrun --nproc-per-node 8 -m llmsuite_lab.scaling.train --engine zero2 --steps 200                    on one node
    torchrun --nnodes 4 --nproc-per-node 8 --rdzv-endpoint HOST:29500 -m llmsuite_lab.scaling.train …        on each of four
    accelerate launch --config_file … -m llmsuite_lab.scaling.train …          deepspeed --module llmsuite_lab.scaling.train …

It trains a byte-level decoder on the course's handbook. Each step reads the same rows of the text whatever the number of ranks, which share them out, so
the losses are those of one process.
"""

import argparse
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
from llmsuite_lab.scaling.checkpoint import load_sharded, save_sharded
from llmsuite_lab.scaling.ddp import DataParallel
from llmsuite_lab.scaling.launch import process_group
from llmsuite_lab.scaling.layout import local_loss, local_rows, outer_blocks, world
from llmsuite_lab.scaling.zero1 import Zero1
from llmsuite_lab.scaling.zero2 import Zero2
from llmsuite_lab.scaling.zero3 import Zero3
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.optimizer import AdamW, decay_groups
from llmsuite_lab.world import handbook

OURS = {"zero1": Zero1, "zero2": Zero2, "zero3": Zero3}
ENGINES = ("ddp", *OURS, "torch-ddp", "torch-fsdp")
VOCABULARY = 256  # bytes


@dataclass(frozen=True)
class Trained:
    """What a run gave: the mean loss of each step over all ranks, in nats a byte, and how it was done."""

    engine: str
    ranks: int
    losses: list[float]
    first_step: int  # 0, or where a checkpoint went on
    wall_s: float


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
) -> Trained:
    """Train a decoder for `steps` steps of rows × seq bytes, with one of `ENGINES`; every rank of a group calls it, and gets the same answer.

    checkpoint: a folder to go on from, if there is a checkpoint in it; every `every` steps and at the end one is saved there (ours only). Raises
    ValueError for an unknown engine and sizes that cannot be, LabError outside a process group.
    """
    rank, n = world()
    if engine not in ENGINES:
        raise ValueError(unknown("engine", engine, list(ENGINES)))
    for name, value, low in (("steps", steps, 1), ("rows", rows, 1), ("seq", seq, 1), ("n_layers", n_layers, 1), ("d_model", d_model, 8), ("every", every, 0)):
        whole(name, value, low, 10**6)
    if checkpoint is not None and engine.startswith("torch"):
        raise ValueError(f"engine={engine!r} has checkpoints of its own (torch.distributed.checkpoint): leave checkpoint out, or use one of ours")
    torch.manual_seed(seed)
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    model = Decoder(llama_config(VOCABULARY, d_model, n_layers, n_heads=d_model // 8, d_ff=3 * d_model, max_length=seq)).to(device)
    text = torch.tensor(list(handbook.as_markdown(handbook.generate("train", seed, one=20, two=4, unanswerable=4)).encode()), device=device)
    logits, backward, step, saved = _made(engine, model, lr)
    done = load_sharded(checkpoint, *saved)["steps"] if checkpoint is not None and (Path(checkpoint) / "checkpoint.json").is_file() else 0
    losses, began = [], time.perf_counter()
    for t in range(done, steps):
        starts = torch.randint(len(text) - seq - 1, (rows,), generator=torch.Generator().manual_seed(seed + 1000 + t)).tolist()
        mine = local_rows(torch.stack([text[s : s + seq + 1] for s in starts]))
        total = nn.functional.cross_entropy(logits(mine[:, :-1]).flatten(0, 1), mine[:, 1:].flatten(), reduction="sum")
        backward(local_loss(total, rows * seq))
        step()
        everyones = total.detach().double()
        dist.all_reduce(everyones)
        losses.append(float(everyones) / (rows * seq))
        if checkpoint is not None and (t + 1 == steps or (every and (t + 1) % every == 0)):
            save_sharded(checkpoint, *saved, extra={"steps": t + 1})
    return Trained(engine, n, losses, done, time.perf_counter() - began)


def _made(name: str, model: nn.Module, lr: float) -> tuple[nn.Module, Callable[[Tensor], None], Callable[[], Any], tuple[Any, ...]]:
    """(what gives the logits, backward, update, what a checkpoint needs)."""
    groups, make = decay_groups(model.parameters(), 0.1), partial(AdamW, lr=lr, betas=(0.9, 0.95))
    if name in OURS:
        ours = OURS[name](model, make, groups)
        return model, ours.backward, ours.step, (ours,)
    if name == "torch-fsdp":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cuda" if dist.get_backend() == "nccl" else "cpu", (dist.get_world_size(),))
        for block in outer_blocks(model):
            fully_shard(block, mesh=mesh)
        model = fully_shard(model, mesh=mesh)
        optimizer = torch.optim.AdamW(decay_groups(model.parameters(), 0.1), lr=lr, betas=(0.9, 0.95), foreach=False)
        return model, Tensor.backward, partial(_update, optimizer), ()
    optimizer = make(groups)
    if name == "torch-ddp":
        return nn.parallel.DistributedDataParallel(model), Tensor.backward, partial(_update, optimizer), ()
    parallel = DataParallel(model)
    return model, parallel.backward, partial(_update, optimizer), (parallel, optimizer)


def _update(optimizer: torch.optim.Optimizer) -> None:
    optimizer.step()
    optimizer.zero_grad()


def main(arguments: Sequence[str] | None = None) -> None:
    """What a launcher runs: train within the launcher's group; rank 0 prints the result as JSON, or writes it where --out says."""
    parser = argparse.ArgumentParser(prog="python -m llmsuite_lab.scaling.train", description=train.__doc__)
    parser.add_argument("--engine", default="ddp", choices=ENGINES)
    for name, default in (("steps", 20), ("rows", 8), ("seq", 64), ("d-model", 64), ("n-layers", 4), ("seed", 0), ("every", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--local_rank", type=int, help=argparse.SUPPRESS)  # deepspeed passes it, and sets LOCAL_RANK as well
    given = vars(parser.parse_args(arguments))
    out, _ = given.pop("out"), given.pop("local_rank")
    with process_group() as (rank, _):
        found = train(**given)
        if rank == 0:
            if out is not None:
                write_output(out, as_json(asdict(found)))
            else:
                print(json.dumps(asdict(found)), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(sys.argv[1:])
