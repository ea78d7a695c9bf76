"""The training loop, whole: draw a batch, loss, gradient, clip, schedule, update.

    θ ← AdamW(θ, clip(∇ loss(batch_t; θ)), lr_t),     t = 0 … steps − 1

Every model of this section, transformer or LSTM, learns through these lines, so that a comparison differs in the model only.
In production: `llmsuite_lab.lm.training.fit`, `transformers.Trainer`.
"""

import math
import time
from collections.abc import Callable

from torch import Tensor, nn

from llmsuite_lab.core.history import History
from llmsuite_lab.transformer.optimizer import AdamW, clip_gradients, cosine_with_warmup


def train(
    model: nn.Module,
    batch_loss: Callable[[int], Tensor],
    *,
    steps: int,
    tokens_per_step: int,
    lr: float,
    warmup: float = 0.05,
    clip: float = 1.0,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
    on_step: Callable[[int], None] | None = None,
    progress: bool = False,
) -> History:
    """Train `model` in place and return the losses (nats per token), learning rates, gradient norms and seconds of each step.

    batch_loss(step) gives the mean loss of that step's batch. Matrices decay, gains and biases do not. lr rises over the first `warmup`
    share of the steps and falls as a cosine to a tenth. `on_step(step)` runs after each update; its time is not counted.
    Raises ValueError for steps < 1 or a loss that is not finite (the parameters are then those of the last good step).
    """
    from tqdm.auto import tqdm

    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1")
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    optimizer = AdamW([{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}], betas=betas)
    history = History(planned_steps=steps)
    model.train()
    for step in tqdm(range(steps), desc="training", unit="step", disable=not progress, mininterval=0.5):
        began = time.perf_counter()
        rate = cosine_with_warmup(step, steps, math.ceil(warmup * steps), lr, floor=lr / 10)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = batch_loss(step)
        if not math.isfinite(loss.item()):
            raise ValueError(f"the loss is {loss.item()} at step {step} with learning rate {rate:.2e}: try a smaller lr")
        optimizer.zero_grad()
        loss.backward()
        norm = clip_gradients(model.parameters(), clip)
        optimizer.step()
        history.losses.append(loss.item())
        history.lrs.append(rate)
        history.grad_norms.append(float(norm))
        history.tokens.append(tokens_per_step)
        history.supervised.append(tokens_per_step)
        history.seconds.append(time.perf_counter() - began)
        if on_step is not None:
            on_step(step)
    model.eval()
    return history
