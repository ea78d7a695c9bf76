"""What a language model is trained on: position t predicts token t + 1."""

import torch

from llmsuite_lab.course.exercises import Exercise, Mistake, Wrong, expect


def next_token_loss(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """The solution: drop the last position's prediction and the first token, then the mean negative log-probability."""
    log_p = torch.log_softmax(logits[:, :-1], dim=-1)  # what positions 0 … n-2 say about their successor
    return -log_p.gather(-1, ids[:, 1:, None]).mean()


def _not_shifted(logits, ids):
    return -torch.log_softmax(logits, -1).gather(-1, ids[..., None]).mean()


def _backwards(logits, ids):
    return -torch.log_softmax(logits[:, 1:], -1).gather(-1, ids[:, :-1, None]).mean()


def _summed(logits, ids):
    return next_token_loss(logits, ids) * (ids.shape[0] * (ids.shape[1] - 1))


def _over_positions(logits, ids):
    return -torch.log_softmax(logits[:, :-1], 1).gather(-1, ids[:, 1:, None]).mean()


def _no_log(logits, ids):
    return -torch.softmax(logits[:, :-1], -1).gather(-1, ids[:, 1:, None]).mean()


def _positive(logits, ids):
    return -next_token_loss(logits, ids)


def _check(answer) -> None:
    generator = torch.Generator().manual_seed(6)
    logits, ids = torch.randn(2, 5, 7, generator=generator) * 2, torch.randint(7, (2, 5), generator=generator)
    result = torch.as_tensor(answer(logits, ids))
    expect(result.numel() == 1, "Return one number: the mean over all predictions.")

    def is_like(wrong) -> bool:
        return torch.allclose(result.double(), wrong(logits, ids).double(), atol=1e-5)

    if is_like(_not_shifted):
        raise Mistake("Nothing is shifted: each position is asked for the token it has just read. It should predict the next one.")
    if is_like(_backwards):
        raise Mistake("Shifted the wrong way: position t is asked for the token BEFORE it.")
    if is_like(_summed):
        raise Mistake("This is the sum; the mean over the predictions does not depend on how many there are.")
    if is_like(_over_positions):
        raise Mistake("Your softmax runs over the positions. Probabilities are spread over the vocabulary, the last axis.")
    if is_like(_no_log):
        raise Mistake("The logarithm is missing: this is minus the probability itself.")
    if is_like(_positive):
        raise Mistake("The sign is wrong: a probable token must give a small loss, and the loss is never below zero.")
    right = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, 7), ids[:, 1:].reshape(-1))
    expect(torch.allclose(result.double(), right.double(), atol=1e-5), "The value differs from the mean of -log p(next token).")
    huge = torch.as_tensor(answer(logits * 1000, ids))
    expect(torch.isfinite(huge).all(), "Logits in the thousands give inf or NaN: take the logarithm of softmax in one step (log_softmax).")


def _overflows(logits, ids):
    p = torch.exp(logits[:, :-1])
    return -(p / p.sum(-1, keepdim=True)).gather(-1, ids[:, 1:, None]).log().mean()


EXERCISE = Exercise(
    id="transformer.next_token_loss",
    notebook="01_transformers_from_scratch",
    title="the loss of a language model",
    statement=(
        "Write `next_token_loss(logits, ids)`. `logits` is `(batch, seq, vocabulary)`, `ids` is `(batch, seq)`: the logits at position `t` score "
        "the token at `t + 1`. Return the mean of $-\\log p$ over all `batch * (seq - 1)` predictions, finite for logits in the thousands. "
        "Do not call torch's cross-entropy."
    ),
    name="next_token_loss",
    starter="def next_token_loss(logits, ids):\n    ...",
    check=_check,
    hints=(
        "The last position has no successor in `ids`, and the first token has no predecessor: each side loses one.",
        "`logits[:, :-1]` predicts `ids[:, 1:]`. `gather(-1, ...)` picks one number per row of the vocabulary axis.",
        "`-torch.log_softmax(logits[:, :-1], -1).gather(-1, ids[:, 1:, None]).mean()`.",
    ),
    solution=next_token_loss,
    wrong=(
        Wrong(_not_shifted, "Nothing is shifted"),
        Wrong(_backwards, "wrong way"),
        Wrong(_summed, "This is the sum"),
        Wrong(_over_positions, "over the positions"),
        Wrong(_no_log, "logarithm is missing"),
        Wrong(_positive, "sign is wrong"),
        Wrong(_overflows, "inf or NaN"),
    ),
)
