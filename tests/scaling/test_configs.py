"""The ready configurations are what their tools read: every key is one of theirs, and what they say fits together."""

import importlib.util
import re
import subprocess

import pytest
import yaml

from llmsuite_lab.core.paths import data_dir, repo_dir
from llmsuite_lab.scaling import deepspeed, train
from llmsuite_lab.transformer import block

CONFIGS = data_dir() / "configs"
ACCELERATE = sorted((CONFIGS / "accelerate").glob("*.yaml"))
SCRIPTS = sorted([*(CONFIGS / "torchrun").glob("*.sh"), *(CONFIGS / "torchrun").glob("*.sbatch")])


@pytest.fixture(scope="module")
def accelerate_options():
    """What `accelerate launch` knows."""
    from accelerate.commands.launch import launch_command_parser

    return {option.lstrip("-") for action in launch_command_parser()._actions for option in action.option_strings}


@pytest.mark.parametrize("file", ACCELERATE, ids=lambda f: f.stem)
def test_accelerate_reads_its_files(file, accelerate_options):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(file))
    told = yaml.safe_load(file.read_text(encoding="utf-8"))
    gpus = 1 if config.use_cpu else 8
    assert config.num_processes == config.num_machines * (2 if config.use_cpu else gpus)
    kind = "MULTI_GPU" if file.stem.startswith("ddp") else "FSDP" if file.stem.startswith("fsdp") else "DEEPSPEED"
    assert config.distributed_type == kind
    for key in (*told.get("fsdp_config", {}), *told.get("deepspeed_config", {})):
        assert key in accelerate_options, key
    if kind == "FSDP":
        assert hasattr(block, told["fsdp_config"]["fsdp_transformer_layer_cls_to_wrap"])
        assert told["fsdp_config"]["fsdp_version"] == 2
    if kind == "DEEPSPEED":
        assert (repo_dir() / told["deepspeed_config"]["deepspeed_config_file"]).is_file()


def test_every_kind_that_the_guide_names_is_there():
    assert {f.stem for f in ACCELERATE} == {"ddp_cpu", "ddp_gpu", "fsdp_gpu", "fsdp_several_nodes", "zero1_gpu", "zero2_gpu", "zero3_gpu"}
    assert {f.name for f in SCRIPTS} == {"one_node.sh", "several_nodes.sh", "slurm.sbatch"}
    readme = (repo_dir() / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"data/configs/[\w./]+\w", readme))
    assert named
    assert all((repo_dir() / name).exists() for name in named), named


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason=deepspeed.MISSING)
@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_deepspeed_knows_every_key(stage, device, monkeypatch):
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    from deepspeed.runtime import config as known
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    told = deepspeed.configuration(stage, device)
    assert DeepSpeedZeroConfig(**told.pop("zero_optimization")).stage == stage  # refuses what it does not know
    names = {value for value in vars(known).values() if isinstance(value, str)}
    assert set(told) <= names, set(told) - names


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda f: f.name)
def test_the_scripts_are_shell_and_their_options_are_torchruns(file):
    from torch.distributed.run import get_args_parser

    done = subprocess.run(["bash", "-n", str(file)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    known = {option for action in get_args_parser()._actions for option in action.option_strings}
    text = file.read_text(encoding="utf-8")
    command = text.partition("torchrun --")[2].partition("-m llmsuite_lab")[0]
    assert set(re.findall(r"--[a-z-]+", f"--{command}")) <= known
    assert "-m llmsuite_lab.scaling.train" in text


def test_the_commands_that_the_guide_shows_are_what_the_training_takes():
    readme = (repo_dir() / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"(?:\.sh|\.sbatch|llmsuite_lab\.scaling\.train)((?: --[\w-]+ [\w./-]+)+)`", readme)
    assert len(shown) == 5
    for line in shown:
        given = train._parser().parse_args(line.split())  # ends the test for what it does not know
        assert given.engine in (*train.ENGINES, *train.CONFIGURED)
        assert given.checkpoint is None or given.every  # a job that is ended goes on from there
        assert (given.config is None) == (given.engine != "deepspeed")
