"""nbval, hardened: `pytest -p llmsuite_lab.course.nbval_plugin --nbval notebooks`.

What nbval 0.11 lets through or does badly, and what happens here:
- a cell that was never run passes                          → refused
- a cell tagged `raises-exception` that no longer raises    → refused
- a killed kernel is noticed at the cell timeout            → in about a second
- output without end fills the memory                       → the cell is stopped at 20 MB
- a cell timeout of 0 or less means no limit                → refused
- a malformed notebook is a traceback                       → one sentence
- one broken cell fails every cell that depends on it       → the rest of the notebook is skipped, with the reason
- no numeric tolerance                                      → tag `nbval-tol-1e-3` (relative); `nbval-atol-1e-6` adds an absolute one for numbers near zero
- a trailing `;` does not silence the output                → it does
- figures of a claim differ from machine to machine         → its id, verdict and n are compared
- folders, addresses, the clock of progress bars, stderr    → cleaned or left out before comparing
- a misspelt `nbval-…` tag is silently ignored              → refused
The kernel is this interpreter and the sanitize file is the one beside this module, unless the command line says otherwise.
"""

import math
import re
import time
from collections import deque
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from nbformat import NotebookNode
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell, IPyNbFile, NbCellError

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.course.claims import MIME
from llmsuite_lab.course.execution import OUTPUT_LIMIT_BYTES, check_cell_timeout, read_notebook, weight
from llmsuite_lab.course.normalise import clean

PINNED = "0.11"  # the methods overridden below are nbval's own inner ones
CELL_TIMEOUT_S = 280
TAGS = re.compile(r"nbval-(ignore-output|check-output|raises-exception|skip|a?tol-[0-9.]+(e-?[0-9]+)?)")
NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?(?!\w)")
_DIFFER = "Cell outputs differ"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Refuse another nbval than the pinned one; fill in the defaults of its options."""
    if not (found := version("nbval")).startswith(f"{PINNED}."):
        raise pytest.UsageError(
            f"nbval {found} is installed, but this plugin overrides inner parts of nbval {PINNED}: pip install 'nbval=={PINNED}.*'"
        )
    option = config.option
    if not option.nbval_kernel_name:
        option.nbval_current_env = True
    if option.nbval_sanitize_with is None:
        option.nbval_sanitize_with = str(Path(__file__).with_name("sanitize.cfg"))
    if option.nbval_cell_timeout == 2000:  # nbval's own default
        option.nbval_cell_timeout = CELL_TIMEOUT_S
    try:
        check_cell_timeout(option.nbval_cell_timeout)
    except ValueError as error:
        raise pytest.UsageError(f"--nbval-cell-timeout: {error}") from None


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Iterator[Any]:
    """Put the hardened file in place of nbval's."""
    found = yield
    return [HardenedFile.from_parent(parent, path=file_path) if isinstance(item, IPyNbFile) else item for item in found]


class TooMuchOutput(RuntimeError):
    """One cell wrote more than OUTPUT_LIMIT_BYTES; its kernel is gone."""


class HardenedKernel(RunningKernel):
    """nbval's kernel, watched while a cell runs: `held` is what it has written and nbval has not asked for yet, `written` its weight in bytes."""

    held: deque[dict[str, Any]]
    written: int

    def get_message(self, stream: str, timeout: float | None = None) -> dict[str, Any]:
        """The next message. Raises queue.Empty after `timeout` seconds, TooMuchOutput when the cell writes without end."""
        if stream != "iopub":
            return super().get_message(stream, timeout)
        if self.held:
            return self.held.popleft()
        return self._weighed(timeout)

    def _weighed(self, timeout: float | None) -> dict[str, Any]:
        message = self.kc.get_iopub_msg(timeout=timeout)  # nbval's own way formats each message for a log that nobody reads
        self.written += weight(message["content"])
        if self.written > OUTPUT_LIMIT_BYTES:
            self.held.clear()
            self.km.shutdown_kernel(now=True)
            raise TooMuchOutput
        return message

    def _hold_output(self) -> None:
        """Take what the cell has written so far off the wire, where it would pile up uncounted."""
        while True:
            try:
                self.held.append(self._weighed(timeout=0))
            except Empty:
                return

    def execute_cell_input(self, cell_input: str, allow_stdin: bool | None = None) -> str:
        """Send one cell. With store_history=False, as nbval has it, IPython prints what a trailing `;` should silence."""
        self.held, self.written = deque(), 0
        return self.kc.execute(cell_input, store_history=True, allow_stdin=allow_stdin, stop_on_error=False)

    def await_reply(self, msg_id: str, timeout: float | None = None) -> None:
        """Wait for the reply. Raises queue.Empty after `timeout` seconds, RuntimeError as soon as the kernel is found dead."""
        end = time.monotonic() + timeout if timeout else math.inf
        while True:
            self._hold_output()
            try:
                message = self.get_message("shell", timeout=0.25)
            except Empty:
                if not self.is_alive():
                    raise RuntimeError("the kernel died") from None
                if time.monotonic() > end:
                    raise
                continue
            if message["parent_header"].get("msg_id") == msg_id:
                return


