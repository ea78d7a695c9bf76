"""One dial for sizes: `profile()` picks device, dtype, threads, model and batch sizes, so that no notebook branches on hardware.

Three settings, detected and overridden by the environment variable `LLMSUITE_PROFILE`:

- `cpu`: two cores, 8 GB, no accelerator. The default, and what every stored output was made with.
- `t4`: one GPU of less than 30 GiB (Colab's T4).
- `gpu`: a server GPU of 30 GiB or more.

The dtype for generation is measured, not believed: bfloat16 is several times faster than float32 on a CPU with AMX, and slower on one that
emulates it. `measured_dtype` times both on the shapes of one decoding step, once per machine, and remembers the answer in the cache folder.
"""

import contextlib
import ctypes
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import write_json
from llmsuite_lab.core.paths import cache_dir

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # our texts are short, and a fork (a data loader, a subprocess) would warn

GPU_PROFILE_BYTES = 30 * 2**30  # a T4 has 16 GiB, an L4 24 GiB; an A100 40 GiB or more
BF16_GAIN = 1.15  # bfloat16 rounds every value: only taken where it is clearly faster


@dataclass(frozen=True)
class Profile:
    """The sizes a notebook asks for. Token, item and step counts are plain integers; `dtype` is for generation, `train_dtype` for training."""

    name: str  # "cpu", "t4" or "gpu"
    device: torch.device
    dtype: torch.dtype
    train_dtype: torch.dtype
    threads: int  # CPU threads that torch may use: the cores this process really has
    model: str  # zoo name of the causal model that the course's adapters belong to
    larger_model: str  # zoo name of the model to try "at scale"; on t4 and gpu it comes from the Hugging Face hub
    batch_size: int  # sequences generated at once
    batch_tokens: int  # and at most this many tokens in them, padding included: keeps the cache of long prompts in memory
    train_batch_size: int
    eval_items: int  # held-out items that a notebook evaluates
    train_steps: int  # optimiser steps of a notebook's live training


_SIZES = {
    "cpu": {
        "larger_model": "smollm2-135m-instruct",
        "batch_size": 32,
        "batch_tokens": 16_384,
        "train_batch_size": 16,
        "eval_items": 60,
        "train_steps": 20,
    },
    "t4": {
        "larger_model": "smollm2-360m-instruct",
        "batch_size": 64,
        "batch_tokens": 65_536,
        "train_batch_size": 16,
        "eval_items": 200,
        "train_steps": 100,
    },
    "gpu": {
        "larger_model": "smollm2-1.7b-instruct",
        "batch_size": 256,
        "batch_tokens": 131_072,
        "train_batch_size": 32,
        "eval_items": 500,
        "train_steps": 300,
    },
}
PROFILES = tuple(_SIZES)


def profile() -> Profile:
    """The current profile: `LLMSUITE_PROFILE` when it is set, else what the hardware suggests. Cached per setting.

    Sets torch's thread count to `Profile.threads` once. Raises ValueError for an unknown name, or for t4/gpu on a machine without CUDA.
    """
    asked = os.environ.get("LLMSUITE_PROFILE", "").strip().lower()
    return _profile(asked)


@lru_cache
def _profile(asked: str) -> Profile:
    if asked and asked not in _SIZES:
        raise ValueError(
            f"LLMSUITE_PROFILE={asked!r} is not a profile; set it to one of {', '.join(PROFILES)}, or unset it to let the machine decide"
        )
    name = asked or detect()
    if name != "cpu" and not torch.cuda.is_available():
        raise ValueError(
            f"LLMSUITE_PROFILE={name} needs a CUDA device and torch {torch.__version__} sees none; set LLMSUITE_PROFILE=cpu, or install torch with CUDA"
        )
    threads = available_cores()
    torch.set_num_threads(min(threads, torch.get_num_threads()))  # never more than someone has already asked for
    if name == "cpu":
        dtype = train_dtype = measured_dtype()
    else:
        dtype = train_dtype = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
        if dtype is torch.float16:  # a T4: half precision for generation; training without a loss scaler stays in float32
            train_dtype = torch.float32
    device = torch.device("cpu" if name == "cpu" else "cuda")
    return Profile(
        name=name, device=device, dtype=dtype, train_dtype=train_dtype, threads=threads, model="smollm2-135m-instruct", **_SIZES[name]
    )


def detect() -> str:
    """The profile that the hardware suggests: gpu from 30 GiB of GPU memory, t4 for any smaller CUDA device, else cpu."""
    if not torch.cuda.is_available():
        return "cpu"
    return "gpu" if torch.cuda.get_device_properties(0).total_memory >= GPU_PROFILE_BYTES else "t4"


