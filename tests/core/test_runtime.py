"""The dial: detection, override, threads, the measured dtype, seeds."""

import ctypes
import os
import random

import numpy as np
import psutil
import pytest
import torch

from llmsuite_lab.core import runtime


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """Each test has its own cache folder and no remembered profile; torch's thread count is put back."""
    monkeypatch.setenv("LLMSUITE_CACHE", str(tmp_path))
    monkeypatch.delenv("LLMSUITE_PROFILE", raising=False)
    threads = torch.get_num_threads()
    runtime._profile.cache_clear()
    yield
    runtime._profile.cache_clear()
    torch.set_num_threads(threads)


@pytest.fixture
def cuda(monkeypatch):
    """Pretend there is a CUDA device of so many GiB."""

    def pretend(gib: float, bf16: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        memory = type("Properties", (), {"total_memory": int(gib * 2**30)})
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: memory)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation)

    return pretend


def test_unknown_profile_names_the_known_ones(monkeypatch):
    monkeypatch.setenv("LLMSUITE_PROFILE", "tpu")
    with pytest.raises(ValueError, match="'tpu' is not a profile.*cpu, t4, gpu"):
        runtime.profile()


def test_a_gpu_profile_without_a_gpu_says_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("LLMSUITE_PROFILE", "t4")
    with pytest.raises(ValueError, match="LLMSUITE_PROFILE=t4 needs a CUDA device"):
        runtime.profile()


@pytest.mark.parametrize(
    ("gib", "bf16", "name", "dtype", "train_dtype"),
    [
        (15.8, False, "t4", torch.float16, torch.float32),
        (22.5, True, "t4", torch.bfloat16, torch.bfloat16),
        (79, True, "gpu", torch.bfloat16, torch.bfloat16),
    ],
)
def test_detection_and_dtypes_on_a_gpu(cuda, gib, bf16, name, dtype, train_dtype):
    cuda(gib, bf16)
    dial = runtime.profile()
    assert (dial.name, dial.dtype, dial.train_dtype, dial.device.type) == (name, dtype, train_dtype, "cuda")


def test_the_environment_overrides_detection_and_the_dial_is_cached(cuda, monkeypatch):
    cuda(79, True)
    big = runtime.profile()
    monkeypatch.setenv("LLMSUITE_PROFILE", " T4 ")
    small = runtime.profile()
    monkeypatch.setenv("LLMSUITE_PROFILE", "cpu")
    cpu = runtime.profile()
    assert (big.name, small.name, cpu.name, cpu.device.type) == ("gpu", "t4", "cpu", "cpu")
    assert runtime.profile() is cpu
    for size in ("batch_size", "batch_tokens", "eval_items", "train_steps"):
        assert getattr(cpu, size) < getattr(small, size) < getattr(big, size)


@pytest.mark.parametrize(
    ("quota", "cores"), [("150000 100000", 1), ("400000 100000", 4), ("50000 100000", 1), ("max 100000", None), ("rubbish", None)]
)
def test_container_quota(tmp_path, quota, cores):
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert runtime._cgroup_cores(tmp_path) == cores


def test_container_quota_of_the_older_kind(tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("300000")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert runtime._cgroup_cores(tmp_path) == 3


def test_cores_respect_affinity_quota_and_openmp(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(runtime.os, "sched_getaffinity", lambda pid: set(range(7)), raising=False)
    monkeypatch.setattr(runtime, "_cgroup_cores", lambda: None)
    assert runtime.available_cores() == 7
    monkeypatch.setattr(runtime, "_cgroup_cores", lambda: 5)
    assert runtime.available_cores() == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert runtime.available_cores() == 3


@pytest.mark.parametrize(("speedup", "dtype"), [(2.0, torch.bfloat16), (1.1, torch.float32), (0.4, torch.float32)])
def test_dtype_is_measured_once_and_remembered(monkeypatch, tmp_path, speedup, dtype):
    measured = []
    monkeypatch.setattr(runtime, "bf16_speedup", lambda: measured.append(1) or speedup)
    assert runtime.measured_dtype() == runtime.measured_dtype() == dtype
    assert measured == [1]
    (tmp_path / "dtype.json").write_text("[broken")
    assert runtime.measured_dtype() == dtype
    assert measured == [1, 1]


def test_an_unwritable_cache_does_not_stop_the_dial(monkeypatch):
    def refuse(*args):
        raise PermissionError("no")

    monkeypatch.setattr(runtime, "write_json", refuse)
    monkeypatch.setattr(runtime, "bf16_speedup", lambda: 3.0)
    assert runtime.measured_dtype() == torch.bfloat16


def test_the_measurement_itself_gives_a_ratio():
    assert 0.01 < runtime.bf16_speedup(rows=2, repeats=1) < 100


def test_seeds_cover_python_numpy_and_torch():
    def numbers():
        runtime.seed_everything(5)
        return random.random(), np.random.rand(), torch.rand(()).item()

    first = numbers()
    assert first == numbers()
    runtime.seed_everything(6)
    assert random.random() != first[0]
    for bad in (-1, 2**32):
        with pytest.raises(ValueError, match="must lie between 0 and 4294967295"):
            runtime.seed_everything(bad)


def test_offline_is_put_back_even_after_an_error(monkeypatch):
    import huggingface_hub.constants as hub
    from transformers.utils import logging

    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    logging.enable_progress_bar()

    def fail():
        with runtime.offline():
            assert hub.HF_HUB_OFFLINE
            assert not logging.is_progress_bar_enabled()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not hub.HF_HUB_OFFLINE
    assert logging.is_progress_bar_enabled()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None if os.name == "posix" else "msvcrt"), "malloc_trim"), reason="the C library is not glibc")
def test_freed_memory_goes_back_to_the_system():
    """Pieces below glibc's limit for pages of their own, freed under one that stays: they are kept until they are asked back."""
    resident = psutil.Process().memory_info
    pieces = [bytearray(b"x" * 100_000) for _ in range(2_000)]
    last = pieces.pop()
    pieces.clear()
    before = resident().rss
    runtime.return_freed_memory()
    assert before - resident().rss > 100e6
    assert len(last) == 100_000


def test_a_c_library_without_trimming_is_left_alone(monkeypatch):
    class Library:
        def __init__(self, name):
            self.name = name

        def __getattr__(self, function):
            looked_for.append((self.name, function))
            raise AttributeError(function)

    looked_for = []
    monkeypatch.setattr(runtime.ctypes, "CDLL", Library)
    assert runtime.return_freed_memory() is None
    assert looked_for == [(None, "malloc_trim")], "it asks its own process's library once, and calls nothing else in its place"
