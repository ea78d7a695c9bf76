"""What PEFT has no format for: bottleneck adapters and selected parameters, in a folder of the same build.

    adapter_config.json          peft_type TRAINED_PARAMETERS, parameters (their names), bottlenecks (their layers and size, or none)
    adapter_model.safetensors    one tensor a trained parameter, under the model's own name for it: model.norm.weight, model.layers.0.….W_down, …

It is written and checked as any adapter (`lm.adapters`): whole, with the checksums of its provenance, and loaded wholly or refused. peft refuses it for
its type. LoRAs, soft prompts and what is left of an adaptive rank are in PEFT's own format: `files`. Nothing in production reads this folder; a model with
selected parameters trained can be saved whole instead, by `save_pretrained`.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from llmsuite_lab.core.errors import LabError, unknown
from llmsuite_lab.core.files import load_tensors
from llmsuite_lab.lm.adapters import CONFIG, WEIGHTS, adapter_path, write_adapter, zoo_name
from llmsuite_lab.lm.merging import misfit, refuse_another_base
from llmsuite_lab.peft_methods.adapters import Bottleneck, add_adapters
from llmsuite_lab.peft_methods.selective import add_biases, note_biases
from llmsuite_lab.peft_methods.targets import dimensions, find_targets, freeze

TYPE = "TRAINED_PARAMETERS"
_PARTS = ("W_down", "b_down", "W_up", "b_up")


def save_parameters(folder: Path, model: nn.Module, provenance: dict[str, Any] | None = None, *, base: str | None = None) -> Path:
    """Write the parameters that are trained (those that require a gradient), in their own dtype, whole or not at all. Returns the folder.

    base: zoo name or hub id of the model they belong to; by default the name the model has. Raises ValueError where nothing or everything is trained,
    for a LoRA or a soft prompt (`files.save`), and for values that are not finite; LabError for a folder that holds something else.
    """
    found = dict(model.named_parameters(remove_duplicate=False))
    state = {name: p for name, p in found.items() if p.requires_grad}
    if not state or len(state) == len(found):
        what = "nothing of the model is" if not state else "all of the model's parameters are"
        raise ValueError(f"{what} trained, and this folder holds a few: prepare it with a method first, or use save_pretrained for a whole model")
    wrapped = {name: m for name, m in model.named_modules() if hasattr(m, "base_layer") or hasattr(m, "P")}
    if others := [m for m in wrapped.values() if not isinstance(m, Bottleneck)]:
        raise ValueError(f"the model has a {type(others[0]).__name__}, which belongs in PEFT's own format: use files.save, or finish an adaptive rank first")
    bottlenecks = {"targets": list(wrapped), "size": len(next(iter(wrapped.values())).W_down)} if wrapped else None
    config = {"peft_type": TYPE, "parameters": list(state), "bottlenecks": bottlenecks}
    base = base or zoo_name(getattr(getattr(model, "config", None), "_name_or_path", None))
    return write_adapter(Path(folder), (dict(state), config), provenance or {}, base=base, exact=True)


def load_parameters(model: nn.Module, folder: Path | str, train: bool = False) -> nn.Module:
    """Put the parameters of a folder into the model, in place: frozen with all the rest, or with `train` trained alone. Returns the model.

    Linear layers get a bias, and the layers named a bottleneck, where the folder has one for them. Raises ValueError, with the model as it was, for a
    folder that does not fit wholly, was made for another base or is of another kind; LabError for damaged files.
    """
    folder = adapter_path(folder)
    refuse_another_base(model, folder)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        kind, names, bottlenecks = config["peft_type"], list(config.get("parameters") or ()), config.get("bottlenecks")
        state = load_tensors(folder / WEIGHTS)
        targets, size = (list(bottlenecks["targets"]), bottlenecks["size"]) if bottlenecks else ([], 0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise LabError(f"the folder {folder} cannot be read ({error}): get it again, or save it again with save_parameters") from error
    if kind != TYPE:
        raise ValueError(f"the adapter in {folder} is {kind}, and {TYPE} is loaded here: use files.load")
    try:
        shapes, biases = _shapes(model, names, targets, size)
        wanted = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        if problem := misfit(state, wanted, {}, config):
            raise ValueError(problem)
        if targets:
            add_adapters(model, targets, size)
    except ValueError as error:
        raise ValueError(f"the adapter in {folder} does not fit this model: {error}") from error
    if biases:
        add_biases(model, biases)
        note_biases(model)
    freeze(model)
    own = dict(model.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, value in state.items():
            own[name].copy_(value)
            own[name].requires_grad_(train)
    return model


def _shapes(model: nn.Module, names: list[str], targets: list[str], size: int) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """Each named parameter's shape in this model, and the layers that have no bias yet. Raises ValueError for a name that has no place in it."""
    own: dict[str, tuple[int, ...]] = {name: tuple(p.shape) for name, p in model.named_parameters(remove_duplicate=False)}
    layers = find_targets(model, targets) if targets else {}
    for name, layer in layers.items():
        d = dimensions(layer)[0]
        own |= {f"{name}.{part}": shape for part, shape in zip(_PARTS, ((size, d), (size,), (d, size), (d,)))}
    biases = []
    for name in names:
        place, _, last = name.rpartition(".")
        layer = dict(model.named_modules()).get(place)
        if name not in own and last == "bias" and isinstance(layer, nn.Linear):
            own[name] = (layer.out_features,)
            biases.append(place)
        if name not in own:
            raise ValueError(unknown("parameter", name, [known for known in own if known.rpartition(".")[2] == last] or list(own)))
    return {name: own[name] for name in names}, biases
