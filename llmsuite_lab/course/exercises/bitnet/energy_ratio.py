"""How many times less energy a ternary product takes, as a sum over operations."""

from decimal import Decimal
from fractions import Fraction

import numpy as np

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def energy_ratio(d_in: int, d_out: int, zeros: float, multiply: float, add: float, add_whole: float) -> float:
    """The solution: full precision over ternary, picojoules both."""
    full = d_in * d_out * (multiply + add)
    ternary = d_in * d_out * (1 - zeros) * add_whole + 2 * d_out * multiply
    return full / ternary


def _by(full=None, ternary=None):
    def answer(d_in, d_out, zeros, multiply, add, add_whole):
        f = full or (lambda i, o, z, m, a, w: i * o * (m + a))
        t = ternary or (lambda i, o, z, m, a, w: i * o * (1 - z) * w + 2 * o * m)
        given = d_in, d_out, zeros, multiply, add, add_whole
        return f(*given) / t(*given)

    return answer


_as_the_paper = _by(ternary=lambda i, o, z, m, a, w: i * o * w)
_zeros_counted = _by(ternary=lambda i, o, z, m, a, w: i * o * w + 2 * o * m)
_no_scales = _by(ternary=lambda i, o, z, m, a, w: i * o * (1 - z) * w)
_one_scale = _by(ternary=lambda i, o, z, m, a, w: i * o * (1 - z) * w + o * m)
_scales_by_input = _by(ternary=lambda i, o, z, m, a, w: i * o * (1 - z) * w + 2 * i * m)
_scales_a_weight = _by(ternary=lambda i, o, z, m, a, w: i * o * ((1 - z) * w + 2 * m))
_scales_once = _by(ternary=lambda i, o, z, m, a, w: i * o * (1 - z) * w + 2 * m)
_only_zeros = _by(ternary=lambda i, o, z, m, a, w: i * o * z * w + 2 * o * m)
_half_adds = _by(ternary=lambda i, o, z, m, a, w: i * o * (1 - z) * a + 2 * o * m)
_multiplies_only = _by(full=lambda i, o, z, m, a, w: i * o * m)
_adds_only = _by(full=lambda i, o, z, m, a, w: i * o * a)
_product = _by(full=lambda i, o, z, m, a, w: i * o * m * a)
_sparse_full = _by(full=lambda i, o, z, m, a, w: i * o * (1 - z) * (m + a))
_scales_by_addition = _by(ternary=lambda i, o, z, m, a, w: i * o * (1 - z) * w + 2 * o * w)


def _turned(*given):
    return 1 / energy_ratio(*given)


def _difference(d_in, d_out, zeros, multiply, add, add_whole):
    return d_in * d_out * (multiply + add) - (d_in * d_out * (1 - zeros) * add_whole + 2 * d_out * multiply)


def _row_by_row(d_in, d_out, zeros, multiply, add, add_whole):
    full = sum(d_in * (multiply + add) for _ in range(d_out))
    return full / sum((d_in - d_in * zeros) * add_whole + multiply + multiply for _ in range(d_out))


def _without_d_out(d_in, d_out, zeros, multiply, add, add_whole):
    return d_in * (multiply + add) / (d_in * (1 - zeros) * add_whole + 2 * multiply)


def _in_numpy(d_in, d_out, zeros, multiply, add, add_whole):
    each = np.array([multiply, add, add_whole])
    return (np.array([d_in * d_out, d_in * d_out, 0]) @ each) / (np.array([2 * d_out, 0, d_in * d_out * (1 - zeros)]) @ each)


def _in_fractions(d_in, d_out, zeros, multiply, add, add_whole):
    z, m, a, w = map(Fraction, (zeros, multiply, add, add_whole))
    return (m + a) / ((1 - z) * w + 2 * m / d_in)


def _in_decimals(d_in, d_out, zeros, multiply, add, add_whole):
    z, m, a, w = (Decimal(str(v)) for v in (zeros, multiply, add, add_whole))
    return d_in * d_out * (m + a) / (d_in * d_out * (1 - z) * w + 2 * d_out * m)


