"""One ranking out of several that share no scale: sum the reciprocal ranks."""

import itertools
import math
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np

from llmsuite_lab.course.exercises import Exercise, Wrong
from llmsuite_lab.course.exercises.cases import Case, by_cases


def fuse(rankings: list[list[str]], k: int = 60) -> list[str]:
    """The solution: every ranking gives 1 / (k + rank) to each id it holds, rank counted from 1; the largest sum comes first."""
    total: dict[str, float] = {}
    for ranking in rankings:
        for rank, passage in enumerate(ranking, start=1):
            total[passage] = total.get(passage, 0) + 1 / (k + rank)
    return sorted(total, key=lambda passage: -total[passage])


def _scores(rankings, score):
    total = defaultdict(list)
    for ranking in rankings:
        for rank, passage in enumerate(ranking, start=1):
            total[passage].append(score(rank))
    return total


def _by(total, reduce, sign=-1):
    return sorted(total, key=lambda passage: sign * reduce(total[passage]))


def _by_rank_sum(rankings, k=60):
    return _by(_scores(rankings, lambda rank: rank), sum, sign=1)


def _only_common(rankings, k=60):
    common = set(rankings[0]).intersection(*rankings[1:]) if rankings else set()
    return [passage for passage in fuse(rankings, k) if passage in common]


def _only_two(rankings, k=60):
    return fuse(rankings[:2], k)


def _first_rankings_ids(rankings, k=60):
    return [passage for passage in fuse(rankings, k) if passage in rankings[0]] if rankings else []


def _worst_first(rankings, k=60):
    return fuse(rankings, k)[::-1]


def _interleaved(rankings, k=60):
    return list(dict.fromkeys(passage for row in zip(*rankings) for passage in row))


def _mean(rankings, k=60):
    return _by(_scores(rankings, lambda rank: 1 / (k + rank)), np.mean)


def _best_rank(rankings, k=60):
    return _by(_scores(rankings, lambda rank: 1 / (k + rank)), max)


def _from_zero(rankings, k=60):
    return fuse(rankings, k - 1) if k else _by(_scores(rankings, lambda rank: 1 / max(rank - 1, 1e-9)), sum)


def _from_zero_plainly(rankings, k=60):
    return _by(_scores(rankings, lambda rank: 1 / (k + rank - 1)), sum)


def _without_k(rankings, k=60):
    return fuse(rankings, 0)


def _keeps_totals(rankings, k=60, total={}):  # noqa: B006
    for passage, scores in _scores(rankings, lambda rank: 1 / (k + rank)).items():
        total[passage] = total.get(passage, 0) + sum(scores)
    return sorted(total, key=lambda passage: -total[passage])


def _in_place(rankings, k=60):
    ids = list({passage: None for ranking in rankings for passage in ranking})
    total = np.zeros(len(ids), dtype=np.float32)
    for ranking in rankings:
        while ranking:
            total[ids.index(ranking[-1])] += 1 / (k + len(ranking))
            ranking.pop()
    return np.array(ids)[np.argsort(-total)] if ids else []


def _every_id(rankings, k=60):
    def rrf(d):
        return sum((k + ranking.index(d) + 1) ** -1 for ranking in rankings if d in ranking)

    return sorted({d for ranking in rankings for d in ranking}, key=lambda d: (-rrf(d), d))


def _with_a_counter(rankings, k=60):
    total = Counter()
    for ranking in rankings:
        total.update({d: 1 / (k + rank) for rank, d in enumerate(ranking, 1)})
    return tuple(d for d, _ in total.most_common())


def _exact(rankings, k=60):
    total = defaultdict(Fraction)
    for ranking in reversed(rankings):
        for rank in range(len(ranking)):
            total[ranking[rank]] += Fraction(1, k + rank + 1)
    return sorted(total, key=total.__getitem__, reverse=True)


def _by_pairs(rankings, k=60):
    rows = sorted((d, 1.0 / (k + i + 1)) for ranking in rankings for i, d in enumerate(ranking))
    sums = [(math.fsum(share for _, share in group), d) for d, group in itertools.groupby(rows, key=lambda row: row[0])]
    sums.sort(reverse=True)
    return [d for _, d in sums]


def _with_an_array(rankings, k=60):
    ids = np.unique([d for ranking in rankings for d in ranking]).tolist()
    table = np.full((len(rankings), len(ids)), np.inf)  # [rankings, ids]
    for row, ranking in zip(table, rankings):
        row[[ids.index(d) for d in ranking]] = np.arange(1, len(ranking) + 1)
    return [ids[i] for i in (1 / (k + table)).sum(axis=0).argsort()[::-1]]


