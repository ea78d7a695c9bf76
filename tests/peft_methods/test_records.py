"""What is read off the records of the comparison: seeds averaged per dialogue, methods paired, options found, figures drawn."""

import pytest

from llmsuite_lab.core import records as recorded
from llmsuite_lab.core.records import Record
from llmsuite_lab.peft_methods import figures, records
from llmsuite_lab.peft_methods.comparing import TASKS

SCORES = {"full": 0.8, "lora": 0.7, "prompt": 0.2}


def run(name, seed, results):
    made = {"command": "-", "versions": {}, "machine": "-", "date": "-", "wall_s": 1.0, "commit": "-", "settings": {}}
    return Record(name, seed, **made, results=results)


def row(method, task, score, seed, **options):
    answers = [{"task": task, "item": f"d{i}", "score": score + 0.1 * (seed - 0.5) * (-1) ** i} for i in range(4)]
    return {"method": method, "task": task, "lr": 1e-3, "options": options, "loss": 1 - score, "trainable": 10 * len(method), "step_s": 0.1, "prose": 20.0,
            "answers": answers}  # fmt: skip


@pytest.fixture(autouse=True)
def made(monkeypatch):
    runs = {
        "peft_compared": lambda s: [row(method, task, score, s) for method, score in SCORES.items() for task in TASKS],
        "lora_ranks": lambda s: [row("lora", "summary", 0.1 * rank, s, rank=rank, alpha=2 * rank) for rank in (1, 2, 4)],
        "prompt_lengths": lambda s: [row("prompt", "summary", 0.1 * n, s, length=n) for n in (1, 5)],
        "peft_rates": lambda s: [row("lora", task, 0.5, s) | {"lr": lr, "loss": lr * 100 + n} for lr in (1e-3, 1e-2) for n, task in enumerate(TASKS)],
    }
    monkeypatch.setattr(recorded, "read_all", lambda name: [run(name, s, runs[name](s)) for s in (0, 1)])
    monkeypatch.setattr(recorded, "read", lambda name, seed=0: run(name, seed, runs[name](seed)))


def test_a_dialogues_score_is_its_mean_over_seeds_and_methods_are_paired():
    assert records.seeds() == [0, 1]
    assert records.methods() == list(SCORES)
    assert list(records.scores("lora", "answer").values()) == pytest.approx([0.7] * 4)
    gap = records.difference("lora", "full", "summary")
    assert (gap.mean, gap.n) == (pytest.approx(-0.1), 4)
    assert {task: list(found) for task, found in records.quality().items()} == dict.fromkeys(TASKS, list(SCORES))
    with pytest.raises(ValueError, match="no row with"):
        records.scores("lora", "intent")


def test_costs_options_and_rates_are_found():
    assert records.cost("prompt", "trainable") == 60
    with pytest.raises(ValueError, match="ask for trainable"):
        records.cost("prompt", "price")
    assert {rank: round(sum(items.values()) / 4, 3) for rank, items in records.by_option("lora_ranks", "rank").items()} == {1: 0.1, 2: 0.2, 4: 0.4}
    assert records.swept() == {"lora": {1e-3: pytest.approx(1.1), 1e-2: pytest.approx(2.0)}}


@pytest.mark.parametrize("name", ["ranks", "lengths", "rates", "quality", "pareto"])
def test_figures_are_drawn_from_the_records(name):
    assert getattr(figures, name)().axes[0].get_title(loc="left") not in ("", "Not measured yet")
