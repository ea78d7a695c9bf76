"""ZeRO stage 1: every rank updates its part of the parameters, and holds the optimizer's state for that part alone.

    backward       every rank adds up its own gradient, in full                       4Ψ bytes in float32
    reduce-scatter rank r gets part r of the mean gradient                            Ψ elements travel
    update         AdamW on part r: masters, m and v for Ψ/n elements                 8Ψ/n bytes
    all-gather     every rank gets all parts of the new parameters                    Ψ elements travel

The two collectives together move what one all-reduce moves (an all-reduce *is* a reduce-scatter and an all-gather): the memory is free of charge.
Model states fall from 16Ψ to 8Ψ + 8Ψ/n bytes in float32; in mixed precision from 16Ψ to 4Ψ + 12Ψ/n, "up to four times".

Source: Rajbhandari et al. 2020, section 5.1, P_os. Production: `torch.distributed.optim.ZeroRedundancyOptimizer` (which all-reduces and then
broadcasts: 3Ψ), DeepSpeed's stage 1.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.scaling.layout import BUCKET_BYTES, all_gather, flat_parameters, layouts, reduce_scatter, same_start
from llmsuite_lab.scaling.sharding import Sharded


class Zero1(Sharded):
    """Train `model`, whole on every rank, with an optimizer whose state is shared out.

        engine = Zero1(model, partial(AdamW, lr=1e-3))
        engine.backward(loss); engine.step()

    make_optimizer: parameter groups → an optimizer that treats each element alone (AdamW, SGD; not one that looks at a matrix). groups: parameter groups
    of the model as for any optimizer. Raises ValueError for groups that are not the trained parameters, LabError outside a process group.
    """

    def __init__(
        self,
        model: nn.Module,
        make_optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer],
        groups: Iterable[dict[str, Any]] | None = None,
        bucket_bytes: float = BUCKET_BYTES,
    ) -> None:
        same_start(model)
        flat = layouts([p for p in model.parameters() if p.requires_grad], bucket_bytes)
        self.values, self.sums = flat_parameters(flat), [layout.buffer() for layout in flat]
        self.views = {p: view for layout, sums in zip(flat, self.sums) for p, view in zip(layout.parameters, layout.views(sums), strict=True)}
        super().__init__(model, make_optimizer, groups, flat, [layout.own(values) for layout, values in zip(flat, self.values, strict=True)])
        for p, view in self.views.items():
            p.grad = view  # autograd adds to what is there
            p.register_post_accumulate_grad_hook(self._arrived)

    @torch.no_grad()
    def _arrived(self, p: nn.Parameter) -> None:
        self.used.add(p)
        if p.grad.data_ptr() != self.views[p].data_ptr():  # someone has dropped p.grad: autograd made a new one
            self.views[p].copy_(p.grad)
            p.grad = self.views[p]

    def backward(self, loss: Tensor) -> None:
        """loss.backward(): this rank's gradients add up in full, and nothing travels before `step`. Raises LabError between `reduce` and `step`."""
        if any(part is not None for part in self.gradients):
            raise LabError("the gradients of this step are reduced already, and no more can be added: call step() or forget() first")
        loss.backward()

    @torch.no_grad()
    def reduce(self) -> None:
        """Reduce-scatter: the sums' own part becomes this rank's part of the mean gradient."""
        for i, (layout, sums) in enumerate(zip(self.layouts, self.sums, strict=True)):
            if self.gradients[i] is None:
                part = layout.buffer(parts=1)
                reduce_scatter(part, sums)
                self.gradients[i] = layout.own(sums).copy_(part).div_(layout.n)

    @torch.no_grad()
    def publish(self) -> None:
        """All-gather: every rank's part of the new parameters reaches all."""
        for values, shard in zip(self.values, self.shards, strict=True):
            all_gather(values, shard.clone())

    def forget(self) -> None:
        """Set all gradients to zero; their memory stays, which is what this stage does not save."""
        super().forget()
        for sums in self.sums:
            sums.zero_()
