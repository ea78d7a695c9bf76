"""Records: written and read whole, refused when they are anything else, averaged and paired as the formulas say."""

import dataclasses
import hashlib
import json
import re

import pytest

from llmsuite_lab.agents import records as agents
from llmsuite_lab.core import records
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.history import History
from llmsuite_lab.core.provenance import provenance
from llmsuite_lab.reasoning import records as reasoning
from llmsuite_lab.retrieval import records as retrieval

HISTORY = History(2, [1.5, 0.25], [1e-3, 5e-4], [1.0, 0.5], [100, 90], [50, 40], [1.0, 1.25])


def test_what_is_written_is_read(no_records, recorded):
    made = dataclasses.replace(recorded("pal", {"test": [1, None, "ü"]}, seed=3, history=HISTORY), **provenance("llmsuite train pal", 3, 61.26, "c0ffee"))
    file = records.write(made)
    assert file == no_records / "pal_seed3.json"
    assert file.read_bytes().count(b"\n") == 1
    assert records.read("pal", 3) == made
    assert (made.wall_s, made.minutes) == (61.3, 1.0)
    assert {"torch", "transformers", "peft", "python"} <= set(made.versions)
    untrained = recorded("pal_base", [1])
    assert "history" not in json.loads(records.write(untrained).read_text())
    assert records.read("pal_base") == untrained
    assert untrained.minutes is None


def test_seeds_are_read_off_the_files_of_this_name_alone(no_records, recorded):
    for name, seed in (("pal", 10), ("pal", 2), ("pal_short", 0), ("short_pal", 1)):
        records.write(recorded(name, [seed], seed=seed))
    (no_records / "pal_seed1.json.bak").write_text("")
    (no_records / "pal_seed01.json").write_text("")
    (no_records / "pal_seed5_seed1.json").write_text("")
    assert records.seeds("pal") == [2, 10]
    assert [run.seed for run in records.read_all("pal")] == [2, 10]
    assert records.seeds("react") == []
    with pytest.raises(LabError, match=r"react_seed0.json is not in data/runs: .*`llmsuite train react --seed 0`"):
        records.read_all("react")


