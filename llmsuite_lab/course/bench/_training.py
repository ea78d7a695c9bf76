"""`fit()` beside `transformers.Trainer` and `trl.SFTTrainer`: the same LoRA on the same model, the same batches in the same order.

All three start from the same weights, compute in the same dtype, take the same number of AdamW steps under the same schedule (which fit() asks one
step later, `transformer.training_loop`) and read the same real tokens; padding is counted for none. The first step's loss must agree, or the
comparison is refused. Gradient checkpointing
(trl's default) is off for all: it buys memory with time. `python -m llmsuite_lab.course.bench._training NAME` trains in a process of its own
and prints its peak resident memory.
"""

import json
import random
import sys
import tempfile
from typing import Any

import torch

from llmsuite_lab.core import zoo
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.runtime import profile
from llmsuite_lab.core.seeding import random_state_kept, seeded
from llmsuite_lab.course.bench import Row, child_peak_bytes, clock, compare, interleaved, peak_resident_bytes, say, seconds_unit
from llmsuite_lab.finetuning import with_trl
from llmsuite_lab.lm.batching import Example
from llmsuite_lab.lm.training import fit

NAMES = ("fit", "Trainer", "SFTTrainer")
BATCH, STEPS, ROUNDS, LR = 16, 2, 5, 1e-4
LORA = {"r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj", "up_proj", "down_proj"]}
LOSS_TOLERANCE = 0.01  # relative; bfloat16 keeps 8 bits, and the three round at different places


def bench_examples(n: int) -> list[Example]:
    """Passages of Python's own documentation cut into prompts of 24–88 and completions of 12–48 tokens: the course's usual lengths."""
    from pydoc_data.topics import topics

    tokenizer = zoo.load_tokenizer(profile().model)
    ids = [i for key in sorted(topics)[:24] for i in tokenizer(topics[key], add_special_tokens=False, verbose=False)["input_ids"]]
    lengths, at, rows = random.Random(0), 0, []
    for _ in range(n):
        prompt, completion = lengths.randint(24, 88), lengths.randint(12, 48)
        rows.append(Example(ids[at : at + prompt], ids[at + prompt : at + prompt + completion]))
        at += prompt + completion
    return rows


def lora_model() -> Any:
    """SmolLM2 in the profile's training dtype with the benchmark's LoRA on it; the same values every time."""
    from peft import LoraConfig, get_peft_model

    model = zoo.load_model(profile().model, dtype=profile().train_dtype, device=profile().device)
    with seeded(0):
        return get_peft_model(model, LoraConfig(**LORA))


def train(name: str, model: Any, examples: list[Example]) -> tuple[list[float], list[float]]:
    """`STEPS` steps by one of `NAMES`; returns (losses, seconds) per step. The adapter goes on from where it stands."""
    if name == "fit":
        ends = [clock()]
        seen = {"on_step": lambda *_: ends.append(clock())}
        history = fit(model, examples, steps=STEPS, batch_size=BATCH, lr=LR, warmup=0.0, progress=False, **seen)
        return history.losses, [end - start for start, end in zip(ends, ends[1:])]  # the first one with fit's own set-up in it
    return _reference(name, model, with_trl.in_order(examples, BATCH, STEPS))


def _reference(name: str, model: Any, rows: list[Example]) -> tuple[list[float], list[float]]:
    from transformers import Trainer, TrainerCallback, TrainingArguments

    starts: list[float] = []
    ends: list[float] = []

    class Watch(TrainerCallback):
        """Time of each step, gradient and update together, without the libraries' own set-up."""

        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            starts.append(clock())

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            ends.append(clock())

    if name == "SFTTrainer":
        tokenizer = zoo.load_tokenizer(profile().model)
        losses = with_trl.sft(model, tokenizer, rows, steps=STEPS, batch_size=BATCH, lr=LR, callbacks=[Watch()])
    else:
        with random_state_kept(), tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(**with_trl.settings(folder, STEPS, BATCH, LR))
            trainer = Trainer(model, arguments, train_dataset=rows, data_collator=_collate_with_labels, callbacks=[Watch()])
            trainer.train()
        losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    return losses, [end - start for start, end in zip(starts, ends)]


def _collate_with_labels(rows: list[Example]) -> dict[str, torch.Tensor]:
    width = max(len(row) for row in rows)
    ids = [[*row.prompt_ids, *row.completion_ids] + [0] * (width - len(row)) for row in rows]
    labels = [[-100] * len(row.prompt_ids) + list(row.completion_ids) + [-100] * (width - len(row)) for row in rows]
    present = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(present), "labels": torch.tensor(labels)}


def speed_rows() -> list[Row]:
    """Real tokens per second of fit() against both references, a segment of `STEPS` steps each in turn.

    Raises LabError where they do not start from the same loss.
    """
    examples = bench_examples(BATCH * STEPS)
    tokens = sum(len(e) for e in examples)
    models = {name: lora_model() for name in NAMES}
    first: dict[str, float] = {}

    def segment(name: str) -> float:
        losses, seconds = train(name, models[name], examples)
        first.setdefault(name, losses[0])
        say(f"  {name}: {tokens / sum(seconds):,.0f} tokens/{seconds_unit()}, first loss {losses[0]:.4f}")
        return tokens / sum(seconds)

    ours, *references = interleaved(*(lambda n=name: segment(n) for name in NAMES), n=ROUNDS)
    for name in NAMES[1:]:
        if abs(first[name] - first["fit"]) > LOSS_TOLERANCE * first["fit"]:
            raise LabError(
                f"the first step's loss is {first['fit']:.4f} in fit() and {first[name]:.4f} in {name}: they do not train the same thing"
            )
    return [compare(f"fit() against {name}", f"tokens/{seconds_unit()}", ours, values) for name, values in zip(NAMES[1:], references)]


def memory_rows(n: int = 2) -> list[Row]:
    """Peak resident memory of a whole process that loads the model and trains `STEPS` steps, one process after the other."""
    ours, *references = interleaved(*(lambda n=name: child_peak_bytes(__name__, n) for name in NAMES), n=n, warmup=0)
    return [compare(f"fit() against {name}, peak memory", "bytes", ours, values) for name, values in zip(NAMES[1:], references)]


if __name__ == "__main__":
    train(sys.argv[1], lora_model(), bench_examples(BATCH * STEPS))
    print(json.dumps({"peak_bytes": peak_resident_bytes()}))
