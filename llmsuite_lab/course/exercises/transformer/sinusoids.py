"""Positions as waves: sine and cosine of the same angle, side by side."""

import math

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def sinusoids(n_positions: int, d_model: int) -> torch.Tensor:
    """The solution: one angle per position and pair of features, sines in even columns, cosines in odd ones."""
    pos = torch.arange(n_positions)[:, None]  # (n_positions, 1)
    i = torch.arange(d_model // 2)[None, :]  # (1, d_model/2)
    angle = pos / 10000 ** (2 * i / d_model)
    PE = torch.zeros(n_positions, d_model)
    PE[:, 0::2] = torch.sin(angle)
    PE[:, 1::2] = torch.cos(angle)
    return PE


def _with(n_positions, d_model, exponent):
    PE = torch.zeros(n_positions, d_model)
    angle = torch.arange(n_positions)[:, None] / 10000 ** (exponent * torch.arange(d_model // 2)[None, :] / d_model)
    PE[:, 0::2], PE[:, 1::2] = torch.sin(angle), torch.cos(angle)
    return PE


def _i_for_2i(n_positions, d_model):
    return _with(n_positions, d_model, 1)


def _column_for_2i(n_positions, d_model):
    angle = torch.arange(n_positions)[:, None] / 10000 ** (torch.arange(d_model)[None, :] / d_model)
    return torch.where(torch.arange(d_model) % 2 == 0, torch.sin(angle), torch.cos(angle))


def _halves(n_positions, d_model):
    PE = sinusoids(n_positions, d_model)
    return torch.cat([PE[:, 0::2], PE[:, 1::2]], dim=1)


def _swapped(n_positions, d_model):
    PE = sinusoids(n_positions, d_model)
    return torch.stack([PE[:, 1::2], PE[:, 0::2]], dim=-1).flatten(1)


def _from_one(n_positions, d_model):
    return sinusoids(n_positions + 1, d_model)[1:]


def _base_of_a_thousand(n_positions, d_model):
    angle = torch.arange(n_positions)[:, None] / 1000 ** (2 * torch.arange(d_model // 2) / d_model)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


def _rising(n_positions, d_model):
    angle = torch.arange(n_positions)[:, None] * 10000 ** (2 * torch.arange(d_model // 2) / d_model)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


def _4i(n_positions, d_model):
    return _with(n_positions, d_model, 4)


def _one_wave_less(n_positions, d_model):
    angle = torch.arange(n_positions)[:, None] / 10000 ** (torch.arange(d_model // 2) / max(d_model // 2 - 1, 1))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


def _turned(n_positions, d_model):
    return sinusoids(n_positions, d_model).T


def _sines_only(n_positions, d_model):
    PE = sinusoids(n_positions, d_model)
    PE[:, 1::2] = PE[:, 0::2]
    return PE


def _angles(n_positions, d_model):
    return (torch.arange(n_positions)[:, None] / 10000 ** (2 * torch.arange(d_model // 2) / d_model)).repeat_interleave(2, 1)


def _of_six(n_positions, d_model):
    return torch.stack(
        [f(torch.arange(n_positions)[:, None] / 10000 ** (torch.arange(0, d_model, 2) / 6)) for f in (torch.sin, torch.cos)], -1
    ).flatten(1)


def _by_exponential(n_positions, d_model):
    PE = torch.zeros(n_positions, d_model)
    speed = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
    position = torch.arange(n_positions, dtype=torch.float).unsqueeze(1)
    PE[:, ::2], PE[:, 1::2] = torch.sin(position * speed), torch.cos(position * speed)
    return PE


def _by_loops(n_positions, d_model):
    PE = [[0.0] * d_model for _ in range(n_positions)]
    for pos in range(n_positions):
        for column in range(0, d_model, 2):
            angle = pos / 10000 ** (column / d_model)
            PE[pos][column], PE[pos][column + 1] = math.sin(angle), math.cos(angle)
    return PE


def _in_numpy(n_positions, d_model):
    angle = np.outer(np.arange(n_positions), 10000.0 ** (-np.arange(0, d_model, 2) / d_model))
    return np.dstack([np.sin(angle), np.cos(angle)]).reshape(n_positions, d_model)


def _by_phase(n_positions, d_model):
    column = torch.arange(d_model, dtype=torch.float64)
    angle = torch.arange(n_positions)[:, None] / 10000 ** ((column - column % 2) / d_model)
    return torch.sin(angle + column % 2 * math.pi / 2)


def _by_where(n_positions, d_model):
    angle = torch.arange(n_positions).view(-1, 1) / torch.pow(10000, torch.arange(d_model) // 2 * 2 / d_model)
    return torch.where((torch.arange(d_model) % 2).bool(), angle.cos(), angle.sin())


def _stacked_in_double(n_positions, d_model):
    angle = torch.outer(torch.arange(n_positions).double(), torch.logspace(0, -4 + 8 / d_model, d_model // 2, dtype=torch.float64))
    return torch.stack((angle.sin(), angle.cos()), dim=2).flatten(1)


def _cases() -> list[Case]:
    def case(n_positions: int, d_model: int, rule: str, atol: float = 1e-4) -> Case:
        pos, column = torch.meshgrid(torch.arange(n_positions).double(), torch.arange(d_model).double(), indexing="ij")
        angle = pos / 10000 ** ((column - column % 2) / d_model)
        return Case((n_positions, d_model), torch.where(column % 2 == 0, angle.sin(), angle.cos()), rule, rtol=0, atol=atol)

    equation = "Columns 2i and 2i+1 are the sine and the cosine of pos / 10000 ** (2i / d_model)."
    return [
        Case((1, 4), [[0.0, 1.0, 0.0, 1.0]], "Row 0 is 0, 1, 0, 1, …"),
        case(2, 4, equation),
        case(9, 6, equation),
        case(5, 2, "With d_model = 2 there is one wave: sin(pos) and cos(pos)."),
        case(3, 16, equation),
        case(2000, 6, "Far positions, too: the base is 10000.", atol=5e-4),  # float32 angles up to 2000 are off by less than 2e-4
    ]


_MISTAKES = (
    Wrong(_i_for_2i, "The waves slow down too little: the exponent is 2i/d_model, and i counts pairs of features, not single ones."),
    Wrong(_4i, "The waves slow down too much: the exponent is 2i/d_model, and i counts pairs of features. Is the 2 in it twice?"),
    Wrong(
        _column_for_2i, "Sine and cosine of one pair must share ONE angle: in column 2i+1 the exponent is still 2i, the even number below."
    ),
    Wrong(_halves, "Right numbers, wrong columns: all sines come first. The equation puts them in even columns, the cosines in odd ones."),
    Wrong(_swapped, "Sine and cosine are swapped: even columns hold the sine. Position 0 must read 0, 1, 0, 1, …"),
    Wrong(_from_one, "Your positions start at 1; the first row belongs to position 0."),
    Wrong(_one_wave_less, "Your slowest wave is the equation's next one: the exponents are 2i/d_model, so the last one stays below 1."),
    Wrong(_rising, "You multiply by the power; the waves get faster from pair to pair instead of slower."),
)

EXERCISE = Exercise(
    id="transformer.sinusoids",
    notebook="01_transformers_from_scratch",
    title="sinusoidal positions",
    difficulty=3,
    minutes=15,
    statement=(
        "Write `sinusoids(n_positions, d_model)` (`d_model` even). Return a tensor of shape `(n_positions, d_model)` with "
        "$PE(pos, 2i)=\\sin(pos/10000^{2i/d_{model}})$ and $PE(pos, 2i+1)=\\cos(pos/10000^{2i/d_{model}})$; row 0 is `0, 1, 0, 1, …`."
    ),
    name="sinusoids",
    starter="def sinusoids(n_positions, d_model):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "There are d_model/2 angles per position: compute them all at once by broadcasting a column of positions with a row of i.",
        "The angle of pair i is `pos / 10000 ** (2 * i / d_model)`.",
        "Fill `PE[:, 0::2]` with the sine and `PE[:, 1::2]` with the cosine of the same angles.",
    ),
    solution=sinusoids,
    wrong=(
        *_MISTAKES,
        Wrong(_base_of_a_thousand, "pos / 10000 ** (2i / d_model)"),
        Wrong(_turned, "expected the shape (1, 4), got (4, 1)"),
        Wrong(_sines_only, "got [[0, 0, 0, 0]]", shares_hint=True),
        Wrong(_angles, "got [[0, 0, 0, 0]]", shares_hint=True),
        Wrong(_of_six, "pos / 10000 ** (2i / d_model)"),
    ),
    right=(_by_exponential, _by_loops, _in_numpy, _by_phase, _by_where, _stacked_in_double),
    equivalent={
        "i = torch.arange(d_model / 2)[None, :]": "arange counts to a float as well",
        "PE[:, ::2] = torch.sin(angle)": "a slice starts at 0 by itself",
    },
)
