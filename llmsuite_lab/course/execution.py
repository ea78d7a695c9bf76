"""Read one notebook, execute it with nbclient with this interpreter as its kernel, and measure wall time and peak memory.

Memory is the proportional set size (PSS: shared pages counted once, divided among their users) summed over the kernel and every process it
started, sampled twice a second; on systems without PSS it is the resident set size, which counts shared pages in every process.
"""

import atexit
import json
import math
import re
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbformat import NotebookNode

from llmsuite_lab.core.errors import LabError

OUTPUT_LIMIT_BYTES = 20_000_000  # of one cell: ten times the largest output of the course
MESSAGE_BYTES = 500  # what any message weighs, however short its text
_LAST_LINES = 12


@dataclass(frozen=True)
class Run:
    """An executed notebook: `wall_s` seconds from kernel start to kernel end, `peak_bytes` of its process tree."""

    notebook: NotebookNode
    wall_s: float
    peak_bytes: int


def read_notebook(path: Path) -> NotebookNode:
    """The notebook stored at `path` (nbformat 4). Raises LabError in one sentence when it is missing, unreadable, no notebook, or holds no cells."""
    try:
        text = path.read_text(encoding="utf-8")
        raw = json.loads(text)
    except UnicodeDecodeError:
        raise LabError(f"{path} is not text in UTF-8, so it is no notebook: name an .ipynb file") from None
    except OSError as error:
        raise LabError(f"{path} cannot be read ({error.strerror}): name an .ipynb file") from None
    except ValueError as error:
        raise LabError(f"{path} is not JSON ({error}), so it is no notebook: get it again with git, or save it again in Jupyter") from None
    version = raw.get("nbformat") if isinstance(raw, dict) else None
    if version != 4:
        told = "is JSON, but no notebook" if version is None else f"is a notebook of format {version!r}, and format 4 is needed"
        raise LabError(f"{path} {told}: open and save it in Jupyter")
    if not isinstance(raw.get("cells"), list) or not raw["cells"]:
        raise LabError(f"{path} holds no cells, so there is nothing to run or to read")
    try:
        nbformat.validate(raw, relax_add_props=True)
        return nbformat.reads(text, as_version=4)
    except (nbformat.ValidationError, AttributeError, KeyError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise LabError(f"{path} does not have the form of a notebook ({reason}): get it again with git, or save it again in Jupyter") from None


class PeakMemory:
    """Samples the memory of a process and its descendants in a thread; `bytes` is the largest sum seen."""

    def __init__(self, interval_s: float = 0.5) -> None:
        self.bytes = 0
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, pid: int) -> None:
        """Start sampling the process tree below and including `pid`. Raises TypeError or ValueError for what is no process number."""
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid)  # a wrong number is told here: in the thread nobody would hear it
        self._thread = threading.Thread(target=self._sample, args=(pid,), daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """Stop sampling and return the peak in bytes."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5)
        return self.bytes

    def _sample(self, pid: int) -> None:
        while not self._stop.is_set():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # it ended between two samples
                root = psutil.Process(pid)
                self.bytes = max(self.bytes, sum(_used(process) for process in [root, *root.children(recursive=True)]))
            self._stop.wait(self._interval_s)


def _used(process: psutil.Process) -> int:
    try:
        info = process.memory_full_info()
    except psutil.NoSuchProcess:
        return 0
    except psutil.AccessDenied:
        return process.memory_info().rss
    return getattr(info, "pss", info.rss)


def execute(path: Path, notebook: NotebookNode | None = None, cell_timeout_s: int = 300, progress: Any = None) -> Run:
    """Execute the notebook at `path` in its own folder, on a copy in memory; the file is not touched.

    `progress(done, total)` is called before every code cell. Raises LabError, with the cell's number and its last lines, when a cell raises
    (unless tagged raises-exception), runs longer than `cell_timeout_s`, writes more than OUTPUT_LIMIT_BYTES, or the kernel dies;
    ValueError for a `cell_timeout_s` that is no limit; KeyboardInterrupt when it is stopped from outside. The kernel is ended in each case.
    """
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    check_cell_timeout(cell_timeout_s)
    notebook = read_notebook(path) if notebook is None else notebook
    numbers = {index: number for number, index in enumerate(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")}
    at = {"cell": -1}

    def before(cell: NotebookNode, cell_index: int) -> None:
        at["cell"] = cell_index
        if progress is not None and cell_index in numbers:
            progress(numbers[cell_index], len(numbers))

    memory = PeakMemory()
    client = _client_class()(
        notebook,
        kernel_manager_class=_kernel_manager_class(),
        shutdown_kernel="immediate",
        timeout=cell_timeout_s,
        startup_timeout=120,
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_start=before,
        on_notebook_start=lambda notebook: memory.watch(client.km.provisioner.pid),
    )
    start = time.perf_counter()
    with tempfile.TemporaryFile() as said:  # what the kernel's process itself writes: a crash's last words
        try:
            client.execute(stderr=said)
        except Exception as error:
            if getattr(client, "_async_cleanup_kernel_future", None) is not None:  # nbclient took Ctrl-C for itself, and then stumbled over it
                raise KeyboardInterrupt from None
            if not isinstance(error, CellExecutionError | CellTimeoutError | DeadKernelError):
                raise
            if client.overflowed:
                error = OverflowError()
            raise LabError(_story(path, notebook, at["cell"], numbers, error, cell_timeout_s, _tail(said))) from None
        finally:
            peak = memory.stop()
            atexit.unregister(client._cleanup_kernel)  # it would look for the kernel again when this process ends
    return Run(notebook, time.perf_counter() - start, peak)


def check_cell_timeout(seconds: float) -> None:
    """Raise ValueError unless this is a limit for a cell: a positive, finite number of seconds (nbclient and nbval take 0 for "no limit")."""
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"a cell may take {seconds} seconds, but a limit is a positive number: nothing runs without one")


def weight(content: dict[str, Any]) -> int:
    """Bytes that a kernel's message adds to a cell's output, roughly: its text, and MESSAGE_BYTES for being one."""
    parts = [content.get("text", ""), *content.get("data", {}).values(), *content.get("traceback", [])]
    return MESSAGE_BYTES + sum(len(part) if isinstance(part, str) else MESSAGE_BYTES for part in parts)


def _client_class() -> Any:
    """nbclient's client that ends the kernel when one cell writes without end; `overflowed` says that it did."""
    from nbclient import NotebookClient

    class Bounded(NotebookClient):
        overflowed, written = False, (-1, 0)

        def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> NotebookNode | None:
            before = self.written[1] if self.written[0] == cell_index else 0
            self.written = (cell_index, before + weight(msg["content"]))
            if self.written[1] > OUTPUT_LIMIT_BYTES:
                if not self.overflowed:
                    self.overflowed = True
                    self.km.provisioner.process.kill()  # an interrupt can be caught by the cell, and output goes on meanwhile
                return None
            return super().process_message(msg, cell, cell_index)

    return Bounded


def _tail(file: Any) -> list[str]:
    file.seek(0)
    lines = file.read().decode(errors="replace").splitlines()
    return [line for line in lines if "IPKernelApp" not in line][-4:]


def _kernel_manager_class() -> Any:
    """A manager class whose kernel is the running interpreter, whether or not a kernelspec is installed."""
    from ipykernel.kernelspec import RESOURCES, get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class ThisInterpreter(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())

    return ThisInterpreter


def _story(
    path: Path, notebook: NotebookNode, index: int, numbers: dict[int, int], error: Exception, cell_timeout_s: int, said: list[str]
) -> str:
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    where = f"{path.name}, code cell {numbers.get(index, -1) + 1} of {len(numbers)}"
    source = notebook.cells[index].source if index >= 0 else ""
    head = source.strip().splitlines()[:1] or [""]
    if isinstance(error, OverflowError):
        return (
            f"{where} wrote more than {OUTPUT_LIMIT_BYTES / 1e6:.0f} MB and was stopped; it begins `{head[0]}`. The notebook on disk is unchanged."
        )
    if isinstance(error, CellTimeoutError):
        return f"{where} ran longer than {cell_timeout_s} s and was stopped; it begins `{head[0]}`. The notebook on disk is unchanged."
    if isinstance(error, DeadKernelError):
        last = "".join(f"\n    {line}" for line in said)
        return f"{where}: the kernel died, often for want of memory; the cell begins `{head[0]}`. The notebook on disk is unchanged.{last}"
    lines = _plain(str(getattr(error, "traceback", error))).strip().splitlines()[-_LAST_LINES:]
    return f"{where} failed; the notebook on disk is unchanged. Last lines:\n" + "\n".join(f"    {line}" for line in lines)


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
