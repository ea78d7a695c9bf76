"""The knobs of a run, and what is told of it: each metric has one meaning, and it stands here.

Source: paper 6.1. In production: the configs of `trl.RLOOTrainer` and `trl.GRPOTrainer`, whose fields have the same names where they mean the same.
"""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from llmsuite_lab.core.errors import unknown, whole, within

Method = Literal["ppo", "a2c", "rloo", "grpo"]
METRICS = {
    "score": "mean of the reward's numbers R(x, y), as given",
    "score_sd": "their standard deviation over the batch",
    "return": "mean over replies of what is maximised: score, missing end and KL penalty together",
    "return_variance": "variance over actions of the returns that the value head learns",
    "kl": "log π/π_ref summed over a reply, mean over replies, nats: k1, the figure that is trained on; can be negative",
    "kl_exact": "the same from the whole distribution before each action; never negative. nan where it was not asked for",
    "beta": "the price of a nat",
    "entropy": "mean entropy of the policy before an action, nats",
    "policy_loss": "the clipped policy loss, mean over the updates of the iteration",
    "value_loss": "the clipped value loss, likewise; 0 without a value function",
    "explained": "1 − variance of (R − V) over variance of R, before the update",
    "clipped": "share of actions whose ratio lay outside 1 ± ε, mean over the updates",
    "step_kl": "k3 between the policy before and after the iteration's last update, nats an action",
    "ratio_max": "largest ratio π_θ/π_old seen in an update",
    "gradient": "mean norm of the gradient before clipping",
    "updates": "updates made; fewer than planned when `step_kl_limit` ended the iteration",
    "length": "mean number of actions of a reply",
    "empty": "share of replies that are the end token alone",
    "ended": "share of replies with an end token",
    "tokens": "tokens generated",
    "reward_calls": "replies scored",
    "rollout_s": "seconds for writing and scoring",
    "update_s": "seconds for the updates",
}


@dataclass(frozen=True)
class Settings:
    """The knobs. Rewards are in the reward model's unit, KL in nats.

    prompts, replies: prompts an iteration, and replies to each; max_new_tokens; temperature of sampling (the ratio is taken at 1: another temperature
    makes the updates off-policy). beta: price of a nat; kl_target: adapt beta until the KL of a reply is about this (`horizon` replies to get there).
    clip, value_clip: ε, None for none; gamma, lam: of GAE; whiten: scale the advantages. entropy_weight: c₂, value_weight: c₁. missing_end: taken off the
    score of a reply without an end token. step_kl_limit: end the iteration's updates above this step_kl. max_norm: of the gradient.
    """

    method: Method = "ppo"
    iterations: int = 40
    prompts: int = 64
    replies: int = 1
    max_new_tokens: int = 40
    temperature: float = 1.0
    epochs: int = 4
    minibatches: int = 2
    lr: float = 3e-4
    beta: float = 0.2
    kl_target: float | None = None
    horizon: int = 2_000
    clip: float | None = 0.2
    value_clip: float | None = 0.2
    value_weight: float = 0.5
    entropy_weight: float = 0.0
    gamma: float = 1.0
    lam: float = 0.95
    whiten: bool = True
    missing_end: float = 1.0
    step_kl_limit: float | None = None
    max_norm: float = 1.0

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ValueError(unknown("method", self.method, list(get_args(Method))))
        for name in ("iterations", "prompts", "replies", "max_new_tokens", "epochs", "minibatches", "horizon"):
            whole(name, getattr(self, name), 1, 10_000_000)
        for name in ("lr", "max_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} must be above zero, and finite")
        for name in ("beta", "value_weight", "entropy_weight", "missing_end", "temperature"):
            within(name, getattr(self, name), 0, 1e6)
        if self.temperature == 0:
            raise ValueError("temperature=0 explores nothing: every prompt has one reply; take a temperature above 0")
        for name in ("clip", "value_clip", "kl_target", "step_kl_limit"):
            if (value := getattr(self, name)) is not None and not 0 < value < math.inf:
                raise ValueError(f"{name}={value} must be above zero, or None")
        within("gamma", self.gamma, 0, 1)
        within("lam", self.lam, 0, 1)
        if self.grouped and self.replies < 2:
            raise ValueError(f"{self.method} compares replies to one prompt: replies={self.replies}, and 2 or more are needed")
        if self.minibatches > self.prompts * self.replies:
            raise ValueError(f"minibatches={self.minibatches}, but an iteration has {self.prompts * self.replies} replies")

    @property
    def grouped(self) -> bool:
        """Whether replies to one prompt are compared, instead of with a value function."""
        return self.method in ("rloo", "grpo")


@dataclass
class Progress:
    """One run so far: `rows` of `METRICS`, one an iteration; `stopped` says why it ended early, None when it did not; `beta` now.

    `interrupted` is True when the stop button ended it.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    stopped: str | None = None
    beta: float = 0.0
    counters: dict[str, int] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def steps(self) -> int:
        """Iterations done."""
        return len(self.rows)

    def column(self, name: str) -> list[float]:
        """One metric over the iterations. Raises ValueError for a name that is not in `METRICS`."""
        if name not in METRICS:
            raise ValueError(unknown("metric", name, list(METRICS)))
        return [row[name] for row in self.rows]

    def total(self, name: str) -> float:
        """A metric summed over the iterations: tokens, reward_calls, rollout_s, update_s."""
        return sum(self.column(name))

    def as_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Progress":
        """The inverse of `as_dict`."""
        return cls(**data)
