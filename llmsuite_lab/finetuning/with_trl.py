"""The same tuning with the library: `trl.SFTTrainer` on the very examples, batches and order that `lm.training.fit` reads.

What trl calls `completion_only_loss` is the loss of `instruct`: its labels are −100 on the prompt. The schedule is the same cosine; `fit` asks it one step
later, so that its first update is not spent at rate 0. Both losses agree on the same batch; the runs then differ by rounding and that step.
"""

import tempfile
from collections.abc import Sequence
from typing import Any

from llmsuite_lab.core.errors import within
from llmsuite_lab.lm.batching import Example, length_buckets


def in_order(examples: Sequence[Example], batch_size: int, steps: int, seed: int = 0) -> list[Example]:
    """The examples in the order in which `fit` reads them in its first `steps` updates, for a library to read one after the other.

    Raises ValueError for fewer examples than a batch, sizes below 1, and an order with a batch that is not whole, which a library would fill from the next.
    """
    within("steps", steps, 1, 100_000)
    within("batch_size", batch_size, 1, len(examples))
    rows: list[Example] = []
    epoch = 0
    while len(rows) < steps * batch_size:
        for batch in length_buckets([len(e) for e in examples], batch_size, seed=seed, epoch=epoch):
            if len(batch) < batch_size and len(rows) < steps * batch_size:
                raise ValueError(f"{len(examples)} examples do not fill whole batches of {batch_size}: take a multiple of it")
            rows += [examples[i] for i in batch]
        epoch += 1
    return rows[: steps * batch_size]


def sft(
    model: Any, tokenizer: Any, rows: Sequence[Example], *, steps: int, batch_size: int, lr: float, warmup: float = 0.0, callbacks: Sequence[Any] = ()
) -> list[float]:
    """Train `model` in place with `trl.SFTTrainer` on `rows` in their order; the loss of each step, in nats per supervised token.

    The dtype is the one the model is in: load it in the profile's `train_dtype`. Raises what trl raises.
    """
    from datasets import Dataset
    from transformers.trainer_callback import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    data = Dataset.from_list(
        [{"input_ids": [*e.prompt_ids, *e.completion_ids], "completion_mask": [0] * len(e.prompt_ids) + [1] * len(e.completion_ids)} for e in rows]
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(**settings(folder, steps, batch_size, lr, warmup), completion_only_loss=True)
        trainer = SFTTrainer(model, arguments, train_dataset=data, processing_class=tokenizer, callbacks=list(callbacks))
        trainer.remove_callback(PrinterCallback)  # the losses are returned
        trainer.train()
    return [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]


def settings(folder: str, steps: int, batch_size: int, lr: float, warmup: float = 0.0) -> dict[str, Any]:
    """The arguments of transformers' trainers that make them read and update as `fit` does, without their files and reports."""
    import torch

    from llmsuite_lab.core.runtime import profile

    return {
        "output_dir": folder, "max_steps": steps, "per_device_train_batch_size": batch_size, "learning_rate": lr, "lr_scheduler_type": "cosine",
        "warmup_steps": round(warmup * steps), "train_sampling_strategy": "sequential", "logging_steps": 1, "save_strategy": "no", "report_to": "none",
        "disable_tqdm": True, "bf16": profile().train_dtype == torch.bfloat16, "use_cpu": profile().device.type == "cpu",
        "gradient_checkpointing": False, "dataloader_pin_memory": False, "seed": 0,
    }  # fmt: skip
