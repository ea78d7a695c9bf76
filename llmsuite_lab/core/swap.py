"""Something whole takes the place of something else: at any moment the old or the new stands there, never half of either.

    .NAME.xxxxxxxx.making/     a workshop beside the target, on the same disk
        lock                   held while its process lives; the operating system drops it when the process dies
        new                    what is being made
        old                    what stood in the target's place, between two renames

A file takes one `os.replace`. Two folders exchange their names in one step where the system can (renameat2 on Linux, renamex_np on macOS); elsewhere
it takes two renames, and should the process die between them, whoever comes next puts `old` back (`settle`). This holds for a process that
is killed; what a power cut leaves is the file system's affair.
"""

import ctypes
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SUFFIX = ".making"
_EXCHANGE = {
    "linux": ("renameat2", True),
    "darwin": ("renamex_np", False),
}  # system → (call, whether it wants the folders names are relative to)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # the flag has the same value on both systems


@contextmanager
def workshop(target: Path) -> Iterator[Path]:
    """Yield a locked workshop beside `target` (parents are made) and clear it away at the end, with those that dead processes left there."""
    from filelock import FileLock, Timeout

    target.parent.mkdir(parents=True, exist_ok=True)
    settle(target)
    while True:
        shop = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=SUFFIX, dir=target.parent))
        lock = FileLock(shop / "lock")
        with suppress(Timeout):
            lock.acquire(timeout=0)
            if (shop / "lock").exists():
                break
        lock.release()  # another process took the empty workshop for a dead one's and removed it: make another
    try:
        yield shop
    finally:
        _close(shop, target, lock)


def settle(target: Path) -> None:
    """Put back what a process that died in the middle of a swap had taken from `target`, and clear away what it left. The living are let be."""
    from filelock import FileLock, Timeout

    name = re.compile(rf"\.{re.escape(target.name)}\.\w{{8}}{re.escape(SUFFIX)}")
    try:
        beside = list(target.parent.iterdir())
    except OSError:  # no folder, or one that may not be listed: a workshop in it is not ours to clear
        return
    for shop in [p for p in beside if name.fullmatch(p.name) and p.is_dir() and not p.is_symlink()]:
        if not (shop / "lock").is_file():
            with suppress(OSError):  # somebody's folder that holds something, or one that is being made this moment
                shop.rmdir()
            continue
        lock = FileLock(shop / "lock")
        with suppress(Timeout):  # its process lives
            lock.acquire(timeout=0)
            _close(shop, target, lock)


def _close(shop: Path, target: Path, lock: "FileLock") -> None:
    if os.path.lexists(shop / "old"):
        if not os.path.lexists(target):
            os.replace(shop / "old", target)
        else:
            os.replace(shop / "old", shop / "gone")  # half removed, it must not be taken for what is to be put back
    with suppress(OSError):  # whatever withstands removal now is cleared by the next who comes
        for thing in [shop / name for name in ("new", "gone") if os.path.lexists(shop / name)]:  # anything else is not ours
            shutil.rmtree(thing) if thing.is_dir() and not thing.is_symlink() else thing.unlink()
        lock.release()  # Windows removes no open file
        (shop / "lock").unlink()  # last: a workshop without a lock is nobody's to clear
        shop.rmdir()


def put_folder(shop: Path, target: Path) -> None:
    """The workshop's `new` becomes `target`; what stood there goes with the workshop.

    Should another process have put a folder where none was, theirs stays. Raises OSError, and the old folder then stands where it stood.
    """
    if not os.path.lexists(target):
        try:
            os.rename(shop / "new", target)
        except OSError:
            if not target.is_dir():  # not the race "another process was first": report it
                raise
    elif not _exchange(shop / "new", target):
        os.replace(target, shop / "old")
        os.replace(shop / "new", target)


def _exchange(a: Path, b: Path) -> bool:
    """Let two paths exchange what they name, in one step; False where the system or the file system cannot."""
    call, relative = _EXCHANGE.get(sys.platform, ("", False))
    function = getattr(ctypes.CDLL(None, use_errno=True), call, None) if call else None
    if function is None:
        return False
    here = (_AT_FDCWD,) if relative else ()
    return function(*here, os.fsencode(a), *here, os.fsencode(b), _RENAME_EXCHANGE) == 0
