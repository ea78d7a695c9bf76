"""Prompt tuning against full tuning by size: what is asked, what is counted, and that both methods start from the same model."""

import zlib
from types import SimpleNamespace

import pytest
import torch

from llmsuite_lab.core import records
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.peft_methods import neighbours, recipes, sizes
from llmsuite_lab.peft_methods.prompt_tuning import add_soft_prompt
from llmsuite_lab.peft_methods.sizes import Budget
from llmsuite_lab.world.support_desk import INTENTS

TINY = Budget(files=400, file_batch=16, messages=24, steps=3, batch_size=4, length=5, held_out=6, items=7)


@pytest.fixture(scope="module")
def base():
    return sizes.own_base("small", 1, TINY)


def test_an_own_base_has_read_the_files_and_the_seed_makes_it(base):
    model, encoded = base
    files = [f"Re: {d.intent}\n{sizes.message(d)}\nSummary: {d.summary}" for d in sizes.short(8, "validation", 5)]
    rows = [sizes.Example([], ids) for ids in encoded(files)]
    assert sizes.mean_loss(model, rows) < 6.9  # a uniform guess over 1,500 tokens costs 7.3 nats
    again, _ = sizes.own_base("small", 1, TINY)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters()))
    with pytest.raises(ValueError, match="tiny"):
        sizes.own_base("tiny")


def test_one_token_is_asked_for_behind_a_short_message(base):
    _, encoded = base
    chosen = sizes.short(30, "train", 3)
    rows = sizes.examples(chosen, encoded)
    assert all(len(sizes.message(d)) <= sizes.LONGEST for d in chosen)
    assert [row.completion_ids for row in rows] == [encoded([f" {d.intent}"])[0][:1] for d in chosen]
    assert len({row.completion_ids[0] for row in rows}) == len({d.intent for d in chosen})
    with pytest.raises(ValueError, match="begin with the same token"):
        sizes.label_ids(lambda texts: [[1] for _ in texts])
    with pytest.raises(ValueError, match="count"):
        sizes.short(0, "train")


def test_both_methods_start_from_the_same_model_and_a_prompt_leaves_it_alone(base):
    model, encoded = base
    before = [p.detach().clone() for p in model.parameters()]
    rows = sizes.measured("small", 1, TINY, {"full": 2e-3, "prompt": 5e-2})
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))
    assert [(row["size"], row["method"], row["lr"]) for row in rows] == [("small", "full", 2e-3), ("small", "prompt", 5e-2)]
    weights = sum(p.numel() for p in model.parameters())
    assert [row["trainable"] for row in rows] == [weights, 5 * 64]
    for row in rows:
        assert row["weights"] == weights
        assert len(row["train_loss"]) == 3
        assert len(row["answers"]) == len(row["unseen"]) == 7
        assert {a["said"] for a in row["answers"]} <= set(INTENTS)
    assert [a["item"] for a in rows[0]["answers"]] == [a["item"] for a in rows[1]["answers"]]


def test_of_three_rates_the_best_by_validation_is_scored():
    rows = sizes.measured("small", 1, TINY)
    for name in sizes.METHODS:
        tried = [row for row in rows if row["method"] == name]
        assert tuple(row["lr"] for row in tried) == sizes.OWN_RATES[name]
        assert [("answers" in row) for row in tried] == [row["loss"] == min(r["loss"] for r in tried) for row in tried]


def test_the_said_intent_is_the_likeliest_of_the_ten(base):
    model, encoded = base
    prompt, row = sizes.tune(lambda: model, encoded, "prompt", 1e-9, 1, TINY)
    first = sizes.label_ids(encoded)
    for dialogue, answer in zip(sizes.short(3, "test"), sizes.answers(prompt, encoded, "test", 3)):
        ids = torch.tensor(encoded([f"{sizes.message(dialogue)}\nIntent:"]))
        logits = prompt(ids)[0, -1].detach()
        assert answer["said"] == max(INTENTS, key=lambda intent: float(logits[first[intent]]))
        assert answer["score"] == float(answer["said"] == dialogue.intent)
    assert "neighbours" not in row


