"""Examples for supervised training and how they become batches.

An example is a prompt p_1 … p_m and a completion c_1 … c_n; training maximises Σ_t log P(c_t | p, c_<t), so only the completion is
supervised. The model reads [p; c] without its last token (nothing follows it) and is asked for the next token at the positions whose
successor lies in c: that is the boolean `mask` of a `Batch`.

Two habits keep the work on real tokens: *length buckets* (neighbours of a shuffled-then-sorted list share a batch, so that padding stays at
a few per cent), and padding on the right, where causal attention never looks at it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from llmsuite_lab.core.errors import whole
from llmsuite_lab.lm import text

POOL_BATCHES = 32  # length buckets are cut from shuffled pools of this many batches: big enough to sort well, small enough to stay random


@dataclass(frozen=True)
class Example:
    """One supervised pair of token ids. For an encoder–decoder the prompt is the source and the completion is the target."""

    prompt_ids: Sequence[int]
    completion_ids: Sequence[int]

    def __len__(self) -> int:
        """Tokens of prompt and completion together."""
        return len(self.prompt_ids) + len(self.completion_ids)


@dataclass
class Batch:
    """Right-padded token ids, ready for a causal model or an encoder–decoder.

    `ids` and `attention_mask` are what the model reads; `mask` marks the positions whose next token is supervised and `targets` are those
    next tokens, in the order of `hidden[mask]`. `decoder_ids` is None for a causal model; for an encoder–decoder it holds the padded
    targets (`mask` then has its shape) and `ids` the source. `tokens` counts real tokens read: no padding.
    """

    ids: Int[Tensor, "batch seq"]
    attention_mask: Int[Tensor, "batch seq"]
    mask: Bool[Tensor, "batch out_seq"]
    targets: Int[Tensor, " supervised"]
    tokens: int
    decoder_ids: Int[Tensor, "batch out_seq"] | None = None

    @property
    def count(self) -> int:
        """Number of supervised tokens: what a mean loss is normalised by."""
        return self.targets.numel()

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        move = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in vars(self).items()}
        return Batch(**move)


def encode(tokenizer: Any, prompt: str, completion: str, *, eos: bool = True) -> Example:
    """Token ids of a prompt and its completion, tokenised apart: just as the model meets them when it generates.

    Both are text: control tokens come from a chat template alone (`lm.text.chat_prompt`).
    `eos=True` ends the completion with the tokenizer's end-of-text token, which is how a tuned model learns to stop.
    Raises ValueError when the tokenizer has no such token.
    """
    prompt_ids, completion_ids = text.encode(tokenizer, [prompt, completion])
    if eos:
        if tokenizer.eos_token_id is None:
            raise ValueError("this tokenizer has no end-of-text token: pass eos=False and end the completion yourself")
        completion_ids.append(tokenizer.eos_token_id)
    return Example(prompt_ids, completion_ids)


def check_examples(
    examples: Sequence[Example], *, context_length: int | None = None, vocabulary: int | None = None, separate: bool = False
) -> None:
    """Refuse what cannot be trained on, saying how many examples and which is the first.

    `separate=True` is the encoder–decoder case: prompt and completion each have the whole context to themselves.
    Raises TypeError for what is no example, ValueError for no examples, ids that are no whole numbers, an empty completion, one longer than the
    context, ids outside the vocabulary (below zero where it is not known), and nothing to predict.
    """
    if len(examples) == 0:
        raise ValueError("there are no examples to train on: the list is empty")
    if (strange := next((i for i, e in enumerate(examples) if not hasattr(e, "completion_ids")), None)) is not None:
        raise TypeError(
            f"examples[{strange}] is a {type(examples[strange]).__name__}, but it must be an Example (lm.batching.encode makes one of two texts): "
            "anything else needs a collate_fn and a loss_fn"
        )
    _check_whole(examples)
    _refuse(examples, lambda e: len(e.completion_ids) == 0, "an empty completion: drop them or give them text")
    if separate:
        _refuse(examples, lambda e: len(e.prompt_ids) == 0, "an empty prompt: the encoder has nothing to read")
    else:
        _refuse(examples, lambda e: len(e) < 2, "a single token in all, with nothing to predict it from: add a prompt")
    if context_length is not None:
        longest = [max(len(e.prompt_ids), len(e.completion_ids)) if separate else len(e) for e in examples]
        hint = f"more tokens than the model's context of {context_length} (longest: {max(longest)}); shorten, split or drop them"
        _refuse(longest, lambda n: n > context_length, hint)
    if vocabulary is not None:
        outside = lambda e: any(not 0 <= i < vocabulary for ids in (e.prompt_ids, e.completion_ids) for i in ids)  # noqa: E731
        _refuse(examples, outside, f"ids outside the vocabulary of {vocabulary}: does the tokenizer belong to the model?")
    else:
        _refuse(examples, lambda e: any(len(ids) and min(ids) < 0 for ids in (e.prompt_ids, e.completion_ids)), "ids below zero, which no token has")


def _check_whole(examples: Sequence[Example]) -> None:
    _refuse(examples, lambda e: not (_whole(e.prompt_ids) and _whole(e.completion_ids)), "ids that are no whole numbers: give token ids")


def _whole(ids: Sequence[int]) -> bool:
    """Whether these are whole numbers: a list of ints of any library, or a tensor or array of them. A float would be cut, silently, to another token."""
    if hasattr(ids, "dtype"):
        return "int" in str(ids.dtype)
    kinds = set(map(type, ids))  # few kinds, many ids
    if not all(issubclass(kind, Integral) and kind is not bool for kind in kinds - {Tensor}):
        return False
    return Tensor not in kinds or all("int" in str(i.dtype) for i in ids if isinstance(i, Tensor))


def _refuse(items: Sequence[Any], bad: Any, what: str) -> None:
    where = [i for i, item in enumerate(items) if bad(item)]
    if where:
        raise ValueError(f"{len(where)} of {len(items)} examples (first: number {where[0]}) have {what}")


def collate(examples: Sequence[Example], *, separate: bool = False) -> Batch:
    """Pad examples on the right into one batch. `separate=True` lays it out for an encoder–decoder.

    Padding holds id 0: no real position attends to it and none is supervised there. Raises ValueError for ids that are no whole numbers.
    """
    _check_whole(examples)
    if separate:
        ids, attention_mask = _pad([e.prompt_ids for e in examples])
        decoder_ids, present = _pad([e.completion_ids for e in examples])
        mask = present.bool()
        tokens = sum(len(e) for e in examples)
        return Batch(ids, attention_mask, mask, decoder_ids[mask], tokens, decoder_ids)
    rows = [[*e.prompt_ids, *e.completion_ids] for e in examples]
    ids, attention_mask = _pad([row[:-1] for row in rows])
    mask = torch.zeros_like(ids, dtype=torch.bool)
    targets: list[int] = []
    for i, example in enumerate(examples):
        first = max(len(example.prompt_ids), 1)  # without a prompt the completion's own first token only starts the sequence
        mask[i, first - 1 : len(rows[i]) - 1] = True
        targets += rows[i][first:]
    return Batch(ids, attention_mask, mask, torch.tensor(targets), sum(len(row) - 1 for row in rows))


def _pad(rows: Sequence[Sequence[int]]) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
    width = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    present = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        present[i, : len(row)] = 1
    return ids, present


def length_buckets(lengths: Sequence[int], batch_size: int, *, seed: int, epoch: int, buckets: bool = True) -> list[list[int]]:
    """One epoch's batches as lists of indices: every index once, similar lengths together, in an order fixed by (seed, epoch).

    Shuffle, cut into pools of `POOL_BATCHES` batches, sort each pool by length, cut into batches, shuffle the batches. The last batch may
    be smaller. `buckets=False` only shuffles. Raises ValueError for a seed, epoch or batch size that is no whole number in range.
    """
    whole("seed", seed, -(2**40), 2**40)
    whole("epoch", epoch, 0, 2**31)
    whole("batch_size", batch_size, 1, 2**31)
    generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
    order = torch.randperm(len(lengths), generator=generator).tolist()
    if buckets:
        pool = batch_size * POOL_BATCHES
        order = [i for start in range(0, len(order), pool) for i in sorted(order[start : start + pool], key=lengths.__getitem__)]
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def fingerprint(examples: Sequence[Any]) -> str:
    """SHA-256 of the examples' contents, so that resuming on other data is noticed. Tensors and arrays count with all their values."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(
            repr((list(example.prompt_ids), list(example.completion_ids)) if isinstance(example, Example) else _plain(example)).encode()
        )
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """What prints the same in every process: a tensor's own print is shortened, and an object's holds its address."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return str(value.dtype), tuple(value.shape), value.tolist()
    if hasattr(value, "tolist"):
        return str(value.dtype), value.tolist()
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return (type(value).__name__, _plain(vars(value))) if hasattr(value, "__dict__") else value
