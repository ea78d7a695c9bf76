"""The same tuning with the library: `trl.SFTTrainer` on the very examples, batches and order that `lm.training.fit` reads.

What trl calls `completion_only_loss` is the loss of `instruct`: its labels are −100 on the prompt. The schedule is the same cosine, which `fit` asks one step
later, so that no update is spent at rate 0; here the library is given those rates. In float32 the losses then agree at every step, in 16 bits up to rounding.
"""

import tempfile
from collections.abc import Sequence
from functools import partial
from typing import Any

from llmsuite_lab.core.errors import within
from llmsuite_lab.core.seeding import random_state_kept
from llmsuite_lab.lm.batching import Example, length_buckets
from llmsuite_lab.transformer.optimizer import cosine_with_warmup
from llmsuite_lab.world.catalogue_loading import quiet


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
    from torch.optim.lr_scheduler import LambdaLR
    from transformers.trainer_callback import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    data = Dataset.from_list(
        [{"input_ids": [*e.prompt_ids, *e.completion_ids], "completion_mask": [0] * len(e.prompt_ids) + [1] * len(e.completion_ids)} for e in rows]
    )
    with random_state_kept(), tempfile.TemporaryDirectory() as folder:  # a Trainer seeds all generators
        arguments = SFTConfig(**settings(folder, steps, batch_size, lr, warmup), completion_only_loss=True)
        with quiet():
            trainer = SFTTrainer(model, arguments, train_dataset=data, processing_class=tokenizer, callbacks=list(callbacks))
        trainer.remove_callback(PrinterCallback)  # the losses are returned
        optimizer = trainer.create_optimizer()
        rates = partial(cosine_with_warmup, n_steps=steps + 1, n_warmup=round(warmup * steps), peak=1.0)
        trainer.lr_scheduler = LambdaLR(optimizer, lambda update: rates(update + 1))
        trainer.train()
    return [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]


def settings(folder: str, steps: int, batch_size: int, lr: float, warmup: float = 0.0) -> dict[str, Any]:
    """The arguments of transformers' trainers that make them read and update as `fit` does, without their files and reports."""
    import torch
    from transformers import TrainingArguments

    from llmsuite_lab.core.runtime import profile

    names = TrainingArguments.__dataclass_fields__  # trl turns it on unless told; transformers 5 has a new name for it
    keeping = "activation_checkpointing" if "activation_checkpointing" in names else "gradient_checkpointing"
    return {
        "output_dir": folder, "max_steps": steps, "per_device_train_batch_size": batch_size, "learning_rate": lr, "lr_scheduler_type": "cosine",
        "warmup_steps": round(warmup * steps), "train_sampling_strategy": "sequential", "logging_steps": 1, "save_strategy": "no", "report_to": "none",
        "disable_tqdm": True, "bf16": profile().train_dtype == torch.bfloat16, "use_cpu": profile().device.type == "cpu",
        keeping: False, "dataloader_pin_memory": False, "seed": 0,
    }  # fmt: skip
