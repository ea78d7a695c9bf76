"""The forward pass of a LoRA layer: the frozen weight, the low-rank path, and its factor alpha / r."""

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def lora_forward(x, W: torch.Tensor, A: torch.Tensor, B: torch.Tensor, alpha: float, drop) -> torch.Tensor:
    """The solution: W x + (alpha / r) B A drop(x), for rows x."""
    r = len(A)
    return x @ W.T + alpha / r * (drop(x) @ A.T @ B.T)


def _scaled_by(scale, x, W, A, B, drop):
    return x @ W.T + scale * (drop(x) @ A.T @ B.T)


def _not_scaled(x, W, A, B, alpha, drop):
    return _scaled_by(1, x, W, A, B, drop)


def _alpha_alone(x, W, A, B, alpha, drop):
    return _scaled_by(alpha, x, W, A, B, drop)


def _only_by_r(x, W, A, B, alpha, drop):
    return _scaled_by(1 / len(A), x, W, A, B, drop)


def _times_r(x, W, A, B, alpha, drop):
    return _scaled_by(alpha * len(A), x, W, A, B, drop)


def _turned_factor(x, W, A, B, alpha, drop):
    return _scaled_by(len(A) / alpha, x, W, A, B, drop)


def _root_of_r(x, W, A, B, alpha, drop):
    return _scaled_by(alpha / len(A) ** 0.5, x, W, A, B, drop)


def _over_d_in(x, W, A, B, alpha, drop):
    return _scaled_by(alpha / A.shape[1], x, W, A, B, drop)


def _over_d_out(x, W, A, B, alpha, drop):
    return _scaled_by(alpha / len(B), x, W, A, B, drop)


def _scaled_twice(x, W, A, B, alpha, drop):
    return _scaled_by((alpha / len(A)) ** 2, x, W, A, B, drop)


def _whole_scaled(x, W, A, B, alpha, drop):
    return alpha / len(A) * (x @ W.T + drop(x) @ A.T @ B.T)


def _frozen_missing(x, W, A, B, alpha, drop):
    return alpha / len(A) * (drop(x) @ A.T @ B.T)


def _update_missing(x, W, A, B, alpha, drop):
    return x @ W.T


def _no_dropout(x, W, A, B, alpha, drop):
    return lora_forward(x, W, A, B, alpha, lambda x: x)


def _dropout_on_all(x, W, A, B, alpha, drop):
    return lora_forward(drop(x), W, A, B, alpha, lambda x: x)


def _dropout_on_frozen(x, W, A, B, alpha, drop):
    return drop(x) @ W.T + alpha / len(A) * (x @ A.T @ B.T)


def _dropout_twice(x, W, A, B, alpha, drop):
    return lora_forward(x, W, A, B, alpha, lambda x: drop(drop(x)))


def _dropout_in_between(x, W, A, B, alpha, drop):
    return x @ W.T + alpha / len(A) * (drop(x @ A.T) @ B.T)


def _dropout_behind(x, W, A, B, alpha, drop):
    return x @ W.T + drop(alpha / len(A) * (x @ A.T @ B.T))


def _subtracted(x, W, A, B, alpha, drop):
    return lora_forward(x, W, A, B, -alpha, drop)


def _not_transposed(x, W, A, B, alpha, drop):
    return x @ W + alpha / len(A) * (drop(x) @ A @ B)


def _bottleneck_alone(x, W, A, B, alpha, drop):
    return x @ W.T + alpha / len(A) * (drop(x) @ A.T).sum(-1, keepdim=True)


def _merged(x, W, A, B, alpha, drop):
    return torch.nn.functional.linear(x, W) + torch.nn.functional.linear(drop(x), (B @ A).mul(alpha / A.size(0)))


def _by_linear(x, W, A, B, alpha, drop):
    low = torch.nn.functional.linear(drop(x), A)
    return torch.nn.functional.linear(low * (alpha / low.shape[-1]), B) + torch.nn.functional.linear(x, W)


def _by_einsum_in_double(x, W, A, B, alpha, drop):
    dropped, x, W, A, B = (part.double() for part in (drop(x), x, W, A, B))
    return torch.einsum("...i,oi->...o", x, W) + torch.einsum("...i,ri,or->...o", dropped, A, B) * alpha / B.shape[1]


def _in_place(x, W, A, B, alpha, drop):
    h = x @ W.mT
    x.copy_(drop(x))
    B *= alpha
    B /= B.shape[-1]
    h += x @ A.mT @ B.mT
    return h


def _in_numpy(x, W, A, B, alpha, drop):
    low = drop(x).numpy() @ A.numpy().T
    return np.matmul(x.numpy(), W.numpy().T) + low @ B.numpy().T * np.float64(alpha / low.shape[-1])


def _rank_by_rank(x, W, A, B, alpha, drop):
    h, dropped = x @ W.T, drop(x)
    for a, b in zip(A, B.T):
        h = h + (dropped @ a)[..., None] * b * (alpha / A.shape[0])
    return h


def _by_concatenation(x, W, A, B, alpha, drop):
    wide = torch.cat([x, drop(x) @ A.T * (alpha / len(A))], -1)
    return (wide @ torch.cat([W, B], 1).T).tolist()


