"""The formulas of memory: equal to what autograd, the allocator and every rank's storages hold, and to the paper's numbers."""

import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import cloudpickle
import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from llmsuite_lab.lm.memory import Kept
from llmsuite_lab.scaling import step_memory, zero1
from llmsuite_lab.scaling.ddp import DataParallel
from llmsuite_lab.scaling.launch import ranks
from llmsuite_lab.scaling.layout import outer_blocks
from llmsuite_lab.scaling.measuring import peak_bytes, states_held
from llmsuite_lab.scaling.memory import MODELS, activations, block_parameters, block_tensors, model_states, parameters, root_parameters
from llmsuite_lab.scaling.recompute import recomputed
from llmsuite_lab.scaling.step_memory import fullest, moments, smallest_stage, training_memory
from llmsuite_lab.scaling.zero1 import Zero1
from llmsuite_lab.scaling.zero2 import Zero2
from llmsuite_lab.scaling.zero3 import Zero3
from llmsuite_lab.transformer import optimizer as optimizer_module
from llmsuite_lab.transformer.config import gpt2_config, llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.optimizer import AdamW
from tests.waiting import until

cloudpickle.register_pickle_by_value(sys.modules[__name__])
pytestmark = pytest.mark.filterwarnings("ignore:.* ranks share")
STAGES = {0: DataParallel, 1: Zero1, 2: Zero2, 3: Zero3}
CONFIG = llama_config(97, n_layers=4, d_model=48, n_heads=4, d_ff=140, max_length=24, n_kv_heads=2)
BUCKET = 100_000
ROWS, SEQ = 3, 20
RUN = 100_000  # elements that the update takes at a time: fewer than these small models have
SHAPES = {  # config, rows, tokens a row, bytes of a bucket
    "activations and states alike": (CONFIG, ROWS, SEQ, BUCKET),
    "GPT with wide heads": (gpt2_config(211, 48, 3, 4, 120, 32, d_head=64), 5, 28, 150_000),
    "many tokens": (llama_config(61, n_layers=6, d_model=40, n_heads=5, d_ff=100, max_length=64), 6, 60, 60_000),
    "many words": (llama_config(1500, n_layers=3, d_model=40, n_heads=5, d_ff=100, max_length=64, tie_embeddings=False), 2, 20, 60_000),
}


@settings(max_examples=40, deadline=None)
@given(
    st.booleans(), st.integers(1, 60), st.integers(0, 3), st.integers(1, 4), st.sampled_from([1, 2, 4]), st.integers(1, 50), st.booleans(),
    st.integers(1, 7), st.sampled_from(["learned", "rotary", "relative", "none"]), st.booleans(),
)  # fmt: skip
def test_every_parameter_of_any_decoder_is_counted(llama, words, layers, width, heads, ff, tied, length, positions, other):
    make = llama_config if llama else gpt2_config
    choices = {"positions": positions, "n_kv_heads": 1, "tie_embeddings": tied, "logit_bias": other, "embedding_norm": other, "gated": other}
    config = make(words, 2 * width * heads, layers, heads, ff, length, **choices)
    with torch.device("meta"):
        model = Decoder(config)
        model.tie()
    assert parameters(config) == sum(p.numel() for p in model.parameters())
    assert all(block_parameters(config) == sum(p.numel() for p in block.parameters()) for block in model.stack.blocks)
    assert all(sum(block_tensors(config), []) == [p.numel() for p in block.parameters()] for block in model.stack.blocks)
    assert root_parameters(config) + layers * block_parameters(config) == parameters(config)


def test_the_published_models_have_their_published_sizes():
    for name, config in MODELS.items():
        billions = float(name.split()[1].removesuffix("B"))
        assert parameters(config) / 1e9 == pytest.approx(billions, rel=0.05), name


