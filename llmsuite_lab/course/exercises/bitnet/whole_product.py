"""A product of whole numbers: activations in eight bits, weights of three values, two scales at the end."""

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases

LEAST = 1e-5


def whole_product(T: torch.Tensor, gamma: float, x: torch.Tensor) -> torch.Tensor:
    """The solution: scale to ±127, round, add up, scale back."""
    m = x.abs().max().clamp(min=1e-5)
    q = (x * (127 / m)).round()
    return T @ q * (m / 127 * gamma)


def _by(top=127.0, rounded=torch.round, largest=lambda x: x.abs().max(), back=lambda m, top, gamma: m / top * gamma, least=LEAST):
    def answer(T, gamma, x):
        m = largest(x).clamp(min=least)
        return T @ rounded(x * (top / m)) * back(m, top, gamma)

    return answer


_not_rounded = _by(rounded=lambda q: q)
_by_128 = _by(128.0)
_by_255 = _by(255.0)
_four_bits = _by(7.0)
_cut = _by(rounded=torch.trunc)
_floored = _by(rounded=torch.floor)
_no_gamma = _by(back=lambda m, top, gamma: m / top)
_no_s = _by(back=lambda m, top, gamma: gamma)
_no_127 = _by(back=lambda m, top, gamma: m * gamma)
_no_scales = _by(back=lambda m, top, gamma: 1.0)
_gamma_divided = _by(back=lambda m, top, gamma: m / top / gamma)
_largest_positive = _by(largest=lambda x: x.max())
_by_mean = _by(largest=lambda x: x.abs().mean())
_by_norm = _by(largest=lambda x: x.norm())
_smaller_least = _by(least=1e-12)


def _no_least(T, gamma, x):
    m = x.abs().max()
    return T @ (x * (127 / m)).round() * (m / 127 * gamma)


def _x_rounded(T, gamma, x):
    return T @ x.round() * gamma


def _sign_of_x(T, gamma, x):
    m = x.abs().max().clamp(min=LEAST)
    return T @ x.sign() * m * gamma


def _in_whole_numbers(T, gamma, x):
    values, rows = x.tolist(), T.tolist()
    m = max(max(map(abs, values)), LEAST)
    q = [round(v * 127 / m) for v in values]
    return [sum(int(t) * a for t, a in zip(row, q)) * m / 127 * gamma for row in rows]


def _by_adding(T, gamma, x):
    m = x.double().abs().max().clamp(min=LEAST)
    q = (x.double() * 127 / m).round()
    return torch.stack([q[row == 1].sum() - q[row == -1].sum() for row in T]) * m / 127 * gamma


def _in_numpy(T, gamma, x):
    x = x.numpy().astype(np.float64)
    m = max(np.abs(x).max(), LEAST)
    q = np.rint(x * 127 / m).astype(np.int8)
    return T.numpy().astype(np.int32) @ q.astype(np.int32) * (m / 127) * gamma


def _with_s(T, gamma, x):
    s = torch.maximum(x.abs().amax(), torch.tensor(LEAST)) / 127
    return (torch.div(x, s).round() * T).sum(1) * s * gamma


def _in_place(T, gamma, x):
    m = max(float(x.abs().max()), LEAST)
    x.mul_(127 / m).round_()
    return torch.nn.functional.linear(x, T).mul_(m / 127).mul_(gamma)


def _with_einsum(T, gamma, x):
    m = torch.linalg.vector_norm(x, ord=float("inf")).clamp_min(LEAST)
    return torch.einsum("oi,i->o", T * gamma, (127 * x / m).round() * (m / 127))


