"""Bytes behind tensors, each piece of memory once: what a model holds, and what a forward pass keeps for its backward pass.

A tensor is a view of a storage; tied weights, slices and reshapes share one. Saved tensors are seen through `torch.autograd.graph.saved_tensors_hooks`.
"""

from collections.abc import Iterable

import torch
from torch import Tensor


def held(tensors: Iterable[Tensor]) -> int:
    """Bytes of memory behind these tensors, shared memory once."""
    return sum({_place(t): t.untyped_storage().nbytes() for t in tensors}.values())


class Kept:
    """Counts what autograd saves within `with kept.counting():`, unless it lies in memory that is known (the model's) anyway, wherever that is by then."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        self.bytes = 0
        self._known, self._seen = list(known), set()

    def counting(self) -> torch.autograd.graph.saved_tensors_hooks:
        """The context in which the forward pass runs."""
        return torch.autograd.graph.saved_tensors_hooks(self._pack, lambda kept: kept)

    def _pack(self, tensor: Tensor) -> Tensor:
        place = _place(tensor)
        if place not in self._seen and not any(place == _place(t) for t in self._known):  # a sharded model's memory moves: it is looked up now
            self._seen.add(place)
            self.bytes += tensor.untyped_storage().nbytes()
        return tensor


def _place(tensor: Tensor) -> tuple[torch.device, int]:
    return tensor.device, tensor.untyped_storage().data_ptr()
