"""Data parallel and the three stages of ZeRO, in float64: n ranks make the steps of one process on the whole batch, and the libraries make the same ones.

The model has what goes wrong in practice: a tied matrix, a frozen block and a frozen norm, a parameter that nothing uses, one that a single rank uses, a
number of rows that no number of ranks divides, a step in which a rank has no rows at all, matrices that decay and vectors that do not, clipping, and
two micro-batches in one step. One launch a number of ranks; each test reads one thing from what came back.
"""

import sys
from contextlib import nullcontext
from functools import partial

import cloudpickle
import pytest
import torch
import torch.distributed as dist
from torch import nn

from llmsuite_lab.scaling.ddp import DataParallel
from llmsuite_lab.scaling.launch import ranks
from llmsuite_lab.scaling.layout import local_loss, local_rows, outer_blocks
from llmsuite_lab.scaling.train import OURS
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.optimizer import AdamW, clip_gradients, decay_groups

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as in a notebook: no rank can import this file
pytestmark = pytest.mark.filterwarnings("ignore:.* ranks share")

GRADIENT, WEIGHT = 1e-12, 1e-10  # float64; sums in another order differ by 1e-16 of the largest term
ROWS, SEQ, VOCABULARY = (7, 7, 5, 3, 7), 6, 23
STAGES = ("ddp", *OURS)
SPLIT = 3  # the step whose batch comes as two micro-batches
CLIP = 0.4
OPTIONS = {"lr": 3e-3, "betas": (0.9, 0.95), "eps": 1e-8}


