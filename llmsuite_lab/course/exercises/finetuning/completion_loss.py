"""What fine-tuning is trained on: the completion's tokens, not the prompt's and not the padding's."""

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def completion_loss(logits: torch.Tensor, ids: torch.Tensor, n_prompt: torch.Tensor, n_tokens: torch.Tensor) -> torch.Tensor:
    """The solution: every prediction's loss, then the mean over those whose target is a token of a completion."""
    log_p = torch.log_softmax(logits[:, :-1], dim=-1)
    loss = -log_p.gather(-1, ids[:, 1:, None])  # (batch, seq - 1, 1)
    target = torch.arange(1, ids.shape[1])  # the place of the token that each position predicts
    counted = (target >= n_prompt[:, None]) & (target < n_tokens[:, None])
    return loss[counted].sum() / counted.sum().clamp(min=1)


def _losses(logits, ids):
    return -torch.log_softmax(logits[:, :-1], -1).gather(-1, ids[:, 1:, None])[..., 0]


def _mean_where(logits, ids, of_target):
    """The mean over the predictions for which `of_target(place of the target)` holds."""
    counted = of_target(torch.arange(1, ids.shape[1])[None, :].expand(len(ids), -1))
    return (_losses(logits, ids) * counted).sum() / counted.sum().clamp(min=1)


def _on_the_prompt_too(logits, ids, n_prompt, n_tokens):
    return _mean_where(logits, ids, lambda t: t < n_tokens[:, None])


def _on_the_prompt_alone(logits, ids, n_prompt, n_tokens):
    return _mean_where(logits, ids, lambda t: t < n_prompt[:, None])


def _on_padding_too(logits, ids, n_prompt, n_tokens):
    return _mean_where(logits, ids, lambda t: t >= n_prompt[:, None])


def _on_everything(logits, ids, n_prompt, n_tokens):
    return _losses(logits, ids).mean()


def _first_token_missing(logits, ids, n_prompt, n_tokens):
    return _mean_where(logits, ids, lambda t: (t > n_prompt[:, None]) & (t < n_tokens[:, None]))


def _first_padding_too(logits, ids, n_prompt, n_tokens):
    return _mean_where(logits, ids, lambda t: (t >= n_prompt[:, None]) & (t <= n_tokens[:, None]))


def _last_token_missing(logits, ids, n_prompt, n_tokens):
    return _mean_where(logits, ids, lambda t: (t >= n_prompt[:, None]) & (t < n_tokens[:, None] - 1))


def _last_of_the_prompt_too(logits, ids, n_prompt, n_tokens):
    return _mean_where(logits, ids, lambda t: (t >= n_prompt[:, None] - 1) & (t < n_tokens[:, None]))


def _not_shifted(logits, ids, n_prompt, n_tokens):
    place = torch.arange(ids.shape[1])
    counted = (place >= n_prompt[:, None]) & (place < n_tokens[:, None])
    loss = -torch.log_softmax(logits, -1).gather(-1, ids[..., None])[..., 0]
    return (loss * counted).sum() / counted.sum().clamp(min=1)


def _sums(logits, ids, n_prompt, n_tokens):
    place = torch.arange(1, ids.shape[1])
    counted = (place >= n_prompt[:, None]) & (place < n_tokens[:, None])
    return (_losses(logits, ids) * counted).sum(-1), counted.sum(-1)


def _mean_of_means(logits, ids, n_prompt, n_tokens):
    sums, counts = _sums(logits, ids, n_prompt, n_tokens)
    return (sums / counts.clamp(min=1))[counts > 0].sum() / (counts > 0).sum().clamp(min=1)


def _mean_of_all_rows_means(logits, ids, n_prompt, n_tokens):
    sums, counts = _sums(logits, ids, n_prompt, n_tokens)
    return (sums / counts.clamp(min=1)).mean()


def _over_all_positions(logits, ids, n_prompt, n_tokens):
    return _sums(logits, ids, n_prompt, n_tokens)[0].sum() / (ids.shape[0] * (ids.shape[1] - 1))


def _over_all_tokens(logits, ids, n_prompt, n_tokens):
    return _sums(logits, ids, n_prompt, n_tokens)[0].sum() / (n_tokens.sum() - len(ids)).clamp(min=1)


def _over_rows(logits, ids, n_prompt, n_tokens):
    return _sums(logits, ids, n_prompt, n_tokens)[0].mean()


def _summed(logits, ids, n_prompt, n_tokens):
    return _sums(logits, ids, n_prompt, n_tokens)[0].sum()


