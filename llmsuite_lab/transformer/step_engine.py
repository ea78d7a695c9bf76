"""What writes token by token with a compiled step: one C++ call a token and row, after the prompt was read by another engine.

    step(x, row, logits)      x: the token's embedding;  row: its keys and values so far, which grow by one position;  logits: what follows

`q4_engine` has the step for a GGUF's 4-bit codes, `bitnet.bit_engine` the one for packed one-bit weights; `decode.h` is what their sources share.
"""

import ctypes
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmsuite_lab.core.forks import compute_safely
from llmsuite_lab.transformer.config import TransformerConfig
from llmsuite_lab.transformer.fast_decoder import CACHE_CHUNK
from llmsuite_lab.transformer.layout import check_rows
from llmsuite_lab.transformer.positions import rotary_angles

PATHS = {"portable": 0, "avx2": 1, "vnni": 2}
HEADER = Path(__file__).with_name("decode.h")
_p, _n, _i = ctypes.c_void_p, ctypes.c_longlong, ctypes.c_int
ARGUMENTS = [_p, _p, _p, _n, _n, _p, _p, _p, _p, _i, _i]  # model, x, cache, capacity, position, cos, sin, logits, trace, path, threads


class Step:
    """A model as a compiled step takes it: `call` is the C function, `path` a number of PATHS; whoever builds one sets `model`, the C structure."""

    model: ctypes.Structure

    def __init__(self, config: TransformerConfig, call: ctypes._CFuncPtr, path: int) -> None:
        call.argtypes, call.restype = ARGUMENTS, None
        self.config, self.call, self.path, self.kept = config, call, path, []

    def keep(self, tensor: Tensor) -> int:
        """Where the numbers of a tensor lie, which the step holds from now on."""
        self.kept.append(tensor.detach().contiguous())
        return self.kept[-1].data_ptr()

    def __call__(self, x: Float[Tensor, " d_model"], row: "StepRow", logits: Float[Tensor, " vocabulary"], trace: Tensor | None = None) -> None:
        """`logits` after the token whose embedding is `x` (overwritten), appended to `row`; `trace` (layers, d_model) takes x after each layer.

        Raises ValueError for tensors of another shape or type: the kernel writes into them.
        """
        c, held = self.config, (x, logits, row.cache[:, :, 0], *([] if trace is None else [trace]))
        wanted = ((c.d_model,), (c.vocab_size,), (c.n_layers, 2 * c.kv_heads, c.head_width), (c.n_layers, c.d_model))
        for tensor, shape in zip(held, wanted):
            if tuple(tensor.shape) != shape or tensor.dtype != torch.float32 or tensor.device.type != "cpu":
                raise ValueError(f"{shape} floats on the CPU are needed here, got {tensor.dtype} {tuple(tensor.shape)} on {tensor.device}")
        if not (x.is_contiguous() and logits.is_contiguous() and (trace is None or trace.is_contiguous())):
            raise ValueError("x, logits and trace must be contiguous")
        compute_safely()
        row.make_room()
        at = row.length * row.cos.shape[1] * 4
        angles = (row.cos.data_ptr() + at, row.sin.data_ptr() + at)
        cache = (row.cache.data_ptr(), row.cache.shape[2], row.length)
        traced = None if trace is None else trace.data_ptr()
        self.call(ctypes.addressof(self.model), x.data_ptr(), *cache, *angles, logits.data_ptr(), traced, self.path, torch.get_num_threads())
        row.length += 1


class StepRow:
    """Keys and values of one row, `cache` (layers, 2·kv_heads, capacity, d_head) in float32, and the angles of as many positions; `length` are taken."""

    def __init__(self, keys_values: Float[Tensor, "layers kv2 length d_head"], rotary_base: float) -> None:
        self.base, self.length, self.cache = rotary_base, keys_values.shape[2], keys_values
        self._grow()

    def make_room(self) -> None:
        """Have place for one more token: the cache grows by need, as the packed engine's does."""
        if self.length == self.cache.shape[2]:
            self._grow()

    def _grow(self) -> None:
        old, capacity = self.cache, self.length + max(CACHE_CHUNK, self.length // 2)
        self.cache = torch.zeros(*old.shape[:2], capacity, old.shape[3])
        self.cache[:, :, : self.length] = old
        self.cos, self.sin = rotary_angles(torch.arange(capacity), old.shape[3], self.base)


class StepEngine:
    """The state of one batch whose prompts were read: `table` has the tokens' embeddings. Verbs and errors as `packed_engine.PackedEngine`."""

    def __init__(
        self, step: Step, table: Float[Tensor, "vocabulary d_model"], rows: Sequence[StepRow], logits: Float[Tensor, "rows vocabulary"]
    ) -> None:
        self.step, self.table, self.rows, self.logits = step, table, list(rows), logits

    def advance(self, tokens: Int[Tensor, " rows"]) -> None:
        """Append one token to each row and compute the logits of what follows it."""
        self.logits = torch.empty(len(self.rows), self.step.config.vocab_size)
        for token, row, logits in zip(tokens.tolist(), self.rows, self.logits):
            self.step(self.table[token].float().clone(), row, logits)

    def select(self, rows: Sequence[int]) -> None:
        """Keep only these rows, in this order; none twice, since a cache is written in place."""
        check_rows(rows, len(self.rows))
        if len(set(rows)) < len(rows):
            raise ValueError(f"rows={list(rows)} names a row twice: each has one cache, which it writes to")
        self.rows, self.logits = [self.rows[i] for i in rows], self.logits[torch.tensor(rows)]
