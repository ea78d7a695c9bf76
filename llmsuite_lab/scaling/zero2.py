"""ZeRO stage 2: as stage 1, and no rank keeps a gradient that it does not need for its own part.

    backward       a bucket of gradients is full: reduce-scatter it, keep part r of the mean, free the rest      Ψ elements travel, all buckets together
    update         AdamW on part r
    all-gather     every rank gets all parts of the new parameters                                              Ψ elements travel

Between two collectives a rank holds 4Ψ/n bytes of gradients and a bucket or two, where stage 1 holds 4Ψ; the traffic is the same. With several
micro-batches a step the difference remains (parts add up in place), but each micro-batch pays its reduce-scatter, where stage 1 pays one a step.
Model states: 4Ψ + 12Ψ/n bytes in float32; in mixed precision 2Ψ + 14Ψ/n, "up to eight times".

Source: Rajbhandari et al. 2020, section 5.2, P_os+g. Production: DeepSpeed's stage 2.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from llmsuite_lab.scaling.layout import BUCKET_BYTES, all_gather, flat_parameters, layouts, move_gradient, same_start
from llmsuite_lab.scaling.sharding import Scatter, Sharded


class Zero2(Sharded):
    """Train `model`, whole on every rank, with gradients and optimizer state shared out. Arguments and errors as `Zero1`."""

    def __init__(
        self,
        model: nn.Module,
        make_optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer],
        groups: Iterable[dict[str, Any]] | None = None,
        bucket_bytes: float = BUCKET_BYTES,
    ) -> None:
        same_start(model)
        flat = layouts(reversed([p for p in model.parameters() if p.requires_grad]), bucket_bytes)  # backward reaches the last layers first
        self.values = flat_parameters(flat)
        super().__init__(model, make_optimizer, groups, flat, [layout.own(values) for layout, values in zip(flat, self.values, strict=True)])
        self.place = {p: (i, j) for i, layout in enumerate(flat) for j, p in enumerate(layout.parameters)}
        self.scatter = Scatter(self)
        self._begin()
        for p in self.trained:
            p.register_post_accumulate_grad_hook(self._arrived)

    def _begin(self) -> None:
        self.filling: list[Tensor | None] = [None] * len(self.layouts)  # a bucket's whole gradient, only while it fills
        self.waiting = [set(layout.parameters) for layout in self.layouts]
        self.next = 0

    def _arrived(self, p: nn.Parameter) -> None:
        """Called by autograd when p.grad is complete: it moves into its bucket, and the bucket goes when it is full."""
        i, _ = self.place[p]
        self.used.add(p)
        self.filling[i] = move_gradient(p, self.layouts[i], self.place[p][1], self.filling[i])
        self.waiting[i].discard(p)
        self._send()

    def _send(self, all_of_them: bool = False) -> None:
        while self.next < len(self.layouts) and (all_of_them or not self.waiting[self.next]):  # in one order on all ranks
            self.scatter.send(self.next, self.filling[self.next])
            self.filling[self.next] = None
            self.next += 1

    def backward(self, loss: Tensor) -> None:
        """loss.backward(); afterwards this rank holds its part of the mean gradient, of all micro-batches since the last step, and no other."""
        loss.backward()
        self._send(all_of_them=True)
        while self.scatter.running:
            self.scatter.receive()
        self._begin()

    @torch.no_grad()
    def publish(self) -> None:
        """All-gather: every rank's part of the new parameters reaches all."""
        for values, shard in zip(self.values, self.shards, strict=True):
            all_gather(values, shard.clone())
