"""Bring an executed notebook to one form, so that two runs of the same code store the same bytes.

Kept: sources, tags, outputs, execution counts, cell ids, the notebook's own `llmsuite` metadata. Dropped: time stamps, widget state and the
random ids of widget views (their text form stays), the interpreter's patch version, editor marks. Replaced in text: the folder of the clone
and of the installed packages, kernel temp files, memory addresses, and the clock of progress bars.
"""

import re
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from llmsuite_lab.core.paths import repo_dir

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
REPLACEMENTS: tuple[tuple[str, str], ...] = (
    (r"(?:[A-Za-z]:)?[\\/][^\s'\"]*?[\\/]ipykernel_\d+[\\/]\d+\.py", "<cell>"),
    (r"(?:[A-Za-z]:)?[\\/][^\s'\"]*?[\\/]site-packages(?=[\\/])", "<site-packages>"),
    (r"\b0x[0-9a-fA-F]{6,16}\b", "0xADDRESS"),
    (r"(\d+/\d+) \[\d\d:\d\d(?::\d\d)?<[^\]]*\]", r"\1"),
)
_CELL_METADATA = ("tags",)


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Normalise `notebook` in place and return it."""
    kept = {"llmsuite": notebook.metadata["llmsuite"]} if "llmsuite" in notebook.metadata else {}
    notebook.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"}, language_info={"name": "python"}, **kept
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell in notebook.cells:
        cell.metadata = NotebookNode({key: cell.metadata[key] for key in _CELL_METADATA if cell.metadata.get(key)})
        if cell.cell_type == "code":
            cell.outputs = _merge_streams([_output(output) for output in cell.outputs])
    return notebook


def _output(output: NotebookNode) -> NotebookNode:
    if "data" in output:
        output.data.pop(WIDGET_VIEW, None)
        for mime, value in output.data.items():
            if mime.startswith("text/"):
                output.data[mime] = clean(value)
    for key in ("text", "evalue"):
        if key in output:
            output[key] = clean(output[key])
    if "traceback" in output:
        output.traceback = [clean(line) for line in output.traceback]
    return output


def _merge_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """One output per stream: how the kernel cuts a stream into messages differs from run to run."""
    first: dict[str, NotebookNode] = {}
    merged = []
    for output in outputs:
        if output.output_type == "stream" and output.name in first:
            first[output.name].text += output.text
            continue
        if output.output_type == "stream":
            first[output.name] = output
        merged.append(output)
    for stream in first.values():
        stream.text = re.sub(r"^.*\r(?=[^\n])", "", stream.text, flags=re.MULTILINE)  # what a terminal would still show
    return merged


def clean(text: Any) -> Any:
    """`text` without the folders, addresses and clocks of this machine; lists of lines are cleaned line by line."""
    if isinstance(text, list):
        return [clean(line) for line in text]
    if not isinstance(text, str):
        return text
    for folder, name in _folders():
        text = re.sub(re.escape(folder) + r"(?=[\\/\s'\":,)]|$)", name, text)
    for pattern, replacement in REPLACEMENTS:
        text = re.sub(pattern, replacement, text)
    return text


def _folders() -> list[tuple[str, str]]:
    root = repo_dir()
    pairs = [(str(root), ".")] if root else []
    return [*pairs, *([(str(Path.home()), "~")] if len(str(Path.home())) > 1 else [])]
