"""Best of n: write n replies, keep the one that the reward likes best. No training, n times the sampling; the line that every tuned policy has to beat.

    y* = argmax_{y_1 … y_n ~ π} R(x, y_i)             KL(best of n ‖ π) ≤ log n − (n − 1) / n

The bound needs no reply: it is exact where all replies are different and none ties, else the true figure lies below it (Beirami et al. 2024).

Source: Stiennon et al. 2020; paper 6 has no such baseline. In production: n and `best_of` of a serving engine.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmsuite_lab.alignment.rollouts import Reward, scored_once, write
from llmsuite_lab.core.errors import whole, within
from llmsuite_lab.lm.batching import Example


def kl_bound(n: int) -> float:
    """log n − (n − 1) / n, nats a reply; 0 for one. Raises ValueError for n below 1."""
    whole("n", n, 1, 10**9)
    return math.log(n) - (n - 1) / n


def best(scores: Float[Tensor, "prompts k"], n: int | None = None) -> Int[Tensor, " prompts"]:
    """Which of the first `n` replies to each prompt has the highest score (None: of all); the first of equals.

    Raises ValueError for scores that are not [prompts, k] or not numbers, and n outside 1 … k.
    """
    if scores.ndim != 2 or scores.numel() == 0 or not bool(scores.isfinite().all()):
        raise ValueError(f"scores of shape {list(scores.shape)} must be finite numbers, [prompts, k]")
    n = scores.shape[1] if n is None else n
    whole("n", n, 1, scores.shape[1])
    return scores[:, :n].argmax(1)


def choose(
    policy: nn.Module, reward: Reward, prompts: Sequence[Sequence[int]], n: int, *, end_id: int, missing_end: float = 1.0, **options: Any
) -> tuple[list[Example], Float[Tensor, "prompts n"]]:
    """(the best of n replies to each prompt, the reward's numbers for all of them). `options` as `rollouts.write`.

    missing_end: taken off a reply without an end token before they are compared, as in the training of a policy, not in the numbers. Raises ValueError as
    `rollouts.write`, LabError for a reward that is not one finite number a reply.
    """
    whole("n", n, 1, 100_000)
    within("missing_end", missing_end, 0, 1e6)
    replies, ended = write(policy, prompts, end_id=end_id, k=n, **options)
    scores = scored_once(reward, replies).cpu()
    chosen = best((scores - missing_end * (~torch.tensor(ended)).float()).view(-1, n))
    return [replies[i * n + int(place)] for i, place in enumerate(chosen)], scores.view(-1, n)


def curve(
    proxy: Float[Tensor, "prompts k"], gold: Float[Tensor, "prompts k"], ns: Sequence[int]
) -> list[tuple[int, float, Float[Tensor, " prompts"], Float[Tensor, " prompts"]]]:
    """For each n: (n, KL bound, proxy score and gold score of the chosen reply of each prompt). What was chosen by the proxy is judged by gold.

    The k replies are cut into ⌊k / n⌋ groups of n, and a prompt's figure is the mean over its groups: small n is not measured on a few replies alone.
    Raises ValueError as `best`, and for shapes that differ.
    """
    if proxy.shape != gold.shape:
        raise ValueError(f"proxy scores {list(proxy.shape)} and gold scores {list(gold.shape)}: the same replies are needed")
    rows = []
    for n in ns:
        best(proxy, n)  # refuses what cannot be
        groups = proxy.shape[1] // n
        p, g = (x[:, : groups * n].reshape(len(x), groups, n) for x in (proxy, gold))
        chosen = p.argmax(2, keepdim=True)
        rows.append((n, kl_bound(n), p.gather(2, chosen).squeeze(2).mean(1), g.gather(2, chosen).squeeze(2).mean(1)))
    return rows

