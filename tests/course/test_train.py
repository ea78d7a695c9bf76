"""`llmsuite train`: recipes are found by themselves, listed, and make a record and an adapter; here with a tiny model instead of the real one."""

import json
import subprocess
import sys
import tomllib
from dataclasses import asdict
from functools import partial

import pytest
import torch
from typer.testing import CliRunner

from llmsuite_lab.core import records
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.paths import data_dir, repo_dir
from llmsuite_lab.core.runs import Outcome, Recipe, Run, make
from llmsuite_lab.course import cli, notebooks, train
from llmsuite_lab.course.claims import claims
from llmsuite_lab.lm import adapters, training
from llmsuite_lab.lm.runs import trained


def tiny_train(seed, checkpoint, stop_at=None):
    """Two steps of a LoRA on a tiny model, as the sections' `train` functions give them."""
    from transformers import LlamaConfig, LlamaForCausalLM

    def stop(step, history):
        if step == stop_at:
            raise KeyboardInterrupt

    torch.manual_seed(0)
    shape = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 1, "num_attention_heads": 3, "num_key_value_heads": 1}
    model = adapters.add_lora(LlamaForCausalLM(LlamaConfig(vocab_size=61, **shape)), seed, rank=4)
    history = training.fit(
        model, [training.Example([5, 6, 7], [8, 9])] * 2, steps=2, batch_size=2, lr=1e-2, dtype=torch.float32, progress=False,
        checkpoint=checkpoint, resume=checkpoint is not None, on_step=stop,
    )  # fmt: skip
    return model, history, {"model": "smollm2-135m-instruct", "seed": seed}


def tiny(name="tiny", **options):
    return Recipe(name, "adapter: nothing of use", lambda run: trained(run, partial(tiny_train, **options), lambda folder: {"right": [True]}))


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("LLMSUITE_CACHE", str(tmp_path / "cache"))


def test_a_run_leaves_an_adapter_and_a_whole_record(tmp_path, capsys):
    file = make(tiny(), seed=1, out=tmp_path / "out")
    assert file == tmp_path / "out" / "tiny_seed1.json"
    record = records.read("tiny", 1, tmp_path / "out")
    folder = adapters.adapter_path(tmp_path / "out" / "tiny_seed1")
    assert adapters.adapter_base(folder) == "smollm2-135m-instruct"
    made = json.loads((folder / "provenance.json").read_text())
    for key in ("command", "seed", "versions", "machine", "date", "wall_s", "commit", "settings", "tokens"):
        assert made[key] == getattr(record, key)
    assert record.command == "llmsuite train tiny --seed 1"
    assert len(record.history.losses) == 2
    assert record.results == {"right": [True]}
    assert "last loss" in capsys.readouterr().out


def test_a_recipe_without_a_training_is_timed_and_has_no_history(tmp_path):
    sweep = Recipe("sweep", "rows", lambda run: Outcome({"rates": [0.1, 0.2]}, [{"rate": rate, "right": [1, 0]} for rate in (0.1, 0.2)]))
    record = records.read("sweep", folder=make(sweep, out=tmp_path).parent)
    assert record.wall_s >= 0
    assert record.history is None
    assert [row["rate"] for row in record.results] == [0.1, 0.2]


def test_only_the_shipped_seed_goes_to_the_data_folder(tmp_path):
    cot = train.recipe("cot")
    assert Run(cot).adapter.parts[-3:] == ("data", "adapters", "cot")
    assert Run(cot, 2).adapter == tmp_path / "cache" / "adapters" / "cot_seed2"
    assert Run(train.recipe("short_cot")).adapter == tmp_path / "cache" / "adapters" / "short_cot_seed0"
    assert Run(cot, 2, tmp_path / "x").adapter == tmp_path / "x" / "cot_seed2"


