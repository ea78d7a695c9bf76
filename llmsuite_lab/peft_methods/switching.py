"""Adapters off for a while: the base model as it was, without a second copy of it.

    with adapters_off(model):  logits = model(...)      # the reference π_ref of RLHF, or the untuned baseline

In production: `PeftModel.disable_adapter`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Every LoRA, bottleneck and soft prompt in the model does nothing inside the block, merged ones too; blocks may be nested.

    Not for several threads at once: they share the modules. Raises ValueError for a model that carries none of ours.
    """
    switched = {module: module.enabled for module in model.modules() if isinstance(getattr(module, "enabled", None), bool)}
    if not switched:
        raise ValueError("the model carries no adapter that could be switched off: add one, or use the model as it is")
    try:
        for module in switched:
            module.enabled = False
        yield
    finally:
        for module, before in switched.items():
            module.enabled = before
