"""A training state on disk: safetensors for tensors, JSON for the rest, written whole or not at all. No pickle.

Kept: AdamW's state (float32 masters of the trainable parameters, moments, step counts), the buffers that training has moved (a BatchNorm's running
means), the random state, the history and the settings.
The data order needs no storage: it is a function of (seed, epoch), and the examples' fingerprint is among the settings. Frozen weights are
not written: resuming starts from the same base model, which is told by a fingerprint of its own.
"""

import hashlib
import itertools
import json
from collections.abc import Collection, Hashable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.fetch import sha256
from llmsuite_lab.core.files import check_folder, load_tensors, whole_folder, write_json
from llmsuite_lab.core.history import History
from llmsuite_lab.core.swap import settle
from llmsuite_lab.transformer.optimizer import AdamW
from llmsuite_lab.transformer.settings import buffers

KIND = "a training checkpoint"
SAMPLE = 256  # values of each frozen tensor that the base's fingerprint reads
_STATE, _TENSORS = "state.json", "state.safetensors"
_ADAMW, _BUFFER = "adamw.", "buffer."
EXACT = 65_536  # numbers; whether a larger buffer was written to is told by its version counter


class Log(Protocol):
    """What a run tells of itself, and whether it was stopped."""

    interrupted: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Log":
        """The inverse of `as_dict`."""


Told = TypeVar("Told", bound=Log)


def buffer_states(model: nn.Module) -> dict[str, Hashable]:
    """What tells by name, before training, whether a buffer has been moved by it later."""
    return {f"{module}.{name}".lstrip("."): told for module, m in model.named_modules() for name, told in buffers(m, EXACT)}


def save_checkpoint(
    folder: Path, optimizer: AdamW, history: "Log", settings: dict[str, Any], model: nn.Module, at_start: dict[str, Hashable]
) -> None:
    """Write the state after `history.steps` steps to `folder`, replacing the checkpoint that stood there.

    history: a `History`, or another log of a run that turns to plain data and back (`as_dict`, `from_dict`).
    at_start: `buffer_states(model)` before the first step; what differs from it is written.
    Raises LabError for a folder that holds anything but a checkpoint (it is left as it is), OSError for a full disk or a missing permission.
    """
    tensors: dict[str, Tensor] = {"rng.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    tensors |= {_ADAMW + name: tensor for name, tensor in optimizer.state_dict().items()}
    moved = {name for name, told in buffer_states(model).items() if name not in at_start or at_start[name] != told}
    held = dict(model.named_buffers(remove_duplicate=False))
    tensors |= {_BUFFER + name: held[name].detach().clone() for name in moved}  # two names of one buffer are two tensors to safetensors
    settings = settings | {"base": frozen_fingerprint(model, moved)}
    with whole_folder(folder, KIND) as new:
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, new / _TENSORS)
        state = {"settings": settings, "history": history.as_dict(), "sha256": sha256(new / _TENSORS)}
        write_json(new / _STATE, state)


def load_checkpoint(
    folder: Path, optimizer: AdamW, settings: dict[str, Any], model: nn.Module, at_start: dict[str, Hashable], kind: type[Told] = History
) -> Told | None:
    """Put the saved state back into `optimizer`, its parameters, the model's buffers and the random generators; returns the history so far, or None
    where the folder is missing or empty: there is nothing to go on from. Buffers put back leave `at_start`: the next save writes them again.

    Raises LabError, with nothing changed, for a folder that is not a checkpoint of the course's, for a damaged one, and for one made with other
    settings, data or base, naming what differs. `kind` is the class of the history that was saved.
    """
    settle(folder)
    check_folder(folder, KIND, by_name=True)
    if not folder.exists() or not any(folder.iterdir()):
        return None
    try:
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        if sha256(folder / _TENSORS) != state["sha256"]:
            raise ValueError(f"{_TENSORS} has a wrong checksum")
        tensors = load_tensors(folder / _TENSORS)
        saved, history, rng = dict(state["settings"]), kind.from_dict(state["history"]), tensors["rng.cpu"]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise LabError(f"the checkpoint {folder} is damaged ({error}): delete the folder and start again") from error
    moved = {name.removeprefix(_BUFFER): tensor for name, tensor in tensors.items() if name.startswith(_BUFFER)}
    settings = settings | {"base": frozen_fingerprint(model, moved)}
    if differing := [
        _difference(name, saved.get(name), settings.get(name)) for name in {**saved, **settings} if saved.get(name) != settings.get(name)
    ]:
        raise LabError(f"the checkpoint {folder} belongs to another run ({'; '.join(differing)}): use those settings, or another folder")
    check_folder(folder, KIND)  # one that was edited could not be written again
    held = dict(model.named_buffers(remove_duplicate=False))
    if strange := next((name for name, b in moved.items() if name not in held or (held[name].shape, held[name].dtype) != (b.shape, b.dtype)), None):
        raise LabError(f"the checkpoint {folder} belongs to another run (the model has no such buffer: {strange}): use its model, or another folder")
    optimizer.load_state_dict({name.removeprefix(_ADAMW): tensor for name, tensor in tensors.items() if name.startswith(_ADAMW)})
    for name, buffer in moved.items():
        with torch.no_grad():
            held[name].copy_(buffer)
        at_start.pop(name, None)
    torch.set_rng_state(rng)
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])
    history.interrupted = False
    return history


def _difference(name: str, then: Any, now: Any) -> str:
    if name == "examples":
        return "the examples are others"
    if name == "base":
        return "the base model is another: its frozen weights or its modules differ"
    if isinstance(then, dict) and isinstance(now, dict):
        first = next(key for key in {**then, **now} if then.get(key) != now.get(key))
        return f"{name} {first}: {then.get(first)!r} then, {now.get(first)!r} now"
    return f"{name}: {then!r} then, {now!r} now"


def frozen_fingerprint(model: nn.Module, moved: Collection[str] = ()) -> str:
    """SHA-256 over what a checkpoint leaves out: of each frozen parameter and each buffer its name, shape and `SAMPLE` values at even distances, and
    of each module its type, what it prints of itself (sizes, dropout, ε) and its scale (a LoRA's α / r). Buffers named in `moved` are not counted.

    Milliseconds for a billion weights, and another base, dtype or adapter is noticed; single weights edited between the samples are not.
    """
    digest = hashlib.sha256()
    for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers()):
        if not tensor.requires_grad and name not in moved:
            values = tensor.detach().flatten()[:: max(1, tensor.numel() // SAMPLE)]
            digest.update(f"{name} {tuple(tensor.shape)} {values.double().tolist()}\n".encode())
    for name, module in model.named_modules():
        digest.update(f"{name} {type(module).__name__} {module.extra_repr()} {getattr(module, 'scaling', '')}\n".encode())
    return digest.hexdigest()