def changed(**changes):
    """The record with these changes, its checksum made to match: what else is wrong with it must be seen."""

    def damage(line):
        value = {**json.loads(line), **changes}
        del value["sha256"]
        digest = hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()
        return (json.dumps({**value, "sha256": digest}, ensure_ascii=False) + "\n").encode()

    return damage


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda line: b"", "cut"),
        (lambda line: line[:-1], "cut"),
        (lambda line: line[: len(line) // 2], "cut"),
        (lambda line: line[: len(line) // 2] + b"\n", "cannot be used"),
        (lambda line: line + line, "one line"),
        (lambda line: b"\xff" + line, "utf-8"),
        (lambda line: b"[1, 2]\n", "another kind"),
        (lambda line: b'{"loss": 1}\n', "another kind"),
        (changed(settings=3), "its settings is '3'"),
        (changed(wall_s="long"), "its wall_s is 'long'"),
        (changed(versions=[]), "its versions"),
        (lambda line: b"[" * 200_000 + b"\n", "recursion"),
        (changed(surprise=3), "another kind"),
        (changed(results=[float("nan")]), "NaN"),
        (lambda line: line.replace(b"1.5", b"1.6"), "checksum"),
        (lambda line: line.replace(b'"results": [1]', b'"results": [2]'), "checksum"),
        (changed(name="cot"), "one of cot, seed 1"),
        (changed(seed=2), "one of pal, seed 2"),
        (changed(tokens=191), "191 tokens"),
        (changed(history={"planned_steps": 2}), "0"),
        (changed(history={**HISTORY.as_dict(), "losses": [1.5]}), r"\[1, 2\] entries for 2 steps"),
        (changed(history={"loss": []}), "history"),
        (changed(history=[1]), "history"),
    ],
)
def test_a_damaged_cut_or_foreign_record_is_refused_with_its_file_and_its_remedy(no_records, recorded, damage, says):
    file = records.write(recorded("pal", [1], seed=1, history=HISTORY))
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(LabError, match=r"pal_seed1\.json.*`llmsuite train pal --seed 1`") as caught:
        records.read("pal", 1)
    assert re.search(says, str(caught.value))


def test_what_no_record_can_be_is_not_written(no_records, recorded):
    for name in ("Pal", "pal-1", "pal__x", "", "../pal", "pal_seed1", None, 3):
        with pytest.raises(ValueError, match="cannot name a record"):
            records.write(recorded(name, []))
    for seed in (-1, 0.0, True):
        with pytest.raises(ValueError, match="seed="):
            records.write(recorded("pal", [], seed=seed))
    with pytest.raises(ValueError, match="JSON"):
        records.write(recorded("pal", [float("nan")]))
    with pytest.raises(ValueError, match=r"\[1\] entries for 2 steps"):
        records.write(recorded("pal", [], history=History(2, [1.0], [1.0], [1.0], [1], [1], [1.0])))
    with pytest.raises(TypeError, match="no Record"):
        records.write({"name": "pal"})
    assert not list(no_records.iterdir())


def test_only_a_record_of_the_same_run_is_replaced(no_records, recorded):
    for folder in (None, no_records.parent / "out"):
        records.write(recorded("pal", ["old"]), folder)
        records.write(recorded("pal", ["new"]), folder)
        assert records.read("pal", folder=folder).results == ["new"]
    theirs = no_records.parent / "out" / "cot_seed0.json"
    theirs.write_text("my thesis")
    with pytest.raises(LabError, match="stays as it is"):
        records.write(recorded("cot", []), theirs.parent)
    assert theirs.read_text() == "my thesis"


def test_the_remedy_of_an_unreadable_record_works(no_records, recorded):
    for damage in (b"", b'{"name": "cot", "seed": 0, "com', b"\x00"):
        (no_records / "cot_seed0.json").write_bytes(damage)
        records.write(recorded("cot", ["whole"]))
        assert records.read("cot").results == ["whole"]


def test_an_items_score_is_its_mean_over_the_seeds_and_differences_are_paired():
    ours = [{"a": 1.0, "b": 0.0, "c": 1.0}, {"b": 1.0, "c": 1.0, "a": 0.0}, {"a": 1.0, "b": 0.0, "c": 1.0}]
    mean = records.mean_over_seeds(ours, lambda run: run)
    assert mean == pytest.approx({"a": 2 / 3, "b": 1 / 3, "c": 1.0})
    assert records.paired_differences(mean, {"c": 0.0, "b": 1.0, "a": True}) == pytest.approx([2 / 3 - 1, 1 / 3 - 1, 1.0])
    assert records.mean_over_seeds([[1.0, 0.0], [0.0, 0.0]], lambda run: run) == [0.5, 0.0]
    assert records.paired_differences([1.0, 0.5], [0.0, True]) == [1.0, -0.5]
    assert records.mean_over_seeds([{"a": 1.0, "b": None, "c": None}, {"a": 0.0, "b": 0.5, "c": None}], lambda run: run) == {"a": 0.5, "b": 0.5}
    assert records.mean_over_seeds([[1.0, None], [0.0, 0.5]], lambda run: run) == [0.5, 0.5]
    with pytest.raises(ValueError, match="item 1 has no score in any run"):
        records.mean_over_seeds([[1.0, None, 1.0], [0.0, None, 0.0]], lambda run: run)


def test_different_items_are_never_paired(recorded):
    with pytest.raises(ValueError, match="asked different items, such as 'a'"):
        records.paired_differences({"a": 1.0, "b": 0.0}, {"b": 0.0, "c": 1.0})
    with pytest.raises(ValueError, match="2, 3 items"):
        records.paired_differences([1.0, 0.0], [1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match="by position"):
        records.paired_differences([1.0], {"a": 1.0})
    with pytest.raises(ValueError, match="different items"):
        records.mean_over_seeds([{"a": 1.0}, {"b": 1.0}], lambda run: run)
    with pytest.raises(ValueError, match="no run"):
        records.mean_over_seeds([], lambda run: run)


READERS = [agents.elsewhere, agents.elsewhere_by_kind, agents.said_not_enough, retrieval.elsewhere, retrieval.reader_shares]
READERS += [reasoning.by_told_story, reasoning.mean_over_seeds, lambda runs: reasoning.equation_truth(runs, [1]), lambda runs: agents.correct(runs[0])]


@pytest.mark.parametrize("read", READERS)
def test_runs_of_another_recipe_are_refused_by_name(recorded, read):
    with pytest.raises(ValueError, match=r"the run wine, seed 4, has no '.+' \(it holds cellar\): give runs of a recipe"):
        read([recorded("wine", {"cellar": []}, seed=4)])
    with pytest.raises(ValueError, match=r"the run wine, seed 4, has results of another form \(it is a list\): give runs of a recipe"):
        read([recorded("wine", [1, 0], seed=4)])


def test_each_seed_has_its_own_mean(recorded):
    runs = [recorded("pal", [1, 0, 1, 1], seed=0), recorded("pal", [0, 0, 0, 1], seed=4)]
    assert records.per_seed(runs, lambda run: run.results) == {0: 0.75, 4: 0.25}
    assert records.per_seed(runs, lambda run: dict(enumerate(run.results))) == {0: 0.75, 4: 0.25}


def test_every_file_in_data_runs_is_a_whole_record_under_its_name():
    files = sorted(records.runs_dir().iterdir())
    assert len(files) > 20
    for file in files:
        name, _, seed = file.stem.rpartition("_seed")
        assert file.name == records.file_name(name, int(seed))
        assert records.read(name, int(seed)).name == name
