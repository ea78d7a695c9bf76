"""Ternary weights as bytes: four in a byte (2 bits each), or five (1.6 bits; log2(3) = 1.58 is the least).

    two_bits     byte (g, k) = Σ_p (T[4g+p, k] + 1) · 4^p
    five_trits   v = Σ_p (T[5g+p, k] + 1) · 3^(4-p)  in 0 … 242,   byte = ⌈256 v / 243⌉,   digit p = ⌊3 · (3^p · byte mod 256) / 256⌋

A byte holds one column of several rows, so that one load of bytes meets one load of activations. v is stored as the fraction v/243 in 1/256ths: a digit
is then read by multiplying by three and looking at what overflows, without a division.

Rows are filled up to a multiple of 4 or 5, columns to a multiple of 64 (a vector register's bytes) with zero weights: any shape can be packed, and
`bits_per_weight` counts the filling. A file holds the same bytes that the kernel reads.

Sources: Ma et al. 2024, section 2; the fraction is that of llama.cpp's TQ1_0 (also five trits a byte, in groups of 256 along a row with a scale each).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from llmsuite_lab.bitnet.quantize import check_columns
from llmsuite_lab.core.errors import unknown

COLUMNS = 64
FORMS = {"two_bits": 4, "five_trits": 5}  # form → rows in a byte


@dataclass(frozen=True)
class Ternary:
    """A packed matrix: W ≈ scale · T, T of `shape` (d_out, d_in), four or five rows a byte as `form` says.

    Raises ValueError for bytes of another number or type, or a scale that is no float32. What the bytes hold is looked at by `check`.
    """

    bytes: UInt8[Tensor, "groups columns"]
    scale: float
    shape: tuple[int, int]
    form: str = "two_bits"

    def __post_init__(self) -> None:
        rows = rows_a_byte(self.form)
        if not (isinstance(self.shape, tuple | list) and len(self.shape) == 2 and all(isinstance(n, int) and n > 0 for n in self.shape)):
            raise ValueError(f"shape={str(self.shape)[:60]} must be (d_out, d_in), two whole numbers above 0")
        check_columns(self.shape[1])
        expected = (-(-self.shape[0] // rows), -(-self.shape[1] // COLUMNS) * COLUMNS)
        if not isinstance(self.bytes, Tensor) or self.bytes.dtype != torch.uint8 or tuple(self.bytes.shape) != expected:
            given = f"{self.bytes.dtype} {tuple(self.bytes.shape)}" if isinstance(self.bytes, Tensor) else type(self.bytes).__name__
            raise ValueError(f"a {self.form} matrix {tuple(self.shape)} takes uint8 bytes {expected}; got {given}")
        if not isinstance(self.scale, float | int) or not 0 <= self.scale <= torch.finfo(torch.float32).max:
            raise ValueError(f"scale={str(self.scale)[:40]} must be a finite number of float32, 0 or more")

    def check(self) -> "Ternary":
        """Itself, when every byte is a code of the form and the padding holds zero weights. Raises ValueError otherwise: the bytes are damaged."""
        known = torch.zeros(256, dtype=torch.bool)
        known[_codes(self.form)] = True
        if not bool(known[self.bytes.cpu().long()].all()):
            raise ValueError(f"a byte of the {self.form} matrix {tuple(self.shape)} is no code of three values: the bytes are damaged or of another form")
        whole = _digits(self.bytes.cpu(), self.form)
        if bool(whole[self.shape[0] :].any()) or bool(whole[:, self.shape[1] :].any()):
            raise ValueError(f"the padding of the {self.form} matrix {tuple(self.shape)} holds weights: the bytes are damaged or the shape is another")
        return self

    def unpack(self) -> Float[Tensor, "d_out d_in"]:
        """T as float32, values -1, 0 and 1."""
        return _digits(self.bytes, self.form)[: self.shape[0], : self.shape[1]].float()

    @property
    def bits_per_weight(self) -> float:
        """Bits stored for each of the d_out · d_in weights, padding counted; the one scale is left out."""
        return 8 * self.bytes.numel() / (self.shape[0] * self.shape[1])


def rows_a_byte(form: str) -> int:
    """4 or 5. Raises ValueError for an unknown form."""
    if not isinstance(form, str) or form not in FORMS:
        raise ValueError(unknown("form", form, list(FORMS)))
    return FORMS[form]


def check_packed(W: object, name: str = "W") -> None:
    """Raises TypeError, which calls W by its `name`, for anything but packed weights."""
    if not isinstance(W, Ternary):
        raise TypeError(f"{name} must be packed weights (packing.pack), got a {type(W).__name__}")


def pack(T: Float[Tensor, "d_out d_in"], scale: float = 1.0, form: str = "two_bits") -> Ternary:
    """Pack a matrix of -1, 0 and 1 (any number type). Raises ValueError for other values, with the first, or what is no matrix; unknown forms."""
    rows = rows_a_byte(form)
    if not isinstance(T, Tensor) or T.dim() != 2 or not T.numel() or T.dtype == torch.bool or T.is_complex():
        raise ValueError(f"T must be a matrix of -1, 0 and 1 with at least one weight; got {T.dtype if isinstance(T, Tensor) else type(T).__name__}")
    check_columns(T.shape[1])
    T = T.detach()
    negative = T == -1 if T.dtype.is_signed else torch.zeros_like(T, dtype=torch.bool)  # in uint8 torch finds 255 equal to -1
    ternary = (T == 0) | (T == 1) | negative
    if not bool(ternary.all()):
        i, j = (~ternary).nonzero()[0].tolist()
        raise ValueError(f"T[{i}, {j}] = {T[i, j].item():g} is none of -1, 0, 1: round the weights first (quantize.ternary_weights)")
    d_out, d_in = T.shape
    filled = torch.ones(-(-d_out // rows) * rows, -(-d_in // COLUMNS) * COLUMNS, dtype=torch.int16, device=T.device)
    filled[:d_out, :d_in] += T.to(torch.int16)
    weights = torch.tensor(places(form), dtype=torch.int16, device=T.device)
    value = (filled.unflatten(0, (-1, rows)) * weights[:, None]).sum(1, dtype=torch.int32)
    coded = value if form == "two_bits" else (256 * value + 242) // 243
    return Ternary(coded.to(torch.uint8).contiguous(), float(scale), (d_out, d_in), form)


def places(form: str) -> list[int]:
    """What the digit of each row counts in a byte's value, the first row first. Raises ValueError for an unknown form."""
    rows = rows_a_byte(form)
    return [4**p for p in range(rows)] if form == "two_bits" else [3 ** (rows - 1 - p) for p in range(rows)]


def _codes(form: str) -> Tensor:
    """Every byte that stands for four or five weights."""
    digits = torch.cartesian_prod(*[torch.arange(3)] * FORMS[form])
    value = (digits * torch.tensor(places(form))).sum(1)
    return value if form == "two_bits" else (256 * value + 242) // 243


def _digits(packed: UInt8[Tensor, "groups columns"], form: str) -> Tensor:
    """(groups · rows, columns) of -1, 0, 1 as int8."""
    if form == "two_bits":
        planes = [(packed >> 2 * p) & 3 for p in range(4)]
    else:
        planes = [((packed.int() * 3**p % 256) * 3 >> 8).to(torch.uint8) for p in range(5)]
    return torch.stack(planes, 1).flatten(0, 1).to(torch.int8) - 1
