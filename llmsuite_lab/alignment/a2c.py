"""Advantage actor-critic: PPO's unclipped relative. One pass over fresh rollouts, then they are thrown away.

    L = − mean_t Â_t log π_θ(a_t | s_t) + c₁ ½ mean_t (V − R_t)² − c₂ mean_t H

With one pass the policy that is updated is the one that wrote the rollouts: the ratio is 1, the clip has nothing to do, and PPO's gradient is this one.
The paper expands A2C as *asynchronous*; that is A3C, whose workers lag behind the learner (Mnih et al. 2016). Here nothing lags.

Source: paper 6. In production: a PPO with one pass over each batch (OpenRLHF, verl); RLOO (`trl.RLOOTrainer`) is what is more often used of this kind.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llmsuite_lab.alignment import ppo
from llmsuite_lab.alignment.rollouts import ActorCritic, Reference, Reward
from llmsuite_lab.alignment.settings import Progress, Settings


def train(
    model: ActorCritic, reference: Reference, reward: Reward, prompts: Sequence[Sequence[int]], settings: Settings | None = None, **options: Any
) -> Progress:
    """As `ppo.train`, with one update an iteration and the loss above. Of the settings, epochs, minibatches and the clips are not used."""
    return ppo.train(model, reference, reward, prompts, replace(settings or Settings(lr=1e-3), method="a2c"), **options)
