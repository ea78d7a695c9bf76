"""What a language model is trained on: position t predicts token t + 1."""

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


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


def _mean_of_sums(logits, ids):
    return next_token_loss(logits, ids) * (ids.shape[1] - 1)


def _divided_by_all(logits, ids):
    return next_token_loss(logits, ids) * (ids.shape[1] - 1) / ids.shape[1]


def _first_text(logits, ids):
    return next_token_loss(logits[:1], ids[:1])


def _in_bits(logits, ids):
    return next_token_loss(logits, ids) / torch.log(torch.tensor(2.0))


def _one_text_missing(logits, ids):
    return next_token_loss(logits, ids) * (ids.shape[0] - 1) / ids.shape[0]


def _clamped(logits, ids):
    return -torch.softmax(logits[:, :-1], -1).gather(-1, ids[:, 1:, None]).clamp(1e-9).log().mean()


def _last_prediction(logits, ids):
    return -torch.log_softmax(logits[:, -2], -1).gather(-1, ids[:, -1:]).mean()


def _logits_alone(logits, ids):
    return -logits[:, :-1].gather(-1, ids[:, 1:, None]).mean()


def _per_prediction(logits, ids):
    return -torch.log_softmax(logits[:, :-1], -1).gather(-1, ids[:, 1:, None])[..., 0]


def _two_ahead(logits, ids):
    return -torch.log_softmax(logits[:, :-2], -1).gather(-1, ids[:, 2:, None]).mean()


def _overflows(logits, ids):
    p = torch.exp(logits[:, :-1])
    return -(p / p.sum(-1, keepdim=True)).gather(-1, ids[:, 1:, None]).log().mean()


