"""Many heads in one matrix: the reshape that needs a transpose."""

import torch

from llmsuite_lab.course.exercises import Exercise, Mistake, Wrong, expect


def split_heads(x: torch.Tensor, n_heads: int) -> torch.Tensor:
    """The solution: cut the features into heads, then bring the head axis in front of the positions."""
    batch, seq, features = x.shape
    x = x.reshape(batch, seq, n_heads, features // n_heads)  # a head's features stand side by side
    return x.transpose(1, 2)  # (batch, heads, seq, d_head)


def _no_transpose(x, n_heads):
    batch, seq, features = x.shape
    return x.reshape(batch, n_heads, seq, features // n_heads)


def _interleaved(x, n_heads):
    batch, seq, features = x.shape
    return x.reshape(batch, seq, features // n_heads, n_heads).permute(0, 3, 1, 2)


def _not_in_front(x, n_heads):
    batch, seq, features = x.shape
    return x.reshape(batch, seq, n_heads, features // n_heads)


def _wrong_axes(x, n_heads):
    return split_heads(x, n_heads).transpose(2, 3)


def _check(answer) -> None:
    batch, seq, n_heads, d_head = 2, 5, 3, 4
    x = torch.arange(batch * seq * n_heads * d_head).float().reshape(batch, seq, n_heads * d_head)
    result = answer(x, n_heads)
    expect(isinstance(result, torch.Tensor), "Return a torch tensor.")
    if tuple(result.shape) == (batch, seq, n_heads, d_head):
        raise Mistake("The heads are cut out, but the head axis must stand before the positions, so that Q Kᵀ compares positions.")
    if tuple(result.shape) == (batch, n_heads, d_head, seq):
        raise Mistake("Positions and features are swapped: the last axis must be a head's features.")
    expect(tuple(result.shape) == (batch, n_heads, seq, d_head), "The shape must be (batch, heads, seq, d_head).")
    if torch.equal(result, _no_transpose(x, n_heads)):
        raise Mistake(
            "Right shape, wrong content: a reshape alone puts several tokens' features into one head. Something must be transposed."
        )
    if torch.equal(result, _interleaved(x, n_heads)):
        raise Mistake("A head must get neighbouring features (head 0 the first d_head of them); yours takes every n-th feature.")
    right = torch.stack([x[:, :, h * d_head : (h + 1) * d_head] for h in range(n_heads)], dim=1)
    expect(torch.equal(result, right), "result[b, h, t] must be x[b, t, h*d_head : (h+1)*d_head].")


EXERCISE = Exercise(
    id="transformer.split_heads",
    notebook="01_transformers_from_scratch",
    title="split a vector into heads",
    statement=(
        "Write `split_heads(x, n_heads)`: from `(batch, seq, n_heads * d_head)` to `(batch, n_heads, seq, d_head)`. Head `h` of token `t` is "
        "`x[b, t, h*d_head : (h+1)*d_head]`."
    ),
    name="split_heads",
    starter="def split_heads(x, n_heads):\n    ...",
    check=_check,
    hints=(
        "A reshape only changes how the same row of numbers is counted. Which axis can be cut without moving a number?",
        "Cut the last axis in two: `(batch, seq, n_heads, d_head)`. Now the axes are right but in another order.",
        "Then `transpose(1, 2)`.",
    ),
    solution=split_heads,
    wrong=(
        Wrong(_no_transpose, "several tokens' features into one head"),
        Wrong(_interleaved, "every n-th feature"),
        Wrong(_not_in_front, "must stand before the positions"),
        Wrong(_wrong_axes, "Positions and features are swapped"),
    ),
)
