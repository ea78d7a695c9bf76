"""LoRA and a soft prompt together: the prompt steers what the layers read, the LoRA changes what they do with it.

    h = W_0 x + s B A x in the layers,      [P; X] in front of them;      A, B and P trained together, W_0 frozen

Trained parameters: r Σ (d_out + d_in) + p e. To compare with either alone, give all three the same number (`memory.count`).

Source: the first of the two directions the paper names (5.3.3); He et al. 2022 combine methods in this way. In production: two adapters in PEFT's format.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from llmsuite_lab.core.files import check_folder
from llmsuite_lab.lm.adapters import KIND, write_adapter, zoo_name
from llmsuite_lab.peft_methods import files, lora
from llmsuite_lab.peft_methods.lora import LORA_TARGETS, add_lora
from llmsuite_lab.peft_methods.merging import unload
from llmsuite_lab.peft_methods.prompt_tuning import add_soft_prompt
from llmsuite_lab.peft_methods.soft_prompt import SoftPrompt

LORA, PROMPT = "lora", "prompt"  # the two folders


def add_hybrid(
    model: nn.Module,
    targets: Sequence[str] = LORA_TARGETS,
    rank: int = 4,
    length: int = 10,
    alpha: float = 8,
    dropout: float = 0.0,
    init: str = "vocabulary",
    text_ids: Sequence[int] | None = None,
    seed: int = 0,
) -> SoftPrompt:
    """The model with a LoRA in its layers and a soft prompt in front, which alone are trained. Arguments and errors as `add_lora` and
    `add_soft_prompt`; the model stays as it was when either is refused."""
    asked = {p: p.requires_grad for p in model.parameters()}
    had = lora.names(model)
    add_lora(model, targets, rank, alpha, dropout, seed=seed)
    try:
        return add_soft_prompt(model, length, init, text_ids, seed, train_base=True)
    except (ValueError, TypeError):
        if not had:
            unload(model)
            for p, wanted in asked.items():
                p.requires_grad_(wanted)
        raise


def save(folder: Path, model: nn.Module, provenance: dict[str, Any] | None = None, *, base: str | None = None) -> Path:
    """Write `folder/lora` and `folder/prompt`, each in PEFT's format. Returns the folder.

    Raises ValueError for a model that has not both, LabError where one of the folders holds something else: then neither is written.
    """
    if not isinstance(model, SoftPrompt) or not lora.names(model):
        raise ValueError("a hybrid is a LoRA under a soft prompt, and this model has not both: use files.save")
    parts = {LORA: files.lora_tensors(model.base), PROMPT: files.prompt_tensors(model)}
    for part in parts:
        check_folder(Path(folder) / part, KIND)
    recorded = base or zoo_name(getattr(getattr(model.base, "config", None), "_name_or_path", None))
    for part, adapter in parts.items():
        write_adapter(Path(folder) / part, adapter, provenance or {}, base=recorded, exact=True)
    return Path(folder)


def load(model: nn.Module, folder: Path) -> SoftPrompt:
    """The model with both parts of a saved hybrid, frozen. Errors as `files.load`; the model stays as it was when either part does not fit."""
    trained = {p: p.requires_grad for p in model.parameters()}
    found = files.load(model, Path(folder) / LORA)
    try:
        return files.load(found, Path(folder) / PROMPT)
    except Exception:
        unload(model)
        for p, wanted in trained.items():
            p.requires_grad_(wanted)
        raise
