"""Which pieces of which tensors a rank owns when all are laid end to end and cut into equal parts."""

from bisect import bisect_right
from itertools import accumulate

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def shard_pieces(sizes: list[int], ranks: int, rank: int) -> list[tuple[int, int, int]]:
    """The solution: the part's ends, held against each tensor's place in the row."""
    part = -(-sum(sizes) // ranks)
    low, high = rank * part, (rank + 1) * part
    pieces, begin = [], 0
    for i, size in enumerate(sizes):
        start, end = max(low - begin, 0), min(high - begin, size)
        if start < end:
            pieces.append((i, start, end))
        begin += size
    return pieces


def _cut(sizes, low, high):
    begins = [0, *accumulate(sizes)]
    found = [(i, max(low - b, 0), min(high - b, size)) for i, (b, size) in enumerate(zip(begins, sizes))]
    return [piece for piece in found if piece[1] < piece[2]]


def _floor(sizes, ranks, rank):
    part = sum(sizes) // ranks
    return _cut(sizes, rank * part, (rank + 1) * part)


def _rest_to_the_last(sizes, ranks, rank):
    part = sum(sizes) // ranks
    return _cut(sizes, rank * part, sum(sizes) if rank == ranks - 1 else (rank + 1) * part)


def _balanced(sizes, ranks, rank):
    total = sum(sizes)
    return _cut(sizes, rank * total // ranks, (rank + 1) * total // ranks)


def _from_one(sizes, ranks, rank):
    part = -(-sum(sizes) // ranks)
    return _cut(sizes, (rank - 1) * part, rank * part)


def _places_in_the_buffer(sizes, ranks, rank):
    begins = [0, *accumulate(sizes)]
    return [(i, begins[i] + a, begins[i] + b) for i, a, b in shard_pieces(sizes, ranks, rank)]


def _lengths(sizes, ranks, rank):
    return [(i, a, b - a) for i, a, b in shard_pieces(sizes, ranks, rank)]


def _last_included(sizes, ranks, rank):
    return [(i, a, b - 1) for i, a, b in shard_pieces(sizes, ranks, rank)]


def _padding_too(sizes, ranks, rank):
    padding = -(-sum(sizes) // ranks) * ranks - sum(sizes)
    return shard_pieces([*sizes, padding], ranks, rank)


def _empty_too(sizes, ranks, rank):
    part, begins = -(-sum(sizes) // ranks), [0, *accumulate(sizes)]
    low, high = rank * part, (rank + 1) * part
    return [(i, min(max(low - b, 0), s), max(min(high - b, s), 0)) for i, (b, s) in enumerate(zip(begins, sizes))]


def _whole_tensors(sizes, ranks, rank):
    return [(i, 0, size) for i, size in enumerate(sizes) if i % ranks == rank and size]


def _each_tensor_cut(sizes, ranks, rank):
    found = []
    for i, size in enumerate(sizes):
        part = -(-size // ranks)
        if rank * part < min(size, (rank + 1) * part):
            found.append((i, rank * part, min(size, (rank + 1) * part)))
    return found


def _without_offset(sizes, ranks, rank):
    return [(i, b - b + 0, b - a) for i, a, b in shard_pieces(sizes, ranks, rank)]


def _by_owner(sizes, ranks, rank):
    part = max(1, -(-sum(sizes) // ranks))
    found, place = {}, 0
    for i, size in enumerate(sizes):
        for j in range(size):
            if place // part == rank:
                first, _ = found.get(i, (j, j))
                found[i] = first, j + 1
            place += 1
    return [(i, a, b) for i, (a, b) in found.items()]


def _in_numpy(sizes, ranks, rank):
    part = int(np.ceil(sum(sizes) / ranks))
    ends = np.cumsum(sizes)
    starts = ends - np.asarray(sizes)
    a, b = np.clip(rank * part - starts, 0, None), np.minimum((rank + 1) * part - starts, sizes)
    return [(i, a[i], b[i]) for i in np.flatnonzero(a < b)]


def _in_torch(sizes, ranks, rank):
    owner = torch.cat([torch.full((size,), i) for i, size in enumerate(sizes)]).long()
    inside = torch.cat([torch.arange(size) for size in sizes]).long()
    part = (len(owner) + ranks - 1) // ranks
    own, at = owner[rank * part : (rank + 1) * part], inside[rank * part : (rank + 1) * part]
    return [[i, at[own == i].min(), at[own == i].max() + 1] for i in own.unique()]


def _walking(sizes, ranks, rank):
    part = (sum(sizes) + ranks - 1) // ranks
    skip, room, pieces = rank * part, part, []
    for i, size in enumerate(sizes):
        start = min(skip, size)
        skip -= start
        taken = min(room, size - start)
        room -= taken
        if taken > 0:
            pieces.append((i, start, start + taken))
    return pieces


def _by_search(sizes, ranks, rank):
    ends, part = list(accumulate(sizes)), -(-sum(sizes) // ranks)
    place, stop, pieces = rank * part, min((rank + 1) * part, sum(sizes)), []
    while place < stop:
        i = bisect_right(ends, place)
        begin = ends[i] - sizes[i]
        until = min(stop, ends[i])
        pieces.append((i, place - begin, until - begin))
        place = until
    return pieces


def _from_the_row(sizes, ranks, rank):
    row = [(i, j) for i, size in enumerate(sizes) for j in range(size)]
    part = -(-len(row) // ranks)
    own = row[part * rank :][:part]
    return [(i, min(j for k, j in own if k == i), max(j for k, j in own if k == i) + 1) for i in dict.fromkeys(k for k, _ in own)]


def _cases() -> list[Case]:
    rule = "A part is `ceil(sum(sizes) / ranks)` elements long, and ends inside a tensor if need be."
    last = "The last ranks own less, or nothing: padding is in no tensor."
    empty = "A tensor of no elements is never a piece."
    sizes, uneven = [5, 2, 3], [4, 0, 7, 1, 9]
    return [
        Case((sizes, 4, 1), [(0, 3, 5), (1, 0, 1)], "This is the statement's example."),
        Case((sizes, 4, 0), [(0, 0, 3)], rule),
        Case((sizes, 4, 2), [(1, 1, 2), (2, 0, 2)], rule),
        Case((sizes, 4, 3), [(2, 2, 3)], last),
        Case((sizes, 1, 0), [(0, 0, 5), (1, 0, 2), (2, 0, 3)], "One rank owns it all."),
        Case((sizes, 7, 4), [(2, 1, 3)], last),
        Case((sizes, 7, 5), [], last),
        Case((sizes, 7, 6), [], last),
        Case((uneven, 2, 0), [(0, 0, 4), (2, 0, 7)], empty),
        Case((uneven, 2, 1), [(3, 0, 1), (4, 0, 9)], empty),
        Case((uneven, 3, 1), [(2, 3, 7), (3, 0, 1), (4, 0, 2)], rule),
        Case((uneven, 4, 3), [(4, 6, 9)], rule),
        Case(([6, 6], 3, 1), [(0, 4, 6), (1, 0, 2)], rule),
        Case(([10], 3, 2), [(0, 8, 10)], last),
    ]


_MISTAKES = (
    Wrong(_floor, "You round the part's length down: the last elements belong to nobody. Round it up."),
    Wrong(_rest_to_the_last, "You round down and give the rest to the last rank. All parts are equally long, rounded up, and the last is padded."),
    Wrong(_balanced, "Your parts differ in length. A collective moves equal parts: round up, and pad the end."),
    Wrong(_from_one, "Ranks are counted from 0."),
    Wrong(_places_in_the_buffer, "You give places in the row. A piece is told by places in its own tensor."),
    Wrong(_lengths, "The third number is the piece's end, not its length."),
    Wrong(_last_included, "The end is one past the last element, as in a slice."),
    Wrong(_padding_too, "Padding belongs to no tensor."),
    Wrong(_empty_too, "Tensors of which the rank owns nothing are left out."),
    Wrong(_whole_tensors, "You deal whole tensors out. The row is cut wherever a part ends, inside a tensor too."),
    Wrong(_each_tensor_cut, "You cut each tensor. They are laid end to end first, and the row is cut once."),
    Wrong(_without_offset, "Your pieces all begin at 0. A rank may own the end of a tensor."),
)

EXERCISE = Exercise(
    id="scaling.shard_pieces",
    notebook="06_distributed_training",
    title="who owns what",
    difficulty=4,
    minutes=30,
    statement=(
        "Tensors of `sizes` elements are laid end to end, padded, and cut into `ranks` parts of equal length, as short as possible. Write "
        "`shard_pieces(sizes, ranks, rank)`: the list of `(tensor, start, end)` that `rank` owns, in order; `start` and `end` are places in that tensor, "
        "as in a slice. Leave out tensors of which it owns nothing. `shard_pieces([5, 2, 3], 4, 1)` is `[(0, 3, 5), (1, 0, 1)]`."
    ),
    name="shard_pieces",
    starter="def shard_pieces(sizes, ranks, rank):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "How long is a part? Ten elements on four ranks: three each, and the last part is padded by two.",
        "The part reaches from `rank * part` to `(rank + 1) * part` in the row. Where does each tensor begin there?",
        "For a tensor that begins at `begin`: `start = max(low - begin, 0)`, `end = min(high - begin, size)`, and a piece if `start < end`.",
    ),
    solution=shard_pieces,
    wrong=_MISTAKES,
    equivalent={
        "start, end = (max(0, low - begin), min(high - begin, size))": "the order of max's arguments",
        "start, end = (max(low - begin, 0), min(size, high - begin))": "the order of min's arguments",
    },
    right=(_by_owner, _in_numpy, _in_torch, _walking, _by_search, _from_the_row),
)
