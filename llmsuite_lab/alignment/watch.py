"""What goes wrong in reinforcement learning from a reward, told by name, and in time to keep the last good weights.

    reward constant       every reply gets the same score: there is nothing to learn from
    replies empty         every reply is the end token alone
    KL explosion          the policy is further from the reference than `kl_limit` nats a reply
    value divergence      the value loss is not finite, or `VALUE_FACTOR` times the variance of the returns it is to explain
    not finite            a score, a loss or a gradient is nan or infinite

Constant rewards and empty replies happen by chance in one small batch; they must stand for `patience` iterations.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

REWARD_CONSTANT, REPLIES_EMPTY, KL_EXPLOSION, VALUE_DIVERGENCE, NOT_FINITE = (
    "reward constant", "replies empty", "KL explosion", "value divergence", "not finite",
)  # fmt: skip
VALUE_FACTOR = 100.0


@dataclass
class Watch:
    """Asked after each iteration. `kl_limit` in nats a reply (None: any distance); `patience` in iterations. The counters are part of a run's state."""

    kl_limit: float | None = 200.0
    patience: int = 3
    counters: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kl_limit is not None and not self.kl_limit > 0:
            raise ValueError(f"kl_limit={self.kl_limit} nats must be above zero, or None for any distance")
        if isinstance(self.patience, bool) or not isinstance(self.patience, int) or self.patience < 1:
            raise ValueError(f"patience={self.patience} iterations: at least 1 is needed")

    def trouble(self, metrics: Mapping[str, float]) -> str | None:
        """What is wrong, with its figures, after an iteration with these metrics (`ppo.METRICS`), or None."""
        seen = {REWARD_CONSTANT: metrics["score_sd"] < 1e-8, REPLIES_EMPTY: metrics["empty"] >= 1.0}
        for name, now in seen.items():
            self.counters[name] = self.counters.get(name, 0) + 1 if now else 0
            if self.counters[name] >= self.patience:
                what = f"every score was {metrics['score']:.3g}" if name == REWARD_CONSTANT else "every reply was the end token alone"
                return f"{name}: for {self.patience} iterations {what}"
        if self.kl_limit is not None and metrics["kl"] > self.kl_limit:
            return f"{KL_EXPLOSION}: {metrics['kl']:.1f} nats a reply from the reference, and the limit is {self.kl_limit:g}; a larger beta or a smaller lr"
        spread = max(metrics["return_variance"], 1e-3)
        if not metrics["value_loss"] <= VALUE_FACTOR * spread:
            return f"{VALUE_DIVERGENCE}: a value loss of {metrics['value_loss']:.3g} for returns of variance {spread:.3g}; a smaller lr or value_weight"
        return None
