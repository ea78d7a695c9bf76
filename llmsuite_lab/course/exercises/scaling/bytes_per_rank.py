"""Bytes of model states on each rank, by stage of ZeRO."""

import math
from fractions import Fraction

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def bytes_per_rank(total: int, ranks: int, stage: int, weight: int, gradient: int, optimizer: int) -> int:
    """The solution: what the stage shares out counts as a part, rounded up, and the rest in full."""
    part = -(-total // ranks)
    parameters = part if stage >= 3 else total
    gradients = part if stage >= 2 else total
    states = part if stage >= 1 else total
    return weight * parameters + gradient * gradients + optimizer * states


def _by(order, part=lambda total, ranks: -(-total // ranks), from_stage=(3, 2, 1)):
    """With (weight, gradient, optimizer) taken in another order, or shared out from other stages."""

    def answer(total, ranks, stage, *each):
        given = [each[i] for i in order]
        return sum(one * (part(total, ranks) if stage >= least else total) for one, least in zip(given, from_stage))

    return answer


def _always_whole(total, ranks, stage, weight, gradient, optimizer):
    return total * (weight + gradient + optimizer)


def _always_shared(total, ranks, stage, weight, gradient, optimizer):
    return -(-total // ranks) * (weight + gradient + optimizer)


def _own_stage_alone(total, ranks, stage, weight, gradient, optimizer):
    part = -(-total // ranks)
    return sum(one * (part if stage == own else total) for one, own in ((weight, 3), (gradient, 2), (optimizer, 1)))


def _all_ranks(total, ranks, stage, weight, gradient, optimizer):
    return ranks * bytes_per_rank(total, ranks, stage, weight, gradient, optimizer)


def _numbers(total, ranks, stage, weight, gradient, optimizer):
    return bytes_per_rank(total, ranks, stage, 1, 1, 1)


def _bytes_rounded(total, ranks, stage, weight, gradient, optimizer):
    shared = sum(one for one, least in ((weight, 3), (gradient, 2), (optimizer, 1)) if stage >= least)
    return total * (weight + gradient + optimizer - shared) + -(-shared * total // ranks)


def _paper(total, ranks, stage, weight, gradient, optimizer):
    return bytes_per_rank(total, ranks, stage, 2, 2, 12)


def _reduction(total, ranks, stage, weight, gradient, optimizer):
    whole = total * (weight + gradient + optimizer)
    return whole / bytes_per_rank(total, ranks, stage, weight, gradient, optimizer)


def _by_loop(total, ranks, stage, weight, gradient, optimizer):
    held = 0
    for least, each in enumerate((optimizer, gradient, weight), start=1):
        held += each * (total if stage < least else math.ceil(total / ranks))
    return held


def _in_numpy(total, ranks, stage, weight, gradient, optimizer):
    whole = np.array([stage < 3, stage < 2, stage < 1])
    return np.where(whole, total, (total + ranks - 1) // ranks) @ np.array([weight, gradient, optimizer])


def _in_torch(total, ranks, stage, weight, gradient, optimizer):
    part = torch.arange(total).chunk(ranks)[0].numel() if total else 0
    counts = torch.tensor([[total, part][stage > 2 - i] for i in range(3)], dtype=torch.float64)
    return counts.dot(torch.tensor([weight, gradient, optimizer], dtype=torch.float64))


def _match(total, ranks, stage, weight, gradient, optimizer):
    part = total // ranks + (total % ranks > 0)
    match stage:
        case 0:
            return total * (weight + gradient + optimizer)
        case 1:
            return total * (weight + gradient) + part * optimizer
        case 2:
            return total * weight + part * (gradient + optimizer)
    return part * (weight + gradient + optimizer)


def _by_fractions(total, ranks, stage, weight, gradient, optimizer):
    part = math.ceil(Fraction(total, ranks))
    saved = (total - part) * sum((optimizer, gradient, weight)[:stage])
    return float(total * (weight + gradient + optimizer) - saved)


def _layout(total, ranks, stage, weight, gradient, optimizer):
    part = len(range(0, total, ranks))
    return sum(each * n for each, n in zip((optimizer, gradient, weight), [part] * stage + [total] * (3 - stage)))


def _cases() -> list[Case]:
    share = "Stage 1 shares out the optimizer's state, stage 2 the gradients too, stage 3 the parameters too."
    up = "A part is rounded up to whole elements: some rank holds the longer one, and padding makes all alike."
    return [
        Case((10, 4, 1, 2, 2, 12), 76, "This is the statement's example."),
        Case((1000, 4, 0, 2, 2, 12), 16000, "Stage 0 shares nothing out."),
        Case((1000, 4, 1, 2, 2, 12), 7000, share),
        Case((1000, 4, 2, 2, 2, 12), 5500, share),
        Case((1000, 4, 3, 2, 2, 12), 4000, share),
        Case((1000, 8, 2, 4, 2, 8), 5250, share),
        Case((1000, 8, 1, 4, 3, 8), 8000, share),
        Case((1000, 8, 3, 4, 3, 8), 1875, share),
        Case((1001, 8, 3, 4, 3, 9), 2016, up),
        Case((7, 3, 2, 5, 3, 11), 77, up),
        Case((3, 8, 3, 2, 4, 12), 18, up),
        Case((11, 4, 3, 2, 2, 12), 48, up),
        Case((64, 64, 3, 2, 2, 12), 16, "At 64 ranks stage 3 holds a sixty-fourth."),
        Case((123, 1, 3, 2, 2, 12), 1968, "One rank holds it all."),
        Case((1000, 4, 1, 2, 2, 0), 4000, "An optimizer without a state, such as SGD, has 0 bytes."),
    ]


_MISTAKES = (
    Wrong(_always_whole, "Yours is the same at every stage, that of data parallel."),
    Wrong(_always_shared, "You share everything out at every stage. Stage 1 keeps parameters and gradients whole."),
    Wrong(_own_stage_alone, "In yours each stage shares one kind out. Stage 2 shares out what stage 1 does, and the gradients."),
    Wrong(_by((0, 1, 2), from_stage=(1, 2, 3)), "You share the parameters out first. The optimizer's state, the largest, comes first, parameters last."),
    Wrong(_by((0, 1, 2), from_stage=(2, 3, 1)), "In yours the parameters come before the gradients. Stage 2 shares out gradients."),
    Wrong(_by((0, 1, 2), from_stage=(4, 3, 2)), "Your stages are one late: stage 1 shares the optimizer's state out already."),
    Wrong(_by((0, 1, 2), from_stage=(2, 1, 0)), "Your stages are one early: stage 0 shares nothing out."),
    Wrong(_by((0, 1, 2), part=lambda total, ranks: total // ranks), "You round a part down. Where it does not divide, some rank holds one element more."),
    Wrong(_by((0, 1, 2), part=lambda total, ranks: round(total / ranks)), "You round a part to the nearest. It is rounded up, however little is left."),
    Wrong(_by((0, 1, 2), part=lambda total, ranks: total / ranks), "A part is a whole number of elements, rounded up."),
    Wrong(_bytes_rounded, "You round bytes up. Elements are shared out, whole ones, of every kind."),
    Wrong(_all_ranks, "That is what all ranks hold together. One rank's is asked for."),
    Wrong(_numbers, "You count numbers. Bytes are asked for."),
    Wrong(_paper, "You take 2, 2 and 12 bytes, whatever the arguments say."),
)

EXERCISE = Exercise(
    id="scaling.bytes_per_rank",
    notebook="06_distributed_training",
    title="bytes on each rank, by stage",
    difficulty=2,
    minutes=15,
    statement=(
        "Write `bytes_per_rank(total, ranks, stage, weight, gradient, optimizer)`: the bytes of model states that one rank holds, for `total` parameters that "
        "take `weight`, `gradient` and `optimizer` bytes each. Stage 0 is data parallel, 1 to 3 are ZeRO's; what is shared out is cut into equal parts of "
        "whole elements, padded where they do not divide. `bytes_per_rank(10, 4, 1, 2, 2, 12)` is `76`."
    ),
    name="bytes_per_rank",
    starter="def bytes_per_rank(total, ranks, stage, weight, gradient, optimizer):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Three terms: parameters, gradients, optimizer state. Each is either whole or a part.",
        "The optimizer's state is shared out from stage 1 on, gradients from 2, parameters at 3. A part is `ceil(total / ranks)` elements.",
        "`part = -(-total // ranks)`, then `optimizer * (part if stage >= 1 else total)`, and so on.",
    ),
    solution=bytes_per_rank,
    wrong=(*_MISTAKES, Wrong(_reduction, "This is the statement's example.")),
    right=(_by_loop, _in_numpy, _in_torch, _match, _by_fractions, _layout),
)
