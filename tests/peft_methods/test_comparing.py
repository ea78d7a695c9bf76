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


def test_the_recipes_read_the_swept_rate(monkeypatch):
    asked = []
    monkeypatch.setattr(records, "read", lambda name: type("R", (), {"results": ROWS})())
    monkeypatch.setattr(comparing, "measured", lambda *args, **options: asked.append((args[:4], options)))
    run = type("Run", (), {"seed": 5})()
    outcome = recipes._ranks(run)
    assert outcome.settings["lr"] == 4e-3
    assert [call[0] for call in asked] == [("lora", "summary", 4e-3, 5)] * len(recipes.RANKS)
    assert {options["alpha"] / options["rank"] for _, options in asked} == {2}
    with pytest.raises(ValueError, match="unknown task"):
        comparing.tune("lora", "sumary", 1e-3)


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
    monkeypatch.setattr(comparing, "_row", lambda name, task, lr, seed, budget: asked.append((name, lr)) or {"method": name, "lr": lr, "loss": 1.0})
    known = [{"method": "lora", "lr": lr, "loss": 2.0} for lr in METHODS["lora"].rates[:3]]
    monkeypatch.setattr(comparing, "profile", lambda: SimpleNamespace(device=torch.device("meta")))
    rows = comparing.rates(["lora"], known=known)
    assert asked == [("lora", METHODS["lora"].rates[3])]
    assert [row["lr"] for row in rows] == list(METHODS["lora"].rates)
    assert [row["loss"] for row in rows] == [2.0, 2.0, 2.0, 1.0]
