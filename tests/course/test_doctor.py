"""The doctor names each problem and its remedy, and its table appears whatever fails."""

import importlib.metadata

import pytest

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.paths import repo_dir
from llmsuite_lab.course import doctor


def test_a_missing_package_is_named_with_the_remedy(monkeypatch):
    real = importlib.metadata.version

    def version(name):
        if name == "faiss-cpu":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    finding = doctor._packages()
    assert "faiss-cpu is missing" in finding.found
    assert "bootstrap" in finding.remedy
    assert finding.fatal


def test_another_version_than_the_tested_one_is_a_note_not_a_problem(monkeypatch):
    monkeypatch.setattr(doctor, "constraints", lambda: {"torch": "0.0.1"})
    finding = doctor._packages()
    assert "tested: 0.0.1" in finding.found
    assert finding.remedy
    assert not finding.fatal


def test_models_missing_from_an_empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("LLMSUITE_CACHE", str(tmp_path / "empty"))
    finding = doctor._models()
    assert "smollm2-135m-instruct" in finding.found
    assert "all-minilm-l6-v2" in finding.found
    assert "llmsuite models fetch" in finding.remedy


def test_an_unwritable_cache_names_the_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("LLMSUITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    finding = doctor._cache()
    assert "LLMSUITE_CACHE" in finding.remedy
    assert finding.fatal


def test_a_silent_package_index_is_a_note(monkeypatch):
    def run(command, **options):
        raise doctor.subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(doctor.subprocess, "run", run)
    finding = doctor._network()
    assert "does not answer" in finding.found
    assert not finding.fatal


@pytest.mark.parametrize("error", [OSError("disk gone"), LabError("no luck"), ValueError("odd")])
def test_a_look_that_fails_becomes_a_row(error):
    def look():
        raise error

    finding = doctor._look("memory", look)
    assert str(error) in finding.found
    assert finding.remedy


def test_the_table_counts_problems_and_shows_remedies():
    rows = [doctor.Finding("a", "fine"), doctor.Finding("b", "odd", "do this", fatal=False), doctor.Finding("c", "broken", "do that")]
    text = doctor.table(rows)
    assert [line.split()[0] for line in text.splitlines()] == ["ok", "note", "→", "PROBLEM", "→", "1"]
    assert doctor.table(rows[:2]).endswith("all is well")


def test_every_pinned_package_is_read():
    pins = doctor.constraints()
    lines = [line for line in (repo_dir() / "constraints.txt").read_text().splitlines() if "==" in line]
    assert len(pins) == len(lines) > 50
    assert pins["torch"] == "2.13.0"
