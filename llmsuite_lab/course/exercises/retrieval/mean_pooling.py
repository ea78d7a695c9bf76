"""From token vectors to one vector per text: the mean over real tokens, scaled to length 1."""

import torch
from torch import Tensor

from llmsuite_lab.course.exercises import Exercise, Wrong, expect


def sentence_vectors(hidden: Tensor, mask: Tensor) -> Tensor:
    """The solution: padding weighs nothing in the mean, and the result has length 1."""
    weights = mask[..., None].to(hidden.dtype)  # [batch, seq, 1]
    mean = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
    return mean / mean.norm(dim=-1, keepdim=True)


def _padding_too(hidden, mask):
    mean = hidden.mean(dim=1)
    return mean / mean.norm(dim=-1, keepdim=True)


def _not_scaled(hidden, mask):
    weights = mask[..., None].to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


def _first_token(hidden, mask):
    return hidden[:, 0] / hidden[:, 0].norm(dim=-1, keepdim=True)


def _over_the_batch(hidden, mask):
    weights = mask[..., None].to(hidden.dtype)
    mean = (hidden * weights).sum(dim=0) / weights.sum(dim=0).clamp(min=1)
    return mean / mean.norm(dim=-1, keepdim=True)


def _scaled_over_the_batch(hidden, mask):
    mean = _not_scaled(hidden, mask)
    return mean / mean.norm(dim=0, keepdim=True)


def _check(answer) -> None:
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(3, 7, 5, generator=generator) + 0.3  # 3 texts, 7 tokens, 5 dimensions
    mask = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0]]).bool()
    result, expected = answer(hidden, mask), sentence_vectors(hidden, mask)
    expect(isinstance(result, Tensor), "Return a tensor.")
    expect(
        result.shape == (3, 5),
        f"One vector per text is asked for: shape (3, 5), yours is {tuple(result.shape)}. Which axis holds the tokens?",
    )
    lengths = result.norm(dim=-1)
    close = lambda a, b: torch.allclose(a, b, atol=1e-5)  # noqa: E731
    expect(
        not close(result, _not_scaled(hidden, mask)),
        "The direction is right, but the vectors do not have length 1: their dot product is no cosine yet.",
    )
    expect(
        close(lengths, torch.ones(3)),
        "The vectors do not have length 1. Over which axis do you take the norm? It should be the dimensions of one text.",
    )
    expect(
        not close(result, _first_token(hidden, mask)), "That is the first token's vector. MiniLM was trained with the mean over all tokens."
    )
    expect(
        not close(result, _padding_too(hidden, mask)), "Padding counts in your mean: the same text gets another vector in a longer batch."
    )
    expect(close(result, expected), "Not the mean over the real tokens: sum the vectors where mask is true, divide by how many those are.")


EXERCISE = Exercise(
    id="retrieval.mean_pooling",
    notebook="02_retrieval_augmented_generation",
    title="one vector per text",
    statement=(
        "Write `sentence_vectors(hidden, mask)`. `hidden` holds the encoder's vectors, shape `(batch, seq, d)`; `mask` is `True` for real tokens and `False` "
        "for padding, shape `(batch, seq)`. Return the mean over the real tokens of each text, scaled to length 1: shape `(batch, d)`."
    ),
    name="sentence_vectors",
    starter="def sentence_vectors(hidden, mask):\n    ...",
    check=_check,
    hints=(
        "Multiply the padding's vectors by zero before you sum over the tokens.",
        "`mask[..., None]` has shape (batch, seq, 1) and broadcasts over the dimensions. Divide by the number of real tokens, not by seq.",
        "`mean / mean.norm(dim=-1, keepdim=True)` scales each row to length 1.",
    ),
    solution=sentence_vectors,
    wrong=(
        Wrong(_padding_too, "Padding counts in your mean"),
        Wrong(_not_scaled, "no cosine yet"),
        Wrong(_first_token, "first token's vector"),
        Wrong(_over_the_batch, "Which axis holds the tokens?"),
        Wrong(_scaled_over_the_batch, "Over which axis do you take the norm?"),
    ),
)
