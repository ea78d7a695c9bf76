"""Activation checkpointing: a block keeps its input alone, and backward computes the rest again just before it needs it.

    kept without     layers × (everything a block saves)
    kept with        layers × (its input) + one block's everything, at a price of one more forward pass: about a third more computation

Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost". Production: `torch.utils.checkpoint`, which this hangs around blocks;
`model.gradient_checkpointing_enable()` in transformers.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from llmsuite_lab.scaling.layout import outer_blocks


@contextmanager
def recomputed(model: nn.Module, blocks: Iterable[nn.Module] | None = None) -> Iterator[None]:
    """Within this block the model's blocks (default: the members of its outermost ModuleLists) are computed again in backward.

    Raises ValueError for a model without blocks.
    """
    given = outer_blocks(model) if blocks is None else list(blocks)
    if not given:
        raise ValueError(f"{type(model).__name__} has no ModuleList whose members could be computed again: name the blocks")
    for block in given:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        for block in given:
            del block.forward  # the class's own is there again
