"""Supervised training of a language model: repeat  θ ← θ − AdamW(∇ (1/N) Σ_t −log P(y_t | y_<t))  over the N supervised tokens of a batch.

`fit` is the loop (order, schedule, progress bar, history, checkpoint, stop button); `training_step` and its halves `backward`, `gradient` are
plain functions, for worker processes that put a collective between gradient and update. Notable:

- logits exist only where the loss reads them (`lm.supervised`), batches hold similar lengths (`lm.batching`);
- float32 masters under bfloat16 for whatever is trainable: all weights, a LoRA, any subset (`lm.optim`);
- micro-batches are normalised by tokens, not averaged, so that accumulation equals one large batch however the lengths fall;
- an update happens wholly or not at all: a loss that is not finite, or the stop button, leaves the parameters of the last whole step.

In production: `trl.SFTTrainer`, `transformers.Trainer`.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.history import History
from llmsuite_lab.lm.batching import Batch, Example, check_examples, collate, encode, fingerprint, length_buckets
from llmsuite_lab.lm.checkpoint import load_checkpoint, save_checkpoint
from llmsuite_lab.lm.optim import MasterAdamW, cosine_with_warmup
from llmsuite_lab.lm.supervised import is_encoder_decoder, supervised_loss
from llmsuite_lab.lm.training_attention import plain_attention
from llmsuite_lab.transformer.config import TransformerConfig

__all__ = ["Example", "History", "LossFn", "Sums", "backward", "encode", "fit", "gradient", "supervised_loss", "training_step"]

LossFn = Callable[[nn.Module, Any], tuple[Tensor, int]]  # (model, batch) → (loss summed over N terms, N)


@dataclass(frozen=True)
class Sums:
    """What one backward pass over a batch found: `loss` summed over `count` supervised tokens, and the real `tokens` read."""

    loss: float
    count: int
    tokens: int


def backward(model: nn.Module, batches: Sequence[Any], optimizer: MasterAdamW, loss_fn: LossFn = supervised_loss) -> Sums:
    """Sum the gradients of all micro-batches into the optimizer's masters, not normalised: divide by the count of all of them (and, in
    distributed training, of all workers) afterwards with `optimizer.normalise`."""
    losses, count, tokens = [], 0, 0
    for batch in batches:
        loss, n = loss_fn(model, batch)
        loss.backward()
        optimizer.gather()
        losses.append(loss.detach())
        count += n
        tokens += getattr(batch, "tokens", n)
    return Sums(float(torch.stack(losses).sum()), count, tokens)


def gradient(
    model: nn.Module, batches: Sequence[Any], optimizer: MasterAdamW, *, lr: float, clip: float | None, loss_fn: LossFn = supervised_loss
) -> tuple[float, float, Sums]:
    """The first half of a step: mean gradient of the micro-batches in the masters, clipped; (mean loss, norm before clipping, sums).

    Raises LabError, with all gradients dropped, when loss or gradient is not finite; `lr` is only named in its message.
    """
    optimizer.zero_grad()
    sums = backward(model, batches, optimizer, loss_fn)
    if sums.count == 0:
        raise ValueError("the batch holds no supervised token: the loss has nothing to average over")
    loss = sums.loss / sums.count
    norm = optimizer.normalise(sums.count, clip) if math.isfinite(loss) else math.nan
    if not math.isfinite(norm):
        optimizer.zero_grad()
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the loss is {loss:.3f} but its gradient is not finite"
        advice = "parameters left as they were; try a smaller lr, a longer warm-up, or dtype=torch.float32"
        raise LabError(f"{what} at learning rate {lr:.2e}: {advice}")
    return loss, norm, sums


def training_step(
    model: nn.Module,
    batches: Sequence[Any],
    optimizer: MasterAdamW,
    *,
    lr: float,
    clip: float | None = 1.0,
    loss_fn: LossFn = supervised_loss,
) -> tuple[float, float, Sums]:
    """One update from one or more micro-batches; returns (mean loss in nats per token, gradient norm before clipping, sums).

    Raises LabError when loss or gradient is not finite; the parameters are then as they were.
    """
    loss, norm, sums = gradient(model, batches, optimizer, lr=lr, clip=clip, loss_fn=loss_fn)
    optimizer.step(lr)
    optimizer.zero_grad()
    return loss, norm, sums


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
    checkpoint: a folder for the state, written every `checkpoint_every` steps, when stopped and at the end; `resume=True` goes on from it
    (from the start when there is none) with the losses an uninterrupted run would have had. `on_step(step, history)` is called after each.

    KeyboardInterrupt (a notebook's stop button) ends training with `history.interrupted`; the model holds the last whole step.
    Raises ValueError for arguments and examples that cannot work, LabError for a loss that is not finite and for an unusable checkpoint.
    """
    steps = _check_arguments(examples, steps, epochs, batch_size, micro_batch_size, lr, warmup, checkpoint_every)
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not trainable:
        raise ValueError(
            "no parameter requires a gradient, so there is nothing to train (an adapter loaded by peft needs is_trainable=True)"
        )
    separate = is_encoder_decoder(model)
    if collate_fn is None or isinstance(examples[0], Example):
        check_examples(examples, **_limits(model), separate=separate)
    if collate_fn is None:
        collate_fn = lambda items: collate(items, separate=separate)  # noqa: E731
    lengths = [len(e) for e in examples] if isinstance(examples[0], Example) else [0] * len(examples)
    micro = micro_batch_size or batch_size
    device = trainable[0][1].device
    order = _order(lengths, batch_size, seed, buckets)
    settings = {
        "steps": steps, "batch_size": batch_size, "micro_batch_size": micro, "lr": lr, "warmup": warmup, "clip": clip, "seed": seed,
        "weight_decay": weight_decay, "buckets": buckets, "examples": fingerprint(examples), "trainable": [n for n, _ in trainable],
    }  # fmt: skip

    torch.manual_seed(seed)  # dropout
    history = History(planned_steps=steps)
    was_training = model.training
    with plain_attention(model), _computing_in(model, dtype or _default_dtype(model)) as masters:
        parameters = [p for _, p in trainable]
        optimizer = MasterAdamW(parameters, weight_decay=weight_decay, masters=[masters.get(p, p.detach()) for p in parameters])
        folder = Path(checkpoint) if checkpoint is not None else None
        if folder is not None and resume and folder.exists():
            history = load_checkpoint(folder, optimizer, settings)
        model.train()
        try:
            with _progress(history.steps, steps, progress) as bar:
                for _ in range(history.steps):
                    next(order)
                while history.steps < steps:
                    began = time.perf_counter()
                    chosen = [examples[i] for i in next(order)]
                    batches = [_to(collate_fn(chosen[i : i + micro]), device) for i in range(0, len(chosen), micro)]
                    rate = cosine_with_warmup(history.steps, steps, math.ceil(warmup * steps), lr)
                    try:
                        loss, norm, sums = gradient(model, batches, optimizer, lr=rate, clip=clip, loss_fn=loss_fn or supervised_loss)
                    except LabError as error:
                        raise LabError(f"training stopped at step {history.steps + 1} of {steps}: {error}") from error
                    with _interrupts_held():  # the update and its record belong together, or a resumed run would take the step twice
                        optimizer.step(rate)
                        optimizer.zero_grad()
                        _record(history, loss, rate, norm, sums, time.perf_counter() - began)
                    bar.set_postfix_str(f"loss {loss:.3f}, {history.tokens_per_s:,.0f} tokens/s", refresh=False)
                    bar.update()
                    if on_step is not None:
                        on_step(history.steps, history)
                    if folder is not None and (history.steps % checkpoint_every == 0 or history.steps == steps):
                        save_checkpoint(folder, optimizer, history, settings)
        except KeyboardInterrupt:
            history.interrupted = True
            optimizer.zero_grad()
            if folder is not None:
                save_checkpoint(folder, optimizer, history, settings)
        finally:
            model.train(was_training)
            masters.update(zip(parameters, optimizer.masters, strict=True))
    return history


