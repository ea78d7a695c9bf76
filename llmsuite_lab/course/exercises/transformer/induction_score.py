"""Spotting an induction head: on a random sequence said twice, does it look at what came next last time?"""

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def induction_score(A: torch.Tensor, n: int) -> float:
    """The solution: from each token of the second copy to the one after its first occurrence, n - 1 places back."""
    queries = torch.arange(n, 2 * n)
    return A[queries, queries - (n - 1)].mean().item()


def _same_token(A, n):
    queries = torch.arange(n, 2 * n)
    return A[queries, queries - n].mean().item()


def _before_it(A, n):
    queries = torch.arange(n + 1, 2 * n)
    return A[queries, queries - n - 1].mean().item()


def _transposed(A, n):
    queries = torch.arange(n, 2 * n)
    return A[queries - (n - 1), queries].mean().item()


def _previous(A, n):
    queries = torch.arange(1, 2 * n)
    return A[queries, queries - 1].mean().item()


def _summed(A, n):
    return induction_score(A, n) * n


def _first_copy_too(A, n):
    queries = torch.arange(n - 1, 2 * n)
    return A[queries, queries - (n - 1)].mean().item()


def _before_it_wrapped(A, n):
    queries = torch.arange(n, 2 * n)
    return A[queries, queries - n - 1].mean().item()


def _two_after(A, n):
    queries = torch.arange(n, 2 * n)
    return A[queries, queries - n + 2].mean().item()


def _over_all_positions(A, n):
    return induction_score(A, n) / 2


def _largest(A, n):
    queries = torch.arange(n, 2 * n)
    return A[queries, queries - (n - 1)].max().item()


def _first_only(A, n):
    return A[n, 1].item()


def _one_short(A, n):
    queries = torch.arange(n, 2 * n - 1)
    return A[queries, queries - (n - 1)].mean().item()


def _share_of_winners(A, n):
    queries = torch.arange(n, 2 * n)
    return (A[queries].argmax(-1) == queries - (n - 1)).double().mean().item()


def _of_six(A, n):
    return induction_score(A, n) * n / 6


def _loop(A, n):
    total = 0
    for i in range(n, 2 * n):
        total += A[i, i - n + 1]
    return total / n


def _diagonal(A, n):
    return torch.diagonal(A[n:], offset=1).mean()


def _diagonal_of_the_whole(A, n):
    return np.asarray(A).diagonal(1 - n)[1:].mean()


def _in_double(A, n):
    return sum(row[i + 1] for i, row in enumerate(A.double().tolist()[n:])) / n


def _in_place(A, n):
    A[:n] = 0
    A *= torch.ones(2 * n, 2 * n).triu(1 - n).tril(1 - n)
    return A.sum().reshape(1) / n


def _gathered(A, n):
    return A[n:].gather(1, torch.arange(1, n + 1)[:, None]).mean().numpy()


def _cases() -> list[Case]:
    generator = torch.Generator().manual_seed(8)
    by_hand = torch.tensor([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.125, 0.75, 0.125, 0], [0.25, 0, 0.25, 0.5]])

    def attention_map(n: int) -> torch.Tensor:
        A = torch.rand(2 * n, 2 * n, generator=generator).tril()
        return A / A.sum(-1, keepdim=True)

    def right(A: torch.Tensor, n: int) -> float:
        return sum(float(A[i, i - n + 1]) for i in range(n, 2 * n)) / n

    perfect = torch.cat([torch.eye(10)[:5], torch.eye(10)[1:6]])
    rule = "The score is the mean of A[i, i - n + 1] over the second copy, i = n … 2n - 1."
    return [
        Case((by_hand, 2), 0.5, "n = 2: position 2 pays 0.75 to position 1, position 3 pays 0.25 to position 2; the mean is 0.5."),
        *(Case((A, n), right(A, n), rule) for n in (6, 3, 1, 11) for A in [attention_map(n)]),
        Case((perfect, 5), 1.0, "A head that looks at nothing but what followed last time scores 1."),
        Case((torch.eye(8), 4), 0.0, "A head that looks at itself alone scores 0."),
    ]


_MISTAKES = (
    Wrong(_same_token, "You look n places back: that is the SAME token's first occurrence. Useful is the token that followed it."),
    Wrong(_before_it, "You look at the token before the first occurrence; what followed it stands on the other side.", shares_hint=True),
    Wrong(
        _before_it_wrapped,
        "You look at the token before the first occurrence; what followed it stands on the other side.",
        shares_hint=True,
    ),
    Wrong(_transposed, "Rows and columns are swapped: A[query, key]. In a causal map everything above the diagonal is zero."),
    Wrong(_previous, "This is the previous-token score: it looks one place back. An induction head looks into the first copy."),
    Wrong(_summed, "This is a sum over the queries; a score that is a share of attention is their mean."),
    Wrong(_over_all_positions, "You divide by all 2n positions; the mean goes over the n tokens of the second copy."),
    Wrong(
        _first_copy_too,
        "One query too many: the last token of the first copy has not seen its successor's repetition yet. Only the second copy counts.",
    ),
    Wrong(_largest, "This is the largest of the weights; a single lucky token would make a head an induction head. The mean is asked for."),
)

EXERCISE = Exercise(
    id="transformer.induction_score",
    notebook="01_transformers_from_scratch",
    title="spot an induction head",
    difficulty=3,
    minutes=15,
    statement=(
        "A model reads `n` random tokens twice. `A` is one head's attention map, shape `(2n, 2n)`, `A[query, key]`. Write `induction_score(A, n)`: "
        "the mean attention that the tokens of the second copy pay to the token that FOLLOWED their first occurrence. A head that scores near 1 "
        "can predict the rest of any repetition."
    ),
    name="induction_score",
    starter="def induction_score(A, n):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Take n = 3, tokens A B C A B C. The query at position 3 (A) should look at B, position 1. How far back is that?",
        "Query i stands for the same token as position i - n; the one after it is i - n + 1.",
        "`i = torch.arange(n, 2 * n)`, then `A[i, i - n + 1].mean()`.",
    ),
    solution=induction_score,
    wrong=(
        *_MISTAKES,
        Wrong(_two_after, "expected 0.5, got"),
        Wrong(_first_only, "expected 0.5, got 0.75"),
        Wrong(_one_short, "expected 0.5, got 0.75", shares_hint=True),
        Wrong(_share_of_winners, "is the mean of A[i, i - n + 1]"),
        Wrong(_of_six, "expected 0.5, got 0.16667"),
    ),
    right=(_loop, _diagonal, _diagonal_of_the_whole, _in_double, _in_place, _gathered),
    equivalent={
        "return A[queries, queries - (n - 1)].mean()": "a tensor of one number is a number",
    },
)
