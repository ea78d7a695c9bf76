"""A training state on disk: safetensors for tensors, JSON for the rest, written whole or not at all. No pickle.

Kept: the float32 masters of the trainable parameters, AdamW's moments and step counts, the random state, the history and the settings.
The data order needs no storage: it is a function of (seed, epoch), and the examples' fingerprint is among the settings. Frozen weights are
not written: resuming starts from the same base model.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import load_tensors, whole_folder, write_json
from llmsuite_lab.core.history import History
from llmsuite_lab.lm.optim import MasterAdamW

_STATE, _TENSORS = "state.json", "state.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def save_checkpoint(folder: Path, optimizer: MasterAdamW, history: History, settings: dict[str, Any]) -> None:
    """Write the state after `history.steps` steps to `folder`, replacing what stood there. Raises OSError (disk full, no permission)."""
    tensors: dict[str, Tensor] = {"rng.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    for i, master in enumerate(optimizer.masters):
        tensors[f"master.{i}"] = master.detach()
        for name in _MOMENTS:
            if name in optimizer.adamw.state.get(master, {}):  # absent for a parameter that has had no gradient yet
                tensors[f"{name}.{i}"] = optimizer.adamw.state[master][name]
    with whole_folder(folder) as temporary:
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, temporary / _TENSORS)
        write_json(temporary / _STATE, {"settings": settings, "history": history.as_dict()})


def load_checkpoint(folder: Path, optimizer: MasterAdamW, settings: dict[str, Any]) -> History:
    """Put the saved state back into `optimizer`, its parameters and the random generators; returns the history so far.

    Raises LabError for a damaged checkpoint and for one made with other settings or data, naming what differs.
    """
    try:
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        tensors = load_tensors(folder / _TENSORS)
        saved, history = state["settings"], History.from_dict(state["history"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise LabError(f"the checkpoint {folder} cannot be read ({error}): delete the folder and start again") from error
    differing = [f"{k}: {saved.get(k)!r} then, {settings.get(k)!r} now" for k in {**saved, **settings} if saved.get(k) != settings.get(k)]
    if differing:
        raise LabError(f"the checkpoint {folder} belongs to another run ({'; '.join(differing)}): use those settings, or another folder")
    with torch.no_grad():
        for i, master in enumerate(optimizer.masters):
            master.copy_(tensors[f"master.{i}"])
            moments = {name: tensors[f"{name}.{i}"] for name in _MOMENTS if f"{name}.{i}" in tensors}
            if moments:  # AdamW keeps its step counts on the CPU, the moments beside the parameter
                optimizer.adamw.state[master] = {name: t if name == "step" else t.to(master.device) for name, t in moments.items()}
    optimizer.write_back()
    torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])
    history.interrupted = False
    return history
