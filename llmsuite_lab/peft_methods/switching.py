"""Adapters off for a while: the base model as it was, without a second copy of it.

    with adapters_off(model):  logits = model(...)           # the reference π_ref of RLHF, or the untuned baseline
    with wearing(model, "reward"):  hidden = model(...)      # another LoRA of the same base, in place of those that are active

In production: `PeftModel.disable_adapter`, `set_adapter`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from llmsuite_lab.core.errors import unknown
from llmsuite_lab.peft_methods.lora import lora_layers, names


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


@contextmanager
def wearing(model: nn.Module, name: str) -> Iterator[None]:
    """The LoRA of that name, and no other, is added up inside the block; what is trained stays as it was. Not for several threads at once.

    Raises ValueError for a model without a LoRA, and an unknown name.
    """
    layers = lora_layers(model)
    if name not in names(model):
        raise ValueError(unknown("adapter", name, names(model)))
    before = {layer: layer.active for layer in layers.values()}
    try:
        for layer in before:
            layer.active = (name,) if name in layer.A else ()
        yield
    finally:
        for layer, active in before.items():
            layer.active = active
