"""Settings become a trained LoRA: only A and B move, the settings say what was done, a stopped run goes on to the same end."""

import pytest
import torch

from llmsuite_lab.core import zoo
from llmsuite_lab.lm import lora
from llmsuite_lab.lm.training import Example


@pytest.fixture
def settings(monkeypatch, tiny_model, tiny_tokenizer):
    """Settings for the tiny model, which stands in the zoo's place."""
    from copy import deepcopy

    monkeypatch.setattr(zoo, "load_model", lambda name, dtype: deepcopy(tiny_model).to(dtype))
    monkeypatch.setattr(zoo, "load_tokenizer", lambda name: tiny_tokenizer)
    return lora.LoraSettings(steps=40, batch_size=2, rank=3, alpha=6, targets=("q_proj", "down_proj"), model="tiny")


def examples(tokenizer):
    return [Example(tokenizer("ab")["input_ids"], tokenizer(text)["input_ids"]) for text in ("cdefg", "hij", "klmn")] * 4


def test_only_the_named_modules_are_trained_and_the_settings_say_how(settings):
    model, history, found = lora.train_lora(settings, examples, seed=5, dtype=torch.float32, progress=False)
    trained = {name.split(".")[-4] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"q_proj", "down_proj"}
    assert history.steps == 40
    assert history.losses[-1] < history.losses[0]
    assert {name: found[name] for name in ("rank", "alpha", "seed", "dtype", "examples", "model")} == {
        "rank": 3, "alpha": 6, "seed": 5, "dtype": "float32", "examples": 12, "model": "tiny",
    }  # fmt: skip


def test_a_stopped_run_ends_as_an_uninterrupted_one(settings, tmp_path):
    _, whole, _ = lora.train_lora(settings, examples, seed=5, dtype=torch.float32, progress=False)

    def stop(step, history):
        if step == 7:
            raise KeyboardInterrupt

    options = {"seed": 5, "dtype": torch.float32, "progress": False, "checkpoint": tmp_path / "run"}
    _, first, _ = lora.train_lora(settings, examples, on_step=stop, **options)
    assert first.interrupted
    _, rest, _ = lora.train_lora(settings, examples, **options)
    assert rest.losses == pytest.approx(whole.losses, abs=1e-6)


def test_options_reach_the_training(settings):
    seen = []
    lora.train_lora(settings, examples, dtype=torch.float32, progress=False, loss_fn=lambda m, b: seen.append(b) or lora_loss(m, b), micro_batch_size=1)
    assert len(seen) == 80
    assert all(batch.ids.shape[0] == 1 for batch in seen)


def lora_loss(model, batch):
    from llmsuite_lab.lm.training import supervised_loss

    return supervised_loss(model, batch)
