"""DoRA: a weight's direction and its magnitude apart; LoRA moves the direction, a vector of its own the magnitude."""

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def dora(W: torch.Tensor, A: torch.Tensor, B: torch.Tensor, scaling: float, magnitude: torch.Tensor) -> torch.Tensor:
    """The solution: add the update, scale every row to length 1, and give it its magnitude."""
    V = W + scaling * B @ A  # (d_out, d_in)
    return magnitude[:, None] * V / V.norm(dim=1, keepdim=True)


def _with(W, A, B, scaling, magnitude, dim=1, of=lambda W, V: V, power=1):
    V = W + scaling * B @ A
    return magnitude[:, None] ** power * V / (of(W, V).norm() if dim is None else of(W, V).norm(dim=dim, keepdim=True))


def _norm_of_columns(*given):
    return _with(*given, dim=0)


def _norm_of_all(*given):
    return _with(*given, dim=None)


def _norm_of_frozen(*given):
    return _with(*given, of=lambda W, V: W)


def _norm_of_update(*given):
    return _with(*given, of=lambda W, V: V - W)


def _no_magnitude(*given):
    return _with(*given, power=0)


def _magnitude_squared(*given):
    return _with(*given, power=2)


def _not_scaled(W, A, B, scaling, magnitude):
    return dora(W, A, B, 1, magnitude)


def _no_norm(W, A, B, scaling, magnitude):
    return magnitude[:, None] * (W + scaling * B @ A)


def _lora_alone(W, A, B, scaling, magnitude):
    return W + scaling * B @ A


def _update_missing(W, A, B, scaling, magnitude):
    return magnitude[:, None] * W / W.norm(dim=1, keepdim=True)


def _frozen_scaled_alone(W, A, B, scaling, magnitude):
    return _update_missing(W, A, B, scaling, magnitude) + scaling * B @ A


def _direction_of_update(W, A, B, scaling, magnitude):
    update = scaling * B @ A
    return W + magnitude[:, None] * update / update.norm(dim=1, keepdim=True)


def _own_magnitude(W, A, B, scaling, magnitude):
    return dora(W, A, B, scaling, W.norm(dim=1))


def _squared_norm(W, A, B, scaling, magnitude):
    V = W + scaling * B @ A
    return magnitude[:, None] * V / V.square().sum(1, keepdim=True)


def _absolute_sum(W, A, B, scaling, magnitude):
    V = W + scaling * B @ A
    return magnitude[:, None] * V / V.abs().sum(1, keepdim=True)


def _magnitude_added(W, A, B, scaling, magnitude):
    return dora(W, A, B, scaling, torch.ones_like(magnitude)) + magnitude[:, None]


def _scaled_all(W, A, B, scaling, magnitude):
    return scaling * dora(W, A, B, 1, magnitude)


def _columns_magnitude(W, A, B, scaling, magnitude):
    V = W + scaling * B @ A
    return magnitude * V / V.norm(dim=0)


def _in_place(W, A, B, scaling, magnitude):
    W.addmm_(B, A, alpha=scaling)
    W /= W.square().sum(-1).sqrt().unsqueeze(-1)
    return W.mul_(magnitude.unsqueeze(1))


def _normalised(W, A, B, scaling, magnitude):
    return torch.nn.functional.normalize(W + (B * scaling).matmul(A), dim=1) * magnitude.view(-1, 1)


def _in_numpy(W, A, B, scaling, magnitude):
    W, A, B, magnitude = (np.asarray(part, dtype=np.float64) for part in (W, A, B, magnitude))
    V = W + np.float64(scaling) * np.dot(B, A)
    return (V.T * (magnitude / np.linalg.norm(V, axis=1))).T


def _by_rows(W, A, B, scaling, magnitude):
    rows = []
    for w, b, m in zip(W, B, magnitude):
        v = w + scaling * (b @ A)
        rows.append(m * v / torch.dot(v, v) ** 0.5)
    return torch.stack(rows)


def _with_a_diagonal(W, A, B, scaling, magnitude):
    V = torch.cat([W, B], 1) @ torch.cat([torch.eye(W.shape[1]), scaling * A])
    return torch.diag(magnitude / torch.linalg.vector_norm(V, dim=-1)) @ V


def _as_lists(W, A, B, scaling, magnitude):
    V = (W.double() + scaling * torch.einsum("or,ri->oi", B.double(), A.double())).tolist()
    return [[m.item() * v / sum(x * x for x in row) ** 0.5 for v in row] for row, m in zip(V, magnitude)]


def _weight_norm(W, A, B, scaling, magnitude):
    return torch._weight_norm(W + scaling * B @ A, magnitude[:, None], 0)


