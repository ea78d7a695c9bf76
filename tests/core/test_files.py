"""Files and folders: whole or not at all, whenever the process dies; and nothing that is not the course's is removed or replaced."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest

from llmsuite_lab.core import files, swap
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import MARK, check_folder, whole_folder, write_bytes, write_json, write_output, write_text
from llmsuite_lab.core.swap import SUFFIX, settle, workshop

KIND = "a heap of files"


def make(folder: Path, text: str | type[BaseException]) -> None:
    """A folder of two files; an error in the place of the text strikes after the first."""
    with whole_folder(folder, KIND) as new:
        (new / "a.txt").write_text(str(text))
        if not isinstance(text, str):
            raise text
        (new / "deep").mkdir()
        (new / "deep" / "b.txt").write_text(text)


def tree(folder: Path) -> dict[str, str | None]:
    """Everything below, links not followed: path → content."""
    return {
        p.relative_to(folder).as_posix(): p.read_text(errors="replace") if p.is_file() and not p.is_symlink() else None
        for p in sorted(folder.rglob("*"))
    }


def states(folder: Path) -> str:
    """ "old" or "new" when all texts are; else what there is."""
    texts = {text for name, text in tree(folder).items() if name.endswith(".txt")}
    return texts.pop() if len(texts) == 1 else str(tree(folder))


# --- whole or not at all, wherever the process dies -------------------------------------------------------------------------------------

DYING = """
import json, os, sys
from pathlib import Path
from filelock import FileLock
from llmsuite_lab.core import files, swap

target, two_renames, kind = Path(sys.argv[1]), sys.argv[2] == "two renames", sys.argv[3]

def put(text):
    if target.suffix:
        return files.write_text(target, text)
    with files.whole_folder(target, kind) as new:
        (new / "a.txt").write_text(text)
        (new / "deep").mkdir()
        (new / "deep" / "b.txt").write_text(text)

def state():
    found = [target] if target.is_file() else sorted(target.rglob("*.txt"))
    return [p.read_text() for p in found]

put("old")  # everything is imported
for at in range(1, 500):
    put("old")
    child = os.fork()
    if child == 0:
        calls = 0
        def die(event, arguments):
            global calls
            calls += event.split(".")[0] in ("os", "shutil", "tempfile", "open", "fcntl", "ctypes")
            if calls == at:
                os._exit(9)
        if two_renames:
            swap._EXCHANGE.clear()
        sys.addaudithook(die)
        put("new")
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    dead = state()
    swap.settle(target)
    print(json.dumps([code, dead, state(), [p.name for p in target.parent.iterdir()]]))
    if code == 0:
        break
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the child is a fork, so that hundreds of deaths take a second")
@pytest.mark.parametrize("way", ["exchange", "two renames", "file"])
def test_a_process_killed_at_any_step_leaves_the_old_or_the_new(tmp_path, way):
    """A process dies at its first, second, … call of the operating system; the next start finds one whole thing and clears the rest away."""
    target = tmp_path / ("notes.txt" if way == "file" else "heap")
    command = [sys.executable, "-c", DYING, str(target), way, KIND]
    done = subprocess.run(command, timeout=100, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    whole = [[text] * (1 if way == "file" else 2) for text in ("old", "new")]
    for at, (_, dead, settled, left) in enumerate(rows, 1):
        assert settled in whole, f"killed at call {at}"
        assert dead in (whole if way != "two renames" else [*whole, []]), f"killed at call {at}: half of something was to be seen"
        assert left == [target.name], f"killed at call {at}: leftovers"
    ends = [settled[0] for _, _, settled, _ in rows]
    assert ends == sorted(ends, reverse=True), "first the old, from one call on the new"
    assert set(ends) == {"old", "new"}
    assert [code for code, *_ in rows] == [9] * (len(rows) - 1) + [0]
    assert len(rows) > 12
    assert any(dead == [] for _, dead, _, _ in rows) == (way == "two renames"), "only there is a moment between, which is mended"


@pytest.mark.parametrize("step", ["rename", "replace"])
def test_a_failing_step_raises_and_leaves_the_old(tmp_path, monkeypatch, step):
    make(tmp_path / "heap", "old")
    monkeypatch.setattr(swap, "_EXCHANGE", {})
    original, calls = getattr(os, step), []

    def failing(a, b):
        calls.append(b)
        if Path(b) == tmp_path / "heap" and Path(a).name == "new":
            raise OSError(errno.ENOSPC, "No space left on device")
        original(a, b)

    monkeypatch.setattr(swap.os, step, failing)
    if step == "replace":
        with pytest.raises(OSError, match="No space left"):
            make(tmp_path / "heap", "new")
        assert states(tmp_path / "heap") == "old"
    else:
        monkeypatch.setattr(swap.os, step, lambda a, b: failing(a, tmp_path / "heap"))
        with pytest.raises(OSError, match="No space left"):
            make(tmp_path / "other", "where no folder was")
        assert not (tmp_path / "other").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["heap"]


def test_an_error_or_a_stop_in_the_making_leaves_the_old(tmp_path):
    make(tmp_path / "heap", "old")
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error):
            make(tmp_path / "heap", error)
    assert states(tmp_path / "heap") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["heap"]


