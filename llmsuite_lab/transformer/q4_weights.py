"""The matrices of a GGUF file in the order in which a processor multiplies them: the file's own codes, moved and not rounded again.

    w = d · code + m      "Q4_1": 4-bit codes, d and m of each 32 columns in float16 (5 bits a weight);  "Q4_0": m = −8 d
    w = d · code          "Q8_0": 8-bit codes (8.5 bits a weight)

A matrix in another format (Q6_K, float16), and one that an adapter was merged into, has no such codes: it is rounded to Q8_0, which keeps w to 1/254
of the largest in its group. Each matrix is compared with the model's own first, so that no file of another model, and no row in another place, is taken.
`q4_step.cpp` says what a block looks like. In production: llama.cpp's repacked CPU layouts.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from llmsuite_lab.core import gguf
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.transformer.decoder import Decoder

GROUP, ROWS = 32, 16  # columns that share a scale; rows of a block
BYTES = {"Q4_1": 20, "Q4_0": 18, "Q8_0": 34}  # of a group, in the file
NAMES = {"q": "W_Q", "k": "W_K", "v": "W_V", "o": "W_O", "gate": "W_gate", "up": "W_up", "down": "W_down"}
STORED = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down"}


def unpacked(kind: str, rows: np.ndarray) -> Float[Tensor, "rows columns"]:
    """w of a matrix as a GGUF file holds it: `kind`, bytes (rows, bytes a row). float32."""
    if kind not in BYTES:
        from gguf import GGMLQuantizationType, quants

        return torch.from_numpy(quants.dequantize(rows, GGMLQuantizationType[kind]))
    b = torch.from_numpy(np.array(rows)).view(len(rows), -1, BYTES[kind])  # row, group, bytes
    d = b[..., :2].contiguous().view(torch.float16).float()
    if kind == "Q8_0":
        return (b[..., 2:].view(torch.int8) * d).flatten(1)
    m = b[..., 2:4].contiguous().view(torch.float16).float() if kind == "Q4_1" else -8 * d
    return torch.cat([b[..., -16:] & 15, b[..., -16:] >> 4], -1).mul(d).add_(m).flatten(1)


class Q4Matrix:
    """One matrix in blocks of 16 rows × 32 columns: `blocks` (bytes), its `shape` (rows, columns) and `bits` (4 or 8) a code."""

    def __init__(self, kind: str, rows: np.ndarray, shape: tuple[int, int]) -> None:
        self.shape, self.bits = shape, 8 if kind == "Q8_0" else 4
        whole = np.zeros((-(-shape[0] // ROWS) * ROWS, rows.shape[1]), np.uint8)  # rows of zeros fill the last block
        whole[: shape[0]] = rows
        b = whole.reshape(len(whole) // ROWS, ROWS, -1, BYTES[kind]).transpose(0, 2, 1, 3)  # block, group, row, bytes
        codes = b[..., -32:] ^ 128 if self.bits == 8 else b[..., -16:]  # −128..127 → 0..255
        codes = codes.reshape(*codes.shape[:3], -1, 4).swapaxes(2, 3)  # block, group, four columns, row
        scales = [b[..., :2]]
        if self.bits == 4:
            scales.append(b[..., 2:4] if kind == "Q4_1" else (np.ascontiguousarray(b[..., :2]).view(np.float16) * np.float16(-8)).view(np.uint8))
        self.blocks = np.concatenate([part.reshape(*b.shape[:2], -1) for part in (codes, *scales)], -1)


class Q4Weights:
    """All matrices of `view`, a Llama whose weights came from `file`: `layers`, each {"q": Q4Matrix, …}, and `head`.

    `rounded` names those that have no codes of their own. `merged`: an adapter was merged into the model, so that some may differ from the file's.
    Raises LabError for a matrix that the file lacks, that is not the model's (without `merged`), or whose columns are no multiple of 32.
    """

    def __init__(self, view: Decoder, file: Path, merged: bool = False) -> None:
        self.file, self.merged, self.rounded = file, merged, []
        c, held = view.config, gguf.stored(file)
        heads = {"q": c.n_heads, "k": c.kv_heads}
        self.layers = []
        for i, block in enumerate(view.stack.blocks):
            modules = {name: getattr(block.feed_forward if name in ("gate", "up", "down") else block.attention, NAMES[name]) for name in NAMES}
            self.layers.append({name: self._matrix(held, f"blk.{i}.{STORED[name]}.weight", m.weight, heads.get(name)) for name, m in modules.items()})
        self.head = self._matrix(held, "output.weight" if "output.weight" in held else "token_embd.weight", view.unembedding.weight, None)
        every = [self.head, *(matrix for layer in self.layers for matrix in layer.values())]
        self.bytes = sum(matrix.blocks.nbytes for matrix in every)  # read for every token

    def _matrix(self, held: dict, name: str, weight: Tensor, heads: int | None) -> Q4Matrix:
        from gguf import GGMLQuantizationType, quants

        if name not in held:
            raise LabError(f"{self.file} holds no {name}, which this model has: give the GGUF file that it was loaded from")
        weight, shape = weight.detach().cpu(), tuple(weight.shape)
        if shape[1] % GROUP:
            raise LabError(f"{name} has {shape[1]} columns, and codes are for groups of {GROUP}: this model is for the packed engine")
        kind, rows = held[name]
        if heads:  # llama.cpp turns neighbours (2i, 2i + 1), these weights turn halves (i, i + d_head / 2)
            rows = rows.reshape(heads, -1, 2, rows.shape[-1]).swapaxes(1, 2).reshape(rows.shape)
        own = unpacked(kind, rows)
        same = own.shape == weight.shape and torch.equal(own.to(weight.dtype), weight)
        if not same and not self.merged:
            raise LabError(f"{name} of {self.file} is not the model's: its weights came from elsewhere, or were changed")
        if not same or kind not in BYTES:
            self.rounded.append(name)
            kind, rows = "Q8_0", quants.quantize(weight.float().numpy(), GGMLQuantizationType.Q8_0)
        return Q4Matrix(kind, rows, shape)