def _in_femtojoules(d_in, d_out, zeros, multiply, add, add_whole):
    m, a, w = 1000 * multiply, 1000 * add, 1000 * add_whole
    skipped = zeros * d_in * d_out
    return (d_in * d_out * m + d_in * d_out * a) / ((d_in * d_out - skipped) * w + d_out * m * 2)


def _cases() -> list[Case]:
    seven = 0.34, 0.16, 0.007  # pJ: FP16 multiply and add, INT8 add
    scales = "Two multiplications with a scale for each of the d_out outputs."
    return [
        Case((100, 50, 0.0, *seven), 2500 / 69.0, "This is the statement's example."),
        Case((100, 50, 0.5, *seven), 2500 / 51.5, "Weights of 0 are skipped."),
        Case((3200, 8640, 1 / 3, *seven), 1600 / (3200 * 2 / 3 * 0.007 + 0.68), "Weights of 0 are skipped."),
        Case((4, 3, 0.25, 2.0, 1.0, 0.5), 36 / 16.5, scales),
        Case((3, 4, 0.0, 2.0, 1.0, 0.5), 36 / 22.0, scales),
        Case((10, 10, 1.0, 1.0, 3.0, 7.0), 400 / 20.0, "When all weights are 0 the scales remain."),
        Case((2, 1, 0.5, 5.0, 0.0, 4.0), 10 / 14.0, "It may be below 1."),
        Case((6, 5, 0.1, 0.0, 2.0, 1.0), 60 / 27.0, "Each weight costs a multiplication and an addition in full precision."),
    ]


_MISTAKES = (
    Wrong(_as_the_paper, "That is the paper's sum: zeros are added and the scales are free. Here zeros are skipped and scales cost."),
    Wrong(_zeros_counted, "You add for weights of 0, too. They are skipped."),
    Wrong(_no_scales, "The scales are missing: two multiplications an output."),
    Wrong(_one_scale, "You count one scale an output. There are two, s and γ."),
    Wrong(_scales_by_input, "You count scales for each input. They come at each output."),
    Wrong(_scales_a_weight, "You multiply by the scales at each weight. They come once an output, when the sum is done."),
    Wrong(_scales_once, "You count the scales once for the whole matrix. They come at each output."),
    Wrong(_only_zeros, "You add for the weights of 0 and skip the others."),
    Wrong(_half_adds, "The ternary product adds whole numbers: take `add_whole`."),
    Wrong(_multiplies_only, "The additions of the full-precision product are missing."),
    Wrong(_adds_only, "The multiplications of the full-precision product are missing."),
    Wrong(_product, "You multiply two energies. Add them."),
    Wrong(_sparse_full, "Full precision skips nothing."),
    Wrong(_scales_by_addition, "The scales are multiplications."),
    Wrong(_turned, "The ratio is turned round: full precision over ternary."),
    Wrong(_difference, "That is the difference. How many times less is asked for."),
)

EXERCISE = Exercise(
    id="bitnet.energy_ratio",
    notebook="07_one_bit_llms",
    title="energy as a sum over operations",
    difficulty=2,
    minutes=10,
    statement=(
        "A product of d_in × d_out weights with one token. In full precision each weight costs a multiplication (`multiply` picojoules) and an addition "
        "(`add`). With ternary weights each one that is not 0 costs an addition of whole numbers (`add_whole`), and each output two multiplications with "
        "its scales, `multiply` each; `zeros` is the share of weights that are 0. Write `energy_ratio(d_in, d_out, zeros, multiply, add, add_whole)`: how "
        "many times less the ternary product takes. `energy_ratio(100, 50, 0.0, 0.34, 0.16, 0.007)` is about 36.2."
    ),
    name="energy_ratio",
    starter="def energy_ratio(d_in, d_out, zeros, multiply, add, add_whole):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Count each operation, then multiply by its energy.",
        "Full precision: d_in · d_out · (multiply + add).",
        "Ternary: d_in · d_out · (1 - zeros) · add_whole, and 2 · d_out · multiply for the scales.",
    ),
    solution=energy_ratio,
    wrong=_MISTAKES,
    right=(_row_by_row, _without_d_out, _in_numpy, _in_fractions, _in_decimals, _in_femtojoules),
)
