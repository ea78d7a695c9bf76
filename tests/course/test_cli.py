"""The command line answers whatever it is given with a sentence and an exit status, and stops when it is told to."""

import os
import signal
import subprocess
import sys

import nbformat
import psutil
import pytest
from nbformat import v4
from typer.testing import CliRunner

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.course import cli
from tests.waiting import until

LIMIT_S = 120


def llmsuite(*arguments, before="", **environment):
    """The command in a process of its own, after the code `before`: (status, stdout, stderr) in bytes."""
    code = f"import sys\nfrom llmsuite_lab.course import cli\n{before}\nsys.argv = ['llmsuite', *{list(arguments)!a}]\ncli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=LIMIT_S, env={**os.environ, **environment})
    return done.returncode, done.stdout, done.stderr


WRONG = {
    "unknown command": (["dance"], 2, "No such command"),
    "unknown option": (["exercises", "--jsn"], 2, "No such option"),
    "unknown benchmark": (["bench", "nothing"], 1, "choose from"),
    "unknown recipe": (["train", "nothing"], 2, "nothing"),
    "unknown notebook": (["notebooks", "99"], 1, "did you mean"),
    "unknown deck": (["slides", "99_nothing"], 1, "there are"),
    "unknown model": (["models", "fetch", "nothing"], 2, "unknown model"),
    "missing argument": (["bench"], 2, "Missing argument"),
    "negative seed": (["train", "pal", "--seed", "-1"], 2, "greater than or equal"),
    "seed in words": (["train", "pal", "--seed", "many"], 2, "integer"),
    "no time for a cell": (["notebooks", "03", "--cell-timeout", "0"], 2, "greater than or equal"),
    "less than no time": (["notebooks", "03", "--cell-timeout", "-5"], 2, "greater than or equal"),
    "own data that is nowhere": (["tune", "nowhere.jsonl"], 1, "No file at nowhere.jsonl"),
    "own data of another format": (["tune", __file__], 1, "line 1: not JSON"),
    "unknown method": (["tune", "nowhere.jsonl", "--method", "lorra"], 1, "did you mean 'lora'"),
    "own preferences that are nowhere": (["align", "nowhere.jsonl"], 1, "No file at nowhere.jsonl"),
    "unknown way to align": (["align", "nowhere.jsonl", "--method", "dpoo"], 1, "did you mean 'dpo'"),
    "an option of another method": (["align", "nowhere.jsonl", "--method", "rest", "--beta", "0.1"], 1, "rest takes no beta: its options are"),
    "rank zero": (["tune", "nowhere.jsonl", "--rank", "0"], 2, "greater than or equal"),
    "a file where a folder goes": (["notebooks", "00", "--out", __file__], 1, "is a file"),
    **{
        f"an empty {option} for {arguments[0]}": ([*arguments, option, " "], 2, "the name is empty")
        for arguments, option in ((["tune", "x.jsonl"], "--model"), (["align", "x.jsonl"], "--model"), (["chat"], "--model"), (["chat"], "--adapter"))
    },
    **{
        f"a folder without a name, for {arguments[0]}": ([*arguments, "--out", ""], 2, "the name is empty")
        for arguments in (["notebooks", "00"], ["train", "pal"], ["tune", "x.jsonl"], ["align", "x.jsonl"], ["slides", "00"])
    },
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_is_answered_in_words(name, monkeypatch, capsys):
    arguments, status, words = WRONG[name]
    monkeypatch.setattr(sys, "argv", ["llmsuite", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    assert ended.value.code == status
    assert words in " ".join(said.err.replace("│", " ").split()) or words in " ".join(said.err.replace("|", " ").split())
    assert "Traceback" not in said.err
    assert not said.out


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (LabError("the model is not here: fetch it"), "llmsuite: the model is not here: fetch it"),
        (ValueError("k=0 must be at least 1"), "llmsuite: k=0 must be at least 1"),
        (TypeError("questions is one string"), "llmsuite: questions is one string"),
        (OSError(28, "No space left on device"), "llmsuite: the system refused ([Errno 28] No space left on device)"),
        (ModuleNotFoundError("No module named 'faiss'", name="faiss"), "llmsuite: the package faiss is missing"),
        (KeyError("spread"), "llmsuite: this should not have happened (KeyError: 'spread')"),
        (MemoryError(), "llmsuite: this should not have happened (MemoryError: MemoryError)"),
        (ValueError("⟨…⟩ 東京"), "llmsuite: ⟨…⟩ 東京"),
        (KeyboardInterrupt(), "llmsuite: stopped"),
    ],
)
def test_whatever_a_command_raises_is_one_line(error, words, monkeypatch, capsys):
    def fail():
        raise error

    monkeypatch.setattr("llmsuite_lab.course.doctor.examine", fail)
    monkeypatch.setattr(sys, "argv", ["llmsuite", "doctor"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err
    assert said.startswith(words)
    assert len(said.splitlines()) == 1
    assert ended.value.code == (130 if isinstance(error, KeyboardInterrupt) else 1)


def test_the_place_of_an_unexpected_error_can_be_asked_for(monkeypatch, capsys):
    monkeypatch.setattr("llmsuite_lab.course.doctor.examine", lambda: {}["spread"])
    monkeypatch.setattr(sys, "argv", ["llmsuite", "doctor"])
    monkeypatch.setenv("LLMSUITE_TRACEBACK", "1")
    with pytest.raises(SystemExit):
        cli.main()
    assert "test_cli.py" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "C"])
def test_a_terminal_that_is_not_utf_8_gets_question_marks(encoding):
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"} if encoding == "C" else {"PYTHONIOENCODING": encoding}
    odd = r"""
from llmsuite_lab.core import fetch
from llmsuite_lab.course import doctor
def look():
    fetch.say('\u6771\u4eac')
    print('\u2192 \u6771\u4eac')
    return doctor.Finding('Python', '\u6771\u4eac \u2192 \xfc', 'do')
doctor.LOOKS = {'Python': look}
"""
    status, out, err = llmsuite("doctor", before=odd, **environment)
    assert status == 1
    assert b"Traceback" not in err
    assert b"1 problem to solve" in out
    assert out.startswith(b"? ??")
    assert err.startswith((b"llmsuite: ??", rb"llmsuite: \u6771"))
    if encoding == "cp1252":  # where the terminal says that it knows ASCII alone, typer writes UTF-8 and lets it try
        assert b"?? ? \xfc" in out
    status, out, err = llmsuite("notebooks", "Zürich", **environment)
    assert status == 1
    assert b"No single notebook is called 'Z" in err
    assert b"Traceback" not in err


def test_a_reader_that_goes_away_is_no_error_to_speak_of():
    code = "import sys\nfrom llmsuite_lab.course import cli\nsys.argv = ['llmsuite', 'claims', '--json']\ncli.main()"
    running = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    running.stdout.close()
    said = running.stderr.read()
    running.stderr.close()
    assert running.wait(LIMIT_S) == 1
    assert said == b""


# ---- Ctrl-C, for real ---------------------------------------------------------------------------------------------------------------------


def interrupted(code, started, folder):
    """Run `code`, send a SIGINT as soon as the file `started` is there: (status, stderr)."""
    heard = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731  (a job in a shell's background ignores it, and so would its children)
    running = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder, preexec_fn=heard)
    until(lambda: (started.is_file() and started.read_text(encoding="utf-8")) or running.poll() is not None, LIMIT_S)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=LIMIT_S)
    return running.returncode, said.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="a SIGINT cannot be sent there")
