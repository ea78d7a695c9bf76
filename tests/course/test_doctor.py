"""The doctor names each problem and its remedy, and its table appears whatever fails."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

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


def faked(code, **environment):
    """The doctor in a process of its own, after `code`; the look at the network is left out. Returns (exit status, table)."""
    whole = f"import sys\n{code}\nfrom llmsuite_lab.course import cli, doctor\ndel doctor.LOOKS['network']\nsys.argv = ['llmsuite', 'doctor']\ncli.main()"
    done = subprocess.run(
        [sys.executable, "-c", whole], capture_output=True, text=True, encoding="utf-8", timeout=120, env={**os.environ, **environment}
    )
    assert "Traceback" not in done.stderr, done.stderr[-2000:]
    rows = [name for name in doctor.LOOKS if name != "network"]
    assert [row for row in rows if f" {row} " not in done.stdout] == [], done.stdout + done.stderr
    return done.returncode, done.stdout


def line(table, what):
    """The row about `what`, and the line under it."""
    lines = table.splitlines()
    at = next(i for i, text in enumerate(lines) if text[9:].startswith(what))
    return lines[at] + "".join(lines[at + 1 : at + 2])


def test_without_torch_and_psutil_each_row_still_appears_and_the_status_says_that_the_course_cannot_run():
    hide = """
import importlib.metadata
real = importlib.metadata.version
def version(name):
    if name in ('torch', 'psutil'):
        raise importlib.metadata.PackageNotFoundError(name)
    return real(name)
importlib.metadata.version = version
sys.modules['torch'] = sys.modules['psutil'] = None
"""
    status, table = faked(hide)
    assert status == 1
    assert line(table, "packages").startswith("PROBLEM")
    assert "psutil is missing; torch is missing" in line(table, "packages")
    for what, package in (("cores", "torch"), ("memory", "psutil"), ("accelerator", "torch")):
        assert line(table, what).startswith("note")
        assert f"{package} is missing" in line(table, what)
    assert table.endswith("1 problem to solve\n")


def test_a_torch_that_breaks_while_it_is_imported_is_a_row_with_its_own_words():
    broken = """
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == 'torch':
            raise OSError('libcudart.so.12: cannot open shared object file')
sys.meta_path.insert(0, Broken())
"""
    status, table = faked(broken)
    assert status == 1
    assert "libcudart.so.12" in line(table, "accelerator")


def test_without_the_packages_own_metadata_that_is_the_finding(monkeypatch):
    def gone(name):
        raise importlib.metadata.PackageNotFoundError(name)

    for metadata in (gone, lambda name: None):
        monkeypatch.setattr(doctor.importlib.metadata, "requires", metadata)
        finding = doctor._packages()
        assert "not installed" in finding.found
        assert finding.fatal
        assert finding.remedy


@pytest.mark.parametrize("version", [None, "", "not a version", KeyError("Version"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")])
def test_unreadable_metadata_of_a_package_is_named(monkeypatch, version):
    real = importlib.metadata.version

    def torn(name):
        if name != "tqdm":
            return real(name)
        if isinstance(version, Exception):
            raise version
        return version

    monkeypatch.setattr(doctor.importlib.metadata, "version", torn)
    finding = doctor._packages()
    assert "tqdm has unreadable metadata" in finding.found
    assert finding.fatal


@pytest.mark.parametrize(
    ("version", "pinned", "kind"),
    [
        ("2.13.0+cpu", "2.13.0", "ok"),
        ("2.13.0+cu128", "2.13.0", "ok"),
        ("2.13.0", "2.13.0+cpu", "ok"),
        ("2.9.1+cpu", "2.13.0", "other"),
        ("2.9.0a0+git1234", None, "ok"),
        ("2.5.1+cpu", "2.13.0", "bad"),
    ],
)
def test_a_local_version_counts_as_its_public_part(monkeypatch, version, pinned, kind):
    from packaging.requirements import Requirement

    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: version)
    found, words = doctor._state(Requirement("torch>=2.6"), pinned)
    assert found == kind
    assert version in words


def test_no_gpu_is_no_problem_and_a_profile_that_needs_one_is(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("LLMSUITE_PROFILE", "cpu")
    finding = doctor._look("accelerator", doctor._accelerator)
    assert "none (not needed); profile cpu" in finding.found
    assert not finding.remedy
    monkeypatch.setenv("LLMSUITE_PROFILE", "gpu")
    finding = doctor._look("accelerator", doctor._accelerator)
    assert "LLMSUITE_PROFILE=gpu needs a CUDA device" in finding.found
    assert finding.fatal


def test_a_cache_that_holds_other_things_is_a_note_and_nothing_in_it_changes(monkeypatch, tmp_path):
    (tmp_path / "thesis.docx").write_text("my only copy")
    (tmp_path / "models").mkdir()
    monkeypatch.setenv("LLMSUITE_CACHE", str(tmp_path))
    finding = doctor._cache()
    assert "thesis.docx" in finding.found
    assert "LLMSUITE_CACHE" in finding.remedy
    assert not finding.fatal
    for ours in ("native", "policies"):  # kernels that were compiled, policies that were trained
        (tmp_path / ours).mkdir()
    assert all(ours not in doctor._cache().found for ours in ("native", "policies"))
    (tmp_path / "thesis.docx").rename(tmp_path / "models" / "smollm2-135m-instruct")
    assert not doctor._cache().remedy
    assert "manifest.json is missing" in doctor._look("models", doctor._models).found
    assert (tmp_path / "models" / "smollm2-135m-instruct").read_text() == "my only copy"


@pytest.mark.parametrize("given", ["a_file", "a_file/below", "~nobody_of_this_name/x", "relative/folder"])
def test_an_odd_cache_path_is_a_row_never_a_crash(monkeypatch, tmp_path, given):
    (tmp_path / "a_file").write_text("x")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "cache_dir", lambda: Path(given).expanduser())
    finding = doctor._look("cache", doctor._cache)
    assert finding.found
    assert bool(finding.remedy) == (given != "relative/folder")
    assert (tmp_path / "a_file").read_text() == "x"


def test_without_pip_the_network_is_said_not_to_have_been_asked(monkeypatch):
    done = subprocess.CompletedProcess([], 1, b"", b"/usr/bin/python: No module named pip")
    monkeypatch.setattr(doctor.subprocess, "run", lambda *a, **k: done)
    assert "pip is missing" in doctor._network().found


def test_exit_status_0_with_notes_only_and_1_with_a_problem(monkeypatch):
    from typer.testing import CliRunner

    from llmsuite_lab.course import cli

    for fatal, status in ((False, 0), (True, 1)):
        monkeypatch.setattr(doctor, "LOOKS", {"memory": lambda fatal=fatal: doctor.Finding("memory", "little", "close some", fatal)})
        assert CliRunner().invoke(cli.app, ["doctor"]).exit_code == status
