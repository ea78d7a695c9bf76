"""What a ring all-reduce costs each rank: steps, and bytes sent."""

import math

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def ring_cost(elements: int, element_bytes: int, ranks: int) -> tuple[int, int]:
    """The solution: twice n - 1 steps, in each of which a rank sends one of n pieces."""
    steps = 2 * (ranks - 1)
    piece = -(-elements // ranks)
    return steps, steps * piece * element_bytes


def _one_pass(elements, element_bytes, ranks):
    steps, sent = ring_cost(elements, element_bytes, ranks)
    return steps // 2, sent // 2


def _whole_round(elements, element_bytes, ranks):
    steps = 2 * ranks
    return steps, steps * -(-elements // ranks) * element_bytes


def _whole_tensor_each_step(elements, element_bytes, ranks):
    steps = 2 * (ranks - 1)
    return steps, steps * elements * element_bytes


def _to_everyone(elements, element_bytes, ranks):
    return ranks - 1, (ranks - 1) * elements * element_bytes


def _paper_volume(elements, element_bytes, ranks):
    return 2 * (ranks - 1), 2 * elements * element_bytes if ranks > 1 else 0


def _unpadded(elements, element_bytes, ranks):
    return 2 * (ranks - 1), 2 * (ranks - 1) * elements * element_bytes / ranks


def _rounded_down(elements, element_bytes, ranks):
    return 2 * (ranks - 1), 2 * (ranks - 1) * (elements // ranks) * element_bytes


def _bytes_rounded(elements, element_bytes, ranks):
    return 2 * (ranks - 1), 2 * (ranks - 1) * -(-elements * element_bytes // ranks)


def _elements(elements, element_bytes, ranks):
    return ring_cost(elements, 1, ranks)


def _all_ranks(elements, element_bytes, ranks):
    steps, sent = ring_cost(elements, element_bytes, ranks)
    return steps, sent * ranks


def _both_ways(elements, element_bytes, ranks):
    steps, sent = ring_cost(elements, element_bytes, ranks)
    return steps, 2 * sent


def _swapped(elements, element_bytes, ranks):
    return ring_cost(elements, element_bytes, ranks)[::-1]


def _tree(elements, element_bytes, ranks):
    steps = 2 * math.ceil(math.log2(ranks))
    return steps, steps * -(-elements // ranks) * element_bytes


def _always_float32(elements, element_bytes, ranks):
    return ring_cost(elements, 4, ranks)


def _simulated(elements, element_bytes, ranks):
    piece, steps, sent = math.ceil(elements / ranks), 0, 0
    for _ in ("reduce-scatter", "all-gather"):
        for _ in range(ranks - 1):
            steps += 1
            sent += piece * element_bytes
    return steps, sent


def _in_numpy(elements, element_bytes, ranks):
    piece = len(np.array_split(np.zeros(elements), ranks)[0])
    steps = np.int64(2 * ranks - 2)
    return np.array([steps, steps * piece * element_bytes])


def _in_torch(elements, element_bytes, ranks):
    piece = (torch.tensor(elements) + ranks - 1).div(ranks, rounding_mode="floor")
    return [2 * ranks - 2, (2 * ranks - 2) * piece * element_bytes]


def _two_halves(elements, element_bytes, ranks):
    half = (ranks - 1, (ranks - 1) * element_bytes * ((elements + ranks - 1) // ranks))
    return tuple(a + b for a, b in zip(half, half))


def _by_remainder(elements, element_bytes, ranks):
    whole, rest = divmod(elements, ranks)
    piece = element_bytes * (whole + bool(rest))
    return (ranks - 1) * 2, float((ranks - 1) * 2 * piece)


def _padded(elements, element_bytes, ranks):
    while elements % ranks:
        elements += 1
    size = elements * element_bytes
    return ranks + ranks - 2, 2 * (size - size // ranks)


def _cases() -> list[Case]:
    alone = "One rank sends nothing."
    pad = "A piece is a whole number of elements: the tensor is padded until `ranks` divides it."
    twice = "A reduce-scatter, then an all-gather: `ranks - 1` steps each, and in each step a rank sends one piece."
    return [
        Case((12, 4, 4), (6, 72), "This is the statement's example."),
        Case((12, 4, 2), (2, 48), twice),
        Case((12, 4, 3), (4, 64), twice),
        Case((1000, 2, 8), (14, 3500), twice),
        Case((1000, 2, 1000), (1998, 3996), "Many ranks send hardly more than few: about twice the tensor."),
        Case((10, 4, 4), (6, 72), pad),
        Case((10, 3, 4), (6, 54), pad),
        Case((1, 8, 3), (4, 32), pad),
        Case((7, 1, 5), (8, 16), pad),
        Case((12, 4, 1), (0, 0), alone),
        Case((0, 4, 3), (4, 0), "An empty tensor takes the steps, too."),
    ]


_MISTAKES = (
    Wrong(_one_pass, "That is a reduce-scatter alone: the sums still have to reach everyone."),
    Wrong(_whole_round, "You go all around the ring. After `ranks - 1` steps every piece has met everyone."),
    Wrong(_whole_tensor_each_step, "You send the whole tensor in each step. A step sends one piece of `ranks`."),
    Wrong(_to_everyone, "You send everything to everyone, which grows with the number of ranks. A ring sends pieces to one neighbour."),
    Wrong(_paper_volume, "You leave out the factor (n - 1)/n, as the ZeRO paper does. Here it counts."),
    Wrong(_unpadded, "A piece is a whole number of elements: pad the tensor first."),
    Wrong(_rounded_down, "You round a piece down: the last elements would never travel."),
    Wrong(_bytes_rounded, "You round bytes up. Elements are cut into pieces, whole ones."),
    Wrong(_elements, "You count elements. Bytes are asked for."),
    Wrong(_all_ranks, "That is what all ranks send together. One rank's is asked for."),
    Wrong(_both_ways, "You count what is received as well. Sent bytes are asked for."),
    Wrong(_swapped, "Steps come first, then bytes."),
    Wrong(_tree, "You count the steps of a tree. In a ring each step goes to the neighbour alone."),
    Wrong(_always_float32, "You take 4 bytes an element, whatever `element_bytes` says."),
)

EXERCISE = Exercise(
    id="scaling.ring_cost",
    notebook="06_distributed_training",
    title="what a ring sends",
    difficulty=2,
    minutes=15,
    statement=(
        "A ring all-reduce cuts the tensor, padded where need be, into `ranks` equal pieces of whole elements. In `ranks - 1` steps of a reduce-scatter and "
        "as many of an all-gather every rank sends one piece to its neighbour. Write `ring_cost(elements, element_bytes, ranks)`: the pair of the number of "
        "steps and the bytes that one rank sends. `ring_cost(12, 4, 4)` is `(6, 72)`."
    ),
    name="ring_cost",
    starter="def ring_cost(elements, element_bytes, ranks):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Draw three ranks in a ring, and follow one piece until its sum is known to all.",
        "Steps: `2 * (ranks - 1)`. In each a rank sends a piece; how many elements has it when 10 are cut in 4?",
        "`piece = -(-elements // ranks)`; the bytes are steps times piece times `element_bytes`.",
    ),
    solution=ring_cost,
    wrong=_MISTAKES,
    right=(_simulated, _in_numpy, _in_torch, _two_halves, _by_remainder, _padded),
)
