"""One gradient from many micro-batches on many ranks: each counts by its terms."""

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases

Rows = list[list[torch.Tensor]]


def mean_gradient(gradients: Rows, counts: list[list[int]]) -> torch.Tensor:
    """The solution: the sum of all terms' gradients, over the number of terms."""
    total, tokens = 0, 0
    for row, numbers in zip(gradients, counts):
        for gradient, count in zip(row, numbers):
            if count:
                total += count * gradient
                tokens += count
    return total / tokens


def _flat(gradients, counts):
    return [(g, c) for row, numbers in zip(gradients, counts) for g, c in zip(row, numbers) if c]


def _weighed(gradients, counts, weigh=lambda c: c, over=None):
    pairs = _flat(gradients, counts)
    return sum(weigh(c) * g for g, c in pairs) / (over(pairs) if over else sum(weigh(c) for _, c in pairs))


def _plain_mean(gradients, counts):
    return _weighed(gradients, counts, lambda c: 1)


def _of_ranks(gradients, counts):
    return sum(_weighed([row], [numbers]) for row, numbers in zip(gradients, counts) if any(numbers)) / sum(any(numbers) for numbers in counts)


def _of_ranks_all(gradients, counts):
    sums = [_weighed([row], [numbers]) for row, numbers in zip(gradients, counts) if any(numbers)]
    return sum(sums) / len(counts)


def _of_micro_batches(gradients, counts):
    means = [(sum(row[i] for i, c in enumerate(numbers) if c) / max(1, sum(c > 0 for c in numbers)), sum(numbers)) for row, numbers in zip(gradients, counts)]
    return sum(mean * tokens for mean, tokens in means) / sum(tokens for _, tokens in means)


def _sum(gradients, counts):
    return _weighed(gradients, counts, over=lambda pairs: 1)


def _sum_of_means(gradients, counts):
    return _weighed(gradients, counts, lambda c: 1, over=lambda pairs: 1)


def _over_ranks(gradients, counts):
    return _weighed(gradients, counts, over=lambda pairs: len(counts))


def _over_micro_batches(gradients, counts):
    return _weighed(gradients, counts, over=len)


def _first_rank(gradients, counts):
    return _weighed(gradients[:1], counts[:1])


def _last_micro_batch(gradients, counts):
    return _weighed([row[-1:] for row in gradients], [numbers[-1:] for numbers in counts])


def _empty_ones_too(gradients, counts):
    return sum(c * g for row, numbers in zip(gradients, counts) for g, c in zip(row, numbers)) / sum(map(sum, counts))


def _inverse(gradients, counts):
    return _weighed(gradients, counts, lambda c: 1 / c)


def _by_stacking(gradients, counts):
    pairs = _flat(gradients, counts)
    weights = torch.tensor([c for _, c in pairs], dtype=torch.float64)
    return torch.tensordot(weights / weights.sum(), torch.stack([g for g, _ in pairs]).double(), dims=1)


def _in_numpy(gradients, counts):
    pairs = _flat(gradients, counts)
    return np.average([g.double().numpy() for g, _ in pairs], axis=0, weights=[c for _, c in pairs])


def _rank_by_rank(gradients, counts):
    tokens = sum(map(sum, counts))
    sums = [sum((g * (c / tokens) for g, c in zip(row, numbers) if c > 0), torch.zeros(())) for row, numbers in zip(gradients, counts)]
    return sum(sums)


def _as_ddp_does(gradients, counts):
    n, tokens = len(counts), sum(map(sum, counts))
    held = []
    for row, numbers in zip(gradients, counts):
        own = torch.zeros_like(row[0] if row else gradients[0][0])
        for g, c in zip(row, numbers):
            own = own + torch.nan_to_num(g) * c * n / tokens
        held.append(own)
    return torch.stack(held).mean(0)


def _in_place(gradients, counts):
    total = sum(sum(numbers) for numbers in counts)
    answer = None
    for row, numbers in zip(gradients, counts):
        while row:
            g, c = row.pop(), numbers.pop()
            if c:
                answer = g.mul_(c / total) if answer is None else answer.add_(g, alpha=c / total)
    return answer


def _running(gradients, counts):
    mean, seen = None, 0
    for g, c in _flat(gradients, counts):
        seen += c
        mean = g.clone() if mean is None else mean + (g - mean) * (c / seen)
    return mean


