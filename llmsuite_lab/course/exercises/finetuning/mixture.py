"""How often each task comes in a mixture: in proportion to its size, with a cap and a temperature."""

import math
from fractions import Fraction

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def mixture(sizes: list[int], cap: int, temperature: float) -> list[float]:
    """The solution: cap the sizes, flatten them by the temperature, then share out."""
    weights = [min(size, cap) ** (1 / temperature) for size in sizes]
    return [weight / sum(weights) for weight in weights]


def _shares(weights):
    return [weight / sum(weights) for weight in weights]


def _no_cap(sizes, cap, temperature):
    return mixture(sizes, max(sizes), temperature)


def _no_temperature(sizes, cap, temperature):
    return mixture(sizes, cap, 1)


def _sizes_alone(sizes, cap, temperature):
    return _shares(sizes)


def _evenly(sizes, cap, temperature):
    return _shares([size > 0 for size in sizes])


def _evenly_all(sizes, cap, temperature):
    return [1 / len(sizes)] * len(sizes)


def _sharpened(sizes, cap, temperature):
    return _shares([min(size, cap) ** temperature for size in sizes])


def _cap_after(sizes, cap, temperature):
    return _shares([min(size ** (1 / temperature), cap) for size in sizes])


def _cap_on_flattened(sizes, cap, temperature):
    return _shares([min(size ** (1 / temperature), cap ** (1 / temperature)) if size > cap else size for size in sizes])


def _not_shared_out(sizes, cap, temperature):
    return [min(size, cap) ** (1 / temperature) for size in sizes]


def _of_all_examples(sizes, cap, temperature):
    return [min(size, cap) ** (1 / temperature) / sum(sizes) for size in sizes]


def _shared_out_first(sizes, cap, temperature):
    return [share ** (1 / temperature) for share in mixture(sizes, cap, 1)]


def _at_least_the_cap(sizes, cap, temperature):
    return _shares([max(size, cap) ** (1 / temperature) for size in sizes])


def _softmax(sizes, cap, temperature):
    return torch.softmax(torch.tensor([min(size, cap) / temperature for size in sizes], dtype=torch.float64), 0)


def _softmax_of_shares(sizes, cap, temperature):
    return torch.softmax(torch.tensor(mixture(sizes, cap, 1)) / temperature, 0)


def _divided(sizes, cap, temperature):
    return _shares([min(size, cap) / temperature for size in sizes])


def _empty_left_out(sizes, cap, temperature):
    return mixture([size for size in sizes if size], cap, temperature)


def _one_added(sizes, cap, temperature):
    return mixture([size + 1 for size in sizes], cap, temperature)


def _sorted_rates(sizes, cap, temperature):
    return sorted(mixture(sizes, cap, temperature), reverse=True)


def _in_numpy(sizes, cap, temperature):
    weights = np.minimum(sizes, cap).astype(float) ** (1.0 / temperature)
    return weights / weights.sum()


def _in_torch(sizes, cap, temperature):
    weights = torch.tensor(sizes).clamp(max=cap).double().pow(1 / temperature)
    return torch.nn.functional.normalize(weights, p=1, dim=0)


def _in_place(sizes, cap, temperature):
    for i, size in enumerate(sizes):
        sizes[i] = (size if size < cap else cap) ** (1 / temperature)
    total = sum(sizes)
    for i in range(len(sizes)):
        sizes[i] /= total
    return sizes


def _by_logarithms(sizes, cap, temperature):
    scores = torch.tensor([math.log(min(size, cap)) / temperature if size else -math.inf for size in sizes])
    return torch.softmax(scores, dim=-1)


def _in_shares_first(sizes, cap, temperature):
    capped = [min(size, cap) for size in sizes]
    flattened = [float(Fraction(size, sum(capped))) ** (1 / temperature) for size in capped]
    return tuple(share / math.fsum(flattened) for share in flattened)


def _in_units_of_the_largest(sizes, cap, temperature):
    largest = min(max(sizes), cap)
    weights = np.power(np.array([sorted((size, cap))[0] / largest for size in sizes]), 1 / temperature)
    return (weights * (1 / weights.sum())).tolist()


