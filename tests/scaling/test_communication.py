"""What the stages and torch's own send is what the formulas say, logically and on gloo's wire; the cost model's limits are right."""

import sys
from functools import partial

import cloudpickle
import pytest
import torch
import torch.distributed as dist
from torch import nn

from llmsuite_lab.scaling.communication import Traffic, expected_volume, gradients_are_equal, ring_bytes, weight_bytes, wire
from llmsuite_lab.scaling.cost import LINKS, Link, collective_s, fit_link, step_time
from llmsuite_lab.scaling.ddp import DataParallel
from llmsuite_lab.scaling.launch import ranks
from llmsuite_lab.scaling.layout import outer_blocks
from llmsuite_lab.scaling.measuring import timed_collectives
from llmsuite_lab.scaling.memory import MODELS, block_parameters, root_parameters
from llmsuite_lab.scaling.train import OURS
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.optimizer import AdamW

cloudpickle.register_pickle_by_value(sys.modules[__name__])
pytestmark = pytest.mark.filterwarnings("ignore:.* ranks share")
CONFIG = llama_config(97, n_layers=4, d_model=48, n_heads=4, d_ff=140, max_length=24)
BLOCKS, ROOT = CONFIG.n_layers * block_parameters(CONFIG), root_parameters(CONFIG)
STAGES = {"ddp": 0, "zero1": 1, "zero2": 2, "zero3": 3}
LIBRARIES = {"DDP": 2.0, "ZeroRedundancyOptimizer": 3.0, "FSDP2": expected_volume(BLOCKS, ROOT, stage=3) / (BLOCKS + ROOT), "FSDP2, kept": 2.0}


def ours(name, micro_batches):
    """(step, model) of one of ours."""
    model = Decoder(CONFIG)
    if name == "ddp":
        engine, optimizer = DataParallel(model, 100_000), AdamW(model.parameters())
    else:
        engine = OURS[name](model, partial(AdamW, lr=1e-3))
    ids = torch.randint(97, (2, 7))

    def step():
        for i in range(micro_batches):
            if name == "ddp" and i < micro_batches - 1:
                with engine.no_sync():
                    engine.backward(model.loss(ids, ids))
            else:
                engine.backward(model.loss(ids, ids))
        if name == "ddp":
            optimizer.step()
            optimizer.zero_grad()
        else:
            engine.step()

    return step


