"""Kernels are built once, whole or not at all; without a compiler, or with a source that does not compile, a sentence says so."""

import ctypes
import shutil
import sys
import time

import psutil
import pytest

from llmsuite_lab.core import native
from llmsuite_lab.core.errors import LabError

CODE = 'extern "C" int answer() { return 6 * 7; }\n'


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A source, and a cache of its own."""
    monkeypatch.setenv("LLMSUITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LLMSUITE_NATIVE", raising=False)
    monkeypatch.setattr(native, "_loaded", {})
    (tmp_path / "answer.cpp").write_text(CODE)
    return tmp_path


@pytest.fixture
def compiling(place):
    """The same, where there is a compiler."""
    try:
        native.compiler()
    except LabError as error:
        pytest.skip(str(error))
    return place


def built(place):
    return list((place / "cache" / "native").glob("answer-*/answer*"))


def test_it_is_built_once_and_again_only_when_the_source_is_another(compiling, monkeypatch):
    library = native.load(compiling / "answer.cpp")
    assert library.answer() == 42
    assert native.load(compiling / "answer.cpp") is library
    monkeypatch.setattr(native, "_loaded", {})
    with monkeypatch.context() as patch:
        patch.setattr(native, "_build", lambda *_: pytest.fail("it was there"))
        native.load(compiling / "answer.cpp")
    (compiling / "answer.cpp").write_text(CODE.replace("7", "8"))
    assert native.load(compiling / "answer.cpp").answer() == 48
    assert len(built(compiling)) == 2


def test_a_header_is_found_and_another_one_makes_another_library(compiling):
    (compiling / "answer.cpp").write_text('#include "factor.h"\nextern "C" int answer() { return 6 * FACTOR; }\n')
    for factor in (7, 9, 7):
        (compiling / "factor.h").write_text(f"#define FACTOR {factor}\n")
        assert native.load(compiling / "answer.cpp", compiling / "factor.h").answer() == 6 * factor
    assert len(built(compiling)) == 2
    with pytest.raises(LabError, match="(?s)does not compile.*factor.h"):
        native.load(compiling / "answer.cpp")


@pytest.mark.skipif(sys.platform == "win32", reason="a loaded library cannot be overwritten there")
def test_a_damaged_library_is_made_again_and_never_loaded(compiling, monkeypatch):
    native.load(compiling / "answer.cpp")
    (file,) = built(compiling)
    whole = file.read_bytes()
    file.unlink()
    file.write_bytes(whole[:1000])
    monkeypatch.setattr(native, "_loaded", {})
    assert native.load(compiling / "answer.cpp").answer() == 42
    assert len(file.read_bytes()) > 1000
    file.unlink()  # its mark still stands
    monkeypatch.setattr(native, "_loaded", {})
    assert native.load(compiling / "answer.cpp").answer() == 42


def test_a_source_that_does_not_compile_leaves_nothing_and_shows_the_compiler_s_words(compiling):
    (compiling / "answer.cpp").write_text('extern "C" int answer() { return six; }\n')
    with pytest.raises(LabError, match="(?s)does not compile.*six"):
        native.load(compiling / "answer.cpp")
    assert built(compiling) == []


def test_without_a_compiler_it_says_what_to_install(place, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(place))
    with pytest.raises(LabError, match="no C\\+\\+ compiler.*apt-get install g\\+\\+"):
        native.load(place / "answer.cpp")
    monkeypatch.setenv("CXX", "no-such-compiler --fast")
    with pytest.raises(LabError, match="CXX=no-such-compiler --fast is not a program here"):
        native.compiler()
    monkeypatch.setenv("CXX", 'g++ -DNAME="torn')
    with pytest.raises(LabError, match="is no command .No closing quotation"):
        native.compiler()


def test_kernels_can_be_switched_off(place, monkeypatch):
    monkeypatch.setenv("LLMSUITE_NATIVE", "0")
    with pytest.raises(LabError, match="switched off"):
        native.load(place / "answer.cpp")


@pytest.mark.skipif(shutil.which("sh") is None, reason="the slow compiler is a shell script")
def test_a_compiler_that_hangs_is_ended_with_its_children(place, monkeypatch):
    slow = place / "slow"
    slow.write_text(f"#!/bin/sh\nsleep 60 & echo $! > {place}/child\nwait\n")
    slow.chmod(0o755)
    monkeypatch.setenv("CXX", str(slow))
    monkeypatch.setattr(native, "LIMIT_S", 1)
    began = time.monotonic()
    with pytest.raises(LabError, match="did not finish in 1 s"):
        native.load(place / "answer.cpp")
    assert time.monotonic() - began < 30
    child = int((place / "child").read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    assert built(place) == []


def test_two_sources_of_one_name_have_two_keys_and_a_library_is_a_ctypes_one(compiling):
    other = compiling / "other"
    other.mkdir()
    (other / "answer.cpp").write_text(CODE.replace("42", "").replace("6", "5"))
    libraries = [native.load(compiling / "answer.cpp"), native.load(other / "answer.cpp")]
    assert [library.answer() for library in libraries] == [42, 35]
    assert all(isinstance(library, ctypes.CDLL) for library in libraries)
