"""The library's trainer on the same batches: the same losses, the same weights."""

import random

import numpy as np
import pytest
import torch
import transformers

from llmsuite_lab.finetuning import with_trl
from llmsuite_lab.lm.batching import Example, collate
from llmsuite_lab.lm.supervised import supervised_loss
from llmsuite_lab.lm.training import fit


def tiny(seed=0):
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=259, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


EXAMPLES = [Example([3 + (i * 7 + j) % 50 for j in range(2 + i % 9)], [5 + (i + j) % 40 for j in range(1 + i % 4)]) for i in range(12)]


def test_the_order_is_the_one_that_fit_reads():
    seen = []
    loss = lambda model, batch: (seen.append(batch.ids), supervised_loss(model, batch))[1]  # noqa: E731
    fit(tiny(), EXAMPLES, steps=5, batch_size=4, seed=3, loss_fn=loss, progress=False)
    rows = with_trl.in_order(EXAMPLES, 4, 5, seed=3)
    for step, ids in enumerate(seen):
        assert torch.equal(ids, collate(rows[4 * step : 4 * step + 4]).ids)
    with pytest.raises(ValueError, match="multiple"):
        with_trl.in_order(EXAMPLES, 5, 4)


def test_in_float32_they_agree_at_every_step(tiny_tokenizer, monkeypatch):
    monkeypatch.setenv("LLMSUITE_PROFILE", "cpu")
    known = with_trl.settings
    monkeypatch.setattr(with_trl, "settings", lambda *given: known(*given) | {"bf16": False})
    theirs = with_trl.sft(tiny(), tiny_tokenizer, with_trl.in_order(EXAMPLES, 4, 3), steps=3, batch_size=4, lr=1e-2)
    ours = fit(tiny(), EXAMPLES, steps=3, batch_size=4, lr=1e-2, warmup=0.0, dtype=torch.float32, progress=False).losses
    assert theirs == pytest.approx(ours, rel=1e-5)
    assert max(abs(ours[2] / ours[0] - 1), abs(ours[1] / ours[0] - 1)) > 1e-3  # the weights did move


def test_its_losses_are_ours(tiny_tokenizer, monkeypatch):
    monkeypatch.setenv("LLMSUITE_PROFILE", "cpu")
    rows = with_trl.in_order(EXAMPLES, 4, 3)
    theirs, ours = tiny(), tiny()
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    losses = with_trl.sft(theirs, tiny_tokenizer, rows, steps=3, batch_size=4, lr=1e-12)
    assert torch.equal(torch.get_rng_state(), before[0])  # a Trainer seeds all of them
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]
    assert len(losses) == 3
    for step, loss in enumerate(losses):
        total, count = supervised_loss(ours, collate(rows[4 * step : 4 * step + 4]))
        assert loss == pytest.approx(float(total) / count, rel=2e-2)  # trl computes in the profile's dtype, and prints four digits
