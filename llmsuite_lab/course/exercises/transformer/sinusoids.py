"""Positions as waves: sine and cosine of the same angle, side by side."""

import torch

from llmsuite_lab.course.exercises import Exercise, Mistake, Wrong, expect


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


def _check(answer) -> None:
    n_positions, d_model = 9, 6
    result = answer(n_positions, d_model)
    expect(isinstance(result, torch.Tensor) and tuple(result.shape) == (n_positions, d_model), "The shape must be (n_positions, d_model).")

    def is_like(wrong) -> bool:
        return torch.allclose(result.float(), wrong(n_positions, d_model), atol=1e-4)

    if is_like(_i_for_2i):
        raise Mistake("The waves slow down too little: the exponent is 2i/d_model, and i counts pairs of features, not single ones.")
    if is_like(_column_for_2i):
        raise Mistake("Sine and cosine of one pair must share ONE angle: in column 2i+1 the exponent is still 2i, the even number below.")
    if is_like(_halves):
        raise Mistake(
            "Right numbers, wrong columns: all sines come first. The equation puts them in even columns, the cosines in odd ones."
        )
    if is_like(_swapped):
        raise Mistake("Sine and cosine are swapped: even columns hold the sine. Position 0 must read 0, 1, 0, 1, …")
    if is_like(_from_one):
        raise Mistake("Your positions start at 1; the first row belongs to position 0.")
    pos, column = torch.meshgrid(torch.arange(n_positions).double(), torch.arange(d_model).double(), indexing="ij")
    angle = pos / 10000 ** ((column - column % 2) / d_model)
    right = torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()
    expect(torch.allclose(result.float(), right, atol=1e-4), "The values differ from the equation. Compare row 1, column by column.")


EXERCISE = Exercise(
    id="transformer.sinusoids",
    notebook="01_transformers_from_scratch",
    title="sinusoidal positions",
    statement=(
        "Write `sinusoids(n_positions, d_model)` (`d_model` even). Return a tensor of shape `(n_positions, d_model)` with "
        "$PE(pos, 2i)=\\sin(pos/10000^{2i/d_{model}})$ and $PE(pos, 2i+1)=\\cos(pos/10000^{2i/d_{model}})$; row 0 is `0, 1, 0, 1, …`."
    ),
    name="sinusoids",
    starter="def sinusoids(n_positions, d_model):\n    ...",
    check=_check,
    hints=(
        "There are d_model/2 angles per position: compute them all at once by broadcasting a column of positions with a row of i.",
        "The angle of pair i is `pos / 10000 ** (2 * i / d_model)`.",
        "Fill `PE[:, 0::2]` with the sine and `PE[:, 1::2]` with the cosine of the same angles.",
    ),
    solution=sinusoids,
    wrong=(
        Wrong(_i_for_2i, "too little"),
        Wrong(_column_for_2i, "share ONE angle"),
        Wrong(_halves, "all sines come first"),
        Wrong(_swapped, "swapped"),
        Wrong(_from_one, "start at 1"),
    ),
)
