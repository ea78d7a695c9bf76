"""Selective tuning: nothing is added; a few of the model's own parameters are trained, the others stay.

    BitFit         h = W x + b          b trained, W frozen
    norms          y = γ ⊙ x̂ (+ β)     γ and β trained
    last layers    the last n blocks, whole
    by pattern     any parameters by name

Which ones is the whole method: a model has 0.1 % of its numbers in biases, a few thousandths of that in norms. Many models of today have no biases;
`train_biases(add=True)` gives their linear layers zero ones, with which the model starts as it was.

Sources: Ben Zaken et al. 2022 (BitFit); Zhao et al. 2024 (norms). In production: `requires_grad_`, `peft.LNTuningConfig`.
"""

import dataclasses
from collections.abc import Sequence

import torch
from torch import nn

from llmsuite_lab.core.errors import unknown, whole
from llmsuite_lab.peft_methods.targets import ALL_LINEAR, dimensions, find_targets, freeze, matches
from llmsuite_lab.transformer.config import TransformerConfig


def train_only(model: nn.Module, patterns: Sequence[str]) -> nn.Module:
    """Freeze everything but the parameters that the patterns name ("*.bias", "layers.29.*", "lm_head.weight"). Returns the model.

    A pattern is a parameter's name or the end of it, with shell wildcards. One that is tied to another name is trained under both. Raises ValueError,
    with the model as it was, for no pattern, one that names no parameter (with the nearest name), and parameters that are not floating (int8).
    """
    if isinstance(patterns, str) or not patterns or not all(isinstance(pattern, str) for pattern in patterns):
        raise ValueError(f"patterns={patterns!r} must be a list of parameter names or patterns, such as ['*.bias']")
    found = dict(model.named_parameters(remove_duplicate=False))
    chosen: dict[str, nn.Parameter] = {}
    for pattern in patterns:
        matched = {name: p for name, p in found.items() if matches(name, pattern)}
        if not matched:
            raise ValueError(unknown("parameter", pattern, sorted({".".join(name.split(".")[-2:]) for name in found})))
        chosen |= matched
    if packed := [name for name, p in chosen.items() if not p.is_floating_point()]:
        raise ValueError(f"{packed[0]} is in {str(chosen[packed[0]].dtype).removeprefix('torch.')}, which cannot be trained: name others")
    freeze(model)
    for p in chosen.values():
        p.requires_grad_(True)
    return model


def train_biases(model: nn.Module, add: bool = False) -> nn.Module:
    """BitFit: every bias, and nothing else. `add`: linear layers without one, but the output layer, get one of zeros first. Returns the model.

    Raises ValueError for a model without any, unless they are added.
    """
    if add:
        add_biases(model, [ALL_LINEAR])
        note_biases(model)
    names = [name for name, _ in model.named_parameters() if name.rpartition(".")[2] in ("bias", "beta")]
    if not names:
        raise ValueError("the model has no biases to train, as many models of today: add=True gives its linear layers some, or use train_norms")
    return train_only(model, names)


def train_norms(model: nn.Module) -> nn.Module:
    """Scale and shift of every normalisation, and nothing else. Returns the model. Raises ValueError for a model without any."""
    norms = [module for module in model.modules() if "norm" in type(module).__name__.lower()]
    inside = {id(p) for module in norms for p in module.parameters()}
    names = [name for name, p in model.named_parameters() if id(p) in inside]
    if not names:
        raise ValueError(f"{type(model).__name__} has no normalisation with parameters to train: use train_only with patterns of your own")
    return train_only(model, names)


def train_last_layers(model: nn.Module, n: int = 1) -> nn.Module:
    """The last `n` blocks, whole, and nothing else. Returns the model. Raises ValueError for n below 1 or over the number of blocks."""
    name, blocks = _blocks(model)
    whole("n", n, 1, len(blocks))
    return train_only(model, [f"{name}.{i}.*" for i in range(len(blocks) - n, len(blocks))])


def add_biases(model: nn.Module, targets: Sequence[str]) -> None:
    """A bias of zeros for each target layer that has none and whose weight is floating. Raises as `targets.find_targets`."""
    for layer in find_targets(model, targets).values():
        if isinstance(layer, nn.Linear) and layer.bias is None and layer.weight.is_floating_point():
            layer.bias = nn.Parameter(torch.zeros(dimensions(layer)[0], dtype=layer.weight.dtype, device=layer.weight.device))


def note_biases(model: nn.Module) -> None:
    """The config says that there are biases, so that a saved model comes back with them (Llama's has words for it, and ours)."""
    config = getattr(model, "config", None)
    if isinstance(config, TransformerConfig):
        model.config = dataclasses.replace(config, attention_bias=True, feed_forward_bias=True)
        return
    for name in ("attention_bias", "mlp_bias"):
        if hasattr(config, name):
            setattr(config, name, True)


def _blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The list of blocks: the one that holds the most parameters."""
    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module)}
    if not lists:
        raise ValueError(f"{type(model).__name__} has no list of layers: name its parameters with train_only")
    return max(lists.items(), key=lambda item: sum(p.numel() for p in item[1].parameters()))
