"""What a method costs, measured on one short training: bytes by kind, seconds an update, and the file that it leaves.

    held      weights + masters + gradients + moments + activations of one real step, before it (`memory.measure`)
    step_s    median seconds of an update on this machine
    file      bytes of the safetensors: what is stored and sent for each task, while the base is stored once

Source: paper 5.3. In production: `model.get_memory_footprint()`, `torch.cuda.max_memory_allocated`, and the folder's size.
"""

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from llmsuite_lab.core.errors import whole
from llmsuite_lab.lm.batching import Example, collate
from llmsuite_lab.lm.training import fit
from llmsuite_lab.peft_methods import files, hybrid, lora, memory
from llmsuite_lab.peft_methods.methods import method
from llmsuite_lab.peft_methods.parameter_files import save_parameters
from llmsuite_lab.peft_methods.soft_prompt import SoftPrompt


def weigh(
    name: str, model: nn.Module, examples: Sequence[Example], *, steps: int = 6, batch_size: int = 4, lr: float | None = None, seed: int = 0
) -> tuple[nn.Module, dict[str, Any]]:
    """Tune the model by a method, in place, in float32: the tuned model, and a row {"method", "trained" (numbers), "weights", "masters", "gradients",
    "moments", "activations" (bytes of one step on the first `batch_size` examples), "step_s", "file" (bytes)}.

    lr: None takes the method's second rate. Raises ValueError for an unknown method and fewer examples than a batch, and as `fit`.
    """
    chosen = method(name)
    whole("batch_size", batch_size, 1, max(len(examples), 1))
    model = chosen.prepare(model, seed)
    first = collate(list(examples[:batch_size])).to(next(model.parameters()).device)
    row = {"method": name, "trained": memory.count(model).trained} | asdict(memory.measure(model, first, torch.float32))
    history = fit(
        model, examples, steps=steps, batch_size=batch_size, lr=lr or chosen.rates[1], warmup=0.08, seed=seed, dtype=torch.float32, progress=False,
        on_step=chosen.on_step(model, steps),
    )  # fmt: skip
    model = chosen.finish(model)
    return model, row | {"step_s": statistics.median(history.seconds), "file": file_bytes(model)}


def file_bytes(model: nn.Module) -> int:
    """Bytes of the safetensors that a tuned model leaves: what is trained of it, in its own dtype, written and looked at.

    A model that is trained whole is counted instead, every weight once. Raises ValueError where nothing is trained.
    """
    numbers = memory.count(model)
    if numbers.trained == numbers.total:
        return memory.held(model.parameters())
    with TemporaryDirectory() as folder:
        _save(Path(folder) / "tuned", model)
        return sum(file.stat().st_size for file in Path(folder).rglob("*.safetensors"))


def _save(folder: Path, model: nn.Module) -> None:
    has_lora = bool(lora.names(model))
    if isinstance(model, SoftPrompt) and has_lora:
        hybrid.save(folder, model)
    elif isinstance(model, SoftPrompt) or has_lora:
        files.save(folder, model)
    else:
        save_parameters(folder, model)
