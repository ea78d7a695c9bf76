"""A second single task from a start that can do all five: by method, at the rate it is given, on the real model in miniature."""

import pytest

from llmsuite_lab.core import records, runs
from llmsuite_lab.finetuning import forgetting as looking
from llmsuite_lab.finetuning import general, instruct
from llmsuite_lab.peft_methods import forgetting
from llmsuite_lab.peft_methods.forgetting import Settings

TINY = Settings(methods=("lora", "adapter"), dialogues=2, steps=2, batch_size=2, looks=(1, 2), items=1)
RATES = {"lora": 2e-3, "adapter": 4e-3}


@pytest.mark.slow
@pytest.mark.real_model
def test_each_way_starts_from_the_same_model_and_is_looked_at_along_the_training(lm, monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setattr(general, "facts", lambda lm: [True])
    monkeypatch.setattr(general, "prose", lambda lm: 20.0)
    asked = []
    pairs = instruct.pairs
    monkeypatch.setattr(instruct, "pairs", lambda settings, seed: asked.append((settings.tasks, seed)) or pairs(settings, seed))
    runs.make(runs.Recipe("tiny", "nothing of use", lambda run: forgetting.measure(run, RATES, TINY)), 1, tmp_path / "out")
    made = records.read("tiny", 1, tmp_path / "out")
    found = made.results
    assert asked == [(("entities",), 2_001)] * 2
    assert made.settings["rates"] == RATES
    assert list(found) == ["start", "entities, lora 0.002", "entities, adapter 0.004"]
    for way in list(found)[1:]:
        assert [look["step"] for look in found[way]] == [1, 2]
        assert {row["task"] for row in found[way][-1]["answers"]} == {"summary", "intent", "sentiment", "entities", "answer"}
    first = [found[way][0]["loss"] for way in list(found)[1:]]
    assert first[0] == pytest.approx(first[1], rel=1e-4)  # both begin as the start: B = 0, and a bottleneck that adds nothing


def test_a_look_behind_the_last_step_is_refused():
    with pytest.raises(ValueError, match="looks=9"):
        looking.along(None, [], {9: 9}, 1, steps=4)
