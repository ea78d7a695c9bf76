"""Train, validation and test by item, and what must not stand in two of them.

    split(item) = the first s with  SHA-256(seed, id) / 2^64 < share_1 + … + share_s

Which side an item falls on depends on its id and the seed alone: all phrasings of a dialogue stay together, and items added later move none. Split first,
render afterwards; the other order asks one dialogue in training and in the test. In production: `sklearn.model_selection.GroupShuffleSplit`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from llmsuite_lab.core.errors import within
from llmsuite_lab.finetuning.templates import SLOT, Pair, drawn, item_of, text_of, words_of


@dataclass(frozen=True)
class Leak:
    """One fault in a split: `kind` is "item" or "text" (the same in two splits) or "completion" (it stands in the instruction), `where` the splits."""

    kind: str
    where: tuple[str, ...]
    item: str


def split(items: Sequence[Any], shares: Mapping[str, float] | None = None, seed: int = 0) -> dict[str, list[Any]]:
    """Items (dialogues or pairs) by split, in order: which one depends on the item's id and the seed alone, so all pairs of an item stay together.

    shares: of each split, together 1; None is 0.8 for train, 0.1 each for validation and test. They hold on average, not to the item.
    Raises ValueError for shares that are none, and for a split that no item fell into.
    """
    shares = {"train": 0.8, "validation": 0.1, "test": 0.1} if shares is None else dict(shares)
    for name, share in shares.items():
        within(f"the share of {name!r}", share, 1e-6, 1)
    if not shares or abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"the shares {shares} sum to {sum(shares.values()):g}, but together they must be 1")
    found: dict[str, list[Any]] = {name: [] for name in shares}
    for item in items:
        at = drawn(seed, item_of(item), "split") / 2**64
        side = sum(at >= end for end in accumulate(shares.values()))
        found[list(shares)[min(side, len(shares) - 1)]].append(item)  # the last split takes what rounding leaves
    if empty := [name for name, kept in found.items() if not kept]:
        raise ValueError(f"the split {empty[0]!r} is empty: {len(items)} items are too few for its share of {shares[empty[0]]:g}")
    return found


def leaks(splits: Mapping[str, Sequence[Any]]) -> list[Leak]:
    """What a split (of dialogues or pairs) must not have, in a fixed order; an empty list is what you want.

    An item's id, or the same text (after folding case, marks and spaces) under another id, in two splits; and in any split a completion that already
    stands, word for word, in the instruction: the template without its slots. The list of classes in a prompt is a slot, so it is no leak.
    """
    by_item: dict[str, dict[str, str]] = {}
    by_text: dict[str, dict[str, str]] = {}
    told: dict[tuple[str, str], Leak] = {}
    for name, rows in splits.items():
        for row in rows:
            item, words = item_of(row), words_of(text_of(row))
            by_item.setdefault(item, {}).setdefault(name, item)
            by_text.setdefault(words, {}).setdefault(name, item)
            if isinstance(row, Pair) and _told(row):
                told.setdefault((name, item), Leak("completion", (name,), item))
    same_item = [Leak("item", tuple(where), item) for item, where in by_item.items() if len(where) > 1]
    same_text = [Leak("text", tuple(where), min(where.values())) for where in by_text.values() if len(where) > 1 and len(set(where.values())) > 1]
    return [*same_item, *same_text, *told.values()]


def _told(pair: Pair) -> bool:
    completion = words_of(pair.completion)
    return completion != "" and any(f" {completion} " in f" {words_of(piece)} " for piece in SLOT.split(pair.template)[::2])
