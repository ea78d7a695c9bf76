"""Where things live: the course's own data folder, the repository root, and the user's cache folder."""

import os
import sys
from pathlib import Path

from llmsuite_lab.core.errors import LabError

_PACKAGE = Path(__file__).resolve().parents[1]


def repo_dir() -> Path | None:
    """The clone this package runs from, or None when it was installed without one (Colab, a server image)."""
    root = _PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() and (root / "notebooks").is_dir() else None


def data_dir() -> Path:
    """The course's small files (frozen test splits, adapters, recorded runs, timings): `data/` of the clone, else the installed copy."""
    root = repo_dir()
    return root / "data" if root else _PACKAGE / "_data"


def cache_dir() -> Path:
    """Folder for downloaded and converted models: `LLMSUITE_CACHE`, else the user's cache folder. Not created here.

    Raises LabError for an LLMSUITE_CACHE that is empty, relative (each working folder would get a cache of its own) or in the home of nobody.
    """
    if (given := os.environ.get("LLMSUITE_CACHE")) is not None:
        place = Path(os.path.expanduser(given))
        if not given.strip() or not place.is_absolute():
            what = (
                "is empty"
                if not given.strip()
                else "names a user that this machine does not have"
                if given[0] == "~"
                else "is a relative path"
            )
            raise LabError(f"LLMSUITE_CACHE={given!r} {what}: give it the absolute path of a folder, or unset it")
        return place
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "llmsuite-lab"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "llmsuite-lab"
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))  # to be ignored when it is not absolute, says the XDG specification
    return (shared if shared.is_absolute() else Path.home() / ".cache") / "llmsuite-lab"
