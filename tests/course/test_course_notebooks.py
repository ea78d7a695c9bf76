"""Every notebook of the course, as stored: run, within its budget, compared, and telling the figures that the timings file holds."""

import re

import pytest

from llmsuite_lab.core.paths import repo_dir
from llmsuite_lab.course import headers, ledger, notebooks
from llmsuite_lab.course.claims import claims

ALL = notebooks.names()
BOOKS = {name: notebooks.read(name) for name in ALL}
TIMINGS = headers.timings()
each = pytest.mark.parametrize("name", ALL)
WALL_S, WALL_S_OF_00, PEAK_BYTES, COURSE_S = 120, 60, 4e9, 1200
SLACK = 1.5  # over its budget by half fails


def code_cells(name):
    """Code cells that hold code."""
    return [cell for cell in BOOKS[name].cells if cell.cell_type == "code" and cell.source.strip()]


@each
def test_was_timed_and_its_header_and_counts_say_so(name):
    assert name in TIMINGS, f"run `llmsuite notebooks {name}`"
    found = [cell.source for cell in BOOKS[name].cells if headers.TAG in cell.metadata.get("tags", [])]
    assert found == [headers.header(TIMINGS[name])], "the header cell differs from data/timings.json: run `llmsuite notebooks` on it"
    assert {key: TIMINGS[name][key] for key in ("code_cells", "compared", "ignored")} == headers.counts(BOOKS[name])


@each
def test_is_within_its_budget(name):
    figures = TIMINGS[name]
    assert figures["wall_s"] <= SLACK * (WALL_S_OF_00 if name.startswith("00") else WALL_S)
    assert figures["peak_bytes"] <= SLACK * PEAK_BYTES


@each
def test_at_least_sixty_percent_of_outputs_are_compared(name):
    figures = headers.counts(BOOKS[name])
    assert figures["compared"] >= 0.6 * (figures["compared"] + figures["ignored"]), figures


@each
def test_was_run_whole_and_in_order(name):
    skipped = {"nbval-skip"}
    counts = [cell.execution_count for cell in code_cells(name) if not skipped & set(cell.metadata.get("tags", []))]
    assert None not in counts, "a cell was never run"
    assert counts == sorted(counts)
    for cell in code_cells(name):
        raised = any(output.output_type == "error" for output in cell.outputs)
        assert raised == ("raises-exception" in cell.metadata.get("tags", [])), cell.source


@each
def test_no_command_of_its_formulas_has_two_backslashes(name):
    cells = [cell.source for cell in BOOKS[name].cells if cell.cell_type == "markdown"]
    formulas = [formula for source in cells for formula in re.findall(r"\$\$.+?\$\$|\$[^$\n]+\$", source, re.DOTALL)]
    assert [formula for formula in formulas if re.search(r"\\\\[a-zA-Z]{2,}", formula)] == []


@each
def test_tells_the_readme_its_section_and_what_one_sees(name):
    about = BOOKS[name].metadata.get("llmsuite", {})
    assert set(about) >= {"paper", "see"}, 'metadata["llmsuite"] = {"paper": "2.1", "see": "…"}'
    assert headers.title(BOOKS[name]) != "(no title)"


@each
def test_measures_the_claims_that_name_it(name):
    measured = {found.claim.id for found in ledger.measurements(BOOKS[name])[0]}
    assert {row.id for row in claims().values() if row.notebook == name} <= measured


def test_ledger_has_no_problems():
    assert ledger.collect(notebooks.folder()).problems == []


@pytest.mark.skipif(not ALL, reason="no notebook is written yet")
def test_readme_table_is_rendered_from_the_timings():
    readme = (repo_dir() / "README.md").read_text(encoding="utf-8")
    between = re.search(f"{headers.BEGIN}\n(.*)\n{headers.END}", readme, re.S)
    assert between, f"README.md needs the lines {headers.BEGIN} and {headers.END}"
    assert between[1] == headers.table(BOOKS, TIMINGS)


def test_the_whole_course_is_within_its_budget_and_knows_no_other_notebook():
    assert sum(figures["wall_s"] for figures in TIMINGS.values()) <= SLACK * COURSE_S
    assert set(TIMINGS) <= set(ALL), "timings of notebooks that no longer exist"
