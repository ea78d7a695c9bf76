"""Parts hold each number once; a block of ZeRO-3 is in memory only while it works, however the model is called."""

import sys
from functools import partial

import cloudpickle
import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.lm.memory import held
from llmsuite_lab.scaling import layout
from llmsuite_lab.scaling.ddp import DataParallel
from llmsuite_lab.scaling.launch import process_group, ranks
from llmsuite_lab.scaling.layout import outer_blocks
from llmsuite_lab.scaling.recompute import recomputed
from llmsuite_lab.scaling.zero1 import Zero1
from llmsuite_lab.scaling.zero2 import Zero2
from llmsuite_lab.scaling.zero3 import Zero3
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.optimizer import AdamW

cloudpickle.register_pickle_by_value(sys.modules[__name__])
pytestmark = pytest.mark.filterwarnings("ignore:.* ranks share")
N = 3
make = partial(AdamW, lr=1e-2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 7), st.integers(1, 40))
def test_the_ranks_pieces_are_every_number_once(sizes, n, limit):
    parameters = [nn.Parameter(torch.arange(size) + 100.0 * i) for i, size in enumerate(sizes)]
    found = {p: [] for p in parameters}
    with pytest.MonkeyPatch.context() as patch:
        for rank in range(n):
            patch.setattr(layout, "world", lambda rank=rank: (rank, n))
            flat = layout.layouts(parameters, 4 * limit)
            assert [p for each in flat for p in each.parameters] == parameters
            for each in flat:
                assert len(each.parameters) == 1 or sum(p.numel() for p in each.parameters) <= limit
                assert 0 <= each.part * n - sum(p.numel() for p in each.parameters) < n
                whole = each.buffer()
                for p, view in zip(each.parameters, each.views(whole), strict=True):
                    view.copy_(p.detach())
                for p, piece in each.pieces(each.own(whole)).items():
                    found[p].append(piece)
    assert all(torch.equal(torch.cat(pieces), p.detach()) for p, pieces in found.items())


def test_unlike_tensors_do_not_share_a_buffer(monkeypatch):
    monkeypatch.setattr(layout, "world", lambda: (0, 2))
    a, b, c = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3).bfloat16()), nn.Parameter(torch.ones(3), requires_grad=False)
    assert [each.parameters for each in layout.layouts([a, b, c, a])] == [[a, a], [b], [c]]
    with pytest.raises(ValueError, match="all of one dtype"):
        layout.Layout([a, b])


def test_blocks_inside_blocks_are_gathered_with_them():
    inner = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    outer = nn.ModuleList([nn.ModuleDict({"experts": inner}), nn.Linear(2, 2)])
    assert outer_blocks(nn.ModuleDict({"blocks": outer})) == list(outer)


