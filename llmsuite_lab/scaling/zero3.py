"""ZeRO stage 3: no rank keeps the model. A block's parameters are gathered just before it works, forward and backward, and freed just after.

    forward    for each block:  all-gather, compute, free                                   Ψ elements travel
    backward   for each block:  all-gather, compute, free; reduce-scatter its gradients     2Ψ
    update     AdamW on part r; nothing to publish: the next forward gathers

3Ψ instead of 2Ψ, and between two collectives 16Ψ/n bytes of model states (float32 and mixed precision alike: "64 times at 64 ranks") beside one
block in full. What is no block's own (embeddings, the last norm, a tensor that several blocks share) is gathered at its first use and freed after backward.

How a freed parameter can be in autograd's graph: the graph keeps views of the flat buffer, and the buffer's memory is given back by setting its storage
to 0 bytes. Gathering gives the same storage memory again, filled with the same numbers, before backward looks at it.

Source: Rajbhandari et al. 2020, section 5.3, P_os+g+p; Zhao et al. 2023, "PyTorch FSDP". Production: `torch.distributed.fsdp.fully_shard`,
DeepSpeed's stage 3; both gather the next block while this one computes.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from llmsuite_lab.scaling.layout import by_block, flat_parameters, free, gather, move_gradient, outer_blocks, same_start
from llmsuite_lab.scaling.sharding import Scatter, Sharded


class Zero3(Sharded):
    """Train `model` with parameters, gradients and optimizer state shared out; every rank must call the same blocks in the same order.

    blocks: the modules that are gathered one at a time; default: the members of the model's outermost ModuleLists. Outside its modules' calls a parameter
    is empty: read it with `full(engine.shards)`. The rest as `Zero1`.
    """

    def __init__(
        self,
        model: nn.Module,
        make_optimizer: Callable[[list[dict[str, Any]]], torch.optim.Optimizer],
        groups: Iterable[dict[str, Any]] | None = None,
        blocks: Iterable[nn.Module] | None = None,
    ) -> None:
        same_start(model)
        given = outer_blocks(model) if blocks is None else list(blocks)
        flat, self.units = by_block(model, given)  # numbers of the layouts that are gathered together; the last unit is what is no block's own
        self.buffers = flat_parameters(flat)
        super().__init__(model, make_optimizer, groups, flat, [layout.own(values).clone() for layout, values in zip(flat, self.buffers, strict=True)])
        self.place = {p: (i, j) for i, layout in enumerate(flat) for j, p in enumerate(layout.parameters)}
        self.scatter, self.current = Scatter(self), None  # current: the block that backward is in
        self.full_gradients: list[Tensor | None] = [None] * len(flat)
        for p in self.trained:
            p.register_post_accumulate_grad_hook(self._arrived)
        for k, block in enumerate(given):
            self._around(block, k)
        rest = {p for i in self.units[-1] for p in flat[i].parameters}
        for module in model.modules():
            if any(p in rest for p in module.parameters(recurse=False)):
                self._around(module, len(given))
        self._free_all()

    def _around(self, module: nn.Module, k: int) -> None:
        root = k == len(self.units) - 1

        def after(module: nn.Module, inputs: Any, outputs: Any) -> None:
            if not torch.is_grad_enabled() or not (root or self.current == k):  # current: recomputed for backward, which needs it now
                self._free(k)
            for output in tree_leaves(outputs):
                if not root and isinstance(output, Tensor) and output.requires_grad:
                    output.register_hook(lambda gradient: self._enter(k))

        module.register_forward_pre_hook(lambda module, inputs: self._gather(k))
        module.register_forward_hook(after)

    def _gather(self, k: int) -> None:
        for i in self.units[k]:
            gather(self.layouts[i], self.buffers[i], self.shards[i])

    def _free(self, k: int) -> None:
        for i in self.units[k]:
            free(self.layouts[i], self.buffers[i])

    def _free_all(self) -> None:
        for k in range(len(self.units)):
            self._free(k)

    def _enter(self, k: int) -> None:
        """Backward has reached block k's output: the block after it is done."""
        if self.current != k:
            self._leave(self.current)
            self._gather(k)
            self.current = k

    def _leave(self, k: int | None) -> None:
        for i in self.units[k] if k is not None else ():
            if self.layouts[i].parameters[0].requires_grad:
                self.scatter.send(i, self.full_gradients[i])
                self.full_gradients[i] = None
        if k is not None:
            self._free(k)

    def _arrived(self, p: nn.Parameter) -> None:
        i, j = self.place[p]
        self.used.add(p)
        self.full_gradients[i] = move_gradient(p, self.layouts[i], j, self.full_gradients[i])

    def backward(self, loss: Tensor) -> None:
        """loss.backward(), block by block; afterwards this rank holds its part of the mean gradient and of the parameters, and nothing in full."""
        loss.backward()
        self._leave(self.current)
        self._leave(len(self.units) - 1)
        self.current = None
        while self.scatter.running:
            self.scatter.receive()
        self._free_all()

    def publish(self) -> None:
        """Forget what was gathered from the old parts, if anything was since `backward`; the next forward gathers the new ones."""
        self._free_all()