class HardenedFile(IPyNbFile):
    """A notebook; `broken` names the cell after which nothing can be trusted."""

    broken: str | None = None

    def setup(self) -> None:
        """Start the kernel and put the watch on it."""
        super().setup()
        self.kernel.__class__ = HardenedKernel
        self.kernel.held, self.kernel.written = deque(), 0

    def collect(self) -> Iterator["HardenedCell"]:
        """The code cells that hold code. A malformed notebook is one sentence."""
        try:
            read_notebook(self.path)
        except LabError as error:
            raise self.CollectError(str(error)) from None
        for cell in super().collect():
            yield HardenedCell.from_parent(self, name=cell.name, cell_num=cell.cell_num, cell=cell.cell, options=cell.options)


class HardenedCell(IPyNbCell):
    """One code cell: refuses what proves nothing, compares what can be the same elsewhere."""

    def setup(self) -> None:
        """Skip after a broken cell; refuse unknown tags, cells never run, and a stored run without the promised exception."""
        if self.parent.broken:
            pytest.skip(f"{self.parent.broken} of this notebook broke, so this cell has no ground to stand on")
        tags = self.cell.metadata.get("tags", [])
        if unknown := [tag for tag in tags if tag.startswith("nbval-") and not TAGS.fullmatch(tag)]:
            pytest.fail(f"unknown tag {', '.join(unknown)}: the tags are listed in llmsuite_lab/course/nbval_plugin.py", pytrace=False)
        if self.options["skip"]:
            return
        code = [line for line in self.cell.source.splitlines() if line.strip() and not line.strip().startswith("#")]
        if code and self.cell.execution_count is None:
            pytest.fail("this cell was never run, so there is no stored output to compare: run `llmsuite notebooks` on it", pytrace=False)
        if self.options["check_exception"] and not _raised(self.cell.outputs):
            pytest.fail("tagged raises-exception, but its stored run raised nothing", pytrace=False)

    def runtest(self) -> None:
        """Run the cell and compare. Raises NbCellError with the reason."""
        try:
            super().runtest()
        except NbCellError as error:
            if str(error) != _DIFFER or (self.options["check_exception"] and not _raised(self.test_outputs)):
                self.parent.broken = self.name
            raise
        except TooMuchOutput:
            self.parent.broken = self.name
            self.raise_cell_error(f"This cell wrote more than {OUTPUT_LIMIT_BYTES / 1e6:.0f} MB and was stopped.")
        except RuntimeError as error:  # nbval's word for a kernel that is gone
            self.parent.broken = self.name
            self.raise_cell_error(f"The kernel died while this cell ran ({error}); often it ran out of memory.")
        if self.options["check_exception"] and not _raised(self.test_outputs):
            self.raise_cell_error("Tagged raises-exception, but it no longer raises.")

    def compare_outputs(self, test: list, ref: list, skip_compare: Any = None) -> bool:
        """Compare what can be the same on another machine."""
        return super().compare_outputs(_comparable(test), _comparable(ref), skip_compare)

    def sanitize(self, s: Any) -> Any:
        """Text ready for comparison: cleaned like a stored notebook, with the tolerance of the cell's tags."""
        s = super().sanitize(clean(s))
        relative, absolute = (_tolerance(self.cell, kind) for kind in ("tol", "atol"))
        return Tolerant.of(s, relative, absolute) if isinstance(s, str) and (relative or absolute) else s


class Tolerant(str):
    """Text that equals other text when the words are the same and each number is close: |a − b| ≤ max(relative · max(|a|, |b|), absolute)."""

    relative: float
    absolute: float

    @classmethod
    def of(cls, text: str, relative: float, absolute: float) -> "Tolerant":
        """`text` with its two tolerances."""
        made = cls(text)
        made.relative, made.absolute = relative, absolute
        return made

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, str) or NUMBER.sub("#", self).split() != NUMBER.sub("#", other).split():
            return False
        pairs = zip(NUMBER.findall(self), NUMBER.findall(other), strict=True)
        return all(math.isclose(float(a), float(b), rel_tol=self.relative, abs_tol=self.absolute) for a, b in pairs)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


def _tolerance(cell: NotebookNode, kind: str) -> float:
    found = [tag.removeprefix(f"nbval-{kind}-") for tag in cell.metadata.get("tags", []) if tag.startswith(f"nbval-{kind}-")]
    return float(found[0]) if found else 0.0


def _raised(outputs: list | None) -> bool:
    return any(output["output_type"] == "error" for output in outputs or [])


def _comparable(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Without stderr (warnings and progress bars differ from machine to machine), vector pictures, and a claim's figures."""
    kept = []
    for output in outputs:
        if output["output_type"] == "stream" and output["name"] == "stderr":
            continue
        if "data" in output:
            claimed = MIME in output["data"]
            data = {
                mime: text for mime, text in output["data"].items() if mime != "image/svg+xml" and (not claimed or mime == "text/plain")
            }
            output = NotebookNode({**output, "data": data})
        kept.append(output)
    return kept