def _cases() -> list[Case]:
    def case(counts: list, rule: str, shape: tuple[int, ...] = (3,), seed: int = 0) -> Case:
        generator = torch.Generator().manual_seed(seed)
        rows = [[torch.randn(shape, generator=generator, dtype=torch.float64) for _ in numbers] for numbers in counts]
        terms = torch.cat([g.expand(c, *shape) for row, numbers in zip(rows, counts) for g, c in zip(row, numbers)])
        given = [[g if c else torch.full(shape, float("nan"), dtype=torch.float64) for g, c in zip(row, numbers)] for row, numbers in zip(rows, counts)]
        return Case((given, counts), terms.mean(0), rule)

    term = "Each micro-batch counts by its number of terms, wherever it was computed."
    none = "A micro-batch without terms has a gradient of nan, and no say."
    example = [[torch.tensor([1.0, 4.0]), torch.tensor([3.0, 0.0])], [torch.tensor([6.0, 2.0])]], [[2, 1], [1]]
    return [
        Case(example, torch.tensor([2.75, 2.5]), "This is the statement's example."),
        case([[4, 4], [4, 4]], "With equal counts it is the plain mean."),
        case([[5, 1], [2, 2]], term),
        case([[7], [1]], term, (2, 2), 1),
        case([[3, 3, 3], [1], [8, 2]], term, (4,), 2),
        case([[4, 0], [3, 5]], none, (3,), 3),
        case([[0, 0], [6, 2]], none, (3,), 4),
        case([[0], [1], [4]], none, (2,), 5),
        case([[9, 1]], "One rank accumulates, too.", (3,), 6),
    ]


_MISTAKES = (
    Wrong(_plain_mean, "You take the plain mean of the micro-batches. A short one would count as much as a long one."),
    Wrong(_of_ranks, "Within a rank you count by terms, then you take the plain mean over ranks. Ranks differ in their terms, too."),
    Wrong(_of_ranks_all, "You take the mean over ranks, those without any term included."),
    Wrong(_of_micro_batches, "Ranks count by their terms in yours, and micro-batches within a rank all alike. They differ as well."),
    Wrong(_sum, "That is the sum over all terms. Divide by their number."),
    Wrong(_sum_of_means, "You add the micro-batches' means: the step would grow with their number."),
    Wrong(_over_ranks, "You divide by the number of ranks. Divide by the number of terms."),
    Wrong(_over_micro_batches, "You divide by the number of micro-batches. Divide by the number of terms."),
    Wrong(_first_rank, "Only the first rank is in yours: nothing was exchanged."),
    Wrong(_last_micro_batch, "Only each rank's last micro-batch is in yours: the earlier ones were not accumulated."),
    Wrong(_empty_ones_too, "0 times nan is nan: leave out micro-batches without terms."),
    Wrong(_inverse, "The short micro-batches count more in yours."),
)

EXERCISE = Exercise(
    id="scaling.mean_gradient",
    notebook="06_distributed_training",
    title="one gradient from many micro-batches",
    difficulty=3,
    minutes=20,
    statement=(
        "Rank r has accumulated micro-batches: `gradients[r][k]` is the gradient of the *mean* loss over the `counts[r][k]` terms of its k-th. Ranks may "
        "have different numbers of them. Write `mean_gradient(gradients, counts)`: the gradient of the mean loss over all terms of all ranks, which one "
        "process with the whole batch would have. A micro-batch without terms has a gradient of nan. With the gradients `[1, 4]` (2 terms) and `[3, 0]` "
        "(1 term) on rank 0 and `[6, 2]` (1 term) on rank 1 it is `[2.75, 2.5]`."
    ),
    name="mean_gradient",
    starter="def mean_gradient(gradients, counts):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "A mean times its count is a sum, and sums may be added.",
        "Add `count * gradient` over all micro-batches of all ranks, and the counts beside them.",
        "Skip those with a count of 0: 0 times nan is nan. Divide once, at the end.",
    ),
    solution=mean_gradient,
    wrong=_MISTAKES,
    right=(_by_stacking, _in_numpy, _rank_by_rank, _as_ddp_does, _in_place, _running),
)
