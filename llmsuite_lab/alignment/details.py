"""The details that decide whether PPO works on a language model, each with its reason and its source: papers give the formula, these come on top.

Sources: Schulman et al. 2016 (GAE), 2017 (PPO); Ziegler et al. 2019; Stiennon et al. 2020; Huang et al. 2022 ("The 37 implementation details of PPO") and
2024 ("The N+ implementation details of RLHF with PPO"); Schulman 2020 ("Approximating KL divergence").
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Detail:
    """One decision: what it is about, what is done here, why, who said it, and the name of the part that does it."""

    about: str
    here: str
    why: str
    source: str
    where: str


DETAILS = (
    Detail("reward's place", "at the last action, the end token", "a reward read at padding belongs to no token", "Stiennon 2020", "advantages.token_rewards"),
    Detail("missing end", "subtracted from the score", "replaced, a good cut reply would rank with a bad one", "Huang 2024", "ppo.train"),
    Detail("end token in a prompt", "ends nothing", "a reply ends at an end token that the policy chose", "trl's reports", "rollouts.write"),
    Detail("KL", "k1 in the reward, action by action", "the token that strayed is the one that pays", "Ziegler 2019", "advantages.token_rewards"),
    Detail("KL reported", "the figure that is paid, and the exact one", "k1 can be negative on a sample; the exact KL cannot", "Schulman 2020", "divergence"),
    Detail("adaptive β", "optional, proportional, a fifth at most", "a price that holds the KL near a target", "Ziegler 2019", "ppo.adapted"),
    Detail("reference", "the policy with its adapters off", "no second copy of the model in memory", "Hu 2022", "rollouts.Reference"),
    Detail("dropout", "off in sampling and in training", "or the ratio is not 1 before the first update", "Huang 2024", "actions.score"),
    Detail("temperature", "sampled at 1 by default", "log-probabilities at 1 of tokens drawn at another T are off-policy", "Huang 2024", "settings"),
    Detail("advantages", "GAE, λ 0.95, γ 1", "a reply is short: nothing to discount", "Schulman 2016", "advantages.gae"),
    Detail("behind the end", "value 0, in no sum", "a padded tail shifts every advantage before it", "trl's reports", "advantages.gae"),
    Detail("whitening", "over actions, masked, unbiased sd", "padding would shrink the sd", "Huang 2024", "advantages.whiten"),
    Detail("value head", "starts at zero, on the policy's trunk", "no reply is thought good before one was seen", "Ziegler 2019", "rollouts.ActorCritic"),
    Detail("value clip", "the worse of the two errors", "the value may not run away either; gain unclear", "Huang 2022", "objectives"),
    Detail("policy clip", "ε 0.2, min of the two", "an update gains nothing beyond the edge, and may come back", "Schulman 2017", "objectives"),
    Detail("epochs", "4 passes, 2 minibatches, new shuffle each", "rollouts are dear, updates cheap", "Huang 2022", "update"),
    Detail("early end", "of an iteration, above a KL per action", "when minibatches have gone far enough", "OpenAI Spinning Up", "update"),
    Detail("Adam's ε", "1e-5", "small noisy gradients must not become whole steps", "Huang 2024", "ppo.ADAM_EPS"),
    Detail("gradient", "norm clipped to 1", "one odd batch must not decide the run", "Huang 2022", "settings"),
    Detail("entropy", "weight 0 by default", "a bonus on every token is one on bad tokens too: claim ppo.entropy measures it", "Huang 2022", "settings"),
    Detail("good weights", "kept from the last iteration in order", "trouble shows when a policy writes, one update later", "this course", "ppo.train"),
)  # fmt: skip


def table() -> "pandas.DataFrame":
    """The details as a table to read."""
    import pandas as pd

    return pd.DataFrame([vars(detail) for detail in DETAILS]).set_index("about")