def _check_arguments(
    examples: Sequence[Any], steps: int | None, epochs: float | None, batch: int, micro: int | None, lr: float, warmup: float, every: int
) -> int:
    """The number of steps. Raises ValueError for what cannot work."""
    if len(examples) == 0:
        raise ValueError("there are no examples to train on: the list is empty")
    if (steps is None) == (epochs is None):
        raise ValueError(f"give either steps or epochs, not {'both' if steps is not None else 'neither'}")
    given = {"steps": steps, "epochs": epochs, "batch_size": batch, "micro_batch_size": micro, "lr": lr, "checkpoint_every": every}
    for name, value in given.items():
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name}={value} must be above zero")
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup={warmup} is the share of the steps spent warming up: it lies in [0, 1)")
    return steps if steps is not None else max(1, round(epochs * math.ceil(len(examples) / batch)))


def _limits(model: nn.Module) -> dict[str, int | None]:
    """Context length and vocabulary size, as far as the model tells them."""
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


def _default_dtype(model: nn.Module) -> torch.dtype | None:
    if hasattr(model, "get_base_model") or hasattr(model, "get_output_embeddings"):
        from llmsuite_lab.core.runtime import profile

        return profile().train_dtype
    return None


@contextmanager
def _computing_in(model: nn.Module, dtype: torch.dtype | None) -> Iterator[dict[nn.Parameter, Tensor]]:
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
            if tensor is not p:  # a parameter that is its own master holds the trained value already
                p.data = tensor.detach().to(found.get(p, p.dtype))


def _to(batch: Any, device: torch.device) -> Any:
    return batch.to(device) if isinstance(batch, Batch) or hasattr(batch, "to") else batch


def _record(history: History, loss: float, lr: float, norm: float, sums: Sums, seconds: float) -> None:
    history.losses.append(loss)
    history.lrs.append(lr)
    history.grad_norms.append(norm)
    history.tokens.append(sums.tokens)
    history.supervised.append(sums.count)
    history.seconds.append(seconds)


def _progress(done: int, steps: int, shown: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=steps, initial=done, desc="training", unit="step", disable=not shown, mininterval=0.5)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold the stop button back until the block is done, so that no update is half made. Only the main thread receives the signal."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        with suppress(TypeError):  # the handler before was not installed from Python: nothing to put back
            signal.signal(signal.SIGINT, before)
    if received:
        raise KeyboardInterrupt
