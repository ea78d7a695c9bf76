"""Training a LoRA by its settings: what the shipped adapters of all sections have in common.

    h = W x + (α / r) B A x        W frozen, A (r × d_in) drawn, B (d_out × r) zero; only A and B are trained

A section brings its examples and, where its loss differs, options of `fit`; the settings bring the rest, and a record keeps them.
Source: Hu et al. 2022. In production: `peft.LoraConfig` with `trl.SFTTrainer`.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsuite_lab.lm.adapters import LORA_TARGETS, add_lora
from llmsuite_lab.lm.batching import fingerprint
from llmsuite_lab.lm.training import History, fit

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LoraSettings:
    """What a run is made of: `steps` updates from `batch_size` examples each, `lr` the peak of a cosine after a `warmup` share of the steps;
    `rank`, `alpha` and `targets` (modules by name) of the LoRA; `model`, the zoo name of what it is trained on."""

    steps: int
    batch_size: int = 4
    lr: float = 3e-3
    warmup: float = 0.08
    rank: int = 8
    alpha: int = 16
    targets: tuple[str, ...] = LORA_TARGETS
    model: str = "smollm2-135m-instruct"


def train_lora(
    settings: LoraSettings,
    examples: Callable[[Any], Sequence[Any]],
    seed: int = 0,
    *,
    checkpoint: Path | None = None,
    dtype: "torch.dtype | None" = None,
    progress: bool = True,
    on_step: Callable[[int, History], None] | None = None,
    **options: Any,
) -> tuple[Any, History, dict[str, Any]]:
    """Train a fresh LoRA: (the peft model, the history, the settings as data).

    examples: called with the model's tokenizer, gives what `fit` trains on; `options` go to `fit`. With `checkpoint` (a folder) an
    interrupted run goes on where it stopped. dtype: what the frozen model computes in; None is the profile's measured choice.
    Raises LabError for a loss that is not finite, ValueError for examples that cannot be trained on.
    """
    from llmsuite_lab.core import zoo
    from llmsuite_lab.core.runtime import profile

    dtype = dtype or profile().train_dtype
    data = examples(zoo.load_tokenizer(settings.model))
    model = add_lora(zoo.load_model(settings.model, dtype), seed, rank=settings.rank, alpha=settings.alpha, targets=settings.targets)
    history = fit(
        model, data, steps=settings.steps, batch_size=settings.batch_size, lr=settings.lr, warmup=settings.warmup, seed=seed, dtype=dtype,
        checkpoint=checkpoint, checkpoint_every=20, resume=checkpoint is not None, progress=progress, on_step=on_step, **options,
    )  # fmt: skip
    found = {"seed": seed, "dtype": str(dtype).removeprefix("torch."), "examples": len(data), "data": fingerprint(data)}
    return model, history, asdict(settings) | found
