"""A model as our `Decoder` sees it: the same tensors under our names, and whatever stands in the place of a linear layer taken as it is.

    view = decoder_view(model)      our Decoder: itself;  transformers' Llama or GPT-2: a Decoder that shares its tensors;  else None

A linear layer may have been swapped (a quantised one) or wrapped (a LoRA not merged): its output is what counts, so the module itself takes the
layer's place. Any other difference from the published architecture (another norm or ε, another scale or rotary frequency, an adapter between two blocks,
a hook) means that only the model's own forward is right, and there is no view.
"""

import re
from typing import Any

import torch
from torch import nn

from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.layers import Linear
from llmsuite_lab.transformer.names import NAMES
from llmsuite_lab.transformer.packing import Part, hooked, is_plain
from llmsuite_lab.transformer.published import published_config
from llmsuite_lab.transformer.settings import as_built
from llmsuite_lab.transformer.weights import from_state

FAMILIES = {"LlamaForCausalLM": "llama", "GPT2LMHeadModel": "gpt2"}


def decoder_view(model: nn.Module) -> Decoder | None:
    """`model` as a Decoder without a second copy of its weights, or None where a Decoder computes something else.

    GPT-2's matrices are stored the other way round, so those are copied.
    """
    if type(model) is Decoder:
        same = model.config.positions != "relative" and _differences(model, Decoder, (Linear, nn.Linear)) is not None
        return model if same else None
    family = FAMILIES.get(type(model).__name__)
    if family is None or type(model).__module__.split(".")[0] != "transformers":
        return None
    try:
        published_config(model.config.to_dict())
    except ValueError:  # an option that our modules do not compute, such as scaled rotary positions
        return None
    swapped = _differences(model, type(model), (nn.Linear, _conv1d()))
    return None if swapped is None else _shared(model, family, swapped)


def _differences(model: nn.Module, kind: type, linear: tuple[type, ...]) -> dict[str, nn.Module] | None:
    """What stands where a fresh model has a linear layer and is not plain, by name; None when anything else differs."""
    with torch.device("meta"):
        fresh = dict(kind(model.config).named_modules(remove_duplicate=False))
    slots = {name for name, module in fresh.items() if type(module) in linear}
    found = dict(model.named_modules(remove_duplicate=False))
    same = {name: (fresh[name].bias is None, fresh[name].weight.shape) for name in slots}
    swapped = {
        name: module
        for name, module in found.items()
        if name in slots and not (is_plain(module, linear) and (module.bias is None, module.weight.shape) == same[name])
    }
    inside = tuple(f"{name}." for name in swapped)
    rest = {name: module for name, module in found.items() if name not in slots and not name.startswith(inside)}
    expected = {name: type(module) for name, module in fresh.items() if name not in slots}
    if {name: type(module) for name, module in rest.items()} != expected or not slots <= set(found) or any(map(hooked, rest.values())):
        return None
    if not all(as_built(module, fresh[name], model.config) for name, module in rest.items()):
        return None
    return swapped


def _shared(model: Any, family: str, swapped: dict[str, nn.Module]) -> Decoder:
    inside = tuple(f"{name}." for name in swapped)
    state = {name: tensor.detach() for name, tensor in model.state_dict().items() if not name.startswith(inside)}
    with torch.device("meta"):
        fresh = type(model)(model.config).state_dict()
    state |= {name: tensor for name, tensor in fresh.items() if name.startswith(inside)}  # shapes only: the modules come below
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    tied = "lm_head" not in swapped and head.weight is table.weight  # what is so, whatever the config says
    with torch.inference_mode(any(p.is_inference() for p in model.parameters())):  # such tensors can be shared in that mode only
        view = from_state({**model.config.to_dict(), "tie_word_embeddings": tied}, state)
    rules = [(re.compile("^(?:transformer\\.)?" + re.escape(a).replace(r"\#", r"(\d+)") + "$"), b) for a, b in NAMES[family].items()]
    for name, module in swapped.items():
        (match, ours), *_ = ((m, b) for pattern, b in rules if (m := pattern.match(f"{name}.weight")))
        ours = (ours.replace("#", match[1]) if match.groups() else ours).removesuffix(".weight")
        if ours.endswith("W_QKV"):
            for i, letter in enumerate("QKV"):
                view.set_submodule(ours.replace("W_QKV", f"W_{letter}"), Part(module, i, 3))
        else:
            view.set_submodule(ours, module)
    return view


def _conv1d() -> type:
    from transformers.pytorch_utils import Conv1D

    return Conv1D