class Troubled(nn.Module):
    """A decoder and two parameters beside it; forward gives the loss summed over the tokens."""

    def __init__(self):
        super().__init__()
        self.decoder = Decoder(llama_config(VOCABULARY, n_layers=3, d_model=12, n_heads=3, d_ff=20, max_length=SEQ, n_kv_heads=1))
        self.unused = nn.Parameter(torch.ones(5))
        self.one_row = nn.Parameter(torch.full((3,), 0.3))

    def forward(self, ids, marks):
        logits = self.decoder(ids[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")
        if self.one_row is None or not marks.any():
            return loss
        return loss + (self.one_row**3).sum() * 2  # the first row is rank 0's


def make(seed, troubled):
    """A model in float64. Plain: every parameter trained and used."""
    torch.manual_seed(seed)
    model = Troubled().double()
    if troubled:
        model.decoder.stack.blocks[1].requires_grad_(False)
        model.decoder.stack.blocks[0].attention_norm.requires_grad_(False)
    else:
        model.unused = model.one_row = None  # FSDP2 does not take a parameter that some ranks do not use: its collectives no longer match
    return model


def batches():
    """[(ids, marks)] of each step; the mark of a row says whether it uses `one_row`."""
    generator = torch.Generator().manual_seed(5)
    ids = [torch.randint(VOCABULARY, (rows, SEQ + 1), generator=generator) for rows in ROWS]
    return [(x[:, : SEQ + 1], torch.arange(len(x)) == 0) for x in ids]


def micro(step, ids, marks):
    """The micro-batches of a step."""
    parts = ((slice(0, 3), slice(3, None)) if step == SPLIT - 1 else (slice(None),))
    return [(ids[part], marks[part]) for part in parts]


def groups(model):
    """Matrices decay."""
    return decay_groups((p for p in model.parameters() if p.requires_grad), 0.1)


def snapshot(named):
    """Copies of tensors by name."""
    return {name: t.detach().clone() for name, t in named if t is not None}


def alone(troubled, plain_adamw=False):
    """One process, the whole batch: gradients and norm of each step, the weights at the end."""
    model = make(0, troubled)
    optimizer = torch.optim.AdamW(groups(model), **OPTIONS) if plain_adamw else AdamW(groups(model), **OPTIONS)
    gradients, norms = [], []
    for ids, marks in batches():
        optimizer.zero_grad()
        (model(ids, marks) / (len(ids) * SEQ)).backward()
        gradients.append(snapshot((name, p.grad) for name, p in model.named_parameters()))
        norms.append(float(clip_gradients(list(model.parameters()), CLIP)))
        optimizer.step()
    return {"gradients": gradients, "norms": norms, "weights": snapshot(model.named_parameters())}


def together(name, troubled, bucket_bytes=1500):
    """The same steps by this rank and the others."""
    rank = dist.get_rank()
    model = make(rank, troubled)  # all but rank 0 begin wrong, and get its values
    if name == "ddp":
        engine = DataParallel(model, bucket_bytes)
        optimizer = AdamW(groups(model), **OPTIONS)
    else:
        size = {} if name == "zero3" else {"bucket_bytes": bucket_bytes}
        engine = OURS[name](model, partial(AdamW, **OPTIONS), groups(model), **size)
    gradients, norms = [], []
    for step, (ids, marks) in enumerate(batches()):
        parts = micro(step, ids, marks)
        for k, (part_ids, part_marks) in enumerate(parts):
            apart = name == "ddp" and bucket_bytes > 1500 and k + 1 < len(parts)  # the one bucket travels with the last micro-batch alone
            with engine.no_sync() if apart else nullcontext():
                engine.backward(local_loss(model(local_rows(part_ids), local_rows(part_marks)), len(ids) * SEQ))
        if name == "ddp":
            gradients.append(snapshot((n, p.grad) for n, p in model.named_parameters()))
            norms.append(float(clip_gradients(list(model.parameters()), CLIP)))
            optimizer.step()
            optimizer.zero_grad()
        else:
            engine.reduce()
            gradients.append(snapshot(engine.full(engine.gradients).items()))
            norms.append(engine.step(clip=CLIP))
    weights = snapshot(model.named_parameters() if name in ("ddp", "zero1", "zero2") else engine.full(engine.shards).items())
    return {"gradients": gradients, "norms": norms, "weights": weights}


def by_library(name):
    """The same steps by torch's own, on the plain model."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.optim import ZeroRedundancyOptimizer

    model = make(0, troubled=False)
    if name == "FSDP2":
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        for block in outer_blocks(model):
            fully_shard(block, mesh=mesh)
        wrapped = fully_shard(model, mesh=mesh)
        optimizer = torch.optim.AdamW(groups(model), foreach=False, **OPTIONS)
    else:
        wrapped = nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
        adamw = torch.optim.AdamW
        optimizer = adamw(groups(model), **OPTIONS) if name == "DDP" else ZeroRedundancyOptimizer(groups(model), adamw, **OPTIONS)
    for ids, marks in batches():
        local_loss(wrapped(local_rows(ids), local_rows(marks)), len(ids) * SEQ).backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        del norm
        optimizer.step()
        optimizer.zero_grad()
    return snapshot((n, p.full_tensor() if hasattr(p, "full_tensor") else p) for n, p in model.named_parameters())


def everything(libraries):
    """All runs of one launch."""
    found = {(name, troubled): together(name, troubled) for name in STAGES for troubled in (False, True)}
    found |= {(name, "one bucket"): together(name, True, 1e9) for name in ("ddp", "zero1", "zero2")}
    return found, {name: by_library(name) for name in libraries}


@pytest.fixture(scope="module")
def expected():
    """What one process does."""
    return {troubled: alone(troubled) for troubled in (False, True)}


@pytest.fixture(scope="module", params=[1, 2, 3, 4], ids=lambda n: f"{n} ranks")
def found(request):
    """What n ranks did: (ours, the libraries')."""
    libraries = ("DDP", "ZeroRedundancyOptimizer", "FSDP2") if request.param == 2 else ()
    return request.param, ranks(everything, request.param, libraries, timeout_s=120)


def distance(a, b):
    """The largest difference between two models' tensors; they have the same names."""
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def test_gradients_of_every_step_are_those_of_one_process(found, expected):
    n, answers = found
    for ours, _ in answers:
        for (name, troubled), run in ours.items():
            want = expected[bool(troubled)]
            for got, wanted in zip(run["gradients"], want["gradients"], strict=True):
                unused = {k for k in got if k not in wanted}
                assert all(not got[k].any() for k in unused), f"{name}: {unused}"
                assert distance({k: got[k] for k in wanted}, wanted) <= GRADIENT, f"{name} {troubled} at {n}"
            assert run["norms"] == pytest.approx(want["norms"], abs=GRADIENT)


def test_weights_after_five_steps_are_those_of_one_process(found, expected):
    n, answers = found
    for ours, _ in answers:
        for (name, troubled), run in ours.items():
            assert distance(run["weights"], expected[bool(troubled)]["weights"]) <= WEIGHT, f"{name} {troubled} at {n}"


def test_replicas_stay_bit_for_bit_equal(found):
    _, answers = found
    first = answers[0][0]
    for ours, _ in answers[1:]:
        assert all(distance(ours[key]["weights"], first[key]["weights"]) == 0.0 for key in ours)


@pytest.mark.parametrize("found", [2], indirect=True, ids=["2 ranks"])
def test_torchs_own_make_the_same_steps(found, expected):
    _, answers = found
    for _, theirs in answers:
        assert sorted(theirs) == ["DDP", "FSDP2", "ZeroRedundancyOptimizer"]
        for name, weights in theirs.items():
            assert distance(weights, expected[False]["weights"]) <= WEIGHT, name


def test_what_nothing_used_stays_and_what_is_frozen_stays(expected):
    start, end = make(0, True), expected[True]["weights"]
    still = {name for name, p in start.named_parameters() if torch.equal(p, end[name])}
    assert {"unused", "decoder.stack.blocks.0.attention_norm.weight"} <= still
    assert "one_row" not in still
    assert "decoder.embedding.token.weight" not in still
