"""What really trains is told from what the ranks hold: ours and torch's stages, and accelerate's two disguises."""

import os
import sys
from functools import partial

import cloudpickle
import pytest
import torch
import torch.distributed as dist
from torch import nn

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.scaling.ddp import DataParallel
from llmsuite_lab.scaling.fsdp import fully_sharded
from llmsuite_lab.scaling.launch import process_group, ranks
from llmsuite_lab.scaling.train import OURS
from llmsuite_lab.scaling.what_runs import Running, check_accelerate, what_runs
from llmsuite_lab.scaling.zero3 import Zero3

cloudpickle.register_pickle_by_value(sys.modules[__name__])
make = partial(torch.optim.AdamW, lr=1e-2, foreach=False)
WHAT = {"ddp": "data parallel", "zero1": "optimizer state", "zero2": "gradients and optimizer state", "zero3": "everything"}
WHAT |= {"DDP": "data parallel", "ZeroRedundancyOptimizer": "optimizer state", "FSDP2": "everything", "nobody": "2 independent models"}
WHAT |= {"accelerate, cpu=True, fsdp_plugin": "data parallel", "accelerate, fsdp_plugin": "2 independent models"}


def fresh():
    """A model with uneven sizes."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 12), nn.ModuleList([nn.Linear(12, 12)])[0], nn.Linear(12, 7))


def mine(width=5):
    """Rows that no other rank has."""
    return torch.randn(3, width, generator=torch.Generator().manual_seed(dist.get_rank()))


def by_accelerate(cpu):
    """Two steps as accelerate prepares them."""
    from accelerate import Accelerator
    from accelerate.utils import FullyShardedDataParallelPlugin

    accelerator = Accelerator(fsdp_plugin=FullyShardedDataParallelPlugin(fsdp_version=2), **({"cpu": True} if cpu else {}))
    model = fresh()
    model, optimizer = accelerator.prepare(model, make(model.parameters()))
    for _ in range(2):
        optimizer.zero_grad()
        accelerator.backward(model(mine()).square().mean())
        optimizer.step()
    found = what_runs(model, optimizer)
    accelerator.state._reset_state(reset_partial_state=True)
    return found


def trained(name):
    """(model, optimizer, engine) of that name, between a second backward pass and its step."""
    model, engine = fresh(), None
    wrapped = model
    if name in OURS:
        engine = OURS[name](model, make)
        optimizer, backward, step = engine.optimizer, engine.backward, engine.step
    else:
        if name == "FSDP2":
            wrapped = fully_sharded(model)
        elif name in ("DDP", "ZeroRedundancyOptimizer"):
            wrapped = nn.parallel.DistributedDataParallel(model)
        optimizer = make(model.parameters())
        if name == "ZeroRedundancyOptimizer":
            from torch.distributed.optim import ZeroRedundancyOptimizer

            optimizer = ZeroRedundancyOptimizer(model.parameters(), torch.optim.AdamW, lr=1e-2, foreach=False)
        backward, step = DataParallel(model).backward if name == "ddp" else torch.Tensor.backward, optimizer.step
    backward(wrapped(mine()).square().mean())
    step()
    if engine is None:
        optimizer.zero_grad()
    backward(wrapped(mine()).square().mean())
    if engine is not None:
        engine.reduce()
    return model, optimizer, engine


def checked(name, told):
    """What `check_accelerate` says of it where the launcher was told `--use_fsdp`, or was not."""
    os.environ["ACCELERATE_USE_FSDP"] = told  # in a rank's own process
    model, optimizer, _ = trained(name)
    try:
        check_accelerate(model, optimizer)
    except LabError as error:
        return str(error)
    return ""


def everything():
    """(all of them, what is said of them), in one launch."""
    found = {name: by_accelerate("cpu" in name) if name.startswith("accelerate") else what_runs(*trained(name)) for name in WHAT}
    return found, {(name, told): checked(name, told) for name in ("DDP", "FSDP2", "nobody") for told in ("true", "false")}


@pytest.fixture(scope="module")
def both():
    """As rank 0 sees it; all ranks agree."""
    first, second = ranks(everything, 2, timeout_s=120)
    assert first == second
    return first


@pytest.fixture(scope="module")
def found(both):
    """{name: what it is found to be}."""
    return both[0]


def test_what_accelerate_was_told_and_did_not_do_stops_the_run(both):
    _, said = both
    assert "parameters are not shared out" in said["DDP", "true"]
    assert said["DDP", "false"] == said["FSDP2", "true"] == said["FSDP2", "false"] == ""
    assert all("2 independent models" in said["nobody", told] for told in ("true", "false"))


@pytest.mark.parametrize("name", WHAT)
def test_it_is_called_by_what_it_is(found, name):
    assert found[name].name.startswith(WHAT[name]), found[name]


def test_shares_are_a_half_where_it_is_shared_out(found):
    assert found["zero1"].optimizer == pytest.approx(0.5, abs=0.02)
    assert found["zero1"].gradients == pytest.approx(1.0, abs=0.02) or found["zero1"].gradients > 1  # stage 1 keeps the sum beside its part
    assert found["zero2"].gradients == pytest.approx(0.5, abs=0.02)
    assert found["zero3"].parameters == pytest.approx(0.5, abs=0.02)
    assert found["FSDP2"].parameters == found["FSDP2"].gradients == pytest.approx(0.5, abs=0.03)
    assert found["DDP"].parameters == found["DDP"].optimizer == 1.0


def test_what_was_meant_to_be_shared_out_and_is_not_is_an_error(found):
    found["FSDP2"].must_share("parameters")
    found["zero1"].must_share("optimizer")
    with pytest.raises(LabError, match="parameters are not shared out.*data parallel"):
        found["accelerate, cpu=True, fsdp_plugin"].must_share("parameters")
    with pytest.raises(LabError, match="2 independent models"):
        found["accelerate, fsdp_plugin"].must_share("parameters")
    with pytest.raises(LabError, match="after backward"):
        Running(2, True, 1.0, None, 0.5).must_share("gradients")
    with pytest.raises(ValueError, match="kind"):
        found["DDP"].must_share("weights")


def test_asked_too_early_or_without_its_engine_it_says_so(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with process_group():
        model = fresh()
        optimizer = make(model.parameters())
        with pytest.raises(LabError, match="ask after a step"):
            what_runs(model, optimizer)
        engine = Zero3(model, make)
        with pytest.raises(LabError, match="pass the engine"):
            what_runs(model, engine.optimizer)
        engine.backward(model(torch.ones(2, 5)).sum())
        engine.step()
        assert what_runs(model, engine.optimizer, engine).name == "one process"


def test_one_process_has_nobody_to_share_with_and_deepspeeds_pieces_are_not_looked_for(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with process_group():
        model, optimizer, _ = trained("nobody")
        check_accelerate(model, optimizer)
        model = fresh()
        with pytest.raises(LabError, match="ask after a step"):
            check_accelerate(model, make(model.parameters()))
        monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
        check_accelerate(model, make(model.parameters()))
