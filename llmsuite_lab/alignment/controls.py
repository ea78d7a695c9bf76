"""What must bring nothing: rewards and labels that know nothing, in the place of those that do.

    untrained      a reward model before its training           by_chance      a number drawn for each reply
    shuffled       the right numbers on the wrong replies       tossed         labels by the toss of a coin
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from llmsuite_lab.alignment import pairs
from llmsuite_lab.alignment.benches import Bench
from llmsuite_lab.alignment.reward_model import RewardModel
from llmsuite_lab.alignment.rollouts import Reward
from llmsuite_lab.lm.batching import Example


def untrained(made: Bench) -> RewardModel:
    """The reward that knows nothing: the same head before training, normalised over the same replies."""
    model = RewardModel(made.start.trunk(), made.seed + 1)
    model.normalise([reply for pair in made.told for reply in (pair.chosen, pair.rejected)])
    return model


def by_chance(seed: int) -> Reward:
    """A number between 0 and 1 for each reply, whatever it says."""
    generator = torch.Generator().manual_seed(seed)
    return lambda replies: torch.rand(len(replies), generator=generator)


def shuffled(reward: Reward, seed: int) -> Reward:
    """The same numbers, dealt out among the replies of one call by chance."""

    def dealt(replies: Sequence[Example]) -> torch.Tensor:
        return reward(replies)[torch.randperm(len(replies), generator=torch.Generator().manual_seed(seed))]

    return dealt


def tossed(told: Sequence[pairs.Pair], seed: int) -> list[pairs.Pair]:
    """The same pairs with labels by the toss of a coin."""
    heads = torch.rand(len(told), generator=torch.Generator().manual_seed(seed)) < 0.5
    return [replace(p, chosen_ids=p.rejected_ids, rejected_ids=p.chosen_ids) if turn else p for p, turn in zip(told, heads.tolist(), strict=True)]
