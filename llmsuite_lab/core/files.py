"""Files are written whole or not at all (`core.swap`), and nothing is ever removed or replaced that the course did not make.

    write_bytes, write_text, write_json   a file of the course's own: what stood there is replaced
    write_output                          a file in a place that a person named: one of theirs is never replaced
    whole_folder                          a folder that is replaced as a whole: refused where it holds anything else
    remove_folder                         the same, with nothing in its place

What the course made is written in `.llmsuite.json`, in the same folder: {"kind": what it is, "files": {name: its SHA-256}}; for a single output, a list:
those it may have. A file whose content is another is the user's, whatever its name: what stands there is then refused and stays. Only where
everything is the course's (the clone's `build`, the `data` folder, the zoo's cache, which mends itself) the names decide.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.paths import data_dir, repo_dir
from llmsuite_lab.core.swap import put_folder, workshop

if TYPE_CHECKING:
    from torch import Tensor

MARK = ".llmsuite.json"
_SYSTEMS_OWN = {MARK, ".DS_Store", "Thumbs.db", "desktop.ini"}  # what file managers leave in any folder they show


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically, making parent folders. Raises OSError, LabError where a link or folder stands; an old file is then unharmed."""
    if path.is_symlink() or path.is_dir():
        raise LabError(
            f"{path} is a {'link' if path.is_symlink() else 'folder'}, where a file is to be written: move it away, or name another file"
        )
    with workshop(path) as shop:
        (shop / "new").write_bytes(data)
        os.replace(shop / "new", path)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` atomically, as `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with a final newline, atomically. Raises TypeError for a value JSON cannot hold."""
    write_text(path, as_json(value))


def as_json(value: Any) -> str:
    """`value` as the course's JSON files hold it: indented, with a final newline. Raises TypeError for a value JSON cannot hold."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def write_output(path: Path, data: bytes | str) -> None:
    """Write a file in a place that a person named, atomically: a file that stands there is replaced only if this function wrote it and nobody
    has changed it since. Raises LabError for any other, which stays as it is, and OSError as `write_bytes`."""
    data = data.encode("utf-8") if isinstance(data, str) else data
    standing, mark = check_output(path), _read_mark(path.parent)
    if not (_is_own(path) or path.is_dir() or path.is_symlink()):
        mark["files"][path.name] = [*standing, hashlib.sha256(data).hexdigest()]  # both, as long as it is not known that the new one stands
        write_json(path.parent / MARK, mark)
    write_bytes(path, data)


def check_output(path: Path) -> list[str]:
    """The SHA-256 of the file that stands there, [] for none. Raises LabError as `write_output`: ask before hours of work.

    In the clone's `build` and in the course's `data` folder everything is the course's.
    """
    _check_place(path)
    standing = [hashlib.sha256(path.read_bytes()).hexdigest()] if path.is_file() else []
    known = standing and _read_mark(path.parent)["files"].get(path.name)
    if standing and not (isinstance(known, list) and standing[0] in known) and not _is_own(path):
        raise LabError(f"{path} is there already, is not as the course wrote it and stays as it is: move it away, or name another place")
    return standing


def _check_place(path: Path) -> None:
    """Raise LabError where the file system allows nothing new beside `path`."""
    place = next((p for p in path.absolute().parents if os.path.exists(p)), path)  # which asks no leave, as Path.exists does
    if not place.is_dir():
        raise LabError(f"{path} cannot be written, because {place} is a file: name another place")
    if not os.access(place, os.W_OK | os.X_OK):
        raise LabError(f"{path} cannot be written, because nothing may be written into {place}: name another place")


def _is_own(path: Path) -> bool:
    root = repo_dir()
    return any(path.resolve().is_relative_to(place.resolve()) for place in (data_dir(), *([root / "build"] if root else [])))


def load_tensors(file: Path) -> "dict[str, Tensor]":
    """The tensors of a safetensors file. Mapped into memory, but read into it on Windows, where a mapped file can be neither replaced nor removed.

    Raises OSError for a missing file, safetensors' SafetensorError for another format.
    """
    from safetensors.torch import load, load_file

    return load(file.read_bytes()) if sys.platform == "win32" else load_file(file)


