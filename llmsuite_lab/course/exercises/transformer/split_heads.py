"""Many heads in one matrix: the reshape that needs a transpose."""

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


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


def _heads_first(x, n_heads):
    return split_heads(x, n_heads).transpose(0, 1)


def _last_head_first(x, n_heads):
    return split_heads(x, n_heads).flip(1)


def _three_heads(x, n_heads):
    return split_heads(x, 3)


def _width_for_number(x, n_heads):
    return x.unflatten(-1, (-1, n_heads)).transpose(1, 2)


def _one_text(x, n_heads):
    return split_heads(x[:1], n_heads)


def _through_a_view(x, n_heads):
    batch, seq, features = x.shape
    return x.transpose(1, 2).reshape(batch, n_heads, seq, features // n_heads)


def _unflattened(x, n_heads):
    return x.unflatten(-1, (n_heads, -1)).permute(0, 2, 1, 3).contiguous()


def _chunks(x, n_heads):
    return torch.stack(x.chunk(n_heads, dim=-1), dim=1)


def _in_numpy(x, n_heads):
    return np.stack(np.split(x.numpy(), n_heads, axis=-1), axis=1)


def _by_loops(x, n_heads):
    batch, seq, features = x.shape
    d_head = features // n_heads
    result = torch.empty(batch, n_heads, seq, d_head, dtype=torch.float64)
    for b in range(batch):
        for h in range(n_heads):
            for t in range(seq):
                result[b, h, t] = x[b, t, h * d_head : (h + 1) * d_head]
    return result


def _by_einsum(x, n_heads):
    return torch.einsum("bthd->bhtd", x.view(*x.shape[:2], n_heads, x.shape[2] // n_heads))


def _nested_lists(x, n_heads):
    d = len(x[0][0]) // n_heads
    return [[[[float(v) for v in token[h * d : h * d + d]] for token in text] for h in range(n_heads)] for text in x]


def _cases() -> list[Case]:
    def case(batch: int, seq: int, n_heads: int, d_head: int) -> Case:
        x = torch.arange(batch * seq * n_heads * d_head).float().reshape(batch, seq, n_heads * d_head)
        right = [[[x[b, t, h * d_head : (h + 1) * d_head].tolist() for t in range(seq)] for h in range(n_heads)] for b in range(batch)]
        return Case((x, n_heads), right, "result[b, h, t] must be x[b, t, h*d_head : (h+1)*d_head].")

    return [case(1, 3, 2, 2), case(2, 5, 3, 4), case(3, 2, 1, 5), case(2, 4, 5, 1), case(1, 1, 4, 3), case(4, 3, 2, 7)]


_MISTAKES = (
    Wrong(
        _no_transpose,
        "Right shape, wrong content: a reshape alone puts several tokens' features into one head. Something must be transposed.",
    ),
    Wrong(_interleaved, "A head must get neighbouring features (head 0 the first d_head of them); yours takes every n-th feature."),
    Wrong(_not_in_front, "The heads are cut out, but the head axis must stand before the positions, so that Q Kᵀ compares positions."),
    Wrong(_wrong_axes, "Positions and features are swapped: the last axis must be a head's features."),
    Wrong(_heads_first, "The head axis stands before the texts: it belongs behind the batch, (batch, heads, seq, d_head)."),
    Wrong(_through_a_view, "Transposing before the cut mixes positions and features: cut the last axis in two first, then move the heads."),
    Wrong(
        _width_for_number, "You cut into heads of n_heads features each: the NUMBER of heads is n_heads, their width d_head what is left."
    ),
)

EXERCISE = Exercise(
    id="transformer.split_heads",
    notebook="01_transformers_from_scratch",
    title="split a vector into heads",
    difficulty=2,
    minutes=10,
    statement=(
        "Write `split_heads(x, n_heads)`: from `(batch, seq, n_heads * d_head)` to `(batch, n_heads, seq, d_head)`. Head `h` of token `t` is "
        "`x[b, t, h*d_head : (h+1)*d_head]`."
    ),
    name="split_heads",
    starter="def split_heads(x, n_heads):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "A reshape only changes how the same row of numbers is counted. Which axis can be cut without moving a number?",
        "Cut the last axis in two: `(batch, seq, n_heads, d_head)`. Now the axes are right but in another order.",
        "Then `transpose(1, 2)`.",
    ),
    solution=split_heads,
    wrong=(
        *_MISTAKES,
        Wrong(_last_head_first, "result[b, h, t] must be"),
        Wrong(_three_heads, "Your code raised RuntimeError"),
        Wrong(_one_text, "expected the shape (2, 3, 5, 4), got (1, 3, 5, 4)"),
    ),
    right=(_unflattened, _chunks, _in_numpy, _by_loops, _by_einsum, _nested_lists),
    equivalent={
        "return x.transpose(2, 1)": "a transpose swaps two axes, in either order",
    },
)