def test_ctrl_c_in_a_command_is_one_line_and_130(tmp_path):
    started = tmp_path / "started"
    code = f"""
import pathlib, sys, time
from llmsuite_lab.course import bench, cli
def run(name):
    pathlib.Path({str(started)!r}).write_text('now', encoding='utf-8')
    time.sleep(100)
bench.run = run
sys.argv = ['llmsuite', 'bench', 'core']
cli.main()
"""
    status, said = interrupted(code, started, tmp_path)
    assert status == 130
    assert said.splitlines() == ["llmsuite: stopped; what was finished is kept"]


@pytest.mark.skipif(sys.platform == "win32", reason="a SIGINT cannot be sent there")
@pytest.mark.parametrize("out", [None, "copies"])
def test_ctrl_c_while_a_notebook_runs_ends_its_kernel_and_leaves_the_file(tmp_path, out):
    started = tmp_path / "started"
    (tmp_path / "notebooks").mkdir()
    sleeper = f"import os, pathlib, time\npathlib.Path({str(started)!r}).write_text(str(os.getpid()), encoding='utf-8')\ntime.sleep(100)"
    file = tmp_path / "notebooks" / "01_long.ipynb"
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell(sleeper)]), file)
    before = file.read_bytes()
    code = f"""
import pathlib, sys
from llmsuite_lab.course import cli, headers, notebooks
notebooks.repo_dir = lambda: pathlib.Path({str(tmp_path)!r})
sys.argv = ['llmsuite', 'notebooks', '01', *{["--out", out] if out else []!r}]
cli.main()
"""
    status, said = interrupted(code, started, tmp_path)
    assert status == 130, said
    assert said.splitlines()[-1] == "llmsuite: stopped; what was finished is kept"
    assert "Traceback" not in said
    assert file.read_bytes() == before
    kernel = int(started.read_text(encoding="utf-8"))
    assert until(lambda: not psutil.pid_exists(kernel) or psutil.Process(kernel).status() == psutil.STATUS_ZOMBIE)


def test_a_damaged_timings_file_is_named(monkeypatch, tmp_path):
    from llmsuite_lab.course import headers

    monkeypatch.setattr(headers, "data_dir", lambda: tmp_path)
    for text in ("{", "[1, 2]", '{"00_start_here": {}}', '{"00_start_here": 3}', "\x00"):
        (tmp_path / "timings.json").write_text(text, encoding="utf-8")
        result = CliRunner().invoke(cli.app, ["notebooks"])
        assert isinstance(result.exception, LabError)
        assert "does not hold timings by notebook" in str(result.exception)
    (tmp_path / "timings.json").unlink()
    assert headers.timings() == {}


def test_a_command_that_needs_the_clone_says_so_without_one(monkeypatch):
    from llmsuite_lab.course import notebooks

    monkeypatch.setattr(notebooks, "repo_dir", lambda: None)
    for command in (["claims"], ["notebooks"], ["notebooks", "--all"]):
        result = CliRunner().invoke(cli.app, command)
        assert isinstance(result.exception, LabError)
        assert "live in the repository" in str(result.exception)