def whole(x: torch.Tensor) -> torch.Tensor:
    """No dropout: what it is at inference."""
    return x


def half(x: torch.Tensor) -> torch.Tensor:
    """A dropout that always drops every second feature and doubles the others."""
    return x * (torch.arange(x.shape[-1]) % 2 == 0) * 2.0


def _cases() -> list[Case]:
    generator = torch.Generator().manual_seed(9)

    def case(shape: tuple, d_in: int, d_out: int, r: int, alpha: float, drop, rule: str) -> Case:
        x, W, A, B = (torch.randn(size, generator=generator) for size in ((*shape, d_in), (d_out, d_in), (r, d_in), (d_out, r)))
        update = torch.einsum("or,ri->oi", B.double(), A.double()) * (alpha / r)
        want = x.double() @ W.double().T + drop(x).double() @ update.T
        return Case((x, W, A, B, alpha, drop), want, rule)

    x, W, A, B = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([[3.0, 1.0]])
    factor = "The factor of the low-rank path is alpha / r, r being the number of rows of A."
    dropout = "`drop` is called on the input of the low-rank path, and on nothing else."
    return [
        Case((x, W, A, B, 4, whole), [[15.0]], "W x = 1, B A x = 3·2 + 1·1 = 7, alpha / r = 4 / 2: h = 1 + 2·7."),
        case((2, 3), 7, 5, 4, 8, whole, factor),
        case((3,), 4, 6, 1, 16, whole, factor),
        case((2,), 5, 3, 8, 2, whole, factor),
        case((2, 4), 6, 5, 3, 3, whole, factor),
        case((4, 2), 5, 7, 3, 12, half, dropout),
        case((5,), 6, 4, 2, 1, half, dropout),
        case((2, 2, 2), 3, 4, 2, 0, half, "With alpha 0 the frozen weight alone is left."),
        case((), 4, 3, 2, 5, half, "`x` has any number of axes before the features, none as well."),
    ]


_MISTAKES = (
    Wrong(_not_scaled, "The low-rank path is not scaled: its factor is alpha / r."),
    Wrong(_alpha_alone, "You multiply by alpha and do not divide by r: a higher rank would take larger steps."),
    Wrong(_only_by_r, "You divide by r, and alpha has no effect."),
    Wrong(_times_r, "You multiply by r. The factor is alpha / r."),
    Wrong(_turned_factor, "Your factor is r / alpha. It is alpha / r."),
    Wrong(_root_of_r, "You divide by the root of r: that is rank-stabilised LoRA. Here the factor is alpha / r."),
    Wrong(_over_d_in, "You divide by d_in. The rank is the number of rows of A."),
    Wrong(_over_d_out, "You divide by d_out. The rank is the number of rows of A, or of columns of B."),
    Wrong(_scaled_twice, "The factor alpha / r stands twice in yours."),
    Wrong(_whole_scaled, "You scale the frozen path, too. Only the low-rank path has the factor."),
    Wrong(_frozen_missing, "The frozen weight's output is missing."),
    Wrong(_update_missing, "The low-rank path is missing."),
    Wrong(_no_dropout, "`drop` is not called: without it the low-rank path overfits few examples."),
    Wrong(_dropout_on_all, "Dropout falls on the frozen path, too: the model itself would be damaged in training. The low-rank path alone has it."),
    Wrong(_dropout_on_frozen, "Dropout falls on the frozen path. The low-rank path has it."),
    Wrong(_dropout_twice, "`drop` is called twice on the way. Once is enough."),
    Wrong(_dropout_in_between, "Dropout falls on the r numbers between A and B. It falls on the input of A."),
    Wrong(_dropout_behind, "Dropout falls on the update. It falls on the input of A."),
    Wrong(_subtracted, "You subtract the low-rank path. It is added."),
)

EXERCISE = Exercise(
    id="peft_methods.lora_forward",
    notebook="09_lora",
    title="the forward pass of LoRA",
    difficulty=2,
    minutes=15,
    statement=(
        "Write `lora_forward(x, W, A, B, alpha, drop)`, $h = Wx + \\frac{\\alpha}{r}\\,BA\\,\\mathrm{drop}(x)$ for every row of `x`, `(…, d_in)`, with "
        "any number of axes before the features. `W` is `(d_out, d_in)`, `A` is `(r, d_in)`, `B` is `(d_out, r)`; `drop` is the dropout, a function of a "
        "tensor, and falls on the low-rank path alone. Return h, `(…, d_out)`."
    ),
    name="lora_forward",
    starter="def lora_forward(x, W, A, B, alpha, drop):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Two paths, added: the frozen one sees x, the low-rank one sees `drop(x)`.",
        "For rows the weights stand on the right, transposed: `x @ W.T`. A comes first, then B.",
        "`x @ W.T + alpha / len(A) * (drop(x) @ A.T @ B.T)`.",
    ),
    solution=lora_forward,
    wrong=(*_MISTAKES, Wrong(_not_transposed, "RuntimeError"), Wrong(_bottleneck_alone, "expected [[15]], got [[7]]")),
    right=(_merged, _by_linear, _by_einsum_in_double, _in_place, _in_numpy, _rank_by_rank, _by_concatenation),
)  # fmt: skip