def test_the_workshop_of_a_living_process_is_let_be(tmp_path):
    target = tmp_path / "heap"
    with workshop(target) as shop:
        code = f"from pathlib import Path; from llmsuite_lab.core.swap import settle; settle(Path({str(target)!r}))"
        subprocess.run([sys.executable, "-c", code], timeout=60, check=True)
        assert (shop / "lock").exists()
    assert not shop.exists()


def test_what_somebody_put_into_a_dead_workshop_stays(tmp_path):
    shop = tmp_path / f".heap.abcdefgh{SUFFIX}"
    (shop / "new").mkdir(parents=True)
    (shop / "lock").touch()
    (shop / "thesis.txt").write_text("mine")
    settle(tmp_path / "heap")
    assert [p.name for p in shop.iterdir()] == ["thesis.txt"]
    assert (shop / "thesis.txt").read_text() == "mine"


def test_only_workshops_of_this_very_target_are_cleared(tmp_path):
    """Somebody's hidden folder, a folder of the same form without a lock, and the workshop of another target are not touched."""
    theirs = [tmp_path / ".heap.abcdefgh", tmp_path / f".heap.abcdefgh{SUFFIX}", tmp_path / f".heap.more.abcdefgh{SUFFIX}"]
    for folder in theirs:
        folder.mkdir()
        (folder / "thesis.txt").write_text("mine")
    (theirs[2] / "lock").touch()
    (theirs[2] / "old").mkdir()
    settle(tmp_path / "heap")
    make(tmp_path / "heap", "new")
    assert all((folder / "thesis.txt").read_text() == "mine" for folder in theirs)


