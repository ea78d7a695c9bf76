"""Files are written whole or not at all: a temporary neighbour, then one atomic rename."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically, making parent folders. Raises OSError; the old file then stands unharmed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` atomically, as `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with a final newline, atomically. Raises TypeError for a value JSON cannot hold."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, sort_keys=False) + "\n")


def load_tensors(file: Path) -> "dict[str, Tensor]":
    """The tensors of a safetensors file. Mapped into memory, but read into it on Windows, where a mapped file can be neither replaced nor removed.

    Raises OSError for a missing file, safetensors' SafetensorError for another format.
    """
    from safetensors.torch import load, load_file

    return load(file.read_bytes()) if sys.platform == "win32" else load_file(file)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield an empty neighbour folder; on success it becomes `target` in one rename, on any error it is removed.

    An existing `target` is replaced. If another process put a finished folder there first, theirs stays and ours is dropped.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        yield temporary
        os.chmod(temporary, 0o755)
        _swap(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(new: Path, target: Path) -> None:
    old = None
    if target.exists():
        old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.old."))
        with suppress(FileNotFoundError):  # another process moved it away between the look and the rename
            os.replace(target, old / "was")
    try:
        os.replace(new, target)
    except OSError:
        if not target.is_dir():  # not the race "another process was first": report it
            raise
    finally:
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