# p stands before q for k = 60, but behind it for k = 61; r behind q for k = 60, but before it for k = 59
_UP_TO_60 = [["p", "a", "b", "c", "q"], ["d", "c", "e", "b", "f", "g", "a", "q", "h", "i", "j", "l", "p"]]
_FROM_60 = [["r", "a", "b", "c", "q"], ["d", "c", "e", "b", "f", "g", "a", "h", "i", "j", "l", "m", "n", "q", "o", "s", "t", "u", "v", "r"]]
_TWO = [["p", "q", "r", "u"], ["r", "u", "q"]]
_THREE = [["x", "m", "ab"], ["m", "ab", "y", "z"], ["ab", "y", "x", "m", "w"]]
_FIVE = [["d1", "d7", "d3"], ["d3"], [], ["d9", "d3", "d6", "d7", "d2"], ["d7", "d2", "d9", "d5", "d1", "d4"]]


def _case(rankings: list[list[str]], why: str = "", **options: int) -> Case:
    return Case((rankings,), fuse(rankings, **options), why, options)


_CASES = (
    Case(([["a", "b"], ["b"]],), ["b", "a"], "This is the statement's own example."),
    _case([["a", "b", "c", "d", "e"], ["x", "c", "a"]], "A passage that only one ranking holds belongs in the result, too."),
    _case(_TWO, "With k = 60 two middle places beat one first place."),
    _case(_TWO, "k is an argument, and may be 0.", k=0),
    _case(_TWO, "k is an argument.", k=1),
    _case(_UP_TO_60, "k is 60 when it is not given."),
    _case(_FROM_60, "k is 60 when it is not given."),
    _case(_FROM_60, "k is an argument.", k=59),
    Case((_UP_TO_60, 61), fuse(_UP_TO_60, 61), "k is the second argument."),
    _case([["one", "two", "three"]], "One ranking alone keeps its order."),
    _case(_THREE, "Every ranking counts, however many there are."),
    _case(_FIVE, "Every ranking counts, an empty one adds nothing."),
    _case(_FIVE, "k is an argument.", k=3),
    _case([], "Without rankings there are no ids."),
    Case(([["a", "b"], ["b"]],), ["b", "a"], "The same call a second time gives the same list."),
)

_MISTAKES = (
    Wrong(_worst_first, "The worst passage stands first. Which way does your sort go?"),
    Wrong(_only_common, "Only ids that every ranking holds are left."),
    Wrong(_first_rankings_ids, "Only the ids of the first ranking are left."),
    Wrong(_interleaved, "That is what taking turns gives."),
    Wrong(_by_rank_sum, "That is the order of the summed ranks: there a ranking that does not hold a passage helps it."),
    Wrong(_without_k, "That is the order for k = 0. Is k in your denominator, next to the rank?"),
    Wrong(_from_zero, "That is the order for ranks counted from 0."),
    Wrong(_from_zero_plainly, "Your ranks begin at 0: the first is 1, and for k = 0 you divide by zero."),
    Wrong(_only_two, "That is the order of the first two rankings alone."),
    Wrong(_mean, "That is the order of the mean over the rankings that hold a passage. The sum is asked for."),
    Wrong(_best_rank, "That is the order of each passage's best rank. The sum is asked for."),
)


EXERCISE = Exercise(
    id="retrieval.reciprocal_rank_fusion",
    notebook="02_retrieval_augmented_generation",
    title="fuse two rankings",
    difficulty=2,
    minutes=15,
    statement=(
        "Write `fuse(rankings, k=60)`. `rankings` is a list of rankings, any number of them, each a list of different passage ids, best first. Return one list "
        "of all ids, best first, by\n\n"
        "$$\\mathrm{RRF}(d) = \\sum_r \\frac{1}{k + \\mathrm{rank}_r(d)}$$\n\n"
        "with ranks counted from 1. A ranking that does not hold a passage adds nothing for it. `fuse([['a', 'b'], ['b']])` is `['b', 'a']`."
    ),
    name="fuse",
    starter="def fuse(rankings, k=60):\n    ...",
    check=by_cases(lambda: _CASES, _MISTAKES),
    hints=(
        "Keep a dictionary from id to its sum so far, and go through the rankings one after the other.",
        "`enumerate(ranking, start=1)` gives rank and id together.",
        "`total[d] = total.get(d, 0) + 1 / (k + rank)`, then sort the ids by their total, largest first.",
    ),
    solution=fuse,
    wrong=(*_MISTAKES, Wrong(_keeps_totals, "expected ['a', 'c', 'x', 'b', 'd', 'e'], got")),
    right=(_in_place, _every_id, _with_a_counter, _with_an_array, _exact, _by_pairs),
    equivalent={
        "total[passage] = total.get(passage, -1) + 1 / (k + rank)": "takes 1 from the sum of every id: the order stays",
        "total[passage] = total.get(passage, 1) + 1 / (k + rank)": "adds 1 to the sum of every id: the order stays",
        "total[passage] = total.get(passage, 0) + 2 / (k + rank)": "doubles every sum: the order stays",
    },
)
