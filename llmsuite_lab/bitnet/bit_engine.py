"""The engine that writes one row with packed one-bit weights: `kernels/bit_step.cpp` computes a token in one call, the prompt is read layer by layer.

    time of a token ≈ bytes read / the memory's speed: 2 or 1.6 bits a weight of the blocks, and the output matrix as it is

`generation.engine_for` takes it for one prompt and a model of `PackedLinear` in float32 on a CPU that has the kernel; elsewhere, and for several prompts
(which read the weights once together), the model's own forward pass writes. Both compute the same whole numbers; what float rounding changes is said in
`generation`, and an activation half-way between two whole numbers may go either way. In production: microsoft/BitNet, llama.cpp's TQ2_0.
"""

import ctypes
import warnings
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import nn

from llmsuite_lab.bitnet.kernels import cpu
from llmsuite_lab.bitnet.linear import BitLinear
from llmsuite_lab.bitnet.model import bit_decoder
from llmsuite_lab.bitnet.packed_linear import PackedLinear
from llmsuite_lab.bitnet.packing import rows_a_byte
from llmsuite_lab.bitnet.quantize import EPSILON
from llmsuite_lab.core.errors import LabError, unknown
from llmsuite_lab.core.native import load
from llmsuite_lab.transformer.cached_engine import CachedEngine
from llmsuite_lab.transformer.config import TransformerConfig
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.packing import hooked
from llmsuite_lab.transformer.settings import as_built
from llmsuite_lab.transformer.step_engine import PATHS, Step, StepEngine, StepRow

SOURCE = cpu.SOURCE.with_name("bit_step.cpp")
MATRICES = {"q": "attention.W_Q", "k": "attention.W_K", "v": "attention.W_V", "o": "attention.W_O"} | {
    name: f"feed_forward.W_{name}" for name in ("gate", "up", "down")
}
_p, _n, _f = ctypes.c_void_p, ctypes.c_longlong, ctypes.c_float


class _Matrix(ctypes.Structure):
    _fields_ = [("w", _p), ("norm", _p), ("rows", _n), ("columns", _n), ("scale", _f)]


class _Block(ctypes.Structure):
    _fields_ = [(name, _Matrix) for name in MATRICES]


class _Model(ctypes.Structure):
    _sizes = [(name, _n) for name in ("blocks", "d", "heads", "kv", "dh", "ff", "vocabulary", "rows_a_byte")]
    _fields_ = [*_sizes, ("scale", _f), ("eps", _f), ("least", _f), ("block", _p), ("norm", _p), ("head", _p)]


@lru_cache
def library() -> ctypes.CDLL:
    """The compiled step. Raises LabError where it cannot be had, with the reason."""
    return load(SOURCE, *cpu.HEADERS)


class BitStep(Step):
    """A packed one-bit model as `bit_step.cpp` takes it, its tensors not copied. `path`: one of `kernels.cpu.paths()`, by default the fastest.

    Raises ValueError for a model that the step cannot compute, with the reason, and for a path that is not here; LabError as `library`.
    """

    def __init__(self, model: Decoder, path: str | None = None) -> None:
        if reason := unfit(model):
            raise ValueError(f"the one-bit step cannot write with this model: {reason}")
        here = cpu.paths()
        if path is not None and path not in here:
            raise ValueError(unknown("path", path, here))
        super().__init__(model.config, library().bit_step, PATHS[path or here[-1]])
        c, blocks = self.config, (_Block * len(model.stack.blocks))()
        for into, block in zip(blocks, model.stack.blocks):
            for name, part in MATRICES.items():
                setattr(into, name, self._matrix(block.get_submodule(part)))
        self.kept.append(blocks)
        sizes = (len(blocks), c.d_model, c.n_heads, c.kv_heads, c.head_width, c.d_ff, c.vocab_size, rows_a_byte(_form(model)))
        scale = c.attention_scale if c.attention_scale is not None else c.head_width**-0.5
        ends = (self.keep(model.stack.final_norm.weight), self.keep(model.unembedding.weight))
        self.model = _Model(*sizes, scale, c.norm_eps, EPSILON, ctypes.addressof(blocks), *ends)

    def _matrix(self, layer: PackedLinear) -> _Matrix:
        return _Matrix(self.keep(layer.packed), self.keep(layer.norm.weight), *layer.shape, float(layer.scale))


def engine(model: nn.Module, prompts: Sequence[Sequence[int]], room: int) -> StepEngine | None:
    """What writes with a packed one-bit model; None where the model's own forward pass is to: several prompts, no kernel, a model that is `unfit`.

    Raises ValueError as `layout.check_prompts`.
    """
    if len(prompts) != 1 or cpu.why_not() is not None or unfit(model) is not None:
        return None
    try:
        step = BitStep(model)
    except LabError as error:
        warnings.warn(f"the one-bit model writes layer by layer, slower: {error}", stacklevel=2)
        return None
    read = CachedEngine(model, prompts, room)
    layers = [torch.cat((layer.keys, layer.values), 1)[0] for layer in read.cache.self_attention]
    return StepEngine(step, model.embedding.token.weight.detach(), [StepRow(torch.stack(layers), model.config.rotary_base)], read.logits)


def unfit(model: nn.Module) -> str | None:
    """Why the step does not compute this model's function, or None where it does: a one-bit Llama as `model.packed` makes it, nothing changed, float32."""
    if type(model) is not Decoder:
        return f"it is a {type(model).__name__}, no transformer.decoder.Decoder"
    c = model.config
    llama = (c.norm, c.positions, c.gated, c.activation, c.pre_norm) == ("rms", "rotary", True, "silu", True)
    if not llama or c.attention_bias or c.feed_forward_bias or c.logit_bias or c.scale_embedding or c.embedding_norm or c.n_segments or c.logit_scale != 1:
        return "its config has parts that Llama has not"
    fresh, found = dict(_fresh(c).named_modules(remove_duplicate=False)), dict(model.named_modules(remove_duplicate=False))
    if set(fresh) != set(found):
        return "it has other layers than a one-bit Llama"
    for name, layer in found.items():
        built = fresh[name]
        if type(built) is BitLinear:
            same = type(layer) is PackedLinear and tuple(layer.shape) == tuple(built.weight.shape)
        else:
            same = type(layer) is type(built) and as_built(layer, built, c)
        if not same or hooked(layer):
            return f"{name or 'the model'} is not as built: {type(layer).__name__}"
    if len({layer.form for layer in found.values() if isinstance(layer, PackedLinear)}) > 1:
        return "its matrices are packed in both forms"
    strange = [t for t in model.parameters() if t.dtype != torch.float32 or t.device.type != "cpu"]
    return f"it holds {strange[0].dtype} on {strange[0].device}, and the step takes float32 on the CPU" if strange else None


@lru_cache(maxsize=8)
def _fresh(config: TransformerConfig) -> Decoder:
    with torch.device("meta"):
        return bit_decoder(config)


def _form(model: Decoder) -> str:
    return next(layer.form for layer in model.modules() if isinstance(layer, PackedLinear))
