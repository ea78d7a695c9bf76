"""FSDP as torch has it: every block's parameters are sharded tensors, gathered while the block works; and what fits where replicas do not.

    model = fully_sharded(model)                      parameters are DTensors from here on: make the optimizer afterwards
    loss(model(ids)).backward(); optimizer.step()     as in one process

This is ZeRO-3 (`zero3`) with two more things: the next block is gathered while this one computes, and the optimizer sees whole parameters' shapes.

`largest_model` asks the paper's question, whether FSDP trains where DDP runs out of memory: the same training, deeper and deeper, against one budget.

Source: Zhao et al. 2023, "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel". Production: this is `torch.distributed.fsdp.fully_shard`;
`accelerate launch --use_fsdp` and DeepSpeed's stage 3 do the same.
"""

import math

import torch
import torch.distributed as dist
from torch import nn

from llmsuite_lab.core.errors import LabError, whole
from llmsuite_lab.scaling.layout import outer_blocks, world


def fully_sharded(model: nn.Module, reshard_after_forward: bool = True) -> nn.Module:
    """The model with the members of its outermost ModuleLists, and what is left, sharded over all ranks. In place; returns it.

    reshard_after_forward: False keeps a block gathered from forward to backward (2Ψ travel instead of 3Ψ, as many bytes as DDP holds). Raises LabError
    outside a process group, ValueError for a model without parameters.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    _, n = world()
    if not any(True for _ in model.parameters()):
        raise ValueError(f"{type(model).__name__} has no parameters to share out")
    mesh = init_device_mesh("cuda" if dist.get_backend() == "nccl" else "cpu", (n,))
    for block in outer_blocks(model):
        fully_shard(block, mesh=mesh, reshard_after_forward=reshard_after_forward)
    return fully_shard(model, mesh=mesh, reshard_after_forward=reshard_after_forward)


def peak_of_training(engine: str, n_layers: int, **sizes: int) -> int:
    """The most bytes that any rank holds at once in two steps of `train.train` with that engine and so many blocks. Every rank calls it.

    sizes: `rows`, `seq`, `d_model` as for `train`. Raises as `train` does.
    """
    from llmsuite_lab.scaling.budget import byte_budget
    from llmsuite_lab.scaling.train import train

    world()
    with byte_budget() as account:
        train(engine, steps=2, n_layers=n_layers, **sizes)
    most = torch.tensor(account.peak, dtype=torch.int64, device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(most, op=dist.ReduceOp.MAX)
    return int(most)


def largest_model(engine: str, budget_bytes: float, deepest: int = 64, **sizes: int) -> int:
    """The largest number of blocks, up to `deepest`, with which `train.train` stays within the budget on every rank; 0 if one is too many.

    Found by bisection: memory grows with depth. Every rank calls it, and gets the same answer. Raises ValueError for a budget that is not above 0.
    """
    if not 0 < budget_bytes < math.inf:
        raise ValueError(f"budget_bytes={budget_bytes} must be above 0 and finite")
    whole("deepest", deepest, 1, 4096)
    low, high = 0, deepest + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if peak_of_training(engine, middle, **sizes) <= budget_bytes else (low, middle)
    if low == deepest:
        raise LabError(f"even {deepest} blocks fit into {budget_bytes:,.0f} bytes: give a smaller budget, or a larger deepest")
    return low
