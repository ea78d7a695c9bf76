"""From token vectors to one vector per text: the mean over real tokens, scaled to length 1."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from llmsuite_lab.course.exercises import Exercise, Wrong
from llmsuite_lab.course.exercises.cases import Case, by_cases


def sentence_vectors(hidden: Tensor, mask: Tensor) -> Tensor:
    """The solution: padding weighs nothing in the mean, and the result has length 1."""
    weights = mask[..., None].to(hidden.dtype)  # [batch, seq, 1]
    mean = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
    return mean / mean.norm(dim=-1, keepdim=True)


def _padding_too(hidden, mask):
    return F.normalize(hidden.mean(dim=1), dim=-1)


def _not_scaled(hidden, mask):
    weights = mask[..., None].to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


def _first_token(hidden, mask):
    return F.normalize(hidden[:, 0], dim=-1)


def _last_token(hidden, mask):
    return F.normalize(hidden[:, -1], dim=-1)


def _first_real_token(hidden, mask):
    return F.normalize(torch.stack([h[m][0] for h, m in zip(hidden, mask)]), dim=-1)


def _padding_only(hidden, mask):
    return sentence_vectors(hidden, ~mask)


def _over_the_batch(hidden, mask):
    weights = mask[..., None].to(hidden.dtype)
    return F.normalize((hidden * weights).sum(dim=0) / weights.sum(dim=0).clamp(min=1), dim=-1)


def _scaled_over_the_batch(hidden, mask):
    mean = _not_scaled(hidden, mask)
    return mean / mean.norm(dim=0, keepdim=True)


def _scaled_as_a_whole(hidden, mask):
    mean = _not_scaled(hidden, mask)
    return mean / mean.norm()


def _sums_to_one(hidden, mask):
    return F.normalize(_not_scaled(hidden, mask), p=1, dim=-1)


def _tokens_scaled_first(hidden, mask):
    return sentence_vectors(F.normalize(hidden, dim=-1), mask)


def _padding_at_the_right(hidden, mask):
    return F.normalize(torch.stack([h[:n].mean(dim=0) for h, n in zip(hidden, mask.sum(dim=1).tolist())]), dim=-1)


def _padding_at_the_left(hidden, mask):
    return F.normalize(torch.stack([h[len(h) - n :].mean(dim=0) for h, n in zip(hidden, mask.sum(dim=1).tolist())]), dim=-1)


def _largest(hidden, mask):
    return F.normalize(hidden.masked_fill(~mask[..., None], -torch.inf).amax(dim=1), dim=-1)


def _in_place(hidden, mask):
    hidden[~mask] = 0
    total = hidden.sum(1)
    total /= total.square().sum(-1, keepdim=True).sqrt()
    return total


def _text_by_text(hidden, mask):
    rows = []
    for text, real in zip(hidden, mask):
        tokens = [token for token, keep in zip(text, real) if keep]
        mean = sum(tokens) / len(tokens)
        rows.append(mean / torch.dot(mean, mean) ** 0.5)
    return torch.stack(rows)


def _einsum_in_double(hidden, mask):
    total = torch.einsum("bsd,bs->bd", hidden.double(), mask.double())
    return total / total.pow(2).sum(dim=1)[:, None].sqrt()


def _as_a_product(hidden, mask):
    weights = mask / mask.sum(dim=1, keepdim=True)
    return F.normalize(torch.bmm(weights[:, None], hidden)[:, 0])


def _with_nan(hidden, mask):
    return F.normalize(torch.where(mask.unsqueeze(2), hidden, torch.nan).nanmean(1))


def _in_numpy(hidden, mask):
    mean = np.ma.masked_array(hidden.numpy(), np.broadcast_to(~mask.numpy()[..., None], hidden.shape)).mean(axis=1).filled(0)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def _case(mask: list[list[int]], d: int, seed: int, rule: str, scale: float = 1.0) -> Case:
    real = np.array(mask, dtype=bool)
    hidden = scale * (np.random.default_rng(seed).normal(size=(*real.shape, d)) + 0.3)
    hidden[~real] = 3 * scale * hidden[~real] + scale  # what the encoder leaves at padding is as large as the rest
    means = [text[keep].mean(axis=0) for text, keep in zip(hidden, real)]
    want = np.array([mean / np.sqrt((mean**2).sum()) for mean in means])
    return Case((torch.from_numpy(hidden).float(), torch.from_numpy(real)), want, rule)


def _cases() -> list[Case]:
    padded = "The mean is over the real tokens: where the mask is `False` stands padding."
    one_each = "One vector for each text, of the shape `(batch, d)` and of length 1."
    return [
        Case((torch.tensor([[[6.0, 8.0], [9.0, 9.0]]]), torch.tensor([[True, False]])), [[0.6, 0.8]], "This is the statement's example."),
        _case([[1, 1, 1, 1, 1]], 3, 1, one_each),
        _case([[1] * 7, [1, 1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0]], 5, 2, padded),
        _case([[0, 0, 0, 1], [1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1]], 6, 3, f"{padded} Here it comes first."),
        _case([[0, 1, 1, 0, 1, 0], [1, 0, 0, 0, 0, 1]], 4, 4, f"{padded} Here it stands between."),
        _case([[1], [1], [1]], 2, 5, one_each),
        _case([[1, 0], [1, 1]], 1, 6, one_each),
        _case([[1, 1, 0, 0], [1, 1, 1, 0]], 8, 7, "Every text is scaled to length 1, however small its vectors.", scale=1e-3),
        _case([[1, 1, 1], [0, 1, 1]], 3, 8, "Every text is scaled to length 1, however large its vectors.", scale=1e3),
    ]


_MISTAKES = (
    Wrong(_padding_too, "Padding counts in your mean: the same text gets another vector in a longer batch."),
    Wrong(_padding_only, "You take the mean over the padding: the mask is `True` for real tokens."),
    Wrong(_not_scaled, "The mean is right, but the vectors do not have length 1: their dot product is no cosine yet."),
    Wrong(_scaled_over_the_batch, "Over which axis do you take the norm? It should be the dimensions of one text."),
    Wrong(_scaled_as_a_whole, "You divide all texts by one norm. Each text has its own."),
    Wrong(_sums_to_one, "The absolute values of your vectors sum to 1. Length 1 means that their squares do."),
    Wrong(_first_token, "That is the first token's vector. MiniLM was trained with the mean over all real tokens."),
    Wrong(_last_token, "That is the last token's vector. MiniLM was trained with the mean over all real tokens."),
    Wrong(_first_real_token, "That is the first real token's vector. MiniLM was trained with the mean over all real tokens."),
    Wrong(_over_the_batch, "You take the mean over the batch. Which axis holds the tokens?"),
    Wrong(_tokens_scaled_first, "You scale each token to length 1 before the mean. The mean comes first."),
    Wrong(_padding_at_the_right, "You take the first tokens of each text. Padding may stand in front, too: look at the mask."),
    Wrong(_padding_at_the_left, "You take the last tokens of each text. Padding may stand behind, too: look at the mask."),
    Wrong(_largest, "That is the largest value of each dimension. The mean is asked for."),
)

EXERCISE = Exercise(
    id="retrieval.mean_pooling",
    notebook="02_retrieval_augmented_generation",
    title="one vector per text",
    difficulty=2,
    minutes=15,
    statement=(
        "Write `sentence_vectors(hidden, mask)`. `hidden` holds the encoder's vectors, shape `(batch, seq, d)`; `mask` is `True` for real tokens and `False` "
        "for padding, shape `(batch, seq)`. Padding may stand anywhere, and every text has at least one real token. Return the mean over the real tokens of "
        "each text, scaled to length 1: shape `(batch, d)`. One text of two tokens, `[6., 8.]` and, as padding, `[9., 9.]`, gives `[[0.6, 0.8]]`."
    ),
    name="sentence_vectors",
    starter="def sentence_vectors(hidden, mask):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Multiply the padding's vectors by zero before you sum over the tokens.",
        "`mask[..., None]` has shape (batch, seq, 1) and broadcasts over the dimensions. Divide by the number of real tokens, not by seq.",
        "`mean / mean.norm(dim=-1, keepdim=True)` scales each row to length 1.",
    ),
    solution=sentence_vectors,
    wrong=_MISTAKES,
    right=(_in_place, _text_by_text, _einsum_in_double, _as_a_product, _with_nan, _in_numpy),
    equivalent={
        "weights = mask[..., None].to()": "a tensor's .to() changes nothing, and a bool mask multiplies like 0 and 1",
        "weights = mask[..., None].to(mask.dtype)": "a bool mask multiplies like 0 and 1",
        "weights = mask[..., None]": "a bool mask multiplies like 0 and 1",
        "mean = (hidden * weights).sum(dim=1) * weights.sum(dim=1)": "a positive factor of a text falls out when it is scaled to length 1",
        "mean = (hidden * weights).sum(dim=1)": "a positive factor of a text falls out when it is scaled to length 1",
        "mean = (hidden * weights).mean(dim=1) / weights.sum(dim=1)": "a positive factor of a text falls out when it is scaled to length 1",
        "mean = (hidden * weights).sum(dim=1) / weights.sum()": "a positive factor of a text falls out when it is scaled to length 1",
        "mean = (hidden * weights).sum(dim=1) / weights.mean(dim=1)": "a positive factor of a text falls out when it is scaled to length 1",
        "return mean / mean.norm(dim=1, keepdim=True)": "the mean has two axes: 1 is the last",
    },
)
