"""A run that is saved, resumed with another number of ranks and another stage, or killed while it saves, goes on as if nothing had happened."""

import json
import os
import signal
import sys
from functools import partial

import cloudpickle
import pytest
import torch
import torch.distributed as dist

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.scaling import checkpoint
from llmsuite_lab.scaling.checkpoint import load_sharded, save_sharded
from llmsuite_lab.scaling.ddp import DataParallel
from llmsuite_lab.scaling.launch import RankError, ranks
from llmsuite_lab.scaling.layout import local_loss, local_rows
from llmsuite_lab.scaling.train import OURS
from llmsuite_lab.transformer.config import llama_config
from llmsuite_lab.transformer.decoder import Decoder
from llmsuite_lab.transformer.optimizer import AdamW, decay_groups

cloudpickle.register_pickle_by_value(sys.modules[__name__])
pytestmark = pytest.mark.filterwarnings("ignore:.* ranks share")
STEPS, SAVED, ROWS, SEQ = 6, 3, 6, 8
make = partial(AdamW, lr=3e-3)


def begin(name, frozen=False, seed=0, d_ff=20):
    """(engine, optimizer or None) of one kind, in float64."""
    torch.manual_seed(seed)
    model = Decoder(llama_config(31, n_layers=2, d_model=12, n_heads=3, d_ff=d_ff, max_length=SEQ)).double()
    model.stack.blocks[0].requires_grad_(not frozen)
    groups = decay_groups((p for p in model.parameters() if p.requires_grad), 0.1)
    if name == "ddp":
        return DataParallel(model), make(groups)
    return OURS[name](model, make, groups), None


def go_on(engine, optimizer, first, last):
    """Steps first … last - 1, each with its own batch."""
    for t in range(first, last):
        ids = torch.randint(31, (ROWS, SEQ), generator=torch.Generator().manual_seed(t))
        mine = local_rows(ids)
        engine.backward(local_loss(engine.model.loss(mine, mine) * mine.numel(), ids.numel()))
        if optimizer is None:
            engine.step()
        else:
            optimizer.step()
            optimizer.zero_grad()


def weights(engine):
    """All of them, whole."""
    found = dict(engine.model.named_parameters()) if isinstance(engine, DataParallel) else engine.full(engine.shards)
    return {name: t.detach().clone() for name, t in found.items()}


def save_runs(folder):
    """Each kind of run up to the save, and to the end without a break."""
    found = {}
    for name in ("ddp", "zero1", "zero2", "zero3"):
        engine, optimizer = begin(name)
        go_on(engine, optimizer, 0, SAVED)
        save_sharded(folder / name, engine, optimizer, extra={"steps": SAVED})
        go_on(engine, optimizer, SAVED, STEPS)
        found[name] = weights(engine)
    try:
        save_sharded(folder, engine)  # holds the others: not ours to replace
    except LabError as error:
        found["refused"] = str(error)
    return found


def resume_runs(folder, pairs):
    """{(saved by, resumed by): weights at the end}."""
    found = {}
    for saved, name in pairs:
        engine, optimizer = begin(name, seed=9)
        extra = load_sharded(folder / saved, engine, optimizer)
        go_on(engine, optimizer, extra["steps"], STEPS)
        found[saved, name] = weights(engine)
    return found


def die_while_saving(folder):
    """A second save, in which rank 1 is killed once its file is half written."""
    engine, optimizer = begin("zero2", seed=5)
    real = checkpoint._write

    def half(tensors, file):
        real(tensors, file)
        if dist.get_rank() == 1:
            with open(file, "r+b") as opened:
                opened.truncate(100)
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint._write = half
    save_sharded(folder / "zero2", engine, optimizer)


def misfits(folder):
    """What loading says to the wrong model, and to damage."""
    said = []
    for changes in ({"frozen": True}, {"d_ff": 24}):
        engine, optimizer = begin("zero3", **changes)
        before = weights(engine)
        try:
            load_sharded(folder / "zero1", engine, optimizer)
        except LabError as error:
            said.append(str(error))
        assert all(torch.equal(before[name], after) for name, after in weights(engine).items())
    for damaged in ("torn", "nothing"):
        try:
            load_sharded(folder / damaged, begin("zero1")[0])
        except LabError as error:
            said.append(str(error))
    return said


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(folder of checkpoints that two ranks saved, what their unbroken runs ended with)."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return folder, ranks(save_runs, 2, folder, timeout_s=120)[0]


def off(a, b):
    """The largest difference."""
    assert a.keys() == b.keys()
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize(
    ("n", "pairs"),
    [
        (3, [("zero2", "zero3"), ("zero3", "zero1"), ("ddp", "zero2"), ("zero3", "zero3")]),
        (1, [("zero3", "ddp"), ("zero1", "zero2")]),
        (2, [("zero1", "zero1")]),
    ],
)
def test_a_resumed_run_ends_where_the_unbroken_one_does(runs, n, pairs):
    folder, unbroken = runs
    for found in ranks(resume_runs, n, folder, pairs):
        for pair, end in found.items():
            assert off(end, unbroken["ddp"]) <= 1e-10, pair


def test_the_unbroken_runs_agree(runs):
    _, unbroken = runs
    assert all(off(unbroken[name], unbroken["ddp"]) <= 1e-10 for name in ("zero1", "zero2", "zero3"))


def test_a_kill_in_the_middle_of_a_save_leaves_the_previous_checkpoint(runs):
    folder, unbroken = runs
    before = sorted(file.name for file in (folder / "zero2").iterdir())
    with pytest.raises(RankError, match="killed by SIGKILL"):
        ranks(die_while_saving, 2, folder, collective_timeout_s=5)
    assert sorted(file.name for file in (folder / "zero2").iterdir()) == before
    found = ranks(resume_runs, 2, folder, [("zero2", "zero2")])
    assert off(found[0]["zero2", "zero2"], unbroken["ddp"]) <= 1e-10


def test_what_is_no_checkpoint_of_ours_is_not_replaced(runs):
    folder, unbroken = runs
    assert "left as it is" in unbroken["refused"]
    assert sorted(place.name for place in folder.iterdir() if not place.name.startswith(".")) == ["ddp", "zero1", "zero2", "zero3"]


def test_another_model_and_a_damaged_file_are_refused_by_name(runs, tmp_path):
    folder, _ = runs
    torn = tmp_path / "torn"
    torn.mkdir()
    for file in (folder / "zero1").iterdir():
        data = file.read_bytes()
        (torn / file.name).write_bytes(data[: len(data) // 2] if file.name.startswith("part-00001") else data)
    (tmp_path / "zero1").symlink_to(folder / "zero1")
    for said in ranks(misfits, 2, tmp_path):
        assert "stack.blocks.0" in said[0]
        assert "belongs to another model" in said[1]
        assert "part-00001-of-00002.safetensors is missing or damaged" in said[2]
        assert "holds no whole checkpoint" in said[3]


def test_the_manifest_is_text(runs):
    folder, _ = runs
    manifest = json.loads((folder / "zero3" / "checkpoint.json").read_text())
    assert manifest["ranks"] == 2
    assert manifest["extra"] == {"steps": SAVED}
