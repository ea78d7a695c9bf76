"""How a run was made: by which command, with what, where, when, for how long, and from which commit. It stands in every record and every adapter."""

import importlib.metadata
import os
import platform
import subprocess
import time
from typing import Any

from llmsuite_lab.core.paths import repo_dir

_PACKAGES = ("torch", "transformers", "peft", "pydantic-monty", "faiss-cpu", "numpy")


def provenance(command: str, seed: int, wall_s: float, commit: str) -> dict[str, Any]:
    """The fields with these names of a `core.records.Record`, and its versions, machine and date."""
    versions = {package: _version(package) for package in _PACKAGES} | {"python": platform.python_version()}
    made = {"command": command, "seed": seed, "versions": versions, "machine": machine(), "date": time.strftime("%Y-%m-%d")}
    return made | {"wall_s": round(wall_s, 1), "commit": commit}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def machine() -> str:
    """What the run was on, in words: processor, cores, memory, and the accelerators where there are any."""
    import torch

    from llmsuite_lab.core.runtime import _cpu_model, available_cores

    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30 if hasattr(os, "sysconf") else 0
    words = f"{_cpu_model()}, {available_cores()} of {os.cpu_count()} cores, {pages:.0f} GiB memory"
    count = torch.cuda.device_count()
    return f"{words}, {count} × {torch.cuda.get_device_name(0)}" if count else words


def commit_now() -> str:
    """The clone's commit, or why it is not known."""
    root = repo_dir()
    if root is None:
        return "not in a clone"
    asked = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown ({type(error).__name__})"