def test_two_writers_at_once_leave_one_whole_folder(tmp_path):
    target = tmp_path / "heap"
    with whole_folder(target, KIND) as first:
        (first / "a.txt").write_text("first")
        make(target, "second")
    assert set(tree(target).values()) & {"first", "second"} == {"first"}
    make(target, "third")
    assert states(target) not in ("old", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["heap"]


# --- nothing of the user's --------------------------------------------------------------------------------------------------------------


def their_folder(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.txt").write_text("three years")


def ours_and_theirs(folder: Path) -> None:
    make(folder, "old")
    (folder / "thesis.txt").write_text("three years")


def theirs_in_a_subfolder(folder: Path) -> None:
    make(folder, "old")
    (folder / "photographs" / "2019").mkdir(parents=True)
    (folder / "photographs" / "2019" / "sea.jpg").write_text("blue")


def their_folder_where_a_file_was(folder: Path) -> None:
    make(folder, "old")
    (folder / "a.txt").unlink()
    (folder / "a.txt").mkdir()
    (folder / "a.txt" / "mine.txt").write_text("mine")


def a_link(folder: Path) -> None:
    their_folder(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere", target_is_directory=True)


def a_link_inside(folder: Path) -> None:
    make(folder, "old")
    their_folder(folder.with_name("elsewhere"))
    (folder / "shelf").symlink_to("../elsewhere", target_is_directory=True)


def their_empty_folder_where_a_file_was(folder: Path) -> None:
    make(folder, "old")
    (folder / "a.txt").unlink()
    (folder / "a.txt").mkdir()


def their_link_that_leads_nowhere_where_a_file_was(folder: Path) -> None:
    make(folder, "old")
    (folder / "a.txt").unlink()
    (folder / "a.txt").symlink_to("a disk that is not there today")


def their_link_where_a_folder_was(folder: Path) -> None:
    with whole_folder(folder, KIND) as new:
        (new / "deep").mkdir()
        (new / "deep" / "a.txt").write_text("old")
    (folder / "deep").rename(folder.with_name("moved"))
    (folder / "deep").symlink_to("../moved", target_is_directory=True)


def their_file_where_a_folder_was(folder: Path) -> None:
    their_link_where_a_folder_was(folder)
    (folder / "deep").unlink()
    (folder / "deep").write_text("three years")


def a_mark_of_another_shape(folder: Path) -> None:
    make(folder, "old")
    (folder / MARK).write_text(json.dumps({"kind": KIND, "files": dict.fromkeys(json.loads((folder / MARK).read_text())["files"], 5)}))


def a_mark_without_end(folder: Path) -> None:
    make(folder, "old")
    (folder / MARK).write_text("[" * 100_000)


def another_kind(folder: Path) -> None:
    with whole_folder(folder, "an index") as new:
        (new / "a.txt").write_text("vectors")


def a_forged_mark(folder: Path) -> None:
    their_folder(folder)
    (folder / MARK).write_text("{ not json")


@pytest.mark.parametrize(
    "standing",
    [
        their_folder,
        ours_and_theirs,
        theirs_in_a_subfolder,
        their_folder_where_a_file_was,
        a_link,
        a_link_inside,
        their_empty_folder_where_a_file_was,
        their_link_that_leads_nowhere_where_a_file_was,
        their_link_where_a_folder_was,
        their_file_where_a_folder_was,
        a_mark_of_another_shape,
        a_mark_without_end,
        another_kind,
        a_forged_mark,
    ],
)
def test_a_folder_that_is_not_ours_alone_is_refused_before_anything_is_made(tmp_path, standing):
    standing(tmp_path / "heap")
    before = tree(tmp_path)
    with pytest.raises(LabError, match="heap") as refusal, whole_folder(tmp_path / "heap", KIND):
        pytest.fail("work began for a folder that will be refused")
    assert "\n" not in str(refusal.value)
    assert tree(tmp_path) == before


def test_what_comes_into_the_folder_meanwhile_is_kept(tmp_path):
    def meanwhile():
        with whole_folder(tmp_path / "heap", KIND) as new:
            (new / "a.txt").write_text("new")
            (tmp_path / "heap" / "thesis.txt").write_text("three years")

    make(tmp_path / "heap", "old")
    with pytest.raises(LabError, match="thesis.txt"):
        meanwhile()
    assert states(tmp_path / "heap").count("three years") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["heap"]


def test_home_the_working_folder_and_what_holds_them_are_refused(tmp_path, monkeypatch):
    (tmp_path / "home" / "me" / "work").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "me"))
    monkeypatch.chdir(tmp_path / "home" / "me" / "work")
    for place in (Path(), Path(".."), Path("../work"), tmp_path / "home", Path.home(), Path("/")):
        with pytest.raises(LabError, match="is or holds your home folder|is or holds the folder you work in"):
            check_folder(place, KIND)
    check_folder(Path("run"), KIND)


def test_a_new_an_empty_and_our_own_folder_are_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "deep" / "new", tmp_path / "empty"):
        make(folder, "old")
        (folder / ".DS_Store").write_text("a file manager looked in")
        make(folder, "new")
        assert states(folder) == "new"
    with pytest.raises(LabError, match="is a file"):
        make(tmp_path / "empty" / "a.txt", "no")


def test_a_file_is_not_written_over_a_folder_or_a_link(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "theirs.json").write_text("{}")
    (tmp_path / "link.json").symlink_to("theirs.json")
    before = tree(tmp_path)
    for name, what in (("folder", "folder"), ("link.json", "link")):
        for write in (lambda p: write_bytes(p, b"x"), lambda p: write_json(p, 1), lambda p: write_output(p, "x")):
            with pytest.raises(LabError, match=f"{name} is"):
                write(tmp_path / name)
        assert what in ("folder", "link")
    assert tree(tmp_path) == before


def test_output_replaces_only_what_it_wrote_itself(tmp_path):
    file = tmp_path / "out" / "page.html"
    for text in ("one", "two", "two", "three"):
        write_output(file, text)
        assert file.read_text() == text
    file.write_text("my notes on three")
    with pytest.raises(LabError, match="page.html is there already"):
        write_output(file, "four")
    assert file.read_text() == "my notes on three"
    file.unlink()
    write_output(file, b"five")
    (tmp_path / "out" / "theirs.html").write_text("theirs")
    with pytest.raises(LabError, match="theirs.html is there already"):
        write_output(tmp_path / "out" / "theirs.html", "six")
    assert tree(tmp_path / "out") | {MARK: None} == {MARK: None, "page.html": "five", "theirs.html": "theirs"}


