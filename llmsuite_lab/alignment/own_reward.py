"""A reward model that shares its base with the policy: a second LoRA in the same layers, and one head.

    R(x, y) = w · h_end(x, y),    h of the base with the LoRA "reward" worn        π_θ: the same base with the LoRA "default"

So one copy of the base stands in memory for policy, reference and reward. It is judged on pairs whose prompts it has not seen: the share of them it ranks
right, and whether it is right as often as it says. Source: paper 6. In production: `trl.RewardTrainer` with a `peft_config`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor, nn

from llmsuite_lab.alignment import reward_model
from llmsuite_lab.alignment.pairs import Pair
from llmsuite_lab.alignment.reward_model import Bin, RewardModel
from llmsuite_lab.core.history import History
from llmsuite_lab.core.metrics import Interval
from llmsuite_lab.lm.batching import Example
from llmsuite_lab.peft_methods.methods import method
from llmsuite_lab.peft_methods.own_run import unfinished
from llmsuite_lab.peft_methods.switching import wearing

NAME = "reward"
BINS = 5


@dataclass(frozen=True)
class Judge:
    """A trained reward model and what it is worth on held-out pairs: `accuracy`, `bins` of like confidence and `ece`, the expected calibration error."""

    model: RewardModel
    accuracy: Interval
    bins: list[Bin]
    ece: float
    history: History

    def rewards(self, replies: Sequence[Example]) -> Float[Tensor, " replies"]:
        """Normalised rewards, whichever LoRA the base wears otherwise. Raises as `reward_model.RewardModel.rewards`."""
        with wearing(self.model.trunk, NAME):
            return self.model.rewards(replies)


def learn(
    base: nn.Module, train: Sequence[Pair], held: Sequence[Pair], *, rank: int = 8, epochs: float = 1, batch_size: int = 16, micro: int = 16,
    lr: float = 1e-3, seed: int = 0, state: Path | None = None, progress: bool = True,
) -> Judge:  # fmt: skip
    """Put the LoRA "reward" on the base, in place, train it with a head on `train`, and judge it on `held`.

    micro: pairs in one pass. state: a folder for the training's checkpoint; a run that was stopped goes on from it. Normalised over the replies of `train`.
    Raises as `add_lora`, `lm.training.fit` and `RewardModel.normalise`; LabError when the stop button ended it.
    """
    method("lora").prepare(base, seed, rank=rank, name=NAME)
    model = RewardModel(base, seed)
    options = {"checkpoint": state, "resume": state is not None, "micro_batch_size": min(micro, batch_size), "progress": progress}
    history = reward_model.train(model, train, epochs=epochs, batch_size=batch_size, lr=lr, seed=seed, **options)
    if history.interrupted:
        raise unfinished(history.steps, history.planned_steps, "updates of the reward model", state)
    bins, ece = reward_model.calibration(model, held, min(BINS, len(held)))
    accuracy = reward_model.accuracy(model, held)
    model.normalise([reply for pair in train for reply in (pair.chosen, pair.rejected)])
    return Judge(model, accuracy, bins, ece, history)
