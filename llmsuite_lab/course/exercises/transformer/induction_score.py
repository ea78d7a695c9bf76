"""Spotting an induction head: on a random sequence said twice, does it look at what came next last time?"""

import torch

from llmsuite_lab.course.exercises import Exercise, Mistake, Wrong, expect


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


def _check(answer) -> None:
    n = 6
    A = torch.rand(2 * n, 2 * n, generator=torch.Generator().manual_seed(8)).tril()
    A = A / A.sum(-1, keepdim=True)
    result = float(answer(A, n))

    def is_like(wrong) -> bool:
        return abs(result - wrong(A, n)) < 1e-5

    if is_like(_same_token):
        raise Mistake("You look n places back: that is the SAME token's first occurrence. Useful is the token that followed it.")
    if is_like(_before_it):
        raise Mistake("You look at the token before the first occurrence; what followed it stands on the other side.")
    if is_like(_transposed):
        raise Mistake("Rows and columns are swapped: A[query, key]. In a causal map everything above the diagonal is zero.")
    if is_like(_previous):
        raise Mistake("This is the previous-token score: it looks one place back. An induction head looks into the first copy.")
    if is_like(_summed):
        raise Mistake("This is a sum over the queries; a score that is a share of attention is their mean.")
    if is_like(_first_copy_too):
        raise Mistake(
            "One query too many: the last token of the first copy has not seen its successor's repetition yet. Only the second copy counts."
        )
    right = sum(float(A[i, i - n + 1]) for i in range(n, 2 * n)) / n
    expect(abs(result - right) < 1e-5, "The value differs from the mean of A[i, i - n + 1] over the second copy, i = n … 2n - 1.")


EXERCISE = Exercise(
    id="transformer.induction_score",
    notebook="01_transformers_from_scratch",
    title="spot an induction head",
    statement=(
        "A model reads `n` random tokens twice. `A` is one head's attention map, shape `(2n, 2n)`, `A[query, key]`. Write `induction_score(A, n)`: "
        "the mean attention that the tokens of the second copy pay to the token that FOLLOWED their first occurrence. A head that scores near 1 "
        "can predict the rest of any repetition."
    ),
    name="induction_score",
    starter="def induction_score(A, n):\n    ...",
    check=_check,
    hints=(
        "Take n = 3, tokens A B C A B C. The query at position 3 (A) should look at B, position 1. How far back is that?",
        "Query i stands for the same token as position i - n; the one after it is i - n + 1.",
        "`i = torch.arange(n, 2 * n)`, then `A[i, i - n + 1].mean()`.",
    ),
    solution=induction_score,
    wrong=(
        Wrong(_same_token, "SAME token"),
        Wrong(_before_it, "before the first occurrence"),
        Wrong(_transposed, "Rows and columns"),
        Wrong(_previous, "previous-token score"),
        Wrong(_summed, "a sum over the queries"),
        Wrong(_first_copy_too, "One query too many"),
    ),
)