def test_output_killed_between_its_two_files_is_still_ours(tmp_path, monkeypatch):
    file = tmp_path / "page.html"
    write_output(file, "one")
    with monkeypatch.context() as fault:
        fault.setattr(
            files,
            "write_bytes",
            lambda path, data: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")) if path == file else write_bytes(path, data),
        )
        with pytest.raises(OSError, match="full"):
            write_output(file, "two")
    assert file.read_text() == "one"
    write_output(file, "three")
    assert file.read_text() == "three"


def test_output_in_a_whole_folder_belongs_to_it(tmp_path):
    make(tmp_path / "heap", "old")
    write_output(tmp_path / "heap" / "run.json", "{}")
    with pytest.raises(LabError, match="a.txt is there already"):  # a part of the folder is no output
        write_output(tmp_path / "heap" / "a.txt", "x")
    (tmp_path / "heap" / "run.json").write_text("{ mine }")
    with pytest.raises(LabError, match=r"not as the course wrote it \(run.json\)"):
        make(tmp_path / "heap", "new")
    (tmp_path / "heap" / "run.json").write_text("{}")
    make(tmp_path / "heap", "new")
    assert states(tmp_path / "heap") == "new"


def test_a_mark_that_knows_names_alone_still_names_the_course_s_own(tmp_path):
    make(tmp_path / "heap", "old")
    mark = json.loads((tmp_path / "heap" / MARK).read_text())
    assert mark == {"kind": KIND, "files": {name: hashlib.sha256(b"old").hexdigest() for name in ("a.txt", "deep/b.txt")}}
    (tmp_path / "heap" / MARK).write_text(json.dumps(mark | {"files": dict.fromkeys(mark["files"])}))
    make(tmp_path / "heap", "new")
    assert states(tmp_path / "heap") == "new"


def test_a_cache_mends_what_is_not_as_it_was_written(tmp_path, monkeypatch):
    make(tmp_path / "heap", "old")
    (tmp_path / "heap" / "a.txt").write_text("rot")
    with whole_folder(tmp_path / "heap", KIND, by_name=True) as new:
        (new / "a.txt").write_text("new")
    assert states(tmp_path / "heap") == "new"
    (tmp_path / "heap" / "a.txt").write_text("rot")
    monkeypatch.setattr(files, "data_dir", lambda: tmp_path)  # in the course's own data everything is the course's
    make(tmp_path / "heap", "newer")
    assert states(tmp_path / "heap") == "newer"


def test_texts_are_utf_8_and_parents_are_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "c.txt", "ü\n")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == b"\xc3\xbc\n"
    write_json(tmp_path / "d.json", {"é": [1]})
    assert json.loads((tmp_path / "d.json").read_text(encoding="utf-8")) == {"é": [1]}
    assert (tmp_path / "d.json").stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "x").touch()
        return 0o666 & ~(Path(folder) / "x").stat().st_mode


def save_history(path: Path) -> None:
    from llmsuite_lab.core.history import History

    History(3).save(path)


def save_figure(path: Path) -> None:
    from matplotlib.figure import Figure

    from llmsuite_lab.core import plots

    plots.save_figure(Figure(), path)


def save_world(path: Path) -> None:
    from llmsuite_lab.world import word_problems

    word_problems.write(path, word_problems.grid("test", 1, seed=1))


@pytest.mark.parametrize(
    ("save", "name"), [(save_history, "history.json"), (save_figure, "figure.svg"), (save_figure, "figure.pdf"), (save_world, "p.jsonl")]
)
def test_whatever_takes_a_path_replaces_its_own_file_and_no_other(tmp_path, save, name):
    save(tmp_path / "out" / name)
    first = (tmp_path / "out" / name).read_bytes()
    save(tmp_path / "out" / name)
    assert (tmp_path / "out" / name).read_bytes() == first, "the same thing is the same bytes"
    (tmp_path / name).write_text("my thesis")
    with pytest.raises(LabError, match="stays as it is"):
        save(tmp_path / name)
    assert (tmp_path / name).read_text() == "my thesis"
    with pytest.raises(LabError, match=f"{name} is a file: name another place"):
        save(tmp_path / name / "deeper.svg")