def _nan_without_any(logits, ids, n_prompt, n_tokens):
    sums, counts = _sums(logits, ids, n_prompt, n_tokens)
    return sums.sum() / counts.sum()


def _zeros_are_padding(logits, ids, n_prompt, n_tokens):
    return _mean_where(logits, ids, lambda t: (t >= n_prompt[:, None]) & (ids[:, 1:] != 0))


def _lengths_added(logits, ids, n_prompt, n_tokens):
    return completion_loss(logits, ids, n_prompt, n_prompt + n_tokens)


def _first_rows_lengths(logits, ids, n_prompt, n_tokens):
    return completion_loss(logits, ids, n_prompt[:1].expand(len(ids)), n_tokens[:1].expand(len(ids)))


def _by_labels(logits, ids, n_prompt, n_tokens):
    place = torch.arange(ids.shape[1])
    ids[(place < n_prompt[:, None]) | (place >= n_tokens[:, None])] = -100
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")
    return loss / max(int((ids[:, 1:] != -100).sum()), 1)


def _by_loops(logits, ids, n_prompt, n_tokens):
    losses = []
    for scores, tokens, start, end in zip(logits, ids, n_prompt.tolist(), n_tokens.tolist()):
        losses += [-torch.log_softmax(scores[t - 1], 0)[tokens[t]].item() for t in range(max(start, 1), end)]
    return sum(losses) / len(losses) if losses else 0


def _in_numpy(logits, ids, n_prompt, n_tokens):
    scores, ids, t = logits.double().numpy()[:, :-1], ids.numpy()[:, 1:], np.arange(1, ids.shape[1])
    loss = np.log(np.exp(scores).sum(-1)) - np.take_along_axis(scores, ids[..., None], -1)[..., 0]
    counted = (t >= n_prompt.numpy()[:, None]) & (t < n_tokens.numpy()[:, None])
    return np.mean(loss[counted]) if counted.any() else np.float64(0)


def _in_place(logits, ids, n_prompt, n_tokens):
    logits -= logits.logsumexp(-1, keepdim=True)
    total, count = 0.0, 0
    for row, tokens, start, end in zip(logits, ids, n_prompt, n_tokens):
        start = max(int(start), 1)
        picked = row[torch.arange(start - 1, max(int(end) - 1, start - 1)), tokens[start : int(end)]]
        total, count = total - picked.sum(), count + len(picked)
    return total / max(count, 1)


def _cut_rows(logits, ids, n_prompt, n_tokens):
    rows = [_losses(logits[i : i + 1], ids[i : i + 1])[0, max(n_prompt[i] - 1, 0) : n_tokens[i] - 1] for i in range(len(ids))]
    joined = torch.cat(rows).double()
    return joined.mean() if len(joined) else torch.zeros(())


def _by_one_hot(logits, ids, n_prompt, n_tokens):
    place = torch.arange(ids.shape[1])[None]
    weights = (place.ge(n_prompt[:, None]) * place.lt(n_tokens[:, None]))[:, 1:].double()
    chosen = (torch.nn.functional.one_hot(ids, logits.shape[-1])[:, 1:] * torch.log_softmax(logits, -1)[:, :-1]).sum(-1)
    return [-(chosen * weights).sum().item() / max(weights.sum().item(), 1)]


def _cases() -> list[Case]:
    generator = torch.Generator().manual_seed(11)

    def case(n_prompt: list[int], n_tokens: list[int], seq: int, vocabulary: int, rule: str) -> Case:
        logits = torch.randn(len(n_prompt), seq, vocabulary, generator=generator) * 2
        ids = torch.randint(vocabulary, (len(n_prompt), seq), generator=generator)  # whatever stands in the padding, 0 among the text
        log_p = logits.double().log_softmax(-1)
        found = [-log_p[b, t - 1, ids[b, t]].item() for b in range(len(ids)) for t in range(max(n_prompt[b], 1), n_tokens[b])]
        return Case((logits, ids, torch.tensor(n_prompt), torch.tensor(n_tokens)), sum(found) / len(found) if found else 0.0, rule)

    even = (torch.zeros(1, 4, 8), torch.tensor([[3, 1, 5, 0]]), torch.tensor([2]), torch.tensor([3]))
    mean = "The mean goes over the completions' tokens, all rows together: a token counts the same whichever row it stands in."
    shift = "Position t predicts token t + 1, so the prompt's last position predicts the completion's first token."
    value = "The numbers say where padding begins, not the token's value."
    return [
        Case(even, 2.0794415, "One token of completion over eight equal logits: the loss is log 8."),
        case([2], [5], 5, 6, shift),
        case([3], [4], 7, 5, shift),
        case([2, 4, 1], [7, 5, 3], 8, 9, mean),
        case([1, 5], [6, 6], 6, 4, mean),
        case([3, 2], [3, 6], 7, 5, "A completion may be empty: its row counts nothing."),
        case([0, 2], [4, 3], 5, 7, "Without a prompt the first token is predicted by nobody and does not count."),
        case([2, 3], [9, 8], 10, 2, value),
        case([4, 2, 6], [4, 2, 6], 6, 3, "With no token of completion in the batch the loss is 0."),
    ]


