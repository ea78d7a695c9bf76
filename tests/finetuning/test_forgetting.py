"""Forgetting along the training, on the real model in miniature: what is kept, what is looked at, and a stopped run that goes on."""

import pytest

from llmsuite_lab.core import records, runs
from llmsuite_lab.finetuning import forgetting, instruct
from llmsuite_lab.finetuning.forgetting import Settings, Way

TINY = Settings(
    start=instruct.Settings(steps=1, batch_size=2, rank=2, alpha=4, dialogues=2, tasks=("intent", "answer")),
    summaries=4, steps=2, batch_size=2, looks=(1, 2), items=1, ways=(Way("lora", 1e-3), Way("full", 1e-5, 0.5)),
)  # fmt: skip


def test_a_mean_weighs_tasks_alike():
    rows = [{"task": "intent", "score": 1.0}] * 3 + [{"task": "answer", "score": 0.0}]
    assert forgetting.mean(rows, ("intent", "answer")) == 0.5
    with pytest.raises(ValueError, match="no answers to summary"):
        forgetting.mean(rows, ("summary",))


def test_ways_read_the_same_summaries():
    settings = Settings(summaries=12)
    alone = forgetting.training_pairs(settings, Way("full", 1e-4), 5)
    mixed = forgetting.training_pairs(settings, Way("lora", 1e-3, 0.5), 5)
    assert [p.task for p in alone] == ["summary"] * 12
    assert mixed[:12] == alone
    assert {p.task for p in mixed[12:]} == set(instruct.OTHERS)
    assert len(mixed) == 24
    started = {(p.item, p.task) for p in instruct.pairs(settings.start, 5)}
    assert {(p.item, p.task) for p in mixed[12:]} <= started


@pytest.mark.slow
@pytest.mark.real_model
def test_a_run_looks_where_it_should_and_goes_on_where_it_stopped(lm, monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "cache_dir", lambda: tmp_path / "cache")
    along, went = forgetting._along, []

    def stopped_at(name):
        def stops(start, way, settings, seed):
            if way.name == name:
                raise KeyboardInterrupt
            went.append(way.name)
            return along(start, way, settings, seed)

        return stops

    recipe = runs.Recipe("tiny", "nothing of use", lambda run: forgetting.measure(run, TINY))
    monkeypatch.setattr(forgetting, "_along", stopped_at("full 1e-05 mixed"))
    with pytest.raises(KeyboardInterrupt):
        runs.make(recipe, 1, tmp_path / "out")
    monkeypatch.setattr(forgetting, "_along", stopped_at("nowhere"))
    monkeypatch.setattr(instruct, "train", lambda *args: pytest.fail("the start was trained again"))
    runs.make(recipe, 1, tmp_path / "out")
    assert went == ["lora 0.001", "full 1e-05 mixed"]  # each once
    found = records.read("tiny", 1, tmp_path / "out").results
    assert list(found) == ["start", *went]
    assert [(look["step"], look["updates"]) for look in found["full 1e-05 mixed"]] == [(1, 2), (2, 4)]
    assert {row["task"] for row in found["start"]["answers"]} == {"summary", "intent", "sentiment", "entities", "answer"}
    assert not list((tmp_path / "cache").rglob("*.json"))  # nothing is left to go on from
