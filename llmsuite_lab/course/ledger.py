"""The ledger: every row of `claims.toml` with what the notebooks' stored outputs say about it. There is no second copy of a figure.

The verdict is computed from the stored value and the present criterion; a stored verdict that disagrees (the criterion was changed after the
run, or the output was edited) is a problem to be reported, and so is a measurement of a claim that no longer exists.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from llmsuite_lab.course.claims import MIME, OPEN, Claim, Measurement, claims
from llmsuite_lab.course.execution import read_notebook


@dataclass(frozen=True)
class Ledger:
    """`entries`: one per claim, {id, section, verdict, value, paper, n, seeds, spread,
    control, margin, notebook}; `control`: {what, value, holds}; `problems`: sentences."""

    entries: list[dict[str, Any]]
    problems: list[str]


def collect(folder: Path) -> Ledger:
    """Read every notebook in `folder` and judge what it measured. A claim measured more than once counts in its own notebook, last cell."""
    found: dict[str, tuple[str, Measurement]] = {}
    problems: list[str] = []
    for path in sorted(folder.glob("*.ipynb")):
        measured, said = measurements(read_notebook(path))
        problems += [f"{path.stem}: {sentence}" for sentence in said]
        for measurement in measured:
            row = measurement.claim
            if row.id not in found or found[row.id][0] != row.notebook:
                found[row.id] = (path.stem, measurement)
            elif path.stem == row.notebook:
                found[row.id] = (path.stem, measurement)
    return Ledger([_entry(row, found.get(row.id)) for row in claims().values()], problems)


def measurements(notebook: NotebookNode) -> tuple[list[Measurement], list[str]]:
    """The claims measured in one notebook's stored outputs, and what is wrong with those that cannot be taken as they stand."""
    taken, problems = [], []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if (record := output.get("data", {}).get(MIME)) is None:
                continue
            row = claims().get(record.get("id"))
            if row is None:
                problems.append(f"measures {record.get('id')!r}, which is no row of claims.toml; run the notebook again")
                continue
            try:
                spread = record["spread"] and tuple(record["spread"])
                measurement = Measurement.of(row, record["value"], record["n"], record["seeds"], spread, record.get("control"), record.get("note", ""))
            except (KeyError, TypeError, ValueError) as error:
                problems.append(f"the stored measurement of {row.id} cannot be judged ({error}); run the notebook again")
                continue
            if record.get("verdict") != measurement.verdict:
                problems.append(
                    f"{row.id} is stored as {record.get('verdict')!r}, but value and criterion say {measurement.verdict!r}; run it again"
                )
            taken.append(measurement)
    return taken, problems


def _entry(row: Claim, found: tuple[str, Measurement] | None) -> dict[str, Any]:
    notebook, measurement = found or (row.notebook, None)
    record = measurement.record() if measurement else {"verdict": OPEN}
    value = record.get("control")
    control = {"what": row.control_criterion, "value": value, "holds": None if value is None else row.control_holds(value)}
    return {
        "id": row.id, "section": row.section, "verdict": record["verdict"], "value": record.get("value"), "paper": row.paper,
        "n": record.get("n"), "seeds": record.get("seeds"), "spread": record.get("spread"), "control": control, "margin": row.margin,
        "notebook": notebook,
    }  # fmt: skip


def table(entries: list[dict[str, Any]]) -> str:
    """The ledger as text: id, verdict, value with interval and n, and where it is measured."""
    rows = claims()
    lines = [f"{'claim':<24} {'verdict':<26} {'measured':<34} notebook"]
    for entry in entries:
        measured = "–"
        if entry["value"] is not None:
            whole = Measurement.of(rows[entry["id"]], entry["value"], entry["n"], entry["seeds"], entry["spread"], entry["control"]["value"])
            measured = str(whole).split(" · ", 1)[1]
        lines.append(f"{entry['id']:<24} {entry['verdict']:<26} {measured:<34} {entry['notebook']}")
    tally: dict[str, int] = {}
    for entry in entries:
        tally[entry["verdict"]] = tally.get(entry["verdict"], 0) + 1
    lines.append(f"{len(entries)} claims: " + ", ".join(f"{count} {verdict}" for verdict, count in tally.items()))
    return "\n".join(lines)