def test_the_papers_four_eight_and_sixty_four_times():
    def saving(stage, n):
        return sum(model_states(7 * 10**9, precision="mixed")) / sum(model_states(7 * 10**9, stage=stage, ranks=n, precision="mixed"))

    assert saving(1, 1024) == pytest.approx(4, rel=0.02)
    assert saving(2, 1024) == pytest.approx(8, rel=0.02)
    assert saving(1, 64) < 4  # "up to": at 64 ranks it is less
    assert saving(2, 64) < 8
    assert saving(3, 64) == pytest.approx(64, rel=1e-6)


def test_adams_state_is_twice_the_weights_in_float32_and_six_times_in_mixed_precision():
    for precision, times in (("float32", 2), ("mixed", 6)):
        weights, _, state = model_states(1000, precision=precision)
        assert state == times * weights
    assert model_states(1000, optimizer="sgd")[2] == 0
    assert model_states(1000, trained=10, precision="mixed") == (2000, 20, 120)


@pytest.mark.parametrize(
    ("make", "attention", "precision"),
    [
        (llama_config, "fused", "float32"),
        (llama_config, "stored", "float32"),
        (llama_config, "fused", "bfloat16"),
        (gpt2_config, "fused", "float32"),
        (gpt2_config, "stored", "float32"),
        (gpt2_config, "fused", "bfloat16"),
    ],
)
def test_activations_are_what_autograd_keeps(make, attention, precision):
    config = make(89, n_layers=3, d_model=40, n_heads=5, d_ff=100, max_length=64)
    model = Decoder(config).to(torch.float32 if precision == "float32" else torch.bfloat16)
    ids = torch.randint(89, (2, 48))
    kept = Kept([*model.parameters(), *model.buffers()])
    with kept.counting(), sdpa_kernel(SDPBackend.FLASH_ATTENTION if attention == "fused" else SDPBackend.MATH):
        model.loss(ids, ids)
    assert activations(config, 2, 48, precision=precision, attention=attention) == pytest.approx(kept.bytes, rel=0.05)


@pytest.mark.parametrize("gated", [False, True])
def test_of_a_relu_only_its_result_is_kept(gated):
    config = replace(gpt2_config(89, n_layers=3, d_model=40, n_heads=5, d_ff=200, max_length=64), activation="relu", gated=gated)
    model, ids = Decoder(config), torch.randint(89, (2, 48))
    kept = Kept([*model.parameters(), *model.buffers()])
    with kept.counting(), sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        model.loss(ids, ids)
    assert activations(config, 2, 48) == pytest.approx(kept.bytes, rel=0.05)


def test_checkpointing_lowers_the_peak_by_what_the_formula_says():
    config = llama_config(31, n_layers=6, d_model=64, n_heads=4, d_ff=170, max_length=64)
    model, ids = Decoder(config), torch.randint(31, (8, 64))

    def step():
        model.loss(ids, ids).backward()

    step()  # gradients are there now, and are added to
    plain = peak_bytes(step)
    with recomputed(model):
        checkpointed = peak_bytes(step)
    assert "forward" not in vars(model.stack.blocks[0])
    saved = activations(config, 8, 64) - activations(config, 8, 64, checkpointing=True)
    assert plain - checkpointed == pytest.approx(saved, rel=0.05)
    for peak, again in ((plain, False), (checkpointed, True)):
        assert peak == pytest.approx(beside_the_states(config, 8, 64, checkpointing=again), rel=0.05)


def beside_the_states(config, rows, seq, stage=0, **options):
    """The fullest moment by formula, without what is held before and after the step: the gradients of stages 0 and 1."""
    moment = fullest(moments(config, rows, seq, stage=stage, cpu=True, **options))
    return moment.held - (moment.gradients if stage < 2 else 0)


def engine_of(stage, model, bucket_bytes):
    """(what trains the model, its optimizer)."""
    if not stage:
        return DataParallel(model, bucket_bytes), AdamW(model.parameters(), lr=1e-3)
    engine = STAGES[stage](model, partial(AdamW, lr=1e-3), **({} if stage == 3 else {"bucket_bytes": bucket_bytes}))
    return engine, engine.optimizer


def dtype_of(precision):
    return torch.float32 if precision == "float32" else torch.bfloat16


