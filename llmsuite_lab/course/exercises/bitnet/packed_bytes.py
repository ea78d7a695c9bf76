"""Bytes of a one-bit model, what stays in full precision included."""

import math
from fractions import Fraction

import numpy as np

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def packed_bytes(shapes: list[tuple[int, int]], others: int) -> int:
    """The solution: five rows a byte, a scale for each matrix, two bytes for every other number."""
    return sum(-(-d_out // 5) * d_in + 4 for d_out, d_in in shapes) + 2 * others


def _by(rows=5, scale=4, each=2, up=math.ceil):
    return lambda shapes, others: sum(up(d_out / rows) * d_in + scale for d_out, d_in in shapes) + each * others


_two_bits = _by(rows=4)
_six = _by(rows=6)
_down = _by(up=math.floor)
_no_scales = _by(scale=0)
_half_scales = _by(scale=2)
_one_byte_each = _by(each=1)
_four_bytes_each = _by(each=4)
_others_left_out = _by(each=0)


def _not_rounded(shapes, others):
    return math.ceil(sum(d_out * d_in / 5 + 4 for d_out, d_in in shapes) + 2 * others)


def _columns(shapes, others):
    return sum(-(-d_in // 5) * d_out + 4 for d_out, d_in in shapes) + 2 * others


def _one_scale(shapes, others):
    return sum(-(-d_out // 5) * d_in for d_out, d_in in shapes) + 4 + 2 * others


def _a_scale_a_row(shapes, others):
    return sum(-(-d_out // 5) * d_in + 4 * d_out for d_out, d_in in shapes) + 2 * others


def _information(shapes, others):
    return math.ceil(sum(d_out * d_in * math.log2(3) / 8 + 4 for d_out, d_in in shapes) + 2 * others)


def _half_precision(shapes, others):
    return 2 * sum(d_out * d_in for d_out, d_in in shapes) + 2 * others


def _bits(shapes, others):
    return 8 * packed_bytes(shapes, others)


def _others_ternary(shapes, others):
    return packed_bytes(shapes, 0) + -(-others // 5)


def _ratio(shapes, others):
    return (2 * sum(d_out * d_in for d_out, d_in in shapes) + 2 * others) / max(1, packed_bytes(shapes, others))


def _by_loop(shapes, others):
    held = 0
    for d_out, d_in in shapes:
        while d_out > 0:
            held, d_out = held + d_in, d_out - 5
        held += 4
    return held + others + others


def _in_numpy(shapes, others):
    d_out, d_in = np.array(shapes, dtype=np.int64).reshape(-1, 2).T
    return ((d_out + 4) // 5 * d_in + 4).sum() + 2 * others


def _by_fractions(shapes, others):
    return sum(math.ceil(Fraction(d_out, 5)) * d_in for d_out, d_in in shapes) + 4 * len(shapes) + 2 * others


def _by_ranges(shapes, others):
    return sum(len(range(0, one[0], 5)) * one[1] + 4 for one in shapes) + others * 16 // 8


def _as_float(shapes, others):
    return float(sum((d_out // 5 + (d_out % 5 > 0)) * d_in for d_out, d_in in shapes) + 4 * len(shapes)) + 2.0 * others


def _recursive(shapes, others):
    if not shapes:
        return 2 * others
    (d_out, d_in), *rest = shapes
    return math.ceil(d_out / 5) * d_in + 4 + _recursive(rest, others)


def _cases() -> list[Case]:
    up = "Each matrix fills its last rows up to five."
    scale = "Each matrix has a scale of four bytes."
    return [
        Case(([(10, 64)], 100), 332, "This is the statement's example."),
        Case(([(12, 64)], 0), 3 * 64 + 4, up),
        Case(([(1, 7), (9, 3)], 0), 7 + 4 + 6 + 4, up),
        Case(([(5, 8), (5, 8), (5, 8)], 0), 36, scale),
        Case(([(5, 3)], 1000), 3 + 4 + 2000, "All other numbers take two bytes each."),
        Case(([], 50), 100, "A model without ternary matrices has its other numbers."),
        Case(([(576, 576), (192, 576), (1536, 576)], 7), 116 * 576 + 39 * 576 + 308 * 576 + 12 + 14, up),
        Case(([(6, 11), (4, 13)], 3), 22 + 4 + 13 + 4 + 6, up),
    ]


_MISTAKES = (
    Wrong(_two_bits, "You put four rows in a byte. Five fit."),
    Wrong(_six, "You put six rows in a byte. 3⁶ = 729 is more than a byte holds."),
    Wrong(_down, "You round down: the last rows have no byte."),
    Wrong(_no_scales, "The scales are missing, four bytes a matrix."),
    Wrong(_half_scales, "Your scales take two bytes. They take four."),
    Wrong(_one_byte_each, "The other numbers take two bytes each, one in yours."),
    Wrong(_four_bytes_each, "The other numbers take two bytes each, four in yours."),
    Wrong(_others_left_out, "The other numbers are missing: embedding, output matrix and norms stay in full precision."),
    Wrong(_not_rounded, "You round once, at the end. Each matrix fills up its own last rows."),
    Wrong(_columns, "You put five columns in a byte. A byte holds five rows of one column."),
    Wrong(_one_scale, "You count one scale. Each matrix has its own."),
    Wrong(_a_scale_a_row, "You count a scale for each row. A matrix has one."),
    Wrong(_information, "You count log2(3) bits a weight, what is possible. Five in a byte take 1.6."),
    Wrong(_half_precision, "Those are the bytes of the model in half precision."),
    Wrong(_bits, "Those are bits."),
    Wrong(_others_ternary, "The other numbers are no weights of three values: two bytes each."),
    Wrong(_ratio, "That is how many times smaller it is. Give the bytes."),
)

EXERCISE = Exercise(
    id="bitnet.packed_bytes",
    notebook="07_one_bit_llms",
    title="bytes of a one-bit model",
    difficulty=2,
    minutes=10,
    statement=(
        "`shapes` lists the ternary matrices of a model as (d_out, d_in). A byte holds one column of five rows, and a matrix fills its last rows up to five; "
        "each matrix has one scale of four bytes. The model's `others` (embedding, output matrix, norms) are numbers of two bytes. Write "
        "`packed_bytes(shapes, others)`: all bytes. `packed_bytes([(10, 64)], 100)` is 332."
    ),
    name="packed_bytes",
    starter="def packed_bytes(shapes, others):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "How many bytes does one column of d_out rows take, five rows in a byte?",
        "`-(-d_out // 5)` rounds up. Times d_in columns, plus 4 for the scale.",
        "Add that over all shapes, and two bytes for each of the others.",
    ),
    solution=packed_bytes,
    wrong=_MISTAKES,
    right=(_by_loop, _in_numpy, _by_fractions, _by_ranges, _as_float, _recursive),
)