def test_a_stopped_run_says_how_to_go_on_and_goes_on(tmp_path):
    with pytest.raises(LabError, match=r"stopped after 1 of 2 steps: the same command goes on from there"):
        make(tiny(stop_at=1), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    make(tiny(), out=tmp_path / "out")
    make(tiny("whole"), out=tmp_path / "out")
    stopped, whole = (records.read(name, folder=tmp_path / "out") for name in ("tiny", "whole"))
    assert stopped.history.losses == whole.history.losses
    assert not any((tmp_path / "cache" / "training").iterdir())  # or the next run would write an old training under a new commit


def test_a_run_stopped_while_it_is_scored_leaves_the_adapter_of_the_earlier_one(tmp_path):
    def stop(folder):
        assert (folder / adapters.WEIGHTS).is_file()
        raise KeyboardInterrupt

    out = tmp_path / "out"
    make(tiny(), out=out)
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    assert len(before) == 6  # with the marks of both folders
    with pytest.raises(KeyboardInterrupt):
        make(Recipe("tiny", "adapter: other weights", lambda run: trained(run, lambda seed, checkpoint: tiny_train(7, None), stop)), out=out)
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before


def test_foreign_files_are_found_before_anything_runs(tmp_path):
    (tmp_path / "tiny_seed0.json").write_text("my thesis")
    never = Recipe("tiny", "nothing", lambda run: pytest.fail("it ran"))
    with pytest.raises(LabError, match="stays as it is"):
        make(never, out=tmp_path)
    assert (tmp_path / "tiny_seed0.json").read_text() == "my thesis"
    (tmp_path / "tiny_seed1").mkdir()
    (tmp_path / "tiny_seed1" / "thesis.tex").touch()
    with pytest.raises(LabError, match=r"thesis\.tex"):
        make(Recipe("tiny", "adapter: none", lambda run: trained(run, lambda seed, checkpoint: pytest.fail("it ran"), len)), 1, tmp_path)


def section(folder, name, text=None):
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text("")
    if text is not None:
        (folder / name / "recipes.py").write_text(f"from llmsuite_lab.core.runs import Outcome, Recipe\n{text}\n")


@pytest.fixture
def house(monkeypatch, tmp_path):
    """A package with sections of its own: house.cellar has a recipe, house.attic has none."""
    import importlib

    name = f"house_{tmp_path.name}".replace("-", "_")
    section(tmp_path, name)
    section(tmp_path / name, "attic")
    section(tmp_path / name, "cellar", 'RECIPES = (Recipe("wine", "a bottle", lambda run: Outcome({}, [])),)')
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module(name), tmp_path / name


def test_a_new_sections_recipes_are_found_by_themselves(house):
    package, folder = house
    assert {name: (where, recipe.makes) for name, (where, recipe) in train.find(package).items()} == {"wine": ("cellar", "a bottle")}
    section(folder, "den", 'RECIPES = (Recipe("wine", "another", lambda run: Outcome({}, [])),)')
    with pytest.raises(ValueError, match="cellar and den both have a recipe 'wine'"):
        train.find(package)


def test_a_recipes_file_without_recipes_is_said(house):
    package, folder = house
    section(folder, "den", "RECIPES = [1]")
    with pytest.raises(ValueError, match=r"den\.recipes has no tuple RECIPES"):
        train.find(package)


@pytest.mark.parametrize(
    "wrong", [{"name": "Wine"}, {"name": "wine_seed1"}, {"seeds": ()}, {"seeds": (-1,)}, {"makes": ""}, {"makes": "two\nlines"}], ids=str
)
def test_a_recipe_that_could_name_no_record_is_refused(wrong):
    with pytest.raises(ValueError, match="record|seed|line"):
        Recipe(**{"name": "wine", "makes": "a bottle", "measure": lambda run: Outcome({}, [])} | wrong)


def written() -> set[str]:
    """Sections all of whose notebooks stand: their recipes are recorded, but those that a draft waits for. Another may list what it will need."""
    return {row.section for row in claims().values()} - {
        row.section for row in claims().values() if not (notebooks.folder() / f"{row.notebook}.ipynb").is_file()
    }


def waited_for() -> set[str]:
    """Recipes whose runs a draft of cells waits for, by its `waits_for`."""
    drafts = sorted((repo_dir() / "tools" / "drafts").glob("*.toml"))
    return {name for file in drafts for name in tomllib.loads(file.read_text(encoding="utf-8"))["waits_for"]}


def test_recipes_records_and_adapters_are_the_same_set():
    known = {name: recipe for name, (_, recipe) in train.find().items()}
    every = {(name, seed) for name, recipe in known.items() for seed in recipe.seeds}
    found_here = train.find().items()
    due = {name: recipe for name, (section, recipe) in found_here if section in written() and name not in waited_for()}
    needed = {(name, seed) for name, recipe in due.items() if not recipe.large for seed in recipe.seeds}
    assert waited_for() <= set(known)
    found = {(file.stem.rpartition("_seed")[0], int(file.stem.rpartition("_seed")[2])) for file in records.runs_dir().iterdir()}
    assert found <= every
    assert needed <= found
    shipped = {name: recipe.shelf for name, (section, recipe) in train.find().items() if recipe.ships and section in written()}
    ours = {name for name, recipe in known.items() if recipe.ships and recipe.shelf == "adapters"}
    assert {name for name, shelf in shipped.items() if shelf == "adapters"} <= set(adapters.adapters()) <= ours
    assert all((data_dir() / shelf / name).is_dir() for name, shelf in shipped.items())
    for name, recipe in known.items():
        for seed in recipe.seeds:  # the command that an error names is one that there is
            assert records.command(name, seed).split()[:3] == ["llmsuite", "train", name]


def test_a_recipe_trains_with_the_settings_that_its_records_hold(monkeypatch):
    from llmsuite_lab.lm import runs

    monkeypatch.setattr(runs, "trained", lambda run, train, evaluate: Outcome(asdict(train.keywords["settings"]), evaluate))
    compared = 0
    for name, (_, recipe) in train.find().items():
        for seed in records.seeds(name):
            record = records.read(name, seed)
            if "rank" in record.settings:
                ours = json.loads(json.dumps(recipe.measure(Run(recipe, seed)).settings))
                assert ours.items() <= record.settings.items(), name
                compared += 1
    assert compared >= 19


def test_the_list_and_an_unknown_name():
    rows = json.loads(CliRunner().invoke(cli.app, ["train", "--list", "--json"]).output)
    row = next(row for row in rows if row["name"] == "pal")
    assert (row["section"], row["seeds"], row["shipped"]) == ("reasoning", [0, 1, 2], True)
    assert row["minutes"] > 1
    text = CliRunner().invoke(cli.app, ["train", "--list"]).output
    assert all(row["name"] in text for row in rows)
    assert records.NOT_RECORDED in text
    done = CliRunner().invoke(cli.app, ["train", "reakt"])
    assert done.exit_code == 2
    assert "react" in done.output
    assert CliRunner().invoke(cli.app, ["train", "pal", "--seed", "-1"]).exit_code == 2


def test_help_and_list_import_neither_torch_nor_transformers():
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom llmsuite_lab.course import cli\n"
        "for words in (['--help'], ['train', '--help'], ['train', '--list']):\n    assert CliRunner().invoke(cli.app, words).exit_code == 0\n"
        "print(sorted({'torch', 'transformers', 'faiss', 'peft'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