def _cases() -> list[Case]:
    def case(T: list, gamma: float, x: list, rule: str, atol: float = 1e-5) -> Case:
        m = max(max(abs(v) for v in x), LEAST)
        q = [round(v * 127 / m) for v in x]
        want = [sum(t * a for t, a in zip(row, q)) * m / 127 * gamma for row in T]
        return Case((torch.tensor(T, dtype=torch.float32), gamma, torch.tensor(x)), want, rule, atol=atol)

    eight = "Activations are rounded to whole numbers from -127 to 127, the largest |x| to ±127."
    least = "m is at least 1e-5."
    return [
        case([[1, 0, -1], [0, 1, 1]], 0.5, [1.27, -0.634, 0.316], "This is the statement's example."),
        case([[1, 1, 0, -1], [-1, 0, 1, 1], [0, 0, 0, 1]], 1.0, [0.313, -5.0, 2.217, 1.093], eight),
        case([[1, -1]], 3.0, [0.104, -0.37], "The largest |x| may be negative."),
        case([[1, 1, 1, 1]], 1.0, [10.0, 0.33, 0.32, 0.31], "Small activations beside a large one are rounded coarsely."),
        case([[0, 0], [1, 0]], 2.0, [0.0, 0.0], least),
        case([[1, 0, 0], [1, 1, 1]], 1.0, [4.3e-6, -2.2e-6, 1.3e-6], least, 1e-9),
        case([[1, 0]], 0.01, [1000.0, 3.0], "Both scales are put back.", 1e-6),
        case([[-1, 1, 1, 0, 1], [1, 1, -1, -1, 0]], 0.7, [-0.42, -0.777, 0.191, 0.568, -0.031], eight),
    ]


_MISTAKES = (
    Wrong(_not_rounded, "You do not round: that is the product of floats, not of whole numbers."),
    Wrong(_by_128, "You scale to 128, which no int8 can hold. 127 is the largest."),
    Wrong(_by_255, "You scale to 255, the range without a sign. 127 is the largest here."),
    Wrong(_four_bits, "You scale to 7, as four bits would have it. Eight bits reach 127."),
    Wrong(_cut, "You cut what is behind the point. Round to the nearest."),
    Wrong(_floored, "You round down. Round to the nearest."),
    Wrong(_no_gamma, "γ is missing: the weights are γ T."),
    Wrong(_no_s, "The activations' scale m / 127 is missing at the end."),
    Wrong(_no_127, "You put m back and not the 127: the scale of the activations is m / 127."),
    Wrong(_no_scales, "Those are the whole numbers. Put both scales back, m / 127 and γ."),
    Wrong(_gamma_divided, "You divide by γ. The weights are γ T, so multiply."),
    Wrong(_largest_positive, "You look for the largest x. A negative one may be larger in size."),
    Wrong(_by_mean, "You scale by the mean, as weights are scaled. Activations take the largest absolute value."),
    Wrong(_by_norm, "You scale by the length of x. Take its largest absolute value."),
    Wrong(_smaller_least, "Your least m is another than 1e-5."),
    Wrong(_no_least, "Zeros give nan: m is at least 1e-5."),
    Wrong(_x_rounded, "You round x as it is. Scale it to ±127 first."),
    Wrong(_sign_of_x, "You keep the signs of x alone. Eight bits hold whole numbers from -127 to 127."),
)

EXERCISE = Exercise(
    id="bitnet.whole_product",
    notebook="07_one_bit_llms",
    title="a product of whole numbers",
    difficulty=3,
    minutes=15,
    statement=(
        "Write `whole_product(T, gamma, x)`: T (d_out, d_in) holds -1, 0 and 1, the weights are γ T, x (d_in,) is one token. With m, the largest |x| and at "
        "least 1e-5, round x · 127 / m to whole numbers q, and give T q times the two scales m / 127 and γ, one value a row. For "
        "T = `[[1, 0, -1], [0, 1, 1]]`, γ = 0.5 and x = `[1.27, -0.634, 0.316]` q is `[127, -63, 32]`, and the product `[0.475, -0.155]`."
    ),
    name="whole_product",
    starter="def whole_product(T, gamma, x):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "One number scales the whole token: the largest absolute value, `x.abs().max()`, and not less than 1e-5.",
        "q = round(x · 127 / m), then T q is a sum of whole numbers.",
        "`T @ q * (m / 127 * gamma)`.",
    ),
    solution=whole_product,
    wrong=_MISTAKES,
    right=(_in_whole_numbers, _by_adding, _in_numpy, _with_s, _in_place, _with_einsum),
)