def _library(logits, ids):
    return torch.nn.CrossEntropyLoss()(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def _library_by_its_operation(logits, ids):
    return torch.ops.aten.cross_entropy_loss(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def _library_by_another_name(logits, ids):
    return getattr(torch._C._nn, "_".join(("cross", "entropy", "loss")))(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def _by_logsumexp(logits, ids):
    scores = logits[:, :-1].double()
    return (scores.logsumexp(-1) - scores.gather(-1, ids[:, 1:].unsqueeze(-1)).squeeze(-1)).mean()


def _in_numpy(logits, ids):
    scores, targets = logits.numpy()[:, :-1].astype(np.float64), ids.numpy()[:, 1:]
    scores = scores - scores.max(-1, keepdims=True)
    log_p = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    return -np.take_along_axis(log_p, targets[..., None], -1).mean()


def _by_loops(logits, ids):
    losses = []
    for scores, tokens in zip(logits, ids):
        for t in range(len(tokens) - 1):
            losses.append(-torch.log_softmax(scores[t], 0)[tokens[t + 1]].item())
    return sum(losses) / len(losses)


def _in_place(logits, ids):
    logits -= logits.amax(-1, keepdim=True)
    logits -= logits.exp().sum(-1, keepdim=True).log()
    batch, seq = ids.shape
    return -logits[torch.arange(batch)[:, None], torch.arange(seq - 1), ids[:, 1:]].mean().reshape(1)


def _by_one_hot(logits, ids):
    chosen = torch.eye(logits.shape[-1])[ids[:, 1:]]
    return -(chosen * torch.nn.functional.log_softmax(logits[:, :-1], -1)).sum() / chosen.sum()


def _by_nll(logits, ids):
    log_p = torch.nn.LogSoftmax(-1)(logits[:, :-1])
    return torch.nn.functional.nll_loss(log_p.reshape(-1, log_p.shape[-1]), ids[:, 1:].reshape(-1)).item()


def _cases() -> list[Case]:
    generator = torch.Generator().manual_seed(6)

    def case(batch: int, seq: int, vocabulary: int, scale: float, rule: str, shift: float = 0.0) -> Case:
        logits = torch.randn(batch, seq, vocabulary, generator=generator) * scale + shift
        ids = torch.randint(vocabulary, (batch, seq), generator=generator)
        p = torch.softmax(logits.double()[:, :-1], -1) if scale < 100 else None
        log_p = p.log() if p is not None else logits.double()[:, :-1] - logits.double()[:, :-1].logsumexp(-1, keepdim=True)
        right = [-log_p[b, t, ids[b, t + 1]] for b in range(batch) for t in range(seq - 1)]
        return Case((logits, ids), float(sum(right) / len(right)), rule)

    rule = "The loss is the mean of -log p(token t + 1 | logits at t) over all batch * (seq - 1) predictions."
    even = Case(
        (torch.zeros(1, 2, 4), torch.tensor([[3, 1]])),
        1.3862944,
        "One prediction over four equal logits: every token has p = 1/4, so the loss is log 4.",
    )
    huge = "For logits in the thousands the loss must be finite, and right: take the logarithm of softmax in one step (log_softmax)."
    sizes = ((2, 5, 7, 2.0, rule), (1, 2, 3, 1.0, rule), (3, 4, 9, 0.5, rule), (2, 3, 5, 2000.0, huge))
    return [even, *(case(*size) for size in sizes), case(1, 6, 4, 1.0, huge, shift=5000.0), case(2, 3, 4, 1.0, huge, shift=-5000.0)]


_TORCHS_OWN = "That is torch's own cross-entropy, and here it is yours to write: shift, log_softmax, pick, mean."
_MISTAKES = (
    Wrong(_not_shifted, "Nothing is shifted: each position is asked for the token it has just read. It should predict the next one."),
    Wrong(_backwards, "Shifted the wrong way: position t is asked for the token BEFORE it."),
    Wrong(_summed, "This is the sum; the mean over the predictions does not depend on how many there are."),
    Wrong(_mean_of_sums, "You divide by the number of texts alone; the mean goes over all batch * (seq - 1) predictions."),
    Wrong(_divided_by_all, "You divide by batch * seq. There are only seq - 1 predictions in each text."),
    Wrong(_over_positions, "Your softmax runs over the positions. Probabilities are spread over the vocabulary, the last axis."),
    Wrong(_no_log, "The logarithm is missing: this is minus the probability itself."),
    Wrong(_positive, "The sign is wrong: a probable token must give a small loss, and the loss is never below zero."),
    Wrong(_overflows, "Logits in the thousands give inf or NaN: take the logarithm of softmax in one step (log_softmax)."),
    Wrong(_in_bits, "Your loss is in bits. The natural logarithm is asked for."),
    Wrong(_first_text, "Only the first text counts in your mean: the batch has more."),
)

EXERCISE = Exercise(
    id="transformer.next_token_loss",
    notebook="01_transformers_from_scratch",
    title="the loss of a language model",
    difficulty=3,
    minutes=15,
    statement=(
        "Write `next_token_loss(logits, ids)`. `logits` is `(batch, seq, vocabulary)`, `ids` is `(batch, seq)`: the logits at position `t` score "
        "the token at `t + 1`. Return the mean of $-\\log p$ over all `batch * (seq - 1)` predictions, finite for logits in the thousands. "
        "Do not call torch's cross-entropy."
    ),
    name="next_token_loss",
    starter="def next_token_loss(logits, ids):\n    ...",
    check=by_cases(_cases, _MISTAKES, lambda: {"(linear_)?cross_entropy.*": _TORCHS_OWN}),
    hints=(
        "The last position has no successor in `ids`, and the first token has no predecessor: each side loses one.",
        "`logits[:, :-1]` predicts `ids[:, 1:]`. `gather(-1, ...)` picks one number per row of the vocabulary axis.",
        "`-torch.log_softmax(logits[:, :-1], -1).gather(-1, ids[:, 1:, None]).mean()`.",
    ),
    solution=next_token_loss,
    wrong=(
        *_MISTAKES,
        Wrong(_library, "torch's own cross-entropy", shares_hint=True),
        Wrong(_library_by_its_operation, "torch's own cross-entropy", shares_hint=True),
        Wrong(_library_by_another_name, "torch's own cross-entropy", shares_hint=True),
        Wrong(_one_text_missing, "got 0"),
        Wrong(_clamped, "must be finite, and right"),
        Wrong(_last_prediction, "over all batch * (seq - 1) predictions"),
        Wrong(_logits_alone, "expected 1.3863, got"),
        Wrong(_per_prediction, "over all batch * (seq - 1) predictions"),
        Wrong(_two_ahead, "expected 1.3863, got nan"),
    ),
    right=(_by_logsumexp, _in_numpy, _by_loops, _in_place, _by_one_hot, _by_nll),
    equivalent={
        "log_p = torch.log_softmax(logits[:, :], dim=-1)": "gather reads as many positions as the index has: the last one is not among them",
    },
)
