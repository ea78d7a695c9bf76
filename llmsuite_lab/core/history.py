"""What a training run leaves behind, one entry a step, as data that goes to JSON and back."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llmsuite_lab.core.files import as_json, write_output


@dataclass
class History:
    """Per-step records of a run.

    losses: mean cross-entropy in nats per supervised token, before the update; lrs: learning rate used; grad_norms: global L2 norm before
    clipping; tokens: real tokens read (no padding); supervised: tokens the loss was taken over; seconds: wall time of the step.
    `interrupted` is True when the stop button ended the run; `planned_steps` is how many were asked for.
    """

    planned_steps: int = 0
    losses: list[float] = field(default_factory=list)
    lrs: list[float] = field(default_factory=list)
    grad_norms: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    supervised: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    interrupted: bool = False

    @property
    def steps(self) -> int:
        """Steps done."""
        return len(self.losses)

    @property
    def tokens_per_s(self) -> float:
        """Real tokens per second of wall time over the whole run; 0.0 before the first step."""
        return sum(self.tokens) / sum(self.seconds) if self.seconds else 0.0

    @property
    def wall_s(self) -> float:
        """Seconds spent in steps."""
        return sum(self.seconds)

    def record(self, loss: float, lr: float, grad_norm: float, tokens: int, supervised: int, seconds: float) -> None:
        """Add one step: the arguments are the fields' entries for it."""
        self.losses.append(loss)
        self.lrs.append(lr)
        self.grad_norms.append(grad_norm)
        self.tokens.append(tokens)
        self.supervised.append(supervised)
        self.seconds.append(seconds)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "History":
        """The inverse of `as_dict`."""
        return cls(**data)

    def save(self, path: Path) -> None:
        """Write it as JSON, atomically. Raises LabError where a file stands that the course did not write (`core.files.write_output`)."""
        write_output(path, as_json(self.as_dict()))