def test_in_front_of_a_transformers_model_the_neighbours_are_kept_from_before_and_after(tiny):
    def encoded(texts):
        return [[zlib.crc32(word.encode()) % 251 for word in text.split()] for text in texts]

    model, row = sizes.tune(lambda: tiny("llama"), encoded, "prompt", 0.5, 1, TINY)
    start, learned = row["neighbours"]["start"], row["neighbours"]["learned"]
    began = add_soft_prompt(tiny("llama"), TINY.length, seed=1).P.detach()
    assert torch.equal(tiny("llama").get_input_embeddings().weight[[ids[0] for ids in start]], began)  # it began as words of the vocabulary
    assert learned == neighbours.nearest(model.P, model.get_input_embeddings().weight)[0].tolist()
    assert learned != start


def test_later_seeds_take_the_rates_of_the_first(monkeypatch):
    swept = [
        {"size": size, "method": name, "lr": lr, "loss": abs(lr - sizes.rates(size, name)[1])}
        for size in sizes.SIZES for name in sizes.METHODS for lr in sizes.rates(size, name)
    ]  # fmt: skip
    asked = []
    monkeypatch.setattr(records, "read", lambda name: type("R", (), {"results": swept})())
    monkeypatch.setattr(sizes, "measured", lambda size, seed, budget, chosen: asked.append((size, seed, chosen)) or [])
    for seed in (0, 2):
        recipes._sizes(SimpleNamespace(seed=seed, recipe=SimpleNamespace(name="prompt_sizes")))
    assert [chosen for _, seed, chosen in asked if seed == 0] == [None] * len(sizes.SIZES)
    assert [chosen for _, seed, chosen in asked if seed == 2] == [{n: sizes.rates(s, n)[1] for n in sizes.METHODS} for s in sizes.SIZES]


def test_on_a_gpu_a_larger_model_joins_under_a_record_of_its_own(monkeypatch):
    asked, loaded = [], []
    monkeypatch.setattr(sizes, "profile", lambda: SimpleNamespace(name="gpu", device=torch.device("cpu"), larger_model="smollm2-1.7b-instruct"))
    monkeypatch.setattr(sizes, "measured", lambda size, seed, budget, chosen: asked.append((size, chosen)) or [])
    recipe = next(recipe for recipe in recipes.RECIPES if recipe.name == "prompt_sizes_larger")
    assert recipe.large
    recipe.measure(SimpleNamespace(seed=0, recipe=recipe))
    assert asked == [(size, None) for size in (*sizes.SIZES, "smollm2-1.7b-instruct")]
    read = []
    swept = [{"size": size, "method": name, "lr": 1e-3, "loss": 1.0} for size, _ in asked for name in sizes.METHODS]
    monkeypatch.setattr(records, "read", lambda name: read.append(name) or SimpleNamespace(results=swept))
    recipe.measure(SimpleNamespace(seed=1, recipe=recipe))
    assert read == ["prompt_sizes_larger"]
    assert sizes.rates("smollm2-1.7b-instruct", "prompt") == sizes.rates(sizes.MODEL, "prompt")
    monkeypatch.setattr(sizes.zoo, "load_model", lambda name, dtype, device, source: loaded.append((name, source)) or "model")
    monkeypatch.setattr(sizes.zoo, "load_tokenizer", lambda name, source: "tokenizer")
    sizes.base("smollm2-1.7b-instruct")
    sizes.base(sizes.MODEL)
    assert loaded == [("smollm2-1.7b-instruct", "hub"), (sizes.MODEL, None)]
    monkeypatch.setattr(sizes, "profile", lambda: SimpleNamespace(name="cpu"))
    with pytest.raises(LabError, match="this is cpu"):
        sizes.larger()