def measured(stage, precision):
    """(states after backward, states after a step) on this rank."""
    model = Decoder(CONFIG).to(dtype_of(precision))
    engine, optimizer = engine_of(stage, model, BUCKET)
    ids = torch.randint(97, (ROWS, SEQ))
    engine.backward(model.loss(ids, ids))
    before = states_held(model, optimizer, engine)
    update(engine, optimizer)
    return before, states_held(model, optimizer, engine)


def update(engine, optimizer):
    if hasattr(engine, "step"):
        engine.step()
    else:
        optimizer.step()
        optimizer.zero_grad()


def fullest_and_kept(shape, stage, precision, checkpointing):
    """(most bytes that a whole step allocates, bytes that autograd keeps between forward and backward) on this rank, the states apart.

    The least of three steps: where gloo's thread is the last to let go of a collective's copy, by chance, the profiler does not see it go.
    """
    config, rows, seq, bucket_bytes = SHAPES[shape]
    model = Decoder(config).to(dtype_of(precision))
    engine, optimizer = engine_of(stage, model, bucket_bytes)
    ids = torch.randint(config.vocab_size, (rows, seq))

    def step():
        engine.backward(model.loss(ids, ids))
        update(engine, optimizer)

    with recomputed(model) if checkpointing else nullcontext():
        peaks = [peak_bytes(step) for _ in range(4)]
    kept = Kept([*model.parameters(), *model.buffers(), *getattr(engine, "buffers", ())])
    with kept.counting():
        loss = model.loss(ids, ids)
    engine.backward(loss)  # every rank ends what it began
    return min(peaks[1:]), kept.bytes


def by_library(name):
    """States of torch's own after a backward pass of the second step."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.optim import ZeroRedundancyOptimizer

    model = Decoder(CONFIG)
    ids = torch.randint(97, (ROWS, SEQ))
    if name == "FSDP2":
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        for block in outer_blocks(model):
            fully_shard(block, mesh=mesh)
        wrapped = fully_shard(model, mesh=mesh)
        optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
    else:
        wrapped = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
        adamw = torch.optim.AdamW
        optimizer = adamw(model.parameters()) if name == "DDP" else ZeroRedundancyOptimizer(model.parameters(), adamw)
    for _ in range(2):
        optimizer.zero_grad()
        wrapped(ids).square().mean().backward()
        before = states_held(model, optimizer)
        optimizer.step()
    return before


def settled(collective):
    """`collective`, held until gloo's threads sleep: the profiler sees its copy go where this thread is the last to let go of it, in theirs it does not."""

    def call(*args):
        work = collective(*args, async_op=True)
        work.wait()
        time.sleep(0.001)
        until(lambda: not any(map(running, Path("/proc/self/task").iterdir())), 1.0)

    return call


def running(task):
    """Whether another thread of this process is at work."""
    try:
        return task.name != str(threading.get_native_id()) and (task / "stat").read_text().rsplit(")", 1)[1].split()[0] == "R"
    except OSError:  # it has ended
        return False


def everything():
    """All measurements of one launch, without oneDNN, whose copies of 16-bit matrices differ by processor."""
    from torch.backends import mkldnn  # cloudpickle would send the module, and cannot

    mkldnn.enabled, optimizer_module.CACHED = False, RUN
    zero1.reduce_scatter = settled(zero1.reduce_scatter)
    ours = {(stage, precision): measured(stage, precision) for stage in STAGES for precision in ("float32", "mixed")}
    steps = {case: fullest_and_kept(*case) for case in product(SHAPES, STAGES, ("float32", "mixed"), (False, True))}
    return ours, {name: by_library(name) for name in ("DDP", "ZeroRedundancyOptimizer", "FSDP2")}, steps


@pytest.fixture(scope="module", params=[2, 4], ids=lambda n: f"{n} ranks")
def found(request):
    """What each of n ranks held."""
    return request.param, ranks(everything, request.param, timeout_s=240)


