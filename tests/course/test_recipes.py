"""`llmsuite train`: adapter, provenance and record of a run, made here with a tiny model instead of the real one."""

import json

import pytest
import torch

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.course import recipes
from llmsuite_lab.lm import adapters, training


@pytest.fixture
def tiny_run(monkeypatch, tmp_path):
    """Replace the training by two steps of a tiny model, and the cache folder by an empty one."""
    from transformers import LlamaConfig, LlamaForCausalLM

    def train(name, seed, checkpoint):
        torch.manual_seed(0)
        shape = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 1, "num_attention_heads": 3, "num_key_value_heads": 1}
        model = adapters.add_lora(LlamaForCausalLM(LlamaConfig(vocab_size=61, **shape)), seed, rank=4)
        history = training.fit(
            model, [training.Example([5, 6, 7], [8, 9])] * 2, steps=2, batch_size=2, lr=1e-2, dtype=torch.float32, progress=False
        )
        return model, history, {"model": "smollm2-135m-instruct", "kind": name, "seed": seed}

    monkeypatch.setenv("LLMSUITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(recipes, "_train", train)
    return train


def test_a_run_leaves_an_adapter_and_a_whole_record(tiny_run, tmp_path, capsys):
    folder = recipes.run("pal", seed=1, out=tmp_path / "pal", evaluate=False)
    assert adapters.adapter_path(folder) == folder
    assert adapters.adapter_base(folder) == "smollm2-135m-instruct"
    provenance = json.loads((folder / "provenance.json").read_text())
    record = json.loads((folder / "run.json").read_text())
    for key in ("command", "seed", "versions", "machine", "wall_s", "commit", "settings", "tokens"):
        assert provenance[key] == record[key]
    assert record["command"] == "llmsuite train pal --seed 1"
    assert len(record["history"]["losses"]) == 2
    assert set(record["versions"]) >= {"torch", "transformers", "peft", "python"}
    assert "record:" in capsys.readouterr().out


def test_only_the_shipped_seed_goes_to_the_data_folder(tiny_run, tmp_path):
    shipped, record = recipes.places("cot", 0)
    assert shipped.parts[-3:] == ("data", "adapters", "cot")
    assert record.parts[-3:] == ("data", "runs", "cot_seed0.json")
    other, record = recipes.places("cot", 2)
    assert other == tmp_path / "cache" / "adapters" / "cot_seed2"
    assert record.name == "cot_seed2.json"
    assert recipes.places("cot", 2, tmp_path / "x") == (tmp_path / "x", tmp_path / "x" / "run.json")


def test_an_interrupted_run_says_how_to_go_on(tiny_run, monkeypatch, tmp_path):
    def stopped(name, seed, checkpoint):
        model, history, settings = tiny_run(name, seed, checkpoint)
        history.interrupted = True
        return model, history, settings

    monkeypatch.setattr(recipes, "_train", stopped)
    with pytest.raises(LabError, match="the same command goes on from there"):
        recipes.run("cot", out=tmp_path / "cot")
    assert not (tmp_path / "cot").exists()


def test_bad_arguments():
    with pytest.raises(ValueError, match="did you mean 'react'"):
        recipes.run("reakt")
    with pytest.raises(ValueError, match="seed=-1"):
        recipes.run("pal", seed=-1)
