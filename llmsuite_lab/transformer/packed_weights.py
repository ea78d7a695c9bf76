"""One packed copy per model: made on first use, by one thread; made again when the model is no longer what was packed.

What tells that a model has changed, asked before every batch (measured on SmolLM2-135M: 6 ms in bfloat16, 11 ms in float32, on one core, for the
tensors; 1.2 ms for settings and buffers):

- its modules (another class, a hook, a wrapped or swapped layer), what they are set to (a norm's ε, a scale; `settings.settings`), their
  buffers (rotary frequencies) and its tensors' addresses: exact;
- each tensor's version counter, which an optimizer step or any other write in place raises: exact;
- writes that raise no counter (through `.data`, numpy or shared memory): all values of a tensor of up to 65,536 numbers, and of a larger one every s-th
  number, s so chosen that every row and every column is met. An edit of a tensor, a row or a column as a whole changes one of them. What goes
  unnoticed is an edit of single numbers in a large matrix, made through `.data`: write `with torch.no_grad(): weight[i, j] = v` instead.
"""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Int
from torch import Tensor, nn

from llmsuite_lab.core.forks import ForkSafeLock, compute_safely
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.fast_decoder import FastDecoder
from llmsuite_lab.transformer.packing import choose_layout, hooked
from llmsuite_lab.transformer.settings import buffers, settings
from llmsuite_lab.transformer.views import decoder_view

EXACT = 65_536  # numbers; a tensor up to this size is compared whole
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # compared bit by bit: NaN equals itself, -0.0 is not 0.0


@dataclass
class _Packed:
    state: Hashable
    sample: list[Tensor]
    settings: dict[int, Hashable]
    called: frozenset[int]  # modules that the decoder calls as they are: what those hold is theirs to change
    decoder: FastDecoder | None  # None: only the model itself knows how it computes


_lock = ForkSafeLock()
_packed: "WeakKeyDictionary[nn.Module, _Packed]" = WeakKeyDictionary()


def packed(model: nn.Module) -> FastDecoder | None:
    """The model's weights as they are now, packed; None where the packed engine cannot drive it.

    Args:
        model: our `Decoder`, or a transformers Llama or GPT-2. Linear layers may be swapped or wrapped: those are called as they are.
    """
    compute_safely()  # comparing the sample is the first work on several threads
    with _lock:
        state, sample, held = _state(model), _sample(model), _held(model)
        known = _packed.get(model)
        if known is None or known.state != state or not all(map(torch.equal, known.sample, sample)) or _without(known.called, held) != known.settings:
            decoder = _pack(model)
            called = frozenset() if decoder is None else frozenset(map(id, decoder.called.modules()))
            known = _packed[model] = _Packed(state, sample, _without(called, held), called, decoder)
        return known.decoder


def _pack(model: nn.Module) -> FastDecoder | None:
    view = decoder_view(model)
    if view is None:
        return None
    weight = view.embedding.token.weight
    return FastDecoder(view, weight.dtype, choose_layout(weight.dtype, weight.device))


def _state(model: nn.Module) -> Hashable:
    modules = tuple((name, id(module), type(module), hooked(module)) for name, module in model.named_modules())
    tensors = tuple((p.data_ptr(), 0 if p.is_inference() else p._version, p.dtype, p.device) for p in model.parameters())
    config = getattr(model, "config", None)  # a transformers model asks it how many of its layers to call
    return modules, tensors, config if type(model) is Decoder or config is None else settings(config)


def _held(model: nn.Module) -> dict[int, Hashable]:
    """What each module is set to, and its buffers: whole up to EXACT numbers, by address and version counter beyond."""
    return {id(module): (settings(module), buffers(module, EXACT)) for module in model.modules()}


def _without(called: frozenset[int], held: dict[int, Hashable]) -> dict[int, Hashable]:
    return {module: values for module, values in held.items() if module not in called}


@torch.no_grad()
def _sample(model: nn.Module) -> list[Tensor]:
    """Numbers of every parameter, as bits: one tensor per device and size of number."""
    groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for p in model.parameters():
        bits = _numbers(p.detach()).view(_INTEGERS[p.element_size()])
        groups.setdefault((bits.device, bits.dtype), []).append(bits)
    return [torch.cat(parts) for parts in groups.values()]


def _numbers(p: Tensor) -> Int[Tensor, " sampled"]:
    if p.numel() <= EXACT or p.dim() < 2 or not p.is_contiguous():
        return p.flatten()
    step = _step(p.shape[0], p.numel() // p.shape[0])
    return p.as_strided((-(-p.numel() // step),), (step,))


@cache
def _step(rows: int, columns: int) -> int:
    """The largest step below both that shares no factor with `columns`: stepping through a matrix by it meets every row and every column."""
    step = max(1, min(rows, columns) - 1)
    while math.gcd(step, columns) != 1:
        step -= 1
    return step
