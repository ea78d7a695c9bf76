"""LoRA added into the weights, W = W_0 + s B A, and taken out again.

`merge` and `unmerge` keep the base's own tensors aside, so that what comes back is bit for bit what was there: subtracting s B A again would leave
rounding behind. `merge_and_unload` ends in a plain model, as fast as the base, and keeps nothing.

An output layer that is tied to the embedding gets a matrix of its own: merged into the shared one, its LoRA would change the embedding too.
In production: `merge_adapter`, `unmerge_adapter`, `merge_and_unload` of `peft.LoraModel`.
"""

from typing import Any

import torch
from torch import Tensor, nn

from llmsuite_lab.peft_methods.lora import LoRALinear, lora_layers
from llmsuite_lab.peft_methods.targets import is_transposed, put


def merge(model: nn.Module) -> nn.Module:
    """Add the active LoRAs into the weights, in place; the sum is taken in float32 and rounded once. Returns the model.

    Raises ValueError, with the model as it was, for no LoRA, one merged already, a weight that is not floating (int8: nothing can be added to it), an
    update that is not finite, and an output layer tied to the embedding of an encoder–decoder, whose family rescales when they are apart.
    """
    layers = lora_layers(model)
    if any(layer.merged for layer in layers.values()):
        raise ValueError("the LoRA is merged already, and merging twice would add it twice: unmerge it first")
    layers = {name: layer for name, layer in layers.items() if layer.active}
    merged = {name: _merged_weight(model, name, layer) for name, layer in layers.items()}
    for name, layer in layers.items():
        old = layer.base_layer.weight
        layer._base_weight[:] = [old]
        layer.base_layer.weight = nn.Parameter(merged[name], requires_grad=False)  # a new tensor: one that was tied is so no longer
        layer.merged = layer.active
    _note_tying(model)
    return model


def unmerge(model: nn.Module) -> nn.Module:
    """Put the base's own weights back, bit for bit, in place; a tied layer is tied again. Raises ValueError where nothing is merged."""
    layers = [layer for layer in lora_layers(model).values() if layer.merged]
    if not layers:
        raise ValueError("no LoRA is merged into this model: there is nothing to take out")
    for layer in layers:
        layer.base_layer.weight = layer._base_weight.pop()
        layer.merged = ()
    _note_tying(model)
    return model


def merge_and_unload(model: nn.Module) -> nn.Module:
    """Plain layers that hold W_0 + s B A, in place; nothing of the LoRA is left. Errors as `merge`; one that is merged already just loses its wrapper."""
    if not any(layer.merged for layer in lora_layers(model).values()):
        merge(model)
    return _unwrap(model)


def unload(model: nn.Module) -> nn.Module:
    """The base model as it was before any LoRA of ours, in place. Raises ValueError where there is none."""
    if any(layer.merged for layer in lora_layers(model).values()):
        unmerge(model)
    return _unwrap(model)


def _unwrap(model: nn.Module) -> nn.Module:
    for name, layer in lora_layers(model).items():
        put(model, name, layer.base_layer)
    return model


def _merged_weight(model: nn.Module, name: str, layer: LoRALinear) -> Tensor:
    weight = getattr(layer.base_layer, "weight", None)
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        kind = str(getattr(weight, "dtype", type(layer.base_layer).__name__)).removeprefix("torch.")
        raise ValueError(f"{name} is in {kind}, to which nothing can be added: use it unmerged, or load the model in float32, merge, and quantise then")
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False) and _is_tied(model, layer):
        raise ValueError(f"{name} is tied to the embedding, and this family rescales its output when they are apart: keep it unmerged")
    with torch.no_grad():
        delta = layer.delta(layer.active)
        delta = delta.t() if is_transposed(layer.base_layer) else delta
        if weight.shape != delta.shape:
            packed = f"{name} stores its weight packed, as {list(weight.shape)} for {list(delta.shape)}"
            raise ValueError(f"{packed}, to which nothing can be added: use it unmerged")
        total = (weight.to(delta.dtype) + delta).to(weight.dtype).contiguous()
    if not bool(total.isfinite().all()):
        raise ValueError(f"the merged weight of {name} is not finite: the training diverged")
    return total


def _ends(model: Any) -> tuple[Any, Any]:
    if not hasattr(model, "get_output_embeddings") or not hasattr(model, "get_input_embeddings"):
        return getattr(getattr(model, "embedding", None), "token", None), getattr(model, "unembedding", None)
    return model.get_input_embeddings(), model.get_output_embeddings()


def _is_tied(model: nn.Module, layer: LoRALinear) -> bool:
    table, head = _ends(model)
    return head is layer and getattr(table, "weight", None) is layer.base_layer.weight


def _note_tying(model: Any) -> None:
    """The config says whether output and embedding are one, so that a saved model comes back as it is."""
    table, head = _ends(model)
    config = getattr(model, "config", None)
    if table is not None and head is not None and getattr(config, "tie_word_embeddings", None) is not None:
        config.tie_word_embeddings = head.weight is table.weight
