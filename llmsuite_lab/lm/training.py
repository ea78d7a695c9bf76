"""Supervised training of a language model: repeat  θ ← θ − AdamW(∇ (1/N) Σ_t −log P(y_t | y_<t))  over the N supervised tokens of a batch.

`fit` brings what a language model needs to the one loop (`transformer.training_loop`): examples and their order, the compute dtype, the supervised
loss, checkpoints. Notable:

- logits exist only where the loss reads them (`lm.supervised`), batches hold similar lengths (`lm.batching`);
- float32 masters under bfloat16 for whatever is trainable: all weights, a LoRA, any subset (`transformer.optimizer`);
- the rate of update number t is the schedule's at t of steps + 1, t = 1 … steps, so that no update is spent at rate 0;
- a run that was stopped goes on as if it had not been, or says why it cannot (`lm.checkpoint`).

In production: `trl.SFTTrainer`, `transformers.Trainer`.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llmsuite_lab.core.errors import whole
from llmsuite_lab.core.files import check_folder
from llmsuite_lab.core.forks import compute_safely
from llmsuite_lab.core.history import History
from llmsuite_lab.core.seeding import seeded
from llmsuite_lab.lm.batching import Batch, Example, check_examples, collate, encode, fingerprint, length_buckets
from llmsuite_lab.lm.checkpoint import KIND, buffer_states, load_checkpoint, save_checkpoint
from llmsuite_lab.lm.supervised import is_encoder_decoder, supervised_loss
from llmsuite_lab.lm.training_attention import plain_attention
from llmsuite_lab.transformer.config import TransformerConfig
from llmsuite_lab.transformer.optimizer import AdamW, decay_groups
from llmsuite_lab.transformer.training_loop import LossFn, check_clip, train

MOST = 2**31  # steps, examples a step, epochs: more would not end

__all__ = ["Example", "History", "encode", "fit", "supervised_loss"]


def fit(
    model: nn.Module,
    examples: Sequence[Any],
    *,
    steps: int | None = None,
    epochs: float | None = None,
    batch_size: int = 16,
    micro_batch_size: int | None = None,
    lr: float = 1e-3,
    warmup: float = 0.05,
    clip: float | None = 1.0,
    weight_decay: float = 0.0,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    buckets: bool = True,
    loss_fn: LossFn | None = None,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    checkpoint: Path | str | None = None,
    checkpoint_every: int = 50,
    resume: bool = False,
    progress: bool = True,
    on_step: Callable[[int, History], None] | None = None,
) -> History:
    """Train the parameters of `model` that require a gradient, in place; returns the `History`.

    examples: `Example`s, or anything that `collate_fn` makes a batch of and `loss_fn(model, batch) -> (summed loss, count)` understands.
    steps or epochs: exactly one of them; a step is one update from `batch_size` examples, cut into micro-batches of `micro_batch_size`
    where memory asks for it (same gradient). lr rises over the first `warmup` share of the steps and falls as a cosine.
    dtype: what the model computes in during training; None takes the profile's measured `train_dtype` for a transformers or peft model and
    leaves any other module as it is. Load the model in that dtype to save memory: frozen weights are kept aside and come back bit-equal.
    checkpoint: a folder for the state, written every `checkpoint_every` steps, when stopped and at the end; `resume=True` goes on from it (from the
    start where it is missing or empty) with the losses an uninterrupted run would have had. `loss_fn` and `collate_fn` are told by their qualified
    names: two lambdas of one place, or one function with other values in its closure, look alike. `on_step(step, history)` is called after each.

    KeyboardInterrupt (a notebook's stop button) ends training with `history.interrupted`; the model holds the last whole step.
    Raises ValueError for arguments and examples that cannot work, LabError for a loss that is not finite, for a checkpoint folder that holds
    anything else (which is left as it is), and for a resume from a damaged checkpoint or one of another base, dtype, seed, data, loss or setting.
    """
    steps = _check_arguments(
        examples, steps, epochs, batch_size, micro_batch_size, lr, warmup, checkpoint_every, weight_decay, seed, clip, resume and checkpoint is None
    )
    compute_safely()  # before the weights are cast and sampled
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not trainable:
        raise ValueError(
            "no parameter requires a gradient, so there is nothing to train (an adapter loaded by peft needs is_trainable=True)"
        )
    separate = is_encoder_decoder(model)
    if collate_fn is None or isinstance(examples[0], Example):
        check_examples(examples, **limits(model), separate=separate)
    brought = {"loss_fn": None if loss_fn is supervised_loss else loss_fn, "collate_fn": collate_fn}
    if collate_fn is None:
        collate_fn = lambda items: collate(items, separate=separate)  # noqa: E731
    lengths = [len(e) for e in examples] if isinstance(examples[0], Example) else [0] * len(examples)
    micro = micro_batch_size or batch_size
    device = trainable[0][1].device
    order = _order(lengths, batch_size, seed, buckets)
    folder = None if checkpoint is None else Path(checkpoint)
    if folder is not None:
        check_folder(folder, KIND, by_name=resume)  # before hours of training, not after; what is damaged is told when it is read

    def draw(step: int) -> list[Any]:
        chosen = [examples[i] for i in next(order)]
        return [_to(collate_fn(chosen[i : i + micro]), device) for i in range(0, len(chosen), micro)]

    history = History(planned_steps=steps)
    schedule = {"steps": steps, "lr": lr, "warmup": warmup, "clip": clip}
    with seeded(seed), plain_attention(model), computing_in(model, dtype or training_dtype(model)) as masters:  # seeded: dropout
        optimizer = AdamW(decay_groups((p for _, p in trainable), weight_decay), masters=masters)
        settings: dict[str, Any] = {}
        if folder is not None:
            settings = schedule | {
                "batch_size": batch_size, "micro_batch_size": micro, "weight_decay": weight_decay, "seed": seed, "buckets": buckets,
                "dtype": str(trainable[0][1].dtype).removeprefix("torch."), "examples": fingerprint(examples),
                "trainable": {name: list(p.shape) for name, p in trainable},
            } | {name: _name(function) for name, function in brought.items() if function is not None}  # fmt: skip
            at_start = buffer_states(model)
            history = (load_checkpoint(folder, optimizer, settings, model, at_start) if resume else None) or history
        for _ in range(history.steps):
            next(order)

        def after(done: int, history: History) -> None:
            if on_step is not None:
                on_step(done, history)
            if folder is not None and (done % checkpoint_every == 0 or done == steps):
                save_checkpoint(folder, optimizer, history, settings, model, at_start)

        try:
            train(
                model, draw, loss_fn or supervised_loss, **schedule, optimizer=optimizer, history=history, on_step=after, progress=progress
            )
        except KeyboardInterrupt:
            if folder is not None:
                save_checkpoint(folder, optimizer, history, settings, model, at_start)
        finally:
            masters.update(zip(optimizer.parameters, optimizer.masters, strict=True))
    return history


def _check_arguments(
    examples: Sequence[Any],
    steps: int | None,
    epochs: float | None,
    batch: int,
    micro: int | None,
    lr: float,
    warmup: float,
    every: int,
    decay: float,
    seed: int,
    clip: float | None,
    nowhere: bool,
) -> int:
    """The number of steps. Raises ValueError for what cannot work."""
    if len(examples) == 0:
        raise ValueError("there are no examples to train on: the list is empty")
    if (steps is None) == (epochs is None):
        raise ValueError(f"give either steps or epochs, not {'both' if steps is not None else 'neither'}")
    for name, value in {"steps": steps, "batch_size": batch, "micro_batch_size": micro, "checkpoint_every": every}.items():
        if value is not None:
            whole(name, value, 1, MOST)
    if not 0 < lr < math.inf:
        raise ValueError(f"lr={lr} must be above zero, and finite")
    if epochs is not None and not 0 < epochs <= MOST:
        raise ValueError(f"epochs={epochs} must be above zero, and at most {MOST:,}")
    if not 0 <= decay < math.inf:
        raise ValueError(f"weight_decay={decay} must be 0 or more, and finite")
    whole("seed", seed, -(2**40), 2**40)  # as `length_buckets` has it
    check_clip(clip)
    if nowhere:
        raise ValueError("resume=True needs a checkpoint: name the folder that the run wrote")
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup={warmup} is the share of the steps spent warming up: it lies in [0, 1)")
    return steps if steps is not None else max(1, round(epochs * math.ceil(len(examples) / batch)))


def _name(function: Any) -> str:
    """A function's module and qualified name; of a partial also the plain arguments it holds; of any other object its class's."""
    if isinstance(function, functools.partial):
        held = [("", value) for value in function.args] + [(f"{name}=", value) for name, value in function.keywords.items()]
        return f"{_name(function.func)}({', '.join(f'{n}{value}' for n, value in held if isinstance(value, str | int | float))})"
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def limits(model: nn.Module) -> dict[str, int | None]:
    """context_length in tokens and vocabulary, as far as the model tells them, else None: what `batching.check_examples` holds examples against."""
    config = getattr(model, "config", None)
    own = config.max_length if isinstance(config, TransformerConfig) else None  # in a transformers config this name means something else
    context = own or getattr(config, "max_position_embeddings", None) or getattr(model, "context_length", None)
    return {"context_length": context, "vocabulary": getattr(config, "vocab_size", None)}


def _order(lengths: list[int], batch_size: int, seed: int, buckets: bool) -> Iterator[list[int]]:
    """Batches of indices, epoch after epoch, without end."""
    epoch = 0
    while True:
        yield from length_buckets(lengths, batch_size, seed=seed, epoch=epoch, buckets=buckets)
        epoch += 1


def training_dtype(model: nn.Module) -> torch.dtype | None:
    """What `fit` computes in by default: the profile's for a transformers or peft model, None (as it is) for any other module."""
    if hasattr(model, "get_base_model") or hasattr(model, "get_output_embeddings"):
        from llmsuite_lab.core.runtime import profile

        return profile().train_dtype
    return None


@contextmanager
def computing_in(model: nn.Module, dtype: torch.dtype | None) -> Iterator[dict[nn.Parameter, Tensor]]:
    """Let the model's parameters be `dtype` inside the block; yields the values they had, by parameter, where that changes anything.

    At the end each parameter gets back the tensor standing for it in the yielded dictionary, in the dtype it came with. Buffers stay.
    """
    if dtype not in (None, torch.float32, torch.bfloat16, torch.float64):
        raise ValueError(f"dtype={dtype} cannot be trained in: use torch.float32 or torch.bfloat16 (float16 would need loss scaling)")
    found = {p: p.dtype for p in model.parameters() if p.is_floating_point() and dtype is not None and p.dtype != dtype}
    kept: dict[nn.Parameter, Tensor] = {p: p.data for p in found}
    for p in found:
        p.data = p.data.to(dtype)
    try:
        yield kept
    finally:
        for p, tensor in kept.items():
            p.grad = None
            p.data = tensor.detach().to(found.get(p, p.dtype))


def _to(batch: Any, device: torch.device) -> Any:
    return batch.to(device) if isinstance(batch, Batch) or hasattr(batch, "to") else batch