def test_states_of_every_rank_are_what_the_formula_says(found):
    n, answers = found
    for ours, _, _ in answers:
        for (stage, precision), (before, after) in ours.items():
            want = model_states(parameters(CONFIG), stage=stage, ranks=n, precision=precision)
            assert before[:2] == pytest.approx(want[:2], rel=0.02), (stage, precision)
            assert after[0] == pytest.approx(want[0], rel=0.02)
            assert after[2] == pytest.approx(want[2], rel=0.02), (stage, precision)


def test_states_of_torchs_own_are_the_same_stages(found):
    n, answers = found
    for name, stage in (("DDP", 0), ("ZeroRedundancyOptimizer", 1), ("FSDP2", 3)):
        want = model_states(parameters(CONFIG), stage=stage, ranks=n)
        held = [theirs[name] for _, theirs, _ in answers]
        assert all(h[:2] == pytest.approx(want[:2], rel=0.02) for h in held), name
        assert sum(h[2] for h in held) / n == pytest.approx(want[2], rel=0.02), name  # stage 1 shares out whole tensors: uneven, the same in all


def test_the_fullest_moment_of_a_step_is_the_formulas_at_every_stage_and_precision(found, monkeypatch):
    monkeypatch.setattr(step_memory, "CACHED", RUN)
    n, answers = found
    for case in answers[0][2]:
        shape, stage, precision, checkpointing = case
        config, rows, seq, bucket_bytes = SHAPES[shape]
        options = {"stage": stage, "ranks": n, "precision": precision, "checkpointing": checkpointing, "bucket_bytes": bucket_bytes}
        by_formula = beside_the_states(config, rows, seq, **options)
        for _, _, steps in answers:
            assert steps[case][0] == pytest.approx(by_formula, rel=0.15), (case, steps[case][0] / by_formula)


def test_sharding_leaves_the_activations_alone(found):
    _, answers = found
    for _, _, steps in answers:
        for (shape, stage, precision, checkpointing), (_, kept) in steps.items():
            config, rows, seq, _ = SHAPES[shape]
            if not checkpointing:  # there the checkpoint's own hooks keep a block's input, and these see nothing of it
                assert kept == pytest.approx(activations(config, rows, seq, precision=precision), rel=0.05), (shape, stage, precision)


def test_activations_go_while_gradients_come():
    found = moments(CONFIG, ROWS, SEQ, stage=2, ranks=4)
    kept, own = [m.activations for m in found], [m.gradients for m in found]
    assert kept[0] == activations(CONFIG, ROWS, SEQ)
    assert own[:-1] == sorted(own[:-1])
    assert (own[0], kept[-1], own[-1]) == (0, 0, 0)  # the update has used them when its results are gathered
    assert own[-2] == pytest.approx(model_states(parameters(CONFIG), stage=2, ranks=4)[1], rel=0.01)
    memory = training_memory(CONFIG, ROWS, SEQ, stage=2, ranks=4)
    assert memory.parameters + memory.optimizer + fullest(found).held == memory.total < memory.states + memory.activations + memory.temporary
    assert fullest(moments(CONFIG, ROWS, SEQ, stage=3, ranks=2, cpu=True)).held > fullest(moments(CONFIG, ROWS, SEQ, stage=3, ranks=2)).held
    for nothing in (None, "x", [], 2):
        with pytest.raises(TypeError, match="cpu=.* must be True or False"):
            moments(CONFIG, ROWS, SEQ, cpu=nothing)
    with pytest.raises(ValueError, match="no moments"):
        fullest([])


def test_what_fits_where():
    model = MODELS["LLaMA 7B"]
    options = {"precision": "mixed", "checkpointing": True}
    assert smallest_stage(model, 80e9, 8, **options) == 1
    assert smallest_stage(model, 24e9, 8, **options) == 3
    assert smallest_stage(model, 16e9, 1, **options) is None
    memory = training_memory(model, 1, 2048, stage=3, ranks=8, **options)
    assert memory.states < memory.total <= memory.states + memory.activations + memory.temporary
