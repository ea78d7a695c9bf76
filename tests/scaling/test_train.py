"""One training under every launcher: the same losses from `ranks`, torchrun, accelerate launch and deepspeed, with any engine and any number of ranks."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from llmsuite_lab.core.paths import repo_dir
from llmsuite_lab.scaling.deepspeed import MISSING
from llmsuite_lab.scaling.launch import leave, process_group, ranks
from llmsuite_lab.scaling.train import ENGINES, train

pytestmark = pytest.mark.filterwarnings("ignore:.* ranks share")
LIMIT_S = 240
SIZES = {"steps": 4, "rows": 6, "seq": 20, "d_model": 16, "n_layers": 2}


def all_engines():
    """{engine: its run}; defined here and sent with its code."""
    from llmsuite_lab.scaling.train import ENGINES, train

    return {name: train(name, **SIZES) for name in ENGINES}


@pytest.fixture(scope="module")
def alone():
    """The losses of one process."""
    return ranks(train, 1, "ddp", timeout_s=LIMIT_S, **SIZES)[0].losses


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


CONFIGS = repo_dir() / "data" / "configs"
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
ACCELERATE = ["accelerate.commands.launch", "--main_process_port", "29518", "--config_file"]
DDP = [*ACCELERATE, str(CONFIGS / "accelerate" / "ddp_cpu.yaml"), "-m"]
FSDP = [*ACCELERATE, str(CONFIGS / "accelerate" / "fsdp_gpu.yaml"), "--num_processes", "2", "--mixed_precision", "no", "-m"]
DEEPSPEED = ["deepspeed.launcher.runner", "--num_gpus", "2", "--master_port", "29517", "--module"]
LAUNCHED = {
    "torchrun": (TORCHRUN, "zero3"),
    "accelerate launch": (DDP, "accelerate"),
    "deepspeed": (DEEPSPEED, "deepspeed"),
}


def launched(launcher, engine, out, accelerate_on_cpu="true"):
    """(exit status, what was said) of two processes."""
    options = [text for name, value in SIZES.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    options += ["--config", str(CONFIGS / "deepspeed" / "zero3_cpu.json")] if engine == "deepspeed" else []
    command = [sys.executable, "-m", *launcher, "llmsuite_lab.scaling.train", "--engine", engine, *options, "--out", str(out)]
    environment = os.environ | {"DS_ACCELERATOR": "cpu", "ACCELERATE_USE_CPU": accelerate_on_cpu, "PYTHONPATH": str(repo_dir())}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, cwd=repo_dir(), **streams, text=True, start_new_session=True, env=environment)
    try:
        said, _ = process.communicate(timeout=LIMIT_S)
    finally:
        if process.poll() is None:  # the launcher and its workers, which would outlive it
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="process groups as Unix has them")
@pytest.mark.parametrize("name", LAUNCHED)
def test_a_launcher_of_the_field_runs_it_as_it_is(alone, tmp_path, name):
    if name == "deepspeed" and importlib.util.find_spec("deepspeed") is None:
        pytest.skip(MISSING)
    status, said = launched(*LAUNCHED[name], tmp_path / "run.json")
    assert status == 0, said[-3000:]
    found = json.loads((tmp_path / "run.json").read_text())
    assert found["ranks"] == 2
    assert found["losses"] == pytest.approx(alone, rel=2e-5)


def test_the_interpreter_is_not_taken_down_under_gloos_threads(tmp_path):
    """gloo's threads hand tensors back late and abort a process that is being taken down: one launch of six, without `leave`."""
    options = [text for name, value in SIZES.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    script = f"""
import atexit, os, runpy, sys
atexit.register(os.abort)  # what such a thread does
sys.argv[1:] = {[*options, "--out", str(tmp_path / "run.json")]!r}
print("said before the end", end="")
runpy.run_module("llmsuite_lab.scaling.train", run_name="__main__")
"""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    environment = os.environ | {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "PYTHONPATH": str(repo_dir())} | place
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=LIMIT_S, env=environment)
    assert (ended.returncode, ended.stdout) == (0, "said before the end"), ended.stderr[-2000:]
    assert len(json.loads((tmp_path / "run.json").read_text())["losses"]) == SIZES["steps"]
    assert leave() is None  # no launcher: nothing is ended


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="process groups as Unix has them")
@pytest.mark.parametrize(
    ("launcher", "on_cpu", "sentence"),
    [
        (FSDP, "true", "parameters are not shared out: the average rank holds 100%"),
        (FSDP, "false", "nothing is shared out: these are 2 independent models"),
        (DDP, "false", "nothing is shared out: these are 2 independent models"),
    ],
    ids=["replicas for FSDP", "independent models for FSDP", "independent models for DDP"],
)
def test_accelerate_that_trains_something_else_than_it_was_told_is_stopped(tmp_path, launcher, on_cpu, sentence):
    status, said = launched(launcher, "accelerate", tmp_path / "run.json", on_cpu)
    assert status != 0
    assert sentence in said, said[-3000:]
    assert not (tmp_path / "run.json").exists()


def test_what_belongs_to_a_configuration_is_refused_elsewhere(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with process_group():
        for wrong in ({"engine": "deepspeed"}, {"engine": "ddp", "config": CONFIGS / "deepspeed" / "zero3_cpu.json"}):
            with pytest.raises(ValueError, match="data/configs/deepspeed"):
                train(**wrong)
        with pytest.raises(ValueError, match="checkpoints of its own"):
            train("accelerate", checkpoint=CONFIGS)
