"""One method on one task: the same examples for all, what is counted, and the rate that validation chooses."""

from types import SimpleNamespace

import pytest
import torch

from llmsuite_lab.core import records
from llmsuite_lab.core.runs import Run
from llmsuite_lab.finetuning import measuring
from llmsuite_lab.lm.batching import Example, collate
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.lm.supervised import supervised_loss
from llmsuite_lab.peft_methods import comparing, files, recipes
from llmsuite_lab.peft_methods.comparing import Budget
from llmsuite_lab.peft_methods.methods import METHODS, method
from llmsuite_lab.peft_methods.prompt_tuning import add_soft_prompt

LOSSES = [("lora", "summary", 1e-3, 2.0), ("lora", "answer", 1e-3, 0.1), ("lora", "summary", 4e-3, 1.0), ("lora", "answer", 4e-3, 1.0)]
ROWS = [dict(zip(("method", "task", "lr", "loss"), row)) for row in [*LOSSES, ("full", "summary", 1e-5, 9.0)]]


def test_the_best_rate_is_the_lowest_mean_over_tasks():
    assert comparing.best_rate(ROWS, "lora") == 4e-3
    assert comparing.best_rate(ROWS, "full") == 1e-5
    with pytest.raises(ValueError, match="lora"):
        comparing.best_rate(ROWS, "lorra")


def test_the_mean_loss_is_over_tokens_whatever_the_batches():
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=37, n_embd=24, n_layer=2, n_head=4, n_positions=32)
    model = transformers.GPT2LMHeadModel(config)
    examples = [Example([1 + i] * (1 + i), [3] * (1 + i % 3)) for i in range(7)]
    alone = [supervised_loss(model.eval(), collate([e])) for e in examples]
    expected = sum(float(loss) for loss, _ in alone) / sum(count for _, count in alone)
    for batch_size in (1, 3, 7, 20):
        assert comparing.mean_loss(model, examples, batch_size) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="empty"):
        comparing.mean_loss(model, [])


def recorded(monkeypatch, made):
    """`core.records` as if these were recorded: name → (settings, rows), seed 0."""
    monkeypatch.setattr(records, "seeds", lambda name: [0] if name in made else [])
    monkeypatch.setattr(records, "read", lambda name, seed=0: SimpleNamespace(settings=made[name][0], results=made[name][1]))


def test_each_rank_is_measured_at_its_own_swept_rate_and_what_stands_stays(monkeypatch):
    asked = []
    losses = {1: {2e-3: 3.0, 8e-3: 2.0, 32e-3: 1.0}, 4: {2e-3: 3.0, 8e-3: 2.0, 32e-3: 9.0}}  # rank → rate → loss
    swept = [
        {"method": "lora", "task": "summary", "lr": lr, "options": options, "loss": losses[min(options["rank"], 4)][lr]}
        for options in recipes.RANK_OPTIONS
        for lr in (2e-3, 8e-3, 32e-3)
    ]
    stands = [{"method": "lora", "lr": 8e-3, "options": options, "answers": []} for options in recipes.RANK_OPTIONS]
    settings = comparing.as_data(Budget())
    recorded(monkeypatch, {"lora_rank_rates": (settings, swept), "lora_ranks": (settings | {"lr": 8e-3}, stands)})
    monkeypatch.setattr(comparing, "measured", lambda *args, **options: asked.append((args[:4], options)) or "new")
    outcome = recipes._ranks(SimpleNamespace(seed=0))
    assert outcome.settings["rates"] == [32e-3, 8e-3, 8e-3, 8e-3]
    assert asked == [(("lora", "summary", 32e-3, 0), {"rank": 1, "alpha": 2})]
    assert outcome.results == ["new", *stands[1:]]
    assert {options["alpha"] / options["rank"] for options in recipes.RANK_OPTIONS} == {2}
    asked.clear()
    recipes._ranks(SimpleNamespace(seed=1))  # of which nothing is recorded
    assert len(asked) == len(recipes.RANKS)
    with pytest.raises(ValueError, match="unknown task"):
        comparing.tune("lora", "sumary", 1e-3)


