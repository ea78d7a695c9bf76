"""Save what each rank holds, and go on with another number of ranks, or another stage.

    part-00001-of-00004.safetensors     rank 1's pieces: value.NAME@START, m.NAME@START, v.NAME@START, t.NAME@START
    checkpoint.json                     every trained parameter's shape, and what the caller wants to know again (the step)

A piece is known by its parameter's name and by the element at which it starts; no rank, part or bucket is in it. So what two ranks of ZeRO-2 have saved
is read by four of ZeRO-3, or by one process: each takes from every file what overlaps its own pieces. Values are the optimizer's masters, in float32 at
least.

All ranks write into one new folder, which takes the old one's place in a single step when every file is whole (`core.files.whole_folder`): a run that is
killed in the middle of a save leaves the previous checkpoint as it was. The ranks must see the same file system. Frozen parameters are not saved: make
the model as it was made.

Production: `torch.distributed.checkpoint` (DCP), which reshards in the same way; DeepSpeed's universal checkpoint.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import whole_folder, write_json
from llmsuite_lab.scaling.ddp import DataParallel
from llmsuite_lab.scaling.layout import world
from llmsuite_lab.scaling.sharding import Sharded
from llmsuite_lab.transformer.optimizer import AdamW

KIND = "a sharded checkpoint"
MANIFEST = "checkpoint.json"


def save_sharded(folder: Path, engine: Sharded | DataParallel, optimizer: AdamW | None = None, *, extra: Mapping[str, Any] | None = None) -> None:
    """Every rank calls it after a step; on return the checkpoint stands in `folder`, and an older one that stood there is gone.

    optimizer: for `DataParallel` the one it is used with; the stages have their own. extra: anything JSON can hold. Raises LabError, on all ranks, where
    `folder` holds what is no checkpoint of ours, TypeError for another optimizer than `transformer.optimizer.AdamW`, OSError.
    """
    rank, n = world()
    optimizer = _optimizer(engine, optimizer)
    extra = dict(extra or {})
    json.dumps(extra)  # what cannot be saved is told before anything is written
    tensors: dict[str, Tensor] = {}
    if not isinstance(engine, DataParallel) or rank == 0:  # replicas are equal: one of them is enough
        for name, start, master in _owned(engine, optimizer):
            tensors[f"value.{name}@{start}"] = master.detach().flatten().contiguous()
            if state := optimizer.state.get(master):
                tensors[f"t.{name}@{start}"] = torch.tensor(state["t"])
                tensors |= {f"{kind}.{name}@{start}": state[kind].flatten().contiguous() for kind in "mv"}
    with _new_folder(folder, rank) as place:
        _write(tensors, place / f"part-{rank:05d}-of-{n:05d}.safetensors")
        if rank == 0:
            write_json(place / MANIFEST, {"shapes": _shapes(engine), "ranks": n, "extra": extra})
        dist.barrier()
    dist.barrier()


def load_sharded(folder: Path, engine: Sharded | DataParallel, optimizer: AdamW | None = None) -> dict[str, Any]:
    """Put a checkpoint's values and optimizer state into the engine's pieces, on every rank; returns `extra`. Learning rates and the like stay.

    Raises LabError, with nothing changed, where there is no checkpoint, where it belongs to other parameters, or where a file is missing or damaged.
    """
    world()
    optimizer = _optimizer(engine, optimizer)
    try:
        manifest = json.loads((Path(folder) / MANIFEST).read_text(encoding="utf-8"))
        shapes, n, extra = manifest["shapes"], manifest["ranks"], manifest["extra"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LabError(f"{folder} holds no whole checkpoint ({MANIFEST} is missing or damaged): name the folder that save_sharded wrote") from error
    wanted = _shapes(engine)
    if different := sorted(name for name in {*shapes, *wanted} if shapes.get(name) != wanted.get(name)):
        name = different[0]
        raise LabError(
            f"{folder} belongs to another model or other trained parameters: {name} is {shapes.get(name, 'not there')} in it and "
            f"{wanted.get(name, 'not there')} here{f', and {len(different) - 1} more differ' if len(different) > 1 else ''}"
        )
    owned = _owned(engine, optimizer)
    ready = _read(Path(folder), n, owned)
    with torch.no_grad():
        for (_, _, master), (values, state) in zip(owned, ready, strict=True):
            master.copy_(values.view_as(master))
            optimizer.state.pop(master, None)
            if state:
                optimizer.state[master] = {"t": state["t"], **{kind: state[kind].view_as(master).to(master) for kind in "mv"}}
        optimizer.write_back()
        if isinstance(engine, Sharded):
            engine.forget()
            engine.publish()
    return extra


def _optimizer(engine: Sharded | DataParallel, given: AdamW | None) -> AdamW:
    if not isinstance(engine, Sharded | DataParallel):
        raise TypeError(f"engine is a {type(engine).__name__}, but it must be a DataParallel, Zero1, Zero2 or Zero3")
    optimizer = engine.optimizer if isinstance(engine, Sharded) else given
    if not isinstance(optimizer, AdamW):
        raise TypeError(f"optimizer is a {type(optimizer).__name__}, but masters and moments are known of transformer.optimizer.AdamW alone: pass one")
    return optimizer


def _names(engine: Sharded | DataParallel) -> dict[nn.Parameter, str]:
    trained = set(engine.trained)
    return {p: name for name, p in engine.model.named_parameters() if p in trained}


def _shapes(engine: Sharded | DataParallel) -> dict[str, list[int]]:
    if isinstance(engine, DataParallel):
        return {name: list(p.shape) for p, name in _names(engine).items()}
    shapes = {p: list(shape) for layout in engine.layouts for p, shape in zip(layout.parameters, layout.shapes, strict=True)}
    return {name: shapes[p] for p, name in _names(engine).items()}


def _owned(engine: Sharded | DataParallel, optimizer: AdamW) -> list[tuple[str, int, Tensor]]:
    """[(parameter's name, first element, master)] of this rank's pieces."""
    names = _names(engine)
    if isinstance(engine, DataParallel):
        pieces, starts = {p: p for p in engine.trained}, dict.fromkeys(engine.trained, 0)
    else:
        pieces, starts = engine.pieces, {p: start for layout in engine.layouts for p, start in layout.starts().items()}
    masters = {id(p): master for p, master in zip(optimizer.parameters, optimizer.masters, strict=True)}
    if missing := [names[p] for p, piece in pieces.items() if id(piece) not in masters]:
        raise LabError(f"the optimizer does not hold {missing[0]}: it must be the one that trains the engine's model")
    return [(names[p], starts[p], masters[id(piece)]) for p, piece in pieces.items()]


def _read(folder: Path, n: int, owned: list[tuple[str, int, Tensor]]) -> list[tuple[Tensor, dict[str, Any]]]:
    """For each of our pieces its values and its state, put together from all files that hold something of them."""
    from safetensors import SafetensorError, safe_open

    found = [(torch.full((master.numel(),), float("nan"), dtype=master.dtype), {}) for _, _, master in owned]
    missing = [master.numel() for _, _, master in owned]
    files = [folder / f"part-{rank:05d}-of-{n:05d}.safetensors" for rank in range(n)]
    try:
        for file in files:
            with safe_open(file, "pt") as part:
                pieces: dict[str, list[int]] = {}
                keys = set(part.keys())
                for key in keys:
                    if key.startswith("value."):
                        name, _, start = key.removeprefix("value.").rpartition("@")
                        pieces.setdefault(name, []).append(int(start))
                for i, (name, low, master) in enumerate(owned):
                    values, state = found[i]
                    for start in pieces.get(name, ()):
                        length = part.get_slice(f"value.{name}@{start}").get_shape()[0]
                        a, b = max(low, start), min(low + master.numel(), start + length)
                        if a >= b:
                            continue
                        missing[i] -= b - a
                        values[a - low : b - low] = part.get_slice(f"value.{name}@{start}")[a - start : b - start]
                        if f"t.{name}@{start}" in keys:
                            state["t"] = int(part.get_tensor(f"t.{name}@{start}"))
                            for kind in "mv":
                                whole = state.setdefault(kind, torch.zeros_like(values))
                                whole[a - low : b - low] = part.get_slice(f"{kind}.{name}@{start}")[a - start : b - start]
    except (OSError, SafetensorError, ValueError) as error:
        raise LabError(f"{folder} is not whole: {file.name} is missing or damaged ({error})") from error
    if short := [name for (name, _, _), left in zip(owned, missing, strict=True) if left]:
        raise LabError(f"{folder} is not whole: elements of {short[0]} are in none of its files, or in several")
    return found


def _write(tensors: dict[str, Tensor], file: Path) -> None:
    from safetensors.torch import save_file

    save_file(tensors, file)


@contextmanager
def _new_folder(target: Path, rank: int) -> Iterator[Path]:
    """The same empty folder on all ranks; rank 0 puts it in `target`'s place at the end. What rank 0 refuses, all refuse."""
    if rank:
        told: list[Any] = [None]
        dist.broadcast_object_list(told, src=0)
        if told[0][0] is None:
            raise LabError(told[0][1])
        yield Path(told[0][0])
        return
    offered = False
    try:
        with whole_folder(Path(target), KIND) as new:
            offered = True
            dist.broadcast_object_list([(str(new.absolute()), "")], src=0)
            yield new
    except (LabError, OSError) as error:
        if not offered:
            dist.broadcast_object_list([(None, f"rank 0 could not write there: {error}")], src=0)
        raise
