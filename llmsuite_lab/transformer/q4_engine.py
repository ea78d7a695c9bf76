"""The engine that writes from a GGUF's own 4-bit codes: `q4_step.cpp` computes a token in one call, the prompt is read by the packed engine.

    writing one token reads every weight once      time ≈ bytes / memory's speed: 5 bits a weight instead of 16 or 32
    y = Σ_groups s · (d Σ code·q + m Σ q)          x ≈ s · q, int8 in groups of 32: |x − s q| ≤ s / 2, and nothing else is rounded

Rows are written one by one, each from a cache of its own in float32, so a row's text does not depend on its neighbours after the prompt. Adapters are
merged before (`q4_weights`); a model that is changed afterwards is written by the packed engine again, with one warning. In production: llama.cpp.
"""

import ctypes
import warnings
import weakref
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from llmsuite_lab.core.errors import LabError, unknown
from llmsuite_lab.core.native import load
from llmsuite_lab.transformer.fast_decoder import FastDecoder
from llmsuite_lab.transformer.generation import Engine, EngineFactory, engine_for
from llmsuite_lab.transformer.packed_engine import PackedEngine
from llmsuite_lab.transformer.packed_weights import packed
from llmsuite_lab.transformer.q4_weights import NAMES, Q4Matrix, Q4Weights
from llmsuite_lab.transformer.step_engine import HEADER, PATHS, Step, StepEngine, StepRow
from llmsuite_lab.transformer.views import decoder_view

SOURCE = Path(__file__).with_name("q4_step.cpp")
_p, _n, _f = ctypes.c_void_p, ctypes.c_longlong, ctypes.c_float


class _Matrix(ctypes.Structure):
    _fields_ = [("w", _p), ("rows", _n), ("columns", _n), ("bits", ctypes.c_int)]


class _Layer(ctypes.Structure):
    _fields_ = [("norm1", _p), ("norm2", _p), *((name, _Matrix) for name in NAMES)]


class _Model(ctypes.Structure):
    _sizes = [(name, _n) for name in ("layers", "d", "heads", "kv", "dh", "ff")]
    _fields_ = [*_sizes, ("eps", _f), ("scale", _f), ("layer", _p), ("norm", _p), ("head", _Matrix)]


@lru_cache
def library() -> ctypes.CDLL:
    """The compiled step. Raises LabError where it cannot be had, with the reason."""
    return load(SOURCE, HEADER)


def paths() -> list[str]:
    """What this processor can run, slowest first: "portable", then "avx2" and "vnni" where it has them. Raises LabError as `library`."""
    best = library().q4_best()
    return [name for name, number in PATHS.items() if number <= best]


def why_not() -> str | None:
    """Why the 4-bit step is not for this machine, or None where it is: without vector instructions the packed engine is the better one."""
    try:
        return None if paths()[-1] != "portable" else "this processor has neither AVX2 nor AVX-512"
    except LabError as error:
        return str(error)


class Q4Step(Step):
    """A Llama as `q4_step.cpp` takes it: codes from `weights`, norms and sizes from `view`. `path`: one of `paths()`, by default the fastest."""

    def __init__(self, view: nn.Module, weights: Q4Weights, path: str | None = None) -> None:
        here = paths()
        if path is not None and path not in here:
            raise ValueError(unknown("path", path, here))
        super().__init__(view.config, library().q4_step, PATHS[path or here[-1]])
        c, self.weights = self.config, weights
        blocks = view.stack.blocks
        layers = (_Layer * len(blocks))()
        for into, block, matrices in zip(layers, blocks, weights.layers):
            into.norm1, into.norm2 = self._floats(block.attention_norm.weight), self._floats(block.feed_forward_norm.weight)
            for name, matrix in matrices.items():
                setattr(into, name, _matrix(matrix))
        self.kept.append(layers)
        sizes = (len(blocks), c.d_model, c.n_heads, c.kv_heads, c.head_width, c.d_ff)
        scale = c.attention_scale if c.attention_scale is not None else c.head_width**-0.5
        norm = self._floats(view.stack.final_norm.weight)
        self.model = _Model(*sizes, c.norm_eps, scale, ctypes.addressof(layers), norm, _matrix(weights.head))

    def _floats(self, norm: Tensor) -> int:
        return self.keep(norm.detach().float().clone())


def _matrix(matrix: Q4Matrix) -> _Matrix:
    return _Matrix(matrix.blocks.ctypes.data, *matrix.shape, matrix.bits)


def _started(step: Q4Step, decoder: FastDecoder, prompts: Sequence[Sequence[int]], room: int) -> StepEngine:
    read = PackedEngine(decoder, prompts, room)
    together = torch.stack(read.cache, 1)[:, :, :, : read.length]  # rows, layers, 2 kv_heads, columns, d_head
    rows = [StepRow(held[:, :, real], decoder.config.rotary_base) for held, real in zip(together, read.real[:, : read.length])]
    return StepEngine(step, decoder.table, rows, read.logits)


def q4_engine(model: nn.Module, file: Path, merged: bool = False, path: str | None = None) -> EngineFactory:
    """What generates with `model`, a transformers Llama whose weights came from the GGUF `file`, from the file's own codes.

    `merged`: an adapter was added to the weights; the matrices that it changed are kept in 8 bits. Raises LabError for a model that the step cannot
    compute (another family, biases, an adapter beside the weights, a GPU), for a file that is not the model's, and as `library`; ValueError for a
    path that is not here.
    """
    decoder, view = packed(model), decoder_view(model)
    if reason := _unfit(view, decoder):
        raise LabError(f"the 4-bit step cannot write with this {type(model).__name__}: {reason}")
    weights = Q4Weights(view, file, merged)
    if weights.rounded and not merged:
        first = weights.rounded[0]
        warnings.warn(f"{len(weights.rounded)} matrices of {file} have another format and are rounded to 8 bits (first: {first})", stacklevel=2)
    step = Q4Step(view, weights, path)
    made_for, said = weakref.ref(decoder), []

    def start(prompts: Sequence[Sequence[int]], room: int) -> Engine:
        now = packed(model)
        if now is not None and now is made_for():
            return _started(step, now, prompts, room)
        if not said:
            said.append(True)
            warnings.warn("the model was changed after its 4-bit codes were read: it is written by its own weights again, and slower", stacklevel=2)
        return engine_for(model)(prompts, room)

    return start


def _unfit(view: nn.Module | None, decoder: FastDecoder | None) -> str | None:
    if view is None or decoder is None:
        return "it is no Llama as published"
    c = view.config
    if (c.norm, c.positions, c.gated, c.activation, c.pre_norm) != ("rms", "rotary", True, "silu", True):
        return "it has another norm, other positions or another activation than Llama's"
    if c.attention_bias or c.feed_forward_bias:
        return "its matrices have biases"
    if len(decoder.called):
        return "a layer of it is no plain matrix (merge or unload its adapter first)"
    return None if decoder.device.type == "cpu" else f"it lies on {decoder.device}, and the step is for CPUs"