def available_cores() -> int:
    """CPU cores this process may really use: `machine_cores`, capped by `OMP_NUM_THREADS`."""
    cores = machine_cores()
    if (asked := os.environ.get("OMP_NUM_THREADS", "")).isdigit() and int(asked) > 0:
        cores = min(cores, int(asked))
    return max(1, cores)


def machine_cores() -> int:
    """CPU cores that this process and its children may share: its affinity mask, capped by the container's quota (cgroup v2, v1)."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # Windows and macOS have no affinity call
        cores = os.cpu_count() or 1
    quota = _cgroup_cores()
    return max(1, cores if quota is None else min(cores, quota))


def _cgroup_cores(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Whole cores of the container's CPU quota, rounded down but at least 1; None when there is no quota."""
    with contextlib.suppress(OSError, ValueError):  # not Linux, or another cgroup version: no quota known
        quota, period = (root / "cpu.max").read_text(encoding="utf-8").split()
        return max(1, int(quota) // int(period)) if quota != "max" else None
    with contextlib.suppress(OSError, ValueError):
        quota = int((root / "cpu" / "cpu.cfs_quota_us").read_text(encoding="utf-8"))
        period = int((root / "cpu" / "cpu.cfs_period_us").read_text(encoding="utf-8"))
        return max(1, quota // period) if quota > 0 else None
    return None


def measured_dtype() -> torch.dtype:
    """bfloat16 where a decoding step is at least 1.15 times faster in it on this CPU, else float32. Measured once (under 2 s), then remembered.

    The answer is kept in `cache_dir()/dtype.json` per machine, torch version and thread count; without a writable cache it is measured again.
    """
    file = cache_dir() / "dtype.json"
    key = f"{platform.machine()} {_cpu_model()} torch-{torch.__version__} threads-{torch.get_num_threads()}"
    known: dict[str, float] = {}
    with contextlib.suppress(OSError, ValueError):  # none yet, or unreadable: measure again
        known = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(known, dict) or not isinstance(known.get(key), float):
        known = known if isinstance(known, dict) else {}
        known[key] = round(bf16_speedup(), 3)
        with contextlib.suppress(OSError, LabError):  # an unwritable cache costs a second per process, nothing else
            write_json(file, known)
    return torch.bfloat16 if known[key] >= BF16_GAIN else torch.float32


def bf16_speedup(rows: int = 16, repeats: int = 5) -> float:
    """How many times faster bfloat16 is than float32 for the matrix products of one decoding step (median of interleaved runs).

    `rows` sequences pass a feed-forward block (576 → 1536 → 576) four times and an output layer over 16,384 words: SmolLM2-135M's shapes.
    """
    steps = {dtype: _decode_step(rows, dtype) for dtype in (torch.float32, torch.bfloat16)}
    times: dict[torch.dtype, list[float]] = {dtype: [] for dtype in steps}
    with torch.inference_mode():
        for step in steps.values():  # the first call packs weights and starts threads
            step()
        for _ in range(repeats):  # interleaved, so that a busy neighbour slows both
            for dtype, step in steps.items():
                start = time.perf_counter()
                step()
                times[dtype].append(time.perf_counter() - start)
    return statistics.median(times[torch.float32]) / statistics.median(times[torch.bfloat16])


def _decode_step(rows: int, dtype: torch.dtype) -> Callable[[], torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, up, down, words = (torch.randn(*s, generator=generator).to(dtype) for s in ((rows, 576), (1536, 576), (576, 1536), (16384, 576)))

    def step() -> torch.Tensor:
        h = x
        for _ in range(4):
            h = torch.nn.functional.linear(torch.nn.functional.linear(h, up), down)
        return torch.nn.functional.linear(h, words)

    return step


def _cpu_model() -> str:
    with contextlib.suppress(OSError):  # Linux only; elsewhere the platform's own word must do
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def return_freed_memory() -> None:
    """Hand freed pages back to the system, where the C library can (glibc; nothing elsewhere).

    glibc keeps what a thread freed for that thread's next request. The caches of a batch of long prompts, generated in LangChain's threads, stay resident
    that way: several hundred megabytes, when the next model is about to ask for more.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # macOS, musl; TypeError: Windows, which takes no None
        ctypes.CDLL(None).malloc_trim(0)


def seed_everything(seed: int) -> None:
    """Seed Python's `random`, NumPy and torch (all devices). Raises ValueError outside NumPy's range 0 … 2³² − 1."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed} must lie between 0 and {2**32 - 1}")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within this block `transformers` draws no progress bars and prints only errors."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """As `quiet`, and the Hugging Face libraries ask no network: loading a local folder cannot wait on anything."""
    import huggingface_hub.constants as hub

    before = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = True
    try:
        with quiet():
            yield
    finally:
        hub.HF_HUB_OFFLINE = before