def test_the_rates_of_the_ranks_lie_around_the_recorded_one_and_take_what_was_measured_there(monkeypatch):
    asked = []
    monkeypatch.setattr(comparing, "profile", lambda: SimpleNamespace(device=torch.device("meta")))
    monkeypatch.setattr(comparing, "tune", lambda *job, **options: (None, asked.append((job[2], options["rank"])) or told("lora", job[2], options)))
    stands = [told("lora", 4e-3, options) | {"answers": [1], "prose": 2.0} for options in recipes.RANK_OPTIONS[:2]]
    settings = comparing.as_data(Budget())
    recorded(monkeypatch, {"peft_rates": ({}, ROWS), "lora_ranks": (settings | {"lr": 4e-3}, stands)})
    outcome = recipes._rank_rates(SimpleNamespace(seed=0))
    everything = [(lr, rank) for rank in recipes.RANKS for lr in (1e-3, 4e-3, 16e-3)]
    assert [(row["lr"], row["options"]["rank"]) for row in outcome.results] == everything
    assert asked == [job for job in everything if job not in [(4e-3, 1), (4e-3, 4)]]
    assert not any("answers" in row for row in outcome.results)
    recorded(monkeypatch, {"peft_rates": ({}, ROWS), "lora_rank_rates": (settings, outcome.results)})
    asked.clear()
    recipes._rank_rates(SimpleNamespace(seed=0))
    assert asked == []
    recorded(monkeypatch, {"peft_rates": ({}, ROWS), "lora_rank_rates": (settings | {"steps": 3}, outcome.results)})
    recipes._rank_rates(SimpleNamespace(seed=0))
    assert len(asked) == len(everything)  # another budget: nothing of it holds here


def told(name, lr, options=None, loss=1.0):
    return {"method": name, "task": "summary", "lr": lr, "options": options or {}, "loss": loss}


def test_the_shipped_prompt_is_loaded_as_it_was_saved_and_asked_beside_the_written_instruction(monkeypatch, tiny, tiny_tokenizer, tmp_path):
    trained = add_soft_prompt(tiny("llama"), 20, seed=3)
    asked = []
    monkeypatch.setattr(records, "read", lambda name: type("R", (), {"results": [ROWS[0] | {"method": "prompt"}]})())
    monkeypatch.setattr(comparing, "tune", lambda *args, **options: (LanguageModel(trained, tiny_tokenizer, comparing.MODEL), {"loss": 1.0}))
    monkeypatch.setattr(measuring, "answers", lambda lm, chosen, tasks: asked.append(lm.model.P.detach().clone()) or [len(chosen)])
    recipe = next(r for r in recipes.RECIPES if r.name == "desk_prompt")
    outcome = recipes._desk_prompt(Run(recipe, 0, tmp_path))
    written, learned = asked
    began = method("prompt").prepare(tiny("llama"), 0, tiny_tokenizer, length=20, text=recipes.WRITTEN)
    assert torch.equal(written, began.P)
    assert torch.equal(learned, trained.P)
    assert torch.equal(files.load(tiny("llama"), tmp_path / "desk_prompt_seed0").P, trained.P)
    assert outcome.results == {"loss": 1.0, "answers": [32], "written": [32]}
    assert recipe.ships


@pytest.mark.slow
@pytest.mark.real_model
@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_tunes_the_real_model_and_is_counted(name, lm):
    budget = Budget(dialogues=2, steps=1, batch_size=2, held_out=1, items=1)
    row = comparing.measured(name, "answer", METHODS[name].rates[0], 1, budget)
    assert row["loss"] > 0
    assert len(row["train_loss"]) == 1
    assert 0 < row["trainable"] <= 134_515_008
    assert (row["trainable"] == 134_515_008) == (name == "full")
    assert [a["task"] for a in row["answers"]] == ["answer"]


def test_a_sweep_runs_only_what_is_not_known(monkeypatch):
    asked = []
    monkeypatch.setattr(comparing, "tune", lambda name, task, lr, seed, budget: (None, asked.append((name, lr)) or told(name, lr)))
    known = [told("lora", lr, loss=2.0) for lr in METHODS["lora"].rates[:3]]
    monkeypatch.setattr(comparing, "profile", lambda: SimpleNamespace(device=torch.device("meta")))
    rows = comparing.rates(["lora"], known=known)
    assert asked == [("lora", METHODS["lora"].rates[3])]
    assert [row["lr"] for row in rows] == list(METHODS["lora"].rates)
    assert [row["loss"] for row in rows] == [2.0, 2.0, 2.0, 1.0]
