"""The training loop, whole: draw a batch, loss, gradient, clip, schedule, update. It knows no language model: any module, batch and loss will do.

    θ ← AdamW(θ, clip((1/N) Σ ∇ loss(batch; θ)), lr(t)),     t = 1 … steps,  N terms in the micro-batches of a step together

`train` is the loop (schedule, history, progress bar, stop button); `training_step` and its halves `backward` and `gradient` are plain functions,
for worker processes that put a collective between gradient and update, and for methods that bring their own loss. Notable:

- the schedule is asked for t = 1 … steps of steps + 1: at both its ends the rate is 0, and no update is spent on that;
- micro-batches are normalised by terms, not averaged, so that accumulation equals one large batch however the lengths fall;
- an update happens wholly or not at all: a loss that is not finite, or the stop button, leaves the parameters of the last whole step.

`lm.training.fit` adds what a language model needs (examples, length buckets, dtype, checkpoint). In production: `transformers.Trainer`.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.forks import compute_safely
from llmsuite_lab.core.history import History
from llmsuite_lab.transformer.evaluating import training
from llmsuite_lab.transformer.optimizer import AdamW, cosine_with_warmup, decay_groups

LossFn = Callable[[nn.Module, Any], tuple[Tensor, int]]  # (model, batch) → (loss summed over N terms, N)


@dataclass(frozen=True)
class Sums:
    """What one backward pass over a step's batches found: `loss` summed over `count` terms, and the real `tokens` read."""

    loss: float
    count: int
    tokens: int


def backward(model: nn.Module, batches: Sequence[Any], optimizer: AdamW, loss_fn: LossFn) -> Sums:
    """Sum the gradients of all micro-batches into the optimizer's masters, not normalised: divide by the count of all of them (and, in
    distributed training, of all workers) afterwards with `optimizer.normalise`. A batch without `tokens` counts its terms for them."""
    losses, count, tokens = [], 0, 0
    for batch in batches:
        loss, n = _told(loss_fn(model, batch))
        loss.backward()
        optimizer.gather()
        losses.append(loss.detach())
        count += n
        tokens += getattr(batch, "tokens", n)
    return Sums(float(torch.stack(losses).sum()), count, tokens)


def _told(answer: Any) -> tuple[Tensor, int]:
    """What a loss_fn returned, if it is a loss and a count. Raises TypeError or ValueError."""
    if not isinstance(answer, tuple | list) or len(answer) != 2 or not isinstance(answer[0], Tensor):
        raise TypeError(f"loss_fn returned a {type(answer).__name__}, but it must return (loss summed over N terms, a tensor; N)")
    loss, n = answer
    if loss.numel() != 1:
        raise ValueError(f"loss_fn returned a loss of shape {list(loss.shape)}, but one number is needed: sum it")
    if not 0 <= n < math.inf:
        raise ValueError(f"loss_fn returned a count of {n}, but the number of terms in its sum is 0 or more")
    if not loss.requires_grad:
        raise ValueError("the loss does not depend on a parameter that requires a gradient, so there is nothing to train: see loss_fn and requires_grad")
    return loss, n


def check_clip(clip: float | None) -> None:
    """Raises ValueError unless clip is above 0, or None, which leaves gradients as they are. At 0 no step would move anything."""
    if clip is not None and not clip > 0:
        raise ValueError(f"clip={clip} must be above zero, or None to leave gradients as they are")


def gradient(
    model: nn.Module, batches: Sequence[Any], optimizer: AdamW, loss_fn: LossFn, *, lr: float, clip: float | None
) -> tuple[float, float, Sums]:
    """The first half of a step: mean gradient of the micro-batches in the masters, clipped; (mean loss, norm before clipping, sums).

    Raises LabError, with all gradients dropped, when loss or gradient is not finite (`lr` is only named in its message), ValueError for batches
    without a single term.
    """
    check_clip(clip)
    optimizer.zero_grad()
    sums = backward(model, batches, optimizer, loss_fn)
    if sums.count == 0:
        raise ValueError("the batch holds no supervised token (loss_fn counted 0): the loss has nothing to average over")
    loss = sums.loss / sums.count
    norm = optimizer.normalise(sums.count, clip) if math.isfinite(loss) else math.nan
    if not math.isfinite(norm):
        optimizer.zero_grad()
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the loss is {loss:.3f} but its gradient is not finite"
        advice = "parameters left as they were; try a smaller lr, a longer warm-up, or dtype=torch.float32"
        raise LabError(f"{what} at learning rate {lr:.2e}: {advice}")
    return loss, norm, sums


