"""C++ kernels of the course, compiled when first asked for: `load(source)` gives a ctypes library, or says in a sentence why there is none.

    source.cpp → cache/native/<name>-<key>/<name>.so      key: SHA-256 of source, headers, compiler, options, system and processor flags

Plain g++ (or what `CXX` names, or clang++), no headers but the language's own and those that the caller names, no shell. The folder is written whole or
not at all, with its checksum, and one that was damaged is made again; two processes that build at once do not disturb each other. `LLMSUITE_NATIVE=0`
switches all kernels off. A caller has a way without: where this raises LabError, it says so once and takes that.

Import torch first: a kernel that uses OpenMP then shares torch's threads. In production: `torch.utils.cpp_extension.load`, which needs torch's headers.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import psutil

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import check_folder, whole_folder
from llmsuite_lab.core.paths import cache_dir

KIND = "a compiled kernel"
LIMIT_S = 120  # a small source compiles in a second or two; a machine under load takes ten times that
OPTIONS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-fno-math-errno", "-ffp-contract=off")  # no fused multiply-add: results are torch's to the bit
OPENMP = ("-fopenmp",)
COMPILERS = ("g++", "c++", "clang++")
SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
_loaded: dict[str, ctypes.CDLL] = {}


def compiler() -> list[str]:
    """The command that compiles C++: `CXX`, else the first of g++, c++ and clang++ on the PATH.

    Raises LabError where there is none, with what to install, and for a `CXX` that is no command.
    """
    asked = os.environ.get("CXX", "").strip()
    try:
        commands = [shlex.split(asked)] if asked else [[name] for name in COMPILERS]
    except ValueError as error:
        raise LabError(f"CXX={asked} is no command ({error}): mend it, or unset it") from None
    for words in commands:
        if words and (found := shutil.which(words[0])):
            return [found, *words[1:]]
    missing = f"CXX={asked} is not a program here" if asked else f"none of {', '.join(COMPILERS)} is on the PATH"
    raise LabError(f"there is no C++ compiler ({missing}): install one (`apt-get install g++`, `conda install gxx`, Xcode's tools) and try again")


@lru_cache
def processor() -> str:
    """What the processor can do, as the system tells it: part of the key, since a cache may be shared between machines."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        if flags := sorted({line.partition(":")[2].strip() for line in lines if line.startswith(("flags", "Features"))}):
            return " ".join(flags)
    return f"{platform.machine()} {platform.processor()}"


def load(source: Path, *headers: Path) -> ctypes.CDLL:
    """The library of a C++ source, built where the cache does not have it. The same object for the same source in one process.

    `headers`: the files that it includes by their names alone, and those that they include.

    Raises LabError where it cannot be had: kernels switched off, no compiler, a source that does not compile or takes over LIMIT_S, a cache that cannot
    be written, a library that does not load. OSError for a source that cannot be read.
    """
    if os.environ.get("LLMSUITE_NATIVE", "1").strip() in ("0", "off", "no"):
        raise LabError("compiled kernels are switched off by LLMSUITE_NATIVE: unset it to have them")
    code = {file.name: file.read_bytes() for file in (source, *headers)}
    command = compiler()
    key = _key(code, command)
    if key not in _loaded:
        folder = cache_dir() / "native" / f"{source.stem}-{key}"
        file = folder / f"{source.stem}{SUFFIX}"
        if not _stands(file):
            _build(source.stem, code, command, folder)
        try:
            _loaded[key] = ctypes.CDLL(str(file))
        except OSError as error:
            raise LabError(f"the compiled kernel {folder} does not load ({error}): delete the folder and try again") from error
    return _loaded[key]


def _key(code: dict[str, bytes], command: list[str]) -> str:
    stat = os.stat(command[0])
    parts = (code, command, stat.st_size, stat.st_mtime_ns, OPTIONS, OPENMP, sys.platform, platform.machine(), processor())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _stands(file: Path) -> bool:
    """Whether it is there and as it was written; LabError for something that is not the course's."""
    folder = file.parent
    if not folder.is_dir():
        return False
    try:
        check_folder(folder, KIND)
    except LabError:
        check_folder(folder, KIND, by_name=True)  # what is damaged is made again, what is another's stays
        return False
    return file.is_file()


def _build(name: str, code: dict[str, bytes], command: list[str], folder: Path) -> None:
    try:
        with whole_folder(folder, KIND, by_name=True) as new, tempfile.TemporaryDirectory() as temporary:
            for file, text in code.items():
                (Path(temporary) / file).write_bytes(text)
            said = ""
            for extra in (OPENMP, ()):  # Apple's compiler has no OpenMP: one thread then
                out = new / f"{name}{SUFFIX}"
                status, said = _run([*command, *OPTIONS, *extra, "-o", str(out), f"{name}.cpp"], Path(temporary))
                if status == 0 and out.is_file():
                    return
            raise LabError(f"{name}.cpp does not compile with {command[0]}: {said.strip()[-600:]}")
    except OSError as error:
        raise LabError(f"the kernel {name} cannot be built in {folder.parent} ({error}): set LLMSUITE_CACHE to a folder that you can write to") from error


def _run(command: list[str], folder: Path) -> tuple[int, str]:
    """Exit status and words. The compiler's own children end with it: what they write goes to a file, since a pipe held by one would never close."""
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=words, stderr=subprocess.STDOUT)
        try:
            status = process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            raise LabError(f"{command[0]} did not finish in {LIMIT_S} s: try again when the machine is less busy") from None
        finally:
            _end(process)
        words.seek(0)
        return status, words.read().decode(errors="replace")


def _end(process: subprocess.Popen) -> None:
    if process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        process.kill()
        process.wait()