def _cases() -> list[Case]:
    formula = "A task's rate is min(size, cap) ** (1 / temperature), divided by the sum over all tasks."
    return [
        Case(([100, 300, 9000], 400, 1), [0.125, 0.375, 0.5], "This is the statement's example."),
        Case(([16, 4, 100], 64, 2), [4 / 14, 2 / 14, 8 / 14], formula),
        Case(([1, 8, 1000], 27, 3), [1 / 6, 2 / 6, 3 / 6], formula),
        Case(([3, 9, 4], 100, 0.5), [9 / 106, 81 / 106, 16 / 106], "A temperature below 1 sharpens."),
        Case(([50, 20, 30, 100], 1000, 1), [0.25, 0.1, 0.15, 0.5], "Under the cap, at temperature 1, the rates are the sizes' shares."),
        Case(([81, 0, 16], 81, 4), [3 / 5, 0, 2 / 5], "A task without examples gets the rate 0."),
        Case(([70, 80, 900], 60, 2), [1 / 3] * 3, "When the cap is below all sizes, all rates are equal."),
        Case(([5], 3, 2), [1.0], "A single task gets all."),
        Case(([2_000_000, 500, 12_000, 500], 10_000, 1), [10 / 21, 0.5 / 21, 10 / 21, 0.5 / 21], formula),
    ]


_MISTAKES = (
    Wrong(_no_cap, "The cap has no effect in yours: the largest task drowns the others."),
    Wrong(_no_temperature, "The temperature has no effect in yours: it is a power, `1 / temperature`. (As a factor it cancels.)", shares_hint=True),
    Wrong(_sizes_alone, "You share out by size alone: cap and temperature have no effect."),
    Wrong(_evenly, "You give all tasks that have examples the same rate. Their sizes decide, up to the cap."),
    Wrong(_evenly_all, "You give all tasks the same rate. Their sizes decide, up to the cap."),
    Wrong(_sharpened, "You raise to the power `temperature`: above 1 it is to flatten the rates. The power is `1 / temperature`."),
    Wrong(_cap_after, "You cap what the temperature has flattened. The cap counts examples: it comes first."),
    Wrong(_not_shared_out, "Your rates do not add up to 1: divide by their sum."),
    Wrong(_of_all_examples, "You divide by the number of all examples. Divide by the sum of what the cap and the temperature left."),
    Wrong(_shared_out_first, "You flatten the rates after sharing out, and they no longer add up to 1."),
    Wrong(_at_least_the_cap, "You raise small tasks to the cap. It is an upper bound."),
    Wrong(_softmax, "You take a softmax of the sizes. Rates are in proportion to a power of them."),
    Wrong(_softmax_of_shares, "You take a softmax of the shares. Rates are in proportion to a power of the sizes."),
    Wrong(_empty_left_out, "A task without examples is missing in yours. Its rate is 0."),
    Wrong(_one_added, "You add to the sizes: a task without examples would be drawn."),
    Wrong(_sorted_rates, "Your rates are sorted. They stand in the order of the sizes."),
)

EXERCISE = Exercise(
    id="finetuning.mixture",
    notebook="08_fine_tuning",
    title="a mixture of tasks (optional)",
    difficulty=2,
    minutes=15,
    statement=(
        "Write `mixture(sizes, cap, temperature)`: how often each task comes in a multitask mixture. A task of `size` examples weighs "
        "`min(size, cap) ** (1 / temperature)`, as in T5 and FLAN: the cap, above 0, keeps a large task from drowning the others, a temperature above 1 "
        "brings the rates nearer to each other. Return the tasks' rates, which add up to 1, in order; a task without examples gets 0 (one has some). "
        "`mixture([100, 300, 9000], 400, 1)` is `[0.125, 0.375, 0.5]`."
    ),
    name="mixture",
    starter="def mixture(sizes, cap, temperature):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Three steps, in this order: cap, power, share out.",
        "Compute all weights first; each rate needs their sum.",
        "`weights = [min(size, cap) ** (1 / temperature) for size in sizes]`, then divide each by `sum(weights)`.",
    ),
    solution=mixture,
    wrong=(*_MISTAKES, Wrong(_divided, "As a factor it cancels", shares_hint=True), Wrong(_cap_on_flattened, "expected [0.28571")),
    right=(_in_numpy, _in_torch, _in_place, _by_logarithms, _in_shares_first, _in_units_of_the_largest),
    equivalent={"weights = [min(cap, size) ** (1 / temperature) for size in sizes]": "the smaller of two, in either order"},
)  # fmt: skip