def theirs(name):
    """The same of torch's."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.optim import ZeroRedundancyOptimizer

    model, ids = Decoder(CONFIG), torch.randint(97, (2, 7))
    if name.startswith("FSDP2"):
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        for block in outer_blocks(model):
            fully_shard(block, mesh=mesh, reshard_after_forward=name == "FSDP2")
        wrapped = fully_shard(model, mesh=mesh)
        optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
    else:
        wrapped = nn.parallel.DistributedDataParallel(model)
        adamw = torch.optim.AdamW
        optimizer = adamw(model.parameters()) if name == "DDP" else ZeroRedundancyOptimizer(model.parameters(), adamw)

    def step():
        wrapped(ids).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def counted(step):
    """(volume, calls, bytes on the wire) of the third step: two are for what happens once."""
    step()
    step()
    dist.barrier()
    with Traffic() as traffic, wire() as written:
        step()
    return traffic.volume, dict(traffic.calls), written[0]


def everything():
    """All counts of one launch, and whether gradients agree with and without an engine."""
    found = {(name, m): counted(ours(name, m)) for name in STAGES for m in (1, 2)} | {name: counted(theirs(name)) for name in LIBRARIES}
    torch.manual_seed(dist.get_rank())
    model, apart = Decoder(CONFIG), Decoder(CONFIG)
    ids = torch.randint(97, (2, 7))
    DataParallel(model).backward(model.loss(ids, ids))
    apart.loss(ids, ids).backward()
    return found, gradients_are_equal(model), gradients_are_equal(apart), timed_collectives([400, 4_000_000], 3)


@pytest.fixture(scope="module", params=[2, 4], ids=lambda n: f"{n} ranks")
def found(request):
    """What each of n ranks counted."""
    return request.param, ranks(everything, request.param, timeout_s=120)


def test_the_stages_move_what_the_paper_counts(found):
    _, answers = found
    for counts, *_ in answers:
        for name, stage in STAGES.items():
            for m in (1, 2):
                elements = expected_volume(BLOCKS, ROOT, stage=stage, micro_batches=m)
                assert counts[name, m][0] == pytest.approx(4 * elements, rel=2e-3), (name, m)  # the rest: padding, flags, the norm


def test_torchs_own_move_as_much_as_ours_but_for_stage_one(found):
    _, answers = found
    for counts, *_ in answers:
        for name, times in LIBRARIES.items():
            assert counts[name][0] == pytest.approx(times * 4 * (BLOCKS + ROOT), rel=0.03), name


def test_each_stage_uses_its_own_collectives(found):
    _, answers = found
    for counts, *_ in answers:
        assert "reduce-scatter" not in counts["ddp", 1][1]
        assert counts["zero3", 1][1]["all-gather"] == 2 * CONFIG.n_layers + 1
        assert counts["zero3", 1][1]["reduce-scatter"] == CONFIG.n_layers + 1
        assert counts["zero2", 1][1]["reduce-scatter"] == counts["zero2", 1][1]["all-gather"]


@pytest.mark.skipif(sys.platform != "linux", reason="the system counts what a process writes on Linux")
def test_on_gloos_wire_a_reduce_scatter_weighs_as_much_as_an_all_reduce(found):
    n, answers = found
    for name in ("ddp", "zero3"):
        volumes = [counts[name, 1] for counts, *_ in answers]
        sent = sum(wire for _, _, wire in volumes) / n / ring_bytes(1, n) / 4
        extra = BLOCKS + ROOT if name == "zero3" else 0
        assert sent == pytest.approx(volumes[0][0] / 4 + extra, rel=0.1), name


def test_independent_trainings_are_noticed(found):
    _, answers = found
    assert all(answer[1:3] == (True, False) for answer in answers)


def test_timed_collectives_are_samples_of_the_slowest_rank_in_the_form_that_a_fit_takes(found):
    n, answers = found
    samples = answers[0][3]
    assert [(ranks, size, times) for ranks, size, _, times in samples] == [(n, s, t) for s in (400, 4_000_000) for t in (1, 2)]
    assert all(answer[3] == samples for answer in answers)  # the slowest rank's, on all
    assert all(0 < seconds < 60 for _, _, seconds, _ in samples)  # whether they grow with size is this machine's affair


def test_frozen_parameters_do_not_count():
    model = Decoder(CONFIG)
    assert weight_bytes(model) == 4 * (BLOCKS + ROOT)
    model.stack.requires_grad_(False)
    assert weight_bytes(model, 2) == 2 * 97 * 48


def test_a_ring_takes_the_time_that_its_two_numbers_say():
    link = Link(1e-3, 1e6)
    assert collective_s(4000, 1, link) == 0
    assert collective_s(4000, 4, link) == pytest.approx(3e-3 + 3000 / 1e6)
    assert collective_s(4000, 4, link, times=2) == pytest.approx(2 * collective_s(4000, 4, link))


def test_a_fit_finds_the_link_that_made_the_times():
    link = Link(3e-5, 2e9)
    samples = [(n, size, collective_s(size, n, link, times), times) for n in (2, 4) for size in (10**3, 10**5, 10**7) for times in (1, 2)]
    fitted = fit_link(samples)
    assert fitted.latency_s == pytest.approx(link.latency_s, rel=1e-6)
    assert fitted.bytes_per_s == pytest.approx(link.bytes_per_s, rel=1e-6)
    noisy = [(n, size, s * (1.1 if i % 2 else 0.9), times) for i, (n, size, s, times) in enumerate(samples)]
    assert fit_link(noisy).bytes_per_s == pytest.approx(link.bytes_per_s, rel=0.2)
    assert fit_link([(2, 10, 1e-6, 1), (2, 1000, 1e-3, 1)]).latency_s == 0


def test_efficiency_falls_a_little_with_more_ranks_and_more_on_a_slow_link():
    config, options = MODELS["LLaMA 7B"], {"tokens": 8192, "flops_per_s": 150e12}
    for stage in range(4):
        fast = [step_time(config, stage=stage, ranks=n, link=LINKS["NVLink (A100)"], **options).efficiency for n in (1, 8, 64, 512)]
        assert fast[0] == 1.0
        assert fast == sorted(fast, reverse=True)
        slow = step_time(config, stage=stage, ranks=64, link=LINKS["100 Gb Ethernet"], **options).efficiency
        assert slow < fast[2]
    hidden, bare = (step_time(config, stage=3, ranks=64, link=LINKS["InfiniBand NDR"], overlap=o, **options) for o in (1.0, 0.0))
    assert hidden.total_s < bare.total_s
    assert bare.exposed_s == pytest.approx(bare.communication_s)
