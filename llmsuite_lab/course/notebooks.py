"""Run, time, measure and normalise the course's notebooks.

`refresh` executes notebooks in place: outputs, `data/timings.json`, the header cells and the README's table come from the same run.
`rehearse` executes copies and exports HTML into a build folder, touches no source, and sums up in a table; `make course` is that.
A notebook that fails leaves its file as it was.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from tqdm import tqdm

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import as_json, check_output, write_output, write_text
from llmsuite_lab.core.paths import repo_dir
from llmsuite_lab.course import headers
from llmsuite_lab.course.execution import Run, check_cell_timeout, execute, read_notebook
from llmsuite_lab.course.normalise import normalise
from llmsuite_lab.course.page import to_html
from llmsuite_lab.course.pictures import place_readme_pictures


def folder() -> Path:
    """The clone's notebooks folder. Raises LabError when the package was installed without a clone."""
    root = repo_dir()
    if root is None:
        raise LabError("The notebooks live in the repository, and this package runs without one: clone it and run the command there.")
    return root / "notebooks"


def names() -> list[str]:
    """Names of all notebooks in teaching order, without `.ipynb`."""
    return sorted(path.stem for path in folder().glob("*.ipynb"))


def find(wanted: Iterable[str]) -> list[str]:
    """Full names for `wanted`, each a full name, the beginning of one ("03") or its number ("3"). Raises LabError naming the nearest for an unknown one."""
    known, found = names(), []
    for name in (name.removesuffix(".ipynb").rsplit("/", 1)[-1] for name in wanted):
        numbered = [full for full in known if full.partition("_")[0] == name.zfill(2)]
        matches = [name] if name in known else numbered or [full for full in known if full.startswith(name)]
        if len(matches) != 1:
            near = matches or get_close_matches(name, known, cutoff=0.3) or known
            raise LabError(f"No single notebook is called {name!r}; did you mean {', '.join(near) or 'one to be written first'}?")
        found += matches
    return found


def read(name: str) -> NotebookNode:
    """The stored notebook called `name`. Raises LabError as `read_notebook`."""
    return read_notebook(folder() / f"{name}.ipynb")


def text_of(notebook: NotebookNode) -> str:
    """A valid notebook as the text of its file, always in the same form. Raises nbformat's ValidationError for another."""
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        raise LabError(f"this is no notebook that can be stored ({str(error).splitlines()[0]})") from error
    return nbformat.writes(notebook, version=nbformat.NO_CONVERT).rstrip("\n") + "\n"


def write(path: Path, notebook: NotebookNode) -> None:
    """Validate and write one of the course's notebooks atomically."""
    write_text(path, text_of(notebook))


def refresh(wanted: Iterable[str], cell_timeout_s: int = 300) -> dict[str, dict[str, Any]]:
    """Execute the notebooks in place, one after the other; return their new timings. Raises LabError at the first that fails."""
    check_cell_timeout(cell_timeout_s)
    done = {}
    with _bar(find(wanted)) as steps:
        for name, progress in steps:
            run = execute(folder() / f"{name}.ipynb", cell_timeout_s=cell_timeout_s, progress=progress)
            notebook = normalise(run.notebook)
            done[name] = headers.store(name, headers.entry(notebook, run.wall_s, run.peak_bytes))
            headers.place_header(notebook, done[name])
            write(folder() / f"{name}.ipynb", notebook)
    render_readme()
    place_readme_pictures(done)
    return done


def render_readme() -> None:
    """Render the README's table of notebooks from data/timings.json; say so when the README has no place for it."""
    text = headers.table({name: read(name) for name in names()}, headers.timings())
    if not headers.place_table(folder().parent / "README.md", text):
        print(f"README.md has no markers {headers.BEGIN} … {headers.END}: its table of notebooks was not rendered", file=sys.stderr)


def rehearse(wanted: Iterable[str], out: Path, cell_timeout_s: int = 300) -> tuple[list[dict[str, Any]], list[str]]:
    """Execute copies into `out` (`NAME.ipynb`, `NAME.html`, `timings.json`); return a row per notebook and the stories of those that failed."""
    check_cell_timeout(cell_timeout_s)
    wanted = list(wanted)
    for file in [out / "timings.json", *(out / f"{name}.{suffix}" for name in find(wanted) for suffix in ("ipynb", "html"))]:
        check_output(file)  # before the minutes that the notebooks take
    rows, failures, measured = [], [], {}
    with _bar(find(wanted)) as steps:
        for name, progress in steps:
            try:
                run = execute(folder() / f"{name}.ipynb", cell_timeout_s=cell_timeout_s, progress=progress)
            except LabError as error:
                failures.append(str(error))
                rows.append({"notebook": name, "failed": True})
                continue
            measured[name] = _keep_copy(name, run, out)
            rows.append({"notebook": name, "failed": False, **measured[name], "claims": _verdicts(run.notebook)})
    write_output(out / "timings.json", as_json(measured))
    return rows, failures


def _keep_copy(name: str, run: Run, out: Path) -> dict[str, Any]:
    notebook = normalise(run.notebook)
    figures = headers.entry(notebook, run.wall_s, run.peak_bytes)
    headers.place_header(notebook, figures)
    write_output(out / f"{name}.ipynb", text_of(notebook))
    write_output(out / f"{name}.html", to_html(notebook, name))
    return figures


def _verdicts(notebook: NotebookNode) -> dict[str, int]:
    from llmsuite_lab.course import ledger

    return dict(Counter(found.verdict for found in ledger.measurements(notebook)[0]))


@contextmanager
def _bar(wanted: list[str]) -> Iterator[Iterator[tuple[str, Any]]]:
    """A progress bar over the code cells of all `wanted` notebooks; yields (name, progress callback) pairs."""
    cells = {name: sum(cell.cell_type == "code" for cell in read(name).cells) for name in wanted}
    with tqdm(total=sum(cells.values()), unit="cell", dynamic_ncols=True) as bar:

        def steps() -> Iterator[tuple[str, Any]]:
            finished = 0
            for name in wanted:
                bar.set_description(name)

                def progress(done: int, total: int, base: int = finished) -> None:
                    bar.update(base + done - bar.n)

                yield name, progress
                finished += cells[name]
                bar.update(finished - bar.n)

        yield steps()


def summary(rows: list[dict[str, Any]]) -> str:
    """The table of `rehearse`: time, peak memory, outputs compared, claims by verdict."""
    lines = [f"{'notebook':<40} {'time':>11} {'memory':>8} {'compared':>9}  claims"]
    for row in rows:
        if row["failed"]:
            lines.append(f"{row['notebook']:<40} {'FAILED':>11}")
            continue
        claims = ", ".join(f"{count} {verdict}" for verdict, count in row["claims"].items()) or "–"
        compared = f"{row['compared']}/{row['compared'] + row['ignored']}"
        lines.append(
            f"{row['notebook']:<40} {headers.duration(row['wall_s']):>11} {row['peak_bytes'] / 1e9:>5.1f} GB {compared:>9}  {claims}"
        )
    good = [row for row in rows if not row["failed"]]
    total, peak = sum(row["wall_s"] for row in good), max((row["peak_bytes"] for row in good), default=0)
    lines.append(f"{f'{len(good)} of {len(rows)} notebooks':<40} {headers.duration(total):>11} {peak / 1e9:>5.1f} GB")
    return "\n".join(lines)
