"""Data parallel: every rank has the whole model and a share of the batch; the mean of their gradients is the gradient of the whole batch.

    g = (1/n) Σ_r g_r            one all-reduce a step, of as many bytes as the model has (2Ψ sent by each rank)

All replicas start equal and make the same update, so they stay equal without ever being compared. Three things make it quick:

    flat       gradients travel in buckets: a collective's start-up time is paid once a bucket, not once a tensor
    overlap    a bucket leaves as soon as its last gradient is there, while backward works on the layers before it
    order      buckets leave in one order on all ranks, whatever became ready first: collectives are matched by their order alone

Source: Li et al. 2020, "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", section 3.2. Production:
`torch.nn.parallel.DistributedDataParallel`, whose hooks, bucket size and `no_sync` these are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from llmsuite_lab.scaling.layout import BUCKET_BYTES, layouts, same_start, used_anywhere


class DataParallel:
    """Keep the replicas of `model` equal: `backward(loss)` in place of `loss.backward()`, then any optimizer over `model.parameters()`.

    A parameter that no rank used keeps no gradient, as in one process. Raises ValueError for a model in which nothing is trained and for
    bucket_bytes that are not above 0, LabError outside a process group.
    """

    def __init__(self, model: nn.Module, bucket_bytes: float = BUCKET_BYTES) -> None:
        same_start(model)
        self.model = model
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.buckets = layouts(reversed(self.trained), bucket_bytes)  # backward reaches the last layers first
        self.flats = [bucket.buffer() for bucket in self.buckets]
        self.views: dict[nn.Parameter, Tensor] = {}
        self.bucket_of: dict[nn.Parameter, int] = {}
        for i, (bucket, flat) in enumerate(zip(self.buckets, self.flats, strict=True)):
            self.views |= dict(zip(bucket.parameters, bucket.views(flat), strict=True))
            self.bucket_of |= dict.fromkeys(bucket.parameters, i)
        self.synchronising = True
        self.used: set[nn.Parameter] = set()
        self._begin()
        self.hooks = [p.register_post_accumulate_grad_hook(self._arrived) for p in self.trained]

    def _begin(self) -> None:
        self.waiting = [set(bucket.parameters) for bucket in self.buckets]
        self.running: list[Any] = []  # the collectives on their way, in the buckets' order

    def _arrived(self, p: nn.Parameter) -> None:
        """Called by autograd when p.grad is complete: the gradient moves into its bucket, and stays there."""
        self.used.add(p)
        if self.synchronising:
            self._into_bucket(p)
            self.waiting[self.bucket_of[p]].discard(p)
            self._send()

    @torch.no_grad()
    def _into_bucket(self, p: nn.Parameter) -> None:
        view = self.views[p]
        if p.grad is None:
            view.zero_()
        elif p.grad.data_ptr() != view.data_ptr():
            view.copy_(p.grad)
        p.grad = view

    def _send(self, all_of_them: bool = False) -> None:
        while (i := len(self.running)) < len(self.buckets) and (all_of_them or not self.waiting[i]):
            self.running.append(dist.all_reduce(self.flats[i], async_op=True))

    def backward(self, loss: Tensor) -> None:
        """loss.backward(); afterwards every p.grad is the mean over the ranks, of all micro-batches since the gradients were last dropped."""
        loss.backward()
        if not self.synchronising:
            return
        for p in self.trained:  # what this rank did not use, another may have
            if p in self.waiting[self.bucket_of[p]]:
                self._into_bucket(p)
        self._send(all_of_them=True)
        for work, flat, bucket in zip(self.running, self.flats, self.buckets, strict=True):
            work.wait()
            flat.div_(bucket.n)
        anywhere = used_anywhere(self.trained, self.used)
        for p in self.trained:
            if p not in anywhere:
                p.grad = None
        self.used = anywhere
        self._begin()

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Within this block gradients add up on each rank alone: for all micro-batches of a step but the last, which then carries them all."""
        self.synchronising = False
        try:
            yield
        finally:
            self.synchronising = True

    def close(self) -> None:
        """Take the hooks off the model."""
        for hook in self.hooks:
            hook.remove()