class Odd(nn.Module):
    """Blocks called twice, in turn; a matrix that two blocks share; a block that is never called."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(5, 5) for _ in range(4)])
        self.blocks[2].weight = self.blocks[1].weight

    def forward(self, x):
        for i in (0, 1, 0, 2, 1):
            x = torch.tanh(self.blocks[i](x)) + x
        return x.square().sum()


def decoder():
    """A tiny one in float64, the same on every rank."""
    torch.manual_seed(3)
    return Decoder(llama_config(29, n_layers=2, d_model=12, n_heads=2, d_ff=20, max_length=9)).double()


def odd():
    """The odd model in float64."""
    torch.manual_seed(4)
    return Odd().double()


def gradients(engine, loss):
    """Whole mean gradients of a backward pass by name, for engines and for plain models."""
    engine.backward(loss)
    return {name: g.clone() for name, g in engine.full(engine.gradients).items()}


def in_full(engine):
    """Bytes of gathered parameters."""
    return held(engine.buffers)


def everything():
    """All that is asked of ZeRO-3 and the others, in one launch."""
    found, ids = {}, torch.arange(14).view(2, 7) % 29
    plain = decoder()
    plain.loss(ids, ids).backward()
    want = {name: p.grad for name, p in plain.named_parameters()}

    def off(got, wanted=want):
        return max(float((got[name] - wanted[name]).abs().max()) for name in wanted)

    engine = Zero3(decoder(), make)
    found["at rest"] = in_full(engine), held(engine.model.parameters()), held(engine.shards)
    with torch.no_grad():
        found["eval"] = float((engine.model(ids) - plain(ids)).abs().max()), in_full(engine)
    alive = []
    for block in engine.model.stack.blocks:
        block.feed_forward.register_forward_hook(lambda *_: alive.append(in_full(engine)))
    found["gradients"] = off(gradients(engine, engine.model.loss(ids, ids)))
    found["alive"] = list(alive), in_full(engine)
    engine.forget()
    with recomputed(engine.model):
        found["recomputed"] = off(gradients(engine, engine.model.loss(ids, ids)))
    engine.forget()
    found["loss between"] = float(engine.model.loss(ids, ids).detach())  # forward without backward leaves the root gathered
    gradients(engine, engine.model.loss(ids, ids))
    engine.model.loss(ids, ids)
    engine.step()
    other = Zero3(decoder(), make)
    other.backward(other.model.loss(ids, ids))
    other.step()
    with torch.no_grad():
        found["after a step"] = float((engine.model(ids) - other.model(ids)).abs().max())

    x, strange = torch.linspace(-1, 1, 10).view(2, 5).double(), odd()
    strange(x).backward()
    wanted = {name: p.grad for name, p in strange.named_parameters() if p.grad is not None}
    engine = Zero3(odd(), make)
    found["odd"] = off(gradients(engine, engine.model(x)), wanted)
    engine.step()
    never = engine.full(engine.shards)["blocks.3.weight"]
    found["never called"] = torch.equal(never, strange.blocks[3].weight.detach())

    small = nn.Linear(1, 1, bias=False)  # one number on three ranks: two of them own nothing
    for stage in (Zero1, Zero2, Zero3):
        engine = stage(small, make)
        engine.backward(engine.model(torch.ones(1, 1)).sum())
        norm, owned = engine.step(), len(engine.pieces)
        found["one number", stage.__name__] = norm, owned
        small = nn.Linear(1, 1, bias=False)

    torch.manual_seed(0)
    half = Zero3(Decoder(llama_config(29, n_layers=2, d_model=12, n_heads=2, d_ff=20, max_length=9)).bfloat16(), make)
    losses = []
    for _ in range(12):
        loss = half.model.loss(ids, ids)
        losses.append(float(loss.detach()))
        half.backward(loss)
        half.step(clip=1.0)
    found["mixed"] = losses, {p.dtype for group in half.optimizer.param_groups for p in group["params"]}

    engine = Zero1(decoder(), make)
    engine.backward(engine.model.loss(ids, ids))
    engine.reduce()
    try:
        engine.backward(engine.model.loss(ids, ids))
    except LabError as error:
        found["too late"] = str(error)
    model = decoder()
    parallel = DataParallel(model)
    parallel.close()
    model.loss(ids * (dist.get_rank() + 1) % 29, ids).backward()
    found["closed"] = float(model.embedding.token.weight.grad.sum())
    return found


@pytest.fixture(scope="module")
def found():
    """What each of three ranks found."""
    return ranks(everything, N, timeout_s=120)


def test_at_rest_a_rank_holds_its_part_and_nothing_else(found):
    whole = held(decoder().parameters())
    for answer in found:
        gathered, of_the_model, shards = answer["at rest"]
        assert gathered == of_the_model == 0
        assert shards == pytest.approx(whole / N, rel=0.02)


def test_blocks_are_gathered_one_at_a_time(found):
    model = decoder()
    block, root = held(model.stack.blocks[0].parameters()), held(model.parameters()) - held(model.stack.blocks.parameters())
    for answer in found:
        during, afterwards = answer["alive"]
        assert during == [pytest.approx(root + block, abs=8 * N * 2)] * 2  # and padding
        assert afterwards == 0


def test_evaluation_needs_nothing_and_leaves_nothing(found):
    assert all(answer["eval"] == (0.0, 0) for answer in found)


@pytest.mark.parametrize("what", ["gradients", "recomputed", "odd"])
def test_gradients_are_right_with_checkpointing_and_for_blocks_called_in_turn(found, what):
    assert max(answer[what] for answer in found) <= 1e-12


def test_what_was_gathered_before_a_step_is_not_used_after_it(found):
    assert all(answer["after a step"] == 0.0 for answer in found)


def test_a_block_that_is_never_called_stays(found):
    assert all(answer["never called"] for answer in found)


def test_a_rank_that_owns_nothing_takes_part(found):
    for stage in ("Zero1", "Zero2", "Zero3"):
        norms, owned = zip(*(answer["one number", stage] for answer in found))
        assert owned == (1, 0, 0)
        assert norms == (1.0, 1.0, 1.0)


def test_in_mixed_precision_the_masters_are_shared_out_too(found):
    for answer in found:
        losses, dtypes = answer["mixed"]
        assert dtypes == {torch.float32}
        assert losses == found[0]["mixed"][0]
        assert losses[-1] < losses[0] - 0.5


def test_a_gradient_after_the_reduction_is_refused(found):
    assert all("call step() or forget() first" in answer["too late"] for answer in found)


def test_a_closed_engine_leaves_the_model_alone(found):
    assert len({answer["closed"] for answer in found}) == N


@pytest.mark.parametrize("stage", [DataParallel, Zero2])
def test_buckets_leave_while_backward_goes_on(monkeypatch, stage):
    monkeypatch.delenv("RANK", raising=False)
    with process_group():
        model = nn.Sequential(*(nn.Linear(6, 6) for _ in range(4)))  # 168 bytes a layer: a bucket each
        engine = stage(model, 200) if stage is DataParallel else stage(model, make, bucket_bytes=200)
        left = []
        model[0].weight.register_post_accumulate_grad_hook(lambda p: left.append(len(engine.running) if stage is DataParallel else engine.next))
        engine.backward(model(torch.ones(2, 6)).square().sum())
    assert left[0] >= 3  # those of the three layers behind it, which backward reached before