def test_a_folder_that_takes_nothing_is_told_before_the_work(tmp_path, monkeypatch):
    """By what the system says of it: to root nothing else is closed."""
    monkeypatch.setattr(files.os, "access", lambda place, how: Path(place) != tmp_path)
    with pytest.raises(LabError, match="nothing may be written into"):
        files.check_output(tmp_path / "new" / "record.json")


def save_tokenizer(folder: Path) -> None:
    from llmsuite_lab.transformer.bpe_training import train_bpe

    train_bpe(["a b a b"], 260).save(folder)


def save_index(folder: Path) -> None:
    import numpy as np

    from llmsuite_lab.retrieval.index import Index

    index = Index(4, "embedder")
    index.add(["a", "b"], np.eye(4, dtype="float32")[:2])
    index.save(folder)


def save_adapter(folder: Path) -> None:
    import torch

    from llmsuite_lab.lm.adapters import write_adapter

    write_adapter(folder, ({"a": torch.zeros(2)}, {}), {})


def save_checkpoint(folder: Path, resume: bool = False) -> None:
    import torch

    from llmsuite_lab.lm.training import fit

    model, xs = torch.nn.Linear(3, 1), [torch.ones(3)] * 4
    squared = lambda model, batch: ((model(batch) ** 2).sum(), len(batch))  # noqa: E731
    fit(model, xs, steps=1, loss_fn=squared, collate_fn=torch.stack, progress=False, checkpoint=folder, resume=resume)


def make_old(folder: Path) -> None:
    make(folder, "old")


@pytest.mark.parametrize("save", [save_tokenizer, save_index, save_adapter, save_checkpoint])
def test_whatever_takes_a_folder_replaces_its_own_and_no_other(tmp_path, save):
    for _ in range(2):
        save(tmp_path / "made")
    (tmp_path / "made" / "thesis.txt").write_text("three years")
    their_folder(tmp_path / "theirs")
    before = tree(tmp_path)
    for folder in (tmp_path / "made", tmp_path / "theirs"):
        with pytest.raises(LabError, match=r"holds what the course did not put there \(thesis.txt"):
            save(folder)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("save", [save_tokenizer, save_index, save_adapter, save_checkpoint, partial(save_checkpoint, resume=True), make_old])
def test_an_edit_in_any_file_of_a_folder_is_the_users_and_stays(tmp_path, save):
    """Each file of each thing that a call makes."""
    save(tmp_path / "made")
    written = [p for p in (tmp_path / "made").rglob("*") if p.is_file() and p.name != MARK]
    assert len(written) >= 2
    for file in written:
        before = file.read_bytes()
        for edited in (before + b" ", b"my own notes", b""):
            file.write_bytes(edited)
            with pytest.raises(LabError, match=rf"is not as the course wrote it \({file.relative_to(tmp_path / 'made')}|is damaged|belongs to another") as said:
                save(tmp_path / "made")
            assert "\n" not in str(said.value)
            assert file.read_bytes() == edited
        file.write_bytes(before)
    save(tmp_path / "made")
    assert [p.name for p in tmp_path.iterdir()] == ["made"]


def load_index(folder: Path) -> None:
    from llmsuite_lab.retrieval.index import Index

    assert len(Index.load(folder, "embedder")) == 2


def load_adapter(folder: Path) -> None:
    from llmsuite_lab.lm.adapters import adapter_path

    assert adapter_path(folder) == folder


def resume(folder: Path) -> None:
    save_checkpoint(folder, resume=True)
    assert json.loads((folder / "state.json").read_text())["history"]["losses"] == [9.0], "the step that is on record, none taken anew"


@pytest.mark.parametrize(("save", "load"), [(save_index, load_index), (save_adapter, load_adapter), (save_checkpoint, resume)])
def test_whoever_reads_puts_back_what_a_dead_process_had_moved_away(tmp_path, save, load):
    save(tmp_path / "made")
    if save is save_checkpoint:
        state = json.loads((tmp_path / "made" / "state.json").read_text())
        state["history"]["losses"] = [9.0]
        with files.whole_folder(tmp_path / "made", "a training checkpoint") as new:
            shutil.copy(tmp_path / "made" / "state.safetensors", new)
            (new / "state.json").write_text(json.dumps(state))
    shop = tmp_path / f".made.abcdefgh{SUFFIX}"
    shop.mkdir()
    (shop / "lock").touch()
    (tmp_path / "made").rename(shop / "old")
    load(tmp_path / "made")
    assert [p.name for p in tmp_path.iterdir()] == ["made"]
