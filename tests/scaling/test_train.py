"""One training under every launcher: the same losses from `ranks`, torchrun and accelerate launch, with any engine and any number of ranks."""

import json
import os
import signal
import subprocess
import sys

import pytest

from llmsuite_lab.core.paths import repo_dir
from llmsuite_lab.scaling.launch import ranks
from llmsuite_lab.scaling.train import ENGINES, train

pytestmark = pytest.mark.filterwarnings("ignore:.* ranks share")
LIMIT_S = 120
SIZES = {"steps": 4, "rows": 6, "seq": 20, "d_model": 16, "n_layers": 2}


def all_engines():
    """{engine: its run}; defined here and sent with its code."""
    from llmsuite_lab.scaling.train import ENGINES, train

    return {name: train(name, **SIZES) for name in ENGINES}


@pytest.fixture(scope="module")
def alone():
    """The losses of one process."""
    return ranks(train, 1, "ddp", **SIZES)[0].losses


def test_every_engine_has_the_losses_of_one_process(alone):
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    for found in ranks(all_engines, 2, timeout_s=LIMIT_S):
        assert list(found) == list(ENGINES)
        for name, run in found.items():
            assert run.losses == pytest.approx(alone, rel=2e-5), name  # float32
            assert (run.engine, run.ranks, run.first_step) == (name, 2, 0)
    assert alone[-1] < alone[0]


def test_a_run_goes_on_from_its_checkpoint(alone, tmp_path):
    half = SIZES | {"steps": 2}
    ranks(train, 2, "zero2", checkpoint=tmp_path / "run", **half)
    found = ranks(train, 3, "zero3", checkpoint=tmp_path / "run", **SIZES)[0]
    assert found.first_step == 2
    assert found.losses == pytest.approx(alone[2:], rel=2e-5)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="process groups as Unix has them")
@pytest.mark.parametrize(
    "launcher",
    [
        ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
        ["accelerate.commands.launch", "--use_fsdp", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"],
    ],
    ids=["torchrun", "accelerate launch"],
)
def test_a_launcher_of_the_field_runs_it_as_it_is(alone, tmp_path, launcher):
    options = [text for name, value in SIZES.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", *launcher, "-m", "llmsuite_lab.scaling.train", "--engine", "zero3", *options, "--out", str(tmp_path / "run.json")]
    process = subprocess.Popen(command, cwd=repo_dir(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        said, _ = process.communicate(timeout=LIMIT_S)
    finally:
        if process.poll() is None:  # the launcher and its workers, which would outlive it
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, said[-3000:]
    found = json.loads((tmp_path / "run.json").read_text())
    assert found["ranks"] == 2
    assert found["losses"] == pytest.approx(alone, rel=2e-5)
