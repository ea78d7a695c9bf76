"""What the methods of one seed share: where they start, the pairs that the start wrote, and the reward model that learnt from these.

    start → pairs of its own replies, labelled → reward model             one `Bench` a seed

All methods begin with the same weights, learn from the same pairs or the same reward, and write as many replies (`Budget`). Test prompts choose nothing.
"""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from random import Random
from statistics import mean
from typing import Any

from torch import nn

from llmsuite_lab.alignment import measuring, pairs, small_policy
from llmsuite_lab.alignment.reward_model import RewardModel
from llmsuite_lab.alignment.rollouts import Reference, write
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.history import History
from llmsuite_lab.lm.batching import Example
from llmsuite_lab.lm.text import encode
from llmsuite_lab.lm.training import fit
from llmsuite_lab.peft_methods import methods
from llmsuite_lab.world.preferences import HUMAN, Case, Labeller, Preference, cases, reply

Row = dict[str, Any]
TOXIC_CASES = 4_000_000  # seed of the training cases that a start is made toxic on


@dataclass(frozen=True)
class Budget:
    """pairs: for reward model and DPO; iterations of `rollouts` replies: what an online method writes, and as many as one Grow step or Q-learning's log holds.
    items: test cases of the last row; along: the first of them, for rows along the run; held_out: validation cases; max_new_tokens: of a reply."""

    pairs: int = 3_000
    iterations: int = 24
    rollouts: int = 64
    items: int = 400
    along: int = 200
    held_out: int = 200
    max_new_tokens: int = 64

    @property
    def replies(self) -> int:
        """Replies that a method may write."""
        return self.iterations * self.rollouts


@dataclass
class Start:
    """Where every method begins. `fresh()`: a trainable copy; `reference(policy)`: π_ref of such a copy; `words`: the tokenizer; `trunk()`: what a reward model
    stands on."""

    fresh: Callable[[], nn.Module]
    reference: Callable[[nn.Module], Reference]
    words: Any
    trunk: Callable[[], nn.Module]

    @classmethod
    def of(cls, policy: nn.Module, words: Any) -> "Start":
        """A policy that is tuned whole; it stays as it is."""
        fixed = Reference.frozen(policy)

        def fresh() -> nn.Module:
            return copy.deepcopy(fixed.model).requires_grad_(True)

        return cls(fresh, lambda tuned: fixed, words, fresh)

    @classmethod
    def with_lora(cls, base: nn.Module, words: Any, rank: int = 8) -> "Start":
        """A causal model that stays as it is under a LoRA of its own for each tuning: with the LoRA off it is the reference. Raises as `lora.add_lora`."""

        def fresh() -> nn.Module:
            return methods.method("lora").prepare(copy.deepcopy(base), 0, words, rank=rank)

        return cls(fresh, Reference.without_adapters, words, fresh)


def desk(base: int = 0) -> Start:
    """The small policy of a base seed. Raises as `small_policy.load`."""
    return Start.of(*small_policy.load(base))


def toxic(start: Start, seed: int = 0, replies: int = 1_600) -> Start:
    """A start that has learnt from grumpy agents alone on top."""
    asked = cases(replies, "train", TOXIC_CASES + seed)
    said = encode(start.words, [reply(case, "grumpy", Random(f"toxic {case.id}")) for case in asked])
    taught = [Example(ids, [*row, start.words.eos_token_id]) for ids, row in zip(measuring.prompts(asked, start.words), said, strict=True)]
    policy = start.fresh()
    fit(policy, taught, epochs=1, batch_size=32, lr=1e-3, seed=seed, progress=False)
    return Start.of(policy, start.words)


@dataclass
class Bench:
    """What the methods of one seed share."""

    start: Start
    budget: Budget
    seed: int
    preferences: list[Preference]
    told: list[pairs.Pair]
    model: RewardModel
    made: Row = field(default_factory=dict)  # what the reward model took

    @property
    def asked(self) -> list[Case]:
        """The test cases."""
        return cases(self.budget.items, "test", 0)

    def prompts(self, count: int) -> list[list[int]]:
        """Prompts for tuning, as ids."""
        return measuring.prompts(measuring.tuning_cases(count, self.seed), self.start.words)


def bench(start: Start, seed: int, budget: Budget | None = None, noise: Labeller = HUMAN, **options: Any) -> Bench:
    """Pairs that the start wrote, labelled, and a reward model that learnt from them. `options` as `measuring.make_reward_model`."""
    budget, words = budget or Budget(), start.words
    with clock() as seconds:
        found = measuring.labelled_pairs(start.fresh(), words, budget.pairs, seed, noise, budget.max_new_tokens)
        model, history = reward_model_on(start, found, seed, **options)
    made = {"pairs": budget.pairs, "flipped": mean(p.flipped for p in found), "cpu_s": seconds(), "loss": history.losses[-1]}
    return Bench(start, budget, seed, found, pairs.encode(found, words), model, made)


def reward_model_on(start: Start, preferences: Sequence[Preference], seed: int, **options: Any) -> tuple[RewardModel, History]:
    """A reward model on a trunk of the start, learnt from pairs. `options` as `measuring.make_reward_model`."""
    return measuring.make_reward_model(start.trunk(), start.words, preferences, seed=seed, **options)


def sure_pairs(start: Start, count: int, seed: int = 0) -> list[Preference]:
    """Pairs of the start's replies to test cases, ranked by the gold judge; no ties. Raises LabError when too few differ in gold."""
    asked = cases(4 * count, "test", 0)
    replies, _ = write(start.fresh(), measuring.prompts(asked, start.words), end_id=start.words.eos_token_id, k=2, max_new_tokens=64, seed=seed)
    found = []
    for n, (case, worth) in enumerate(zip(asked, measuring.gold(asked, replies, start.words).view(-1, 2).tolist(), strict=True)):
        if abs(worth[0] - worth[1]) > 1e-6:
            texts = [start.words.decode(measuring.text_ids(reply, start.words.eos_token_id)) for reply in replies[2 * n : 2 * n + 2]]
            better = int(worth[1] > worth[0])
            found.append(Preference(case.prompt, texts[better], texts[1 - better], abs(worth[0] - worth[1])))
    if len(found) < count:
        raise LabError(f"only {len(found)} of {len(asked)} pairs differ in gold, and count={count}: this policy writes too much alike")
    return found[:count]


@contextmanager
def clock() -> Iterator[Callable[[], float]]:
    """CPU seconds since here, of all threads of this process."""
    began = time.process_time()
    yield lambda: time.process_time() - began


def as_data(budget: Budget) -> Row:
    """The budget as a record's settings."""
    return asdict(budget)
