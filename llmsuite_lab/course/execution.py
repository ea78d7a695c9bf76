"""Execute one notebook with nbclient, with this interpreter as its kernel, and measure wall time and peak memory.

Memory is the proportional set size (PSS: shared pages counted once, divided among their users) summed over the kernel and every process it
started, sampled twice a second; on systems without PSS it is the resident set size, which counts shared pages in every process.
"""

import atexit
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

_LAST_LINES = 12


@dataclass(frozen=True)
class Run:
    """An executed notebook: `wall_s` seconds from kernel start to kernel end, `peak_bytes` of its process tree."""

    notebook: NotebookNode
    wall_s: float
    peak_bytes: int


class PeakMemory:
    """Samples the memory of a process and its descendants in a thread; `bytes` is the largest sum seen."""

    def __init__(self, interval_s: float = 0.5) -> None:
        self.bytes = 0
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, pid: int) -> None:
        """Start sampling the process tree below and including `pid`."""
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
    (unless tagged raises-exception), runs longer than `cell_timeout_s`, or the kernel dies.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = nbformat.read(path, as_version=4) if notebook is None else notebook
    numbers = {index: number for number, index in enumerate(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")}
    at = {"cell": -1}

    def before(cell: NotebookNode, cell_index: int) -> None:
        at["cell"] = cell_index
        if progress is not None and cell_index in numbers:
            progress(numbers[cell_index], len(numbers))

    memory = PeakMemory()
    client = NotebookClient(
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
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            raise LabError(_story(path, notebook, at["cell"], numbers, error, cell_timeout_s, _tail(said))) from None
        finally:
            peak = memory.stop()
            atexit.unregister(client._cleanup_kernel)  # it would look for the kernel again when this process ends
    return Run(notebook, time.perf_counter() - start, peak)


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
    if isinstance(error, CellTimeoutError):
        return f"{where} ran longer than {cell_timeout_s} s and was stopped; it begins `{head[0]}`. The notebook on disk is unchanged."
    if isinstance(error, DeadKernelError):
        last = "".join(f"\n    {line}" for line in said)
        return f"{where}: the kernel died, often for want of memory; the cell begins `{head[0]}`. The notebook on disk is unchanged.{last}"
    lines = _plain(str(getattr(error, "traceback", error))).strip().splitlines()[-_LAST_LINES:]
    return f"{where} failed; the notebook on disk is unchanged. Last lines:\n" + "\n".join(f"    {line}" for line in lines)


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
