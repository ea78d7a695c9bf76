"""Whatever is put in the place of an argument, the section on training at scale answers with a sentence (see tests/bad_input.py)."""

from functools import partial

import pytest
import torch
import torch.distributed as dist
from torch import nn

from llmsuite_lab.scaling.checkpoint import save_sharded
from llmsuite_lab.scaling.cost import Link
from llmsuite_lab.scaling.ddp import DataParallel
from llmsuite_lab.scaling.layout import Layout
from llmsuite_lab.scaling.step_memory import moments
from llmsuite_lab.scaling.what_runs import Running
from llmsuite_lab.scaling.zero1 import Zero1
from llmsuite_lab.scaling.zero2 import Zero2
from llmsuite_lab.scaling.zero3 import Zero3
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.optimizer import AdamW

LEFT_OUT: dict[str, str] = {
    "scaling.train.main": "a command, whose wrong arguments argparse answers by ending the process",
    "scaling.sharding.Sharded": "the part that the stages share: each of them is fed by its own name",
    "scaling.sharding.Scatter": "stands inside a stage, which gives it its own layouts and gradients",
    "scaling.layout.Layout.views": "takes a buffer of its own making, inside a stage",
    "scaling.layout.Layout.own": "takes a buffer of its own making, inside a stage",
    "scaling.layout.Layout.pieces": "takes a buffer of its own making, inside a stage",
    "scaling.layout.gather": "takes a buffer of a stage's making",
    "scaling.layout.free": "takes a buffer of a stage's making",
    "scaling.deepspeed.with_deepspeed": "needs DeepSpeed, which is an extra: tests/scaling/test_deepspeed.py",
    "scaling.timing.step_times": "trains for seconds; its arguments are checked in tests/scaling/test_experiments.py",
    "scaling.experiments.parity": "trains for seconds; its arguments are checked in tests/scaling/test_experiments.py",
    "scaling.experiments.states": "trains for seconds; its arguments are checked in tests/scaling/test_experiments.py",
    "scaling.experiments.savings": "trains for seconds; its arguments are checked in tests/scaling/test_experiments.py",
    "scaling.experiments.volume": "trains for seconds; its arguments are checked in tests/scaling/test_experiments.py",
    "scaling.figures.what_fits_where": "draws a hundred cells; what it asks is step_memory.smallest_stage, fed by its own name",
    "scaling.records.results": "reads the record scaling_steps, which a quiet machine makes; tests/scaling/test_figures.py has one of its own",
    "scaling.records.seconds": "reads the record scaling_steps, which a quiet machine makes; tests/scaling/test_figures.py has one of its own",
    "scaling.records.speedup": "reads the record scaling_steps, which a quiet machine makes; tests/scaling/test_figures.py has one of its own",
    "scaling.records.slower": "reads the record scaling_steps, which a quiet machine makes; tests/scaling/test_figures.py has one of its own",
    "scaling.records.predicted": "reads the record scaling_steps, which a quiet machine makes; tests/scaling/test_figures.py has one of its own",
    "scaling.records.traffic": "reads the record scaling_steps, which a quiet machine makes; tests/scaling/test_figures.py has one of its own",
    "scaling.records.used_by_others": "reads the record scaling_steps, which a quiet machine makes; tests/scaling/test_figures.py has one of its own",
    "scaling.timing.measure": "a recipe: minutes on several processes; its parts are fed by their own names",
    "scaling.timing.volumes": "counts a group's traffic, and one process has none: tests/scaling/test_figures.py",
    "scaling.layout.move_gradient": "an inner step of a backward hook, which has a gradient at hand",
}
pytestmark = pytest.mark.filterwarnings("ignore:.* ranks share")
CONFIG = llama_config(11, n_layers=1, d_model=4, n_heads=1, d_ff=5, max_length=8)
make = partial(AdamW, lr=1e-3)


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    """A group of one process, which is all that a wrong argument needs."""
    monkeypatch.delenv("RANK", raising=False)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def fresh_model():
    """Two layers."""
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def fresh_decoder():
    """A tiny one."""
    return Decoder(CONFIG)


def fresh_loss():
    """A loss that can be differentiated."""
    return fresh_model()(torch.ones(2, 3)).sum()


def fresh_backward():
    """A model with gradients."""
    model = fresh_model()
    model(torch.ones(2, 3)).sum().backward()
    return model


def fresh_trained():
    """A model after a step, its gradients still there."""
    model = fresh_backward()
    model.optimizer = torch.optim.AdamW(model.parameters())
    model.optimizer.step()
    return model


def engine(stage):
    """A function that makes an engine."""
    return lambda: DataParallel(fresh_model()) if stage is DataParallel else stage(fresh_model(), make)


def fresh_engine():
    """A stage over two layers."""
    return Zero1(fresh_model(), make)


