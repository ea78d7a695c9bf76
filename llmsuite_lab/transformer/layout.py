"""How prompts of unequal length lie in one batch, and when finished rows leave it.

    columns   [ prefix that all prompts share | padding | rest of the prompt | new tokens ]

The prefix (few-shot examples, a system prompt) is read once for all rows. Padding stands on the left of what differs, so that every row writes the
same column at each step; a mask keeps it out of attention, and a row counts positions from its own first token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonprefix

import torch
from jaxtyping import Bool, Int
from torch import Tensor

SHARED_PREFIX_TOKENS = 16  # a shorter common prefix is not worth a forward pass of its own
COMPACT_AT = 0.8  # rows leave when at most this share of the batch still runs: copying the others' keys and values costs about a step


@dataclass(frozen=True)
class Layout:
    """`shared`: tokens that begin every prompt. `ids`: the rest of each, padded on the left. `real`: False for padding, over shared and rest.
    `positions`: where each of `ids` stands in its own row."""

    shared: int
    ids: Int[Tensor, "rows new"]
    real: Bool[Tensor, "rows total"]
    positions: Int[Tensor, "rows new"]

    @property
    def padded(self) -> bool:
        """Whether any row holds padding at all."""
        return not bool(self.real.all())


def lay_out(prompts: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> Layout:
    """The batch that these token ids make; none may be empty."""
    shared = _shared_prefix(prompts)
    width = max(map(len, prompts)) - shared
    ids = torch.tensor([[0] * (shared + width - len(p)) + list(p[shared:]) for p in prompts])
    pad = torch.tensor([shared + width - len(p) for p in prompts])[:, None]
    column = torch.arange(width)[None]
    real = torch.cat([torch.ones(len(prompts), shared, dtype=torch.bool), column >= pad], dim=1)
    positions = shared + (column - pad).clamp(min=0)
    return Layout(shared, ids.to(device), real.to(device), positions.to(device))


def _shared_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens that begin all prompts, leaving at least one to each; 0 when too few to matter."""
    if len(prompts) < 2:
        return 0
    shared = min(len(commonprefix([list(p) for p in prompts])), min(map(len, prompts)) - 1)
    return shared if shared >= SHARED_PREFIX_TOKENS else 0


def check_prompts(prompts: Sequence[Sequence[int]], room: int, vocabulary: int, context: int) -> None:
    """Refuse what no engine can continue.

    Raises:
        ValueError: no prompt or an empty one, ids outside the vocabulary, no room, or prompt + room beyond the context.
    """
    if not prompts or not all(len(p) for p in prompts):
        empty = [i for i, p in enumerate(prompts) if not len(p)]
        raise ValueError(f"every prompt needs at least one token id; got {len(prompts)} prompts, empty: {empty[:10]}")
    if room < 1:
        raise ValueError(f"max_new_tokens={room} must be at least 1")
    longest = max(map(len, prompts))
    if longest + room > context:
        raise ValueError(
            f"the longest prompt has {longest} tokens; with max_new_tokens={room} that is {longest + room},"
            f" over the model's max_length={context}: shorten the prompt or ask for fewer"
        )
    low, high = min(map(min, prompts)), max(map(max, prompts))
    if low < 0 or high >= vocabulary:
        raise ValueError(f"token id {low if low < 0 else high} is outside the vocabulary 0..{vocabulary - 1}")


def check_rows(rows: Sequence[int], running: int) -> None:
    """Raises ValueError for a row to go on with that is not among the `running` ones."""
    if strange := [row for row in rows if not -running <= row < running]:
        raise ValueError(f"row {strange[0]} is none of the {running} that run: rows are numbered from 0")


def leaving(going: Sequence[int], rows: int) -> bool:
    """Whether the finished rows leave now, when the rows `going` of `rows` still run: the one rule of compaction."""
    return len(going) <= COMPACT_AT * rows