def training_step(
    model: nn.Module, batches: Sequence[Any], optimizer: AdamW, loss_fn: LossFn, *, lr: float, clip: float | None = 1.0
) -> tuple[float, float, Sums]:
    """One update from one or more micro-batches; returns (mean loss, gradient norm before clipping, sums).

    Raises LabError when loss or gradient is not finite; the parameters are then as they were. ValueError for a clip that is not above 0, and a
    count that is negative.
    """
    found = gradient(model, batches, optimizer, loss_fn, lr=lr, clip=clip)
    _update(optimizer, lr)
    return found


def _update(optimizer: AdamW, lr: float) -> None:
    optimizer.set_lr(lr)
    optimizer.step()
    optimizer.zero_grad()


def train(
    model: nn.Module,
    draw: Callable[[int], Sequence[Any]],
    loss_fn: LossFn,
    *,
    steps: int,
    lr: float,
    warmup: float = 0.05,
    floor: float = 0.0,
    clip: float | None = 1.0,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
    optimizer: AdamW | None = None,
    history: History | None = None,
    on_step: Callable[[int, History], None] | None = None,
    progress: bool = False,
) -> History:
    """Train the parameters of `model` that require a gradient, in place, from steps done (`history.steps`) to `steps`; returns the `History`.

    draw(step), step from 0, gives the micro-batches of an update; loss_fn(model, batch) -> (loss summed over N terms, N). lr rises over the first
    `warmup` share of the steps and falls as a cosine towards `floor`: update number t gets the schedule's rate at t of steps + 1, t = 1 … steps,
    so that none is spent at rate 0. Matrices decay, gains and biases do not. `optimizer` and `history` bring the state of an earlier part of the
    run (weight_decay and betas are then the optimizer's). `on_step(steps done, history)` runs after each update; its time is not counted.

    The model is in training mode for the while, and each of its parts afterwards as it was. KeyboardInterrupt (a notebook's stop button) leaves the
    model after the last whole step, sets `history.interrupted` and goes on to the caller. Raises ValueError for steps < 1, a clip that is not above
    0, a loss that is not one number and a count that is negative or 0 for a whole step, and LabError at a loss or gradient that is not finite.
    """
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1")
    compute_safely()
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = optimizer or AdamW(decay_groups(trainable, weight_decay), betas=betas)
    history = history or History(planned_steps=steps)
    try:
        with training(model), _progress(history.steps, steps, progress) as bar:
            while history.steps < steps:
                began = time.perf_counter()
                rate = cosine_with_warmup(history.steps + 1, steps + 1, math.ceil(warmup * steps), lr, floor)
                try:
                    loss, norm, sums = gradient(model, draw(history.steps), optimizer, loss_fn, lr=rate, clip=clip)
                except LabError as error:
                    raise LabError(f"training stopped at step {history.steps + 1} of {steps}: {error}") from error
                with _interrupts_held():  # the update and its record belong together, or a resumed run would take the step twice
                    _update(optimizer, rate)
                    history.record(loss, rate, norm, sums.tokens, sums.count, time.perf_counter() - began)
                bar.set_postfix_str(f"loss {loss:.3f}, {history.tokens_per_s:,.0f} tokens/s", refresh=False)
                bar.update()
                if on_step is not None:
                    on_step(history.steps, history)
    except KeyboardInterrupt:
        history.interrupted = True
        optimizer.zero_grad()
        raise
    return history


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