def valid(call, folder):
    """Valid calls, where the signature does not say enough."""
    model = fresh_model()
    save_sharded(folder / "ready", fresh_engine())
    calls = {
        "scaling.launch.ranks": call(len, 1, "ab"),
        "scaling.launch.process_group": call(),
        "scaling.ddp.DataParallel": call(fresh_model),
        "scaling.layout.local_rows": call(torch.ones(3, 2)),
        "scaling.layout.local_loss": call(torch.ones(()), 3.0),
        "scaling.layout.Layout": call(list(model.parameters())),
        "scaling.layout.Layout.buffer": call(on=lambda: Layout(list(model.parameters()))),
        "scaling.layout.layouts": call(list(model.parameters())),
        "scaling.layout.same_start": call(fresh_model),
        "scaling.layout.used_anywhere": call(list(model.parameters()), set()),
        "scaling.layout.flat_parameters": call([]),
        "scaling.layout.outer_blocks": call(fresh_model),
        "scaling.layout.by_block": call(fresh_model, []),
    }
    calls |= {
        "scaling.memory.parameters": call(CONFIG),
        "scaling.memory.block_parameters": call(CONFIG),
        "scaling.memory.root_parameters": call(CONFIG),
        "scaling.memory.model_states": call(100),
        "scaling.memory.activations": call(CONFIG, 2, 5),
        "scaling.memory.block_tensors": call(CONFIG),
        "scaling.memory.kept_by_token": call(CONFIG, 5),
        "scaling.step_memory.moments": call(CONFIG, 2, 5),
        "scaling.step_memory.fullest": call(moments(CONFIG, 2, 5)),
        "scaling.step_memory.training_memory": call(CONFIG, 2, 5),
        "scaling.step_memory.smallest_stage": call(CONFIG, 1e9, 2, 2, 5),
        "scaling.measuring.states_held": call(model, AdamW(model.parameters())),
        "scaling.measuring.local": call([torch.ones(2)]),
        "scaling.measuring.peak_bytes": call(list),
        "scaling.measuring.timed_collectives": call([8, 80], 2),
        "scaling.communication.weight_bytes": call(fresh_model),
        "scaling.communication.expected_volume": call(10, stage=3),
        "scaling.communication.ring_bytes": call(10.0, 2),
        "scaling.communication.gradients_are_equal": call(fresh_backward),
        "scaling.cost.Link": call(1e-5, 1e9),
        "scaling.cost.collective_s": call(10.0, 2, Link(1e-5, 1e9)),
        "scaling.cost.step_time": call(CONFIG, 5, stage=1, ranks=2, link=Link(1e-5, 1e9), flops_per_s=1e9),
        "scaling.cost.fit_link": call([(2, 100, 1e-3, 1), (2, 1000, 5e-3, 1)]),
        "scaling.layout.Layout.starts": call(on=lambda: Layout(list(model.parameters()))),
        "scaling.checkpoint.save_sharded": call(folder / "saved", fresh_engine),
        "scaling.checkpoint.load_sharded": call(folder / "ready", fresh_engine),
        "scaling.train.train": call("ddp", steps=1, rows=1, seq=4, d_model=8, n_layers=1),
        "scaling.recompute.recomputed": call(fresh_decoder),
        "scaling.budget.byte_budget": call(1e6),
        "scaling.budget.Account": call(1e6),
        "scaling.fsdp.fully_sharded": call(fresh_decoder),
        "scaling.fsdp.peak_of_training": call("ddp", 1, rows=1, seq=4, d_model=8),
        "scaling.fsdp.largest_model": call("ddp", 1.0, 1, rows=1, seq=4, d_model=8),
        "scaling.what_runs.what_runs": call((trained := fresh_trained()), trained.optimizer),
        "scaling.what_runs.check_accelerate": call(trained, trained.optimizer),
        "scaling.deepspeed.configuration": call(2),
        "scaling.train.decoder_config": call(16, 1, 8),
        "scaling.train.prepared": call("ddp", fresh_decoder, 1e-3),
        "scaling.experiments.batch": call(1),
        "scaling.records.ratio": call([1.0, 2.0], [1.0, 1.0]),
        "scaling.timing.model_config": call("small"),
        "scaling.what_runs.Running": call(2, True, 1.0, 1.0, 0.5),
        "scaling.what_runs.Running.must_share": call("optimizer", on=lambda: Running(2, True, 1.0, None, 0.5)),
    }
    for name, stage in (("ddp.DataParallel", DataParallel), ("zero1.Zero1", Zero1), ("zero2.Zero2", Zero2), ("zero3.Zero3", Zero3)):
        if stage is not DataParallel:
            calls[f"scaling.{name}"] = call(fresh_model, make)
        calls[f"scaling.{name}.backward"] = call(fresh_loss, on=engine(stage))
    return calls


def test_every_callable_answers_a_wrong_argument_with_a_sentence(bad_input, tmp_path, monkeypatch):
    keep = {("scaling.launch.ranks", "show"), ("scaling.launch.ranks", "args")}  # any value is a truth value, or is handed on to fn
    bad_input.check("llmsuite_lab.scaling", tmp_path, monkeypatch, valid=valid(bad_input.call, tmp_path), left_out=LEFT_OUT, keep=keep)


def test_the_same_nonsense_everywhere_is_answered_too(bad_input, tmp_path, monkeypatch):
    bad_input.check_nonsense("llmsuite_lab.scaling", tmp_path, monkeypatch, left_out=LEFT_OUT)


def test_a_step_without_a_group_says_where_to_stand(monkeypatch):
    monkeypatch.setattr(dist, "is_initialized", lambda: False)
    with pytest.raises(RuntimeError, match="launch.ranks"):
        DataParallel(fresh_model())
