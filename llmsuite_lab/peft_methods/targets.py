"""Which modules a method changes: named by pattern, checked before anything is touched.

    find_targets(model, ["q_proj", "layers.1?.mlp.*_proj"])   →   {"model.layers.0.self_attn.q_proj": Linear(...), ...}

A pattern is a module's name or the end of it, with shell wildcards (`*`, `?`, `[0-3]`); "all-linear" is every linear layer but the output layer.
One that matches nothing is an error: a method that silently changes no layer trains nothing, and the loss curve does not tell.
In production: `target_modules` of `peft.LoraConfig`.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from llmsuite_lab.core.errors import unknown

ALL_LINEAR = "all-linear"


def find_targets(model: nn.Module, patterns: Sequence[str]) -> dict[str, nn.Module]:
    """The linear layers that the patterns name, by full name, in the model's order.

    Raises ValueError for no pattern, for one that no module is called (with the nearest name), and for one that names no linear layer.
    """
    if isinstance(patterns, str) or not patterns or not all(isinstance(pattern, str) for pattern in patterns):
        raise ValueError(f"targets={patterns!r} must be a list of module names or patterns, such as ['q_proj', 'v_proj']")
    modules = _outer_modules(model)
    linear = {name: module for name, module in modules.items() if is_linear(module)}
    found: set[str] = set()
    for pattern in patterns:
        if pattern == ALL_LINEAR:
            head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else getattr(model, "unembedding", None)
            matched = [name for name, module in linear.items() if module is not head]
        else:
            matched = [name for name in linear if matches(name, pattern)]
        if not matched:
            others = [name for name in modules if name and matches(name, pattern)]
            if others:
                kind = type(modules[others[0]]).__name__
                raise ValueError(f"{pattern!r} names {others[0]}, which is a {kind}: this method changes linear layers only")
            raise ValueError(unknown("module", pattern, sorted({name.rpartition(".")[2] for name in linear})))
        found.update(matched)
    return {name: module for name, module in linear.items() if name in found}


def matches(name: str, pattern: str) -> bool:
    """Whether `name`, or the end of it after a dot, is what the pattern says."""
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")


def is_linear(module: nn.Module) -> bool:
    """Whether a module maps (…, d_in) to (…, d_out): a Linear, GPT-2's Conv1D, a quantised one or a wrapped one."""
    return _is_conv1d(module) or all(isinstance(getattr(module, name, None), int) for name in ("in_features", "out_features"))


def dimensions(layer: nn.Module) -> tuple[int, int]:
    """(d_out, d_in) of a linear layer, however its matrix is stored."""
    if _is_conv1d(layer):
        return layer.weight.shape[1], layer.weight.shape[0]  # stored as (d_in, d_out)
    return layer.out_features, layer.in_features


def is_transposed(layer: nn.Module) -> bool:
    """Whether the layer stores W as (d_in, d_out)."""
    return _is_conv1d(layer)


def check_rank(rank: Any, layers: dict[str, nn.Module]) -> None:
    """Raise ValueError unless `rank` is a whole number from 1 to the smaller dimension of every layer."""
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise ValueError(f"rank={rank!r} must be a whole number from 1")
    for name, layer in layers.items():
        if rank > min(dimensions(layer)):
            raise ValueError(f"rank={rank} is over the rank of {name}, whose matrix is {' × '.join(map(str, dimensions(layer)))}")


def freeze(model: nn.Module) -> None:
    """Nothing of the model is trained until a method says so."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)


def layer_called(model: nn.Module, name: str) -> nn.Module:
    """The module of that full name. Raises ValueError where there is none, with the nearest name."""
    modules = dict(model.named_modules())
    if name not in modules:
        raise ValueError(unknown("layer", name, [known for known in modules if known]))
    return modules[name]


def put(model: nn.Module, name: str, module: nn.Module) -> None:
    """Let `module` stand in the place of that name. It takes over the mode, training or not, of what stood there. Raises as `layer_called`."""
    module.train(layer_called(model, name).training)
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)


def _outer_modules(model: nn.Module) -> dict[str, nn.Module]:
    """All modules by name, without what lies inside a wrapped layer."""
    found = dict(model.named_modules())
    inside = tuple(f"{name}." for name, module in found.items() if hasattr(module, "base_layer"))
    return {name: module for name, module in found.items() if not name.startswith(inside)}


def _is_conv1d(module: nn.Module) -> bool:
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf")