_MISTAKES = (
    Wrong(_on_the_prompt_too, "Your loss counts the prompt, too: the model would learn to write instructions. Only the completion is to be learned."),
    Wrong(_on_the_prompt_alone, "Your loss counts the prompt and not the completion."),
    Wrong(_on_padding_too, "Your loss counts the padding: from `n_tokens` on there is no text."),
    Wrong(_on_everything, "Your loss counts all there is: prompt, completion and padding. Only the completion is to be learned."),
    Wrong(_first_token_missing, "The completion's first token is missing. The prompt's last position predicts it."),
    Wrong(_last_of_the_prompt_too, "The prompt's last token counts in yours. The completion begins at place `n_prompt`."),
    Wrong(_last_token_missing, "The completion's last token is missing: the end is what tells the model to stop."),
    Wrong(_first_padding_too, "The first place of the padding counts in yours. The last token stands at place `n_tokens - 1`."),
    Wrong(_not_shifted, "Nothing is shifted: each position is asked for the token it has just read. It predicts the next."),
    Wrong(_mean_of_means, "You take the mean of each row, and then of the rows: a token of a short completion weighs more. Count all tokens together."),
    Wrong(_mean_of_all_rows_means, "You take the mean of the rows' means, empty ones among them. Count all tokens together."),
    Wrong(_over_all_positions, "You divide by all positions. Divide by the number of tokens that you summed over."),
    Wrong(_over_all_tokens, "You divide by all tokens, the prompts' too. Divide by the number of tokens that you summed over."),
    Wrong(_over_rows, "You divide by the number of rows. Divide by the number of tokens that you summed over."),
    Wrong(_summed, "This is the sum. The mean does not grow with the completion's length."),
    Wrong(_nan_without_any, "A batch without a completion's token gives nan, and one such batch ruins the weights. The loss is 0 there."),
    Wrong(_zeros_are_padding, "You take token 0 for padding. The numbers say where the padding begins; a token 0 may be text."),
    Wrong(_lengths_added, "You take `n_tokens` for the completion's own length. It counts the prompt, too: the text ends at place `n_tokens - 1`."),
    Wrong(_first_rows_lengths, "You use the first row's numbers for all rows."),
)

EXERCISE = Exercise(
    id="finetuning.completion_loss",
    notebook="08_fine_tuning",
    title="the loss on completions",
    difficulty=3,
    minutes=20,
    statement=(
        "Write `completion_loss(logits, ids, n_prompt, n_tokens)`. `logits` is `(batch, seq, vocabulary)`, `ids` is `(batch, seq)`. Row b begins with "
        "`n_prompt[b]` tokens of prompt; the completion goes on up to `n_tokens[b]` tokens in all; what follows is padding. Position t predicts token "
        "t + 1. Return the mean of $-\\log p$ over the tokens of all completions in the batch: a token that nothing predicts (place 0) does not "
        "count, a completion may be empty, and with no token to count the loss is 0."
    ),
    name="completion_loss",
    starter="def completion_loss(logits, ids, n_prompt, n_tokens):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Compute the loss of every prediction first, `(batch, seq - 1)`, and choose afterwards.",
        "Column i of that table belongs to the token at place i + 1. Compare the places `1 … seq - 1` with both numbers of the row.",
        "`counted = (t >= n_prompt[:, None]) & (t < n_tokens[:, None])`; then the sum over `counted`, divided by `counted.sum()`, at least 1.",
    ),
    solution=completion_loss,
    wrong=_MISTAKES,
    right=(_by_labels, _by_loops, _in_numpy, _in_place, _cut_rows, _by_one_hot),
    equivalent={
        "log_p = torch.log_softmax(logits[:, :], dim=-1)": "gather reads as many positions as the index has: the last one is not among them",
        "target = torch.arange(1, logits.shape[1])": "logits and ids have the same length",
    },
)  # fmt: skip
