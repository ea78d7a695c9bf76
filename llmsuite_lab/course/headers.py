"""`data/timings.json` and what is rendered from it: each notebook's header cell and the README's table. No time is ever typed.

{notebook: {wall_s, peak_bytes, code_cells, compared, ignored, profile, machine: {cores, memory_bytes, cpu}}}
"""

import json
import os
import platform
import re
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbformat import NotebookNode

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import write_json, write_text
from llmsuite_lab.core.paths import data_dir

TAG = "llmsuite-header"
BEGIN, END = "<!-- notebooks:begin -->", "<!-- notebooks:end -->"
_NOISE = 0.25  # a new timing within this share of the stored one (or 3 s, 50 MB) is noise: the stored one stays, and so do the files


def timings() -> dict[str, dict[str, Any]]:
    """The stored timings by notebook name; empty when no run wrote them yet. Raises LabError when the file is damaged."""
    path = data_dir() / "timings.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        whole = all({"wall_s", "peak_bytes", "machine"} <= set(figures) for figures in stored.values())
    except (ValueError, AttributeError, TypeError):
        whole = False
    if not whole:
        raise LabError(f"{path} does not hold timings by notebook: get it again with git, or delete it and run `llmsuite notebooks --all`")
    return stored


def machine() -> dict[str, Any]:
    """This machine as {cores, memory_bytes, cpu}: the cores this process may use, and no name of the host."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"cores": cores, "memory_bytes": psutil.virtual_memory().total, "cpu": _cpu()}


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file() and (found := re.search(r"model name\s*:\s*(.+)", info.read_text(encoding="utf-8", errors="replace"))):
        return " ".join(found[1].split())
    return platform.processor() or platform.machine() or "unknown"


def counts(notebook: NotebookNode) -> dict[str, int]:
    """{code_cells, compared, ignored}: code cells, and of those with output how many nbval compares and how many not.

    Not compared are cells tagged so, and cells whose only output is stderr or a bare picture.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    shown = [cell for cell in code if cell.outputs]
    ignored = sum(_ignored(cell) or not any(_comparable(output) for output in cell.outputs) for cell in shown)
    return {"code_cells": len(code), "compared": len(shown) - ignored, "ignored": ignored}


def _ignored(cell: NotebookNode) -> bool:
    tags = cell.metadata.get("tags", [])
    return bool({"nbval-ignore-output", "nbval-skip"} & set(tags)) or bool(
        re.search(r"^\s*#\s*NBVAL_(IGNORE_OUTPUT|SKIP)\s*$", cell.source, re.M)
    )


def _comparable(output: NotebookNode) -> bool:
    return output.get("name") != "stderr" and any(not mime.startswith("image/") for mime in output.get("data", ["text"]))


def entry(notebook: NotebookNode, wall_s: float, peak_bytes: int) -> dict[str, Any]:
    """The timings.json entry of one executed notebook."""
    from llmsuite_lab.core.runtime import profile

    figures = {"wall_s": round(wall_s, 1), "peak_bytes": int(peak_bytes)}
    return {**figures, **counts(notebook), "profile": profile().name, "machine": machine()}


def settled(old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """`new`, but with the old wall time and memory when they differ by noise only, so that running again changes no file."""
    same = old is not None and (old["machine"], old["profile"]) == (new["machine"], new["profile"])
    if not same:
        return new
    close = {
        "wall_s": abs(new["wall_s"] - old["wall_s"]) <= max(3.0, _NOISE * old["wall_s"]),
        "peak_bytes": abs(new["peak_bytes"] - old["peak_bytes"]) <= max(50e6, _NOISE * old["peak_bytes"]),
    }
    return {**new, **{key: old[key] for key, within in close.items() if within}}


def store(name: str, new: dict[str, Any]) -> dict[str, Any]:
    """Put one entry into data/timings.json, settled against the stored one; return what was stored."""
    stored = timings()
    stored[name] = settled(stored.get(name), new)
    write_json(data_dir() / "timings.json", dict(sorted(stored.items())))
    return stored[name]


def duration(wall_s: float) -> str:
    """Seconds as a reader says them: "8 s", "1 min 40 s"."""
    whole = max(1, round(wall_s))
    return f"{whole} s" if whole < 100 else f"{whole // 60} min {whole % 60} s"


def header(figures: dict[str, Any]) -> str:
    """Markdown of the header cell for one entry of the timings."""
    host, shown = figures["machine"], figures["compared"] + figures["ignored"]
    took = f"**{duration(figures['wall_s'])}**, **{figures['peak_bytes'] / 1e9:.1f} GB** of memory at most"
    where = f"{host['cores']} cores ({host['cpu']}), profile `{figures['profile']}`"
    return f"*Measured: this notebook takes {took} on {where}. The tests compare {figures['compared']} of its {shown} outputs.*"


def place_header(notebook: NotebookNode, figures: dict[str, Any]) -> None:
    """Write the header into the cell tagged `llmsuite-header`; a notebook without one gets it after its title cell."""
    for cell in notebook.cells:
        if TAG in cell.metadata.get("tags", []):
            cell.source = header(figures)
            return
    cell = nbformat.v4.new_markdown_cell(header(figures), metadata={"tags": [TAG]}, id=TAG)
    notebook.cells.insert(1, cell)


def title(notebook: NotebookNode) -> str:
    """The text of the first heading."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := re.search(r"^#\s+(.+)$", cell.source, re.M)):
            return found[1].strip()
    return "(no title)"


def table(notebooks: dict[str, NotebookNode], stored: dict[str, dict[str, Any]]) -> str:
    """The README's Markdown table: notebook, paper section and what one sees (from `metadata.llmsuite`), measured time and memory."""
    rows = ["| notebook | paper | what you will see | time | memory |", "|---|---|---|---|---|"]
    for name, notebook in notebooks.items():
        about = notebook.metadata.get("llmsuite", {})
        figures = stored.get(name)
        took, memory = (duration(figures["wall_s"]), f"{figures['peak_bytes'] / 1e9:.1f} GB") if figures else ("–", "–")
        link = f"[{name[:2]} {title(notebook).removeprefix(name[:2]).lstrip(' .:·-')}](notebooks/{name}.ipynb)"
        see = str(about.get("see", "–")).replace("|", "\\|")
        rows.append(f"| {link} | {about.get('paper', '–')} | {see} | {took} | {memory} |")
    hosts = {(f["machine"]["cores"], f["machine"]["cpu"]) for f in stored.values()}
    return (
        "\n".join([*rows, "", "Measured on " + "; ".join(f"{cores} cores of {cpu}" for cores, cpu in sorted(hosts)) + "."])
        if hosts
        else "\n".join(rows)
    )


def place_table(readme: Path, text: str) -> bool:
    """Write `text` between the README's markers; False when the file or its markers are missing, so that the caller can say so."""
    if not readme.is_file():
        return False
    whole = readme.read_text(encoding="utf-8")
    if BEGIN not in whole or END not in whole:
        return False
    before, after = whole[: whole.index(BEGIN) + len(BEGIN)], whole[whole.index(END) :]
    if (rendered := f"{before}\n{text}\n{after}") != whole:
        write_text(readme, rendered)
    return True