@contextmanager
def whole_folder(target: Path, kind: str, *, by_name: bool = False) -> Iterator[Path]:
    """Yield an empty folder; on success it becomes `target` in one step, on any error it is removed. `kind` names it: "an index".

    A folder that stands there is replaced if the course made it, of the same kind, and it holds nothing else, nor a file that was changed since. If
    another process put a finished folder there first, theirs stays and ours is dropped. Raises LabError for any other (`check_folder`), before
    anything is made. `by_name`: a cache, whose damaged files are to be made again.
    """
    check_folder(target, kind, by_name=by_name)
    with workshop(target) as shop:
        new = shop / "new"
        new.mkdir()
        yield new
        write_json(new / MARK, {"kind": kind, "files": {name: _checksum(new / name) for name in _contents(new)}})
        check_folder(target, kind, by_name=by_name)  # again: the making may have taken hours
        put_folder(shop, target)


def remove_folder(target: Path) -> None:
    """Remove a folder that the course made, in one step. Raises LabError, with nothing changed, for one that holds anything else; an empty folder
    that bears no mark of the course stays."""
    check_folder(target, _read_mark(target)["kind"])
    if (target / MARK).is_file():
        with workshop(target) as shop:
            os.replace(target, shop / "new")


def check_folder(target: Path, kind: str, *, by_name: bool = False) -> None:
    """Raise LabError unless `target` may become a folder of this kind: it is not there, is empty, or the course made it and it holds nothing else, every
    file as it was written (`by_name`: whatever is in the files).

    Never a link, a file, the home folder, the folder you work in, or one that these lie in.
    """
    _check_place(target)
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise LabError(
            f"{target} is a {'link' if target.is_symlink() else 'file'}, where {kind} is to be written: name a new or empty folder"
        )
    if target.is_dir() and not os.access(target, os.W_OK | os.X_OK):
        raise LabError(f"{target} cannot be replaced by {kind}, because nothing may be written into it: name a new folder")
    place = target.resolve()
    for what, theirs in (("your home folder", Path(os.path.expanduser("~")).resolve()), ("the folder you work in", Path.cwd())):
        if place == theirs or place in theirs.parents:
            raise LabError(f"{kind} cannot take the place of {place}, which is or holds {what}: name a new or empty folder")
    if not target.exists():
        return
    mark = _read_mark(target)
    folders = {place.as_posix() for name in mark["files"] for place in Path(name).parents}
    foreign = [
        name for name in _contents(target) if name not in mark["files"] and (name not in folders or _checksum(target / name) is not None)
    ]  # one of our folders may stand there without its files, but no link or file in its place
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise LabError(
            f"{target} holds what the course did not put there ({foreign[0]}{more}) and is left as it is: name a new or empty folder for {kind}"
        )
    if mark["files"] and mark["kind"] != kind:
        raise LabError(f"{target} holds {mark['kind']}, and {kind} would replace it: name another folder")
    written = {} if by_name or _is_own(target) else mark["files"]
    if changed := next((name for name, sums in written.items() if os.path.lexists(target / name) and not _as_written(target / name, sums)), None):
        raise LabError(
            f"{target} holds a file that is not as the course wrote it ({changed}) and is left as it is: move it away, or name a new folder for {kind}"
        )


def _as_written(file: Path, sums: list[str] | str | None) -> bool:
    known = [sums] if isinstance(sums, str) else sums
    return sums is None or (isinstance(known, list) and _checksum(file) in known)  # None: an older mark, which knows names alone


def _checksum(file: Path) -> str | None:
    """The SHA-256 of a file's content, of a link's the place it names; None for an empty folder."""
    if file.is_symlink() or not file.is_file():
        return hashlib.sha256(os.fsencode(os.readlink(file))).hexdigest() if file.is_symlink() else None
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _contents(folder: Path) -> list[str]:
    """Files, links and empty folders below `folder`, as relative paths with slashes; not what file managers leave, nor the mark."""
    found = []
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        inside = [name for name in (*files, *links) if name not in _SYSTEMS_OWN]
        if not inside and not folders and Path(place) != folder:
            inside = [""]
        found += [(Path(place) / name).relative_to(folder).as_posix() for name in inside]
    return sorted(found)


def _read_mark(folder: Path) -> dict[str, Any]:
    """The folder's mark; one that says nothing where there is none, or none that can be read: then nothing in the folder is the course's."""
    try:
        mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
        return {"kind": str(mark["kind"]), "files": dict(mark["files"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {"kind": "output", "files": {}}