def _cases() -> list[Case]:
    generator = torch.Generator().manual_seed(8)

    def case(d_in: int, d_out: int, r: int, scaling: float, rule: str, own: bool = False, zero: bool = False) -> Case:
        W, A, B = (torch.randn(shape, generator=generator) for shape in ((d_out, d_in), (r, d_in), (d_out, r)))
        B = B * (not zero)
        magnitude = W.norm(dim=1) if own else torch.rand(d_out, generator=generator) * 3 + 0.2
        V = W.double() + scaling * torch.einsum("or,ri->oi", B.double(), A.double())
        want = [[m * v / sum(x * x for x in row) ** 0.5 for v in row] for row, m in zip(V.tolist(), magnitude.tolist())]
        return Case((W, A, B, scaling, magnitude), want, rule)

    one = (torch.tensor([[1.0, 4.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0]]), 2.0, torch.tensor([10.0]))
    rows = "Row i of the result has the direction of row i of W + scaling B A and the length magnitude[i]."
    return [
        Case(one, [[6.0, 8.0]], "W + 2 B A = [[3, 4]], of length 5; at magnitude 10 it is [[6, 8]]."),
        case(5, 3, 2, 2.0, rows),
        case(4, 6, 3, 0.5, rows),
        case(3, 3, 1, 8.0, rows),
        case(6, 2, 4, -1.0, rows),
        case(5, 4, 2, 2.0, "With B at zero and W's own row lengths the result is W itself.", own=True, zero=True),
        case(4, 5, 2, 1.5, "The magnitude is an argument: after the update the rows keep the length it says.", own=True),
    ]


_MISTAKES = (
    Wrong(_norm_of_columns, "You divide by the columns' lengths. A row belongs to one output; its length is over the inputs (`dim=1`)."),
    Wrong(_norm_of_all, "You divide by the length of the whole matrix. Each row has its own."),
    Wrong(_norm_of_frozen, "You divide by the rows' lengths in W alone. The update changes them: take those of the sum."),
    Wrong(_norm_of_update, "You divide by the update's length. Take that of the sum with W."),
    Wrong(_no_magnitude, "The magnitude is missing: all rows have length 1."),
    Wrong(_magnitude_squared, "The magnitude stands twice in yours."),
    Wrong(_not_scaled, "`scaling` has no effect in yours."),
    Wrong(_no_norm, "You multiply by the magnitude without dividing by the length: it is no length then."),
    Wrong(_lora_alone, "That is LoRA. The rows are still to get the lengths that `magnitude` says."),
    Wrong(_update_missing, "The low-rank update is missing: the direction stays W's."),
    Wrong(_frozen_scaled_alone, "You scale W and add the update afterwards. Add first: it is the sum that gets the length."),
    Wrong(_direction_of_update, "You scale the update alone. It is the sum with W that gets the length."),
    Wrong(_own_magnitude, "You use W's own row lengths. `magnitude` is trained: the argument decides."),
    Wrong(_squared_norm, "You divide by the squared length: the root is missing."),
    Wrong(_absolute_sum, "You divide by the sum of magnitudes. The length is the root of the sum of squares."),
    Wrong(_magnitude_added, "You add the magnitude. It is a factor."),
    Wrong(_scaled_all, "`scaling` belongs to the update alone."),
)

EXERCISE = Exercise(
    id="peft_methods.dora",
    notebook="09_lora",
    title="DoRA (optional, advanced)",
    difficulty=4,
    minutes=30,
    statement=(
        "Write `dora(W, A, B, scaling, magnitude)`. `W` is `(d_out, d_in)`, `A` is `(r, d_in)`, `B` is `(d_out, r)`, `magnitude` is `(d_out,)`. LoRA moves the "
        "direction, `magnitude` sets the length: return the weight of shape `(d_out, d_in)` whose row i points where row i of $W + \\mathrm{scaling}\\cdot BA$ "
        "points, and is `magnitude[i]` long. No row of that sum is zero."
    ),
    name="dora",
    starter="def dora(W, A, B, scaling, magnitude):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Three steps: the sum, its rows scaled to length 1, each times its magnitude.",
        "`V.norm(dim=1, keepdim=True)` is a column of the rows' lengths; `magnitude[:, None]` is a column as well.",
        "`magnitude[:, None] * V / V.norm(dim=1, keepdim=True)` with `V = W + scaling * B @ A`.",
    ),
    solution=dora,
    wrong=(*_MISTAKES, Wrong(_columns_magnitude, "expected [[6, 8]], got [[10, 10]]")),
    right=(_in_place, _normalised, _in_numpy, _by_rows, _with_a_diagonal, _as_lists, _weight_norm),
)  # fmt: skip
