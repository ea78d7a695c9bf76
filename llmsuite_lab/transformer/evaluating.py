"""Dropout off while a model is asked, on while it is trained, and afterwards as it was: also when several threads ask it at once.

A model may hold parts in either mode (a frozen trunk that stays in eval mode, say), so every module is put back as it was found, not all alike.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from torch import nn

from llmsuite_lab.core.forks import ForkSafeLock

_lock = ForkSafeLock()
_asked: "WeakKeyDictionary[nn.Module, int]" = WeakKeyDictionary()  # modules switched off, and how many blocks want them so


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """`model` in eval mode within the block. The last block to end puts each module back as the first one found it."""
    with _lock:
        mine = [module for module in model.modules() if module.training or module in _asked]
        for module in mine:
            _asked[module] = _asked.get(module, 0) + 1
            module.training = False
    try:
        yield
    finally:
        with _lock:
            for module in mine:
                _asked[module] -= 1
                if not _asked[module]:
                    del _asked[module]
                    module.training = True


@contextmanager
def training(model: nn.Module) -> Iterator[None]:
    """`model` in training mode within the block; afterwards each module is as it was found, and new parts are as the whole."""
    whole, before = model.training, [(module, module.training) for module in model.modules()]
    model.train()
    try:
        yield
    finally:
        model.train(whole)  # parts that were put in within the block
        for module, mode in before:
            module.training = mode
