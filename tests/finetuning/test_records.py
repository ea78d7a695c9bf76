"""What is read off the records: seeds averaged per item, pairs compared item by item, curves from the common start."""

import pytest

from llmsuite_lab.core import records as recorded
from llmsuite_lab.core.records import Record
from llmsuite_lab.finetuning import figures, measuring, records, templates
from llmsuite_lab.finetuning.templates import TASKS

CHOSEN = measuring.frozen_dialogues(6)


def row(task, item, score, said="x"):
    return {"task": task, "item": item, "said": said, "score": score, "recall": score, "precision": score, "rougeL": score}


def run(name, seed, results):
    made = {"command": "-", "versions": {}, "machine": "-", "date": "-", "wall_s": 1.0, "commit": "-", "settings": {}}
    return Record(name, seed, **made, results=results)


def answered(score):
    return [row(task, d.id, score(task, i)) for task in TASKS for i, d in enumerate(CHOSEN)]


def look(step, score):
    return {"step": step, "answers": answered(lambda task, i: score if task == "summary" else 1 - score), "facts": [True, False], "prose": 10.0 + step}


@pytest.fixture
def two_seeds(monkeypatch):
    made = {
        "desk_multitask": [{"trained": answered(lambda t, i, s=s: float((i + s) % 2)), "held out": answered(lambda t, i: 0.25)} for s in (0, 1)],
        "desk_one_phrasing": [{"trained": answered(lambda t, i: 0.5), "held out": answered(lambda t, i: 0.0)}] * 2,
        "desk_untuned": [{"shots": answered(lambda t, i: 0.1), "chat": answered(lambda t, i: 0.0), "general": {}}],
        "desk_forgetting": [{"start": look(0, 0.0), "full 1": [look(2, 0.2 + s), look(4, 0.4 + s)]} for s in (0.0, 0.2)],
    }
    made |= {name: [{"trained": answered(lambda t, i, n=n: 1 - 1 / n)}] for n, name in records.SIZES.items()}
    monkeypatch.setattr(recorded, "read_all", lambda name: [run(name, s, results) for s, results in enumerate(made[name])])
    monkeypatch.setattr(recorded, "read", lambda name, seed=0: run(name, seed, made[name][seed]))
    monkeypatch.setattr(figures, "read_all", recorded.read_all)


def test_an_item_is_a_task_of_a_dialogue_averaged_over_seeds(two_seeds):
    scores = records.tuned("desk_multitask")
    assert set(scores) == {(task, d.id) for task in TASKS for d in CHOSEN}
    assert set(scores.values()) == {0.5}
    assert records.seeds("desk_multitask") == [0, 1]
    by_task = records.by_task(scores)
    assert list(by_task) == list(TASKS)
    assert {interval.n for interval in by_task.values()} == {len(CHOSEN)}


def test_gains_are_paired_and_need_the_same_items(two_seeds):
    gain = records.gain(records.tuned("desk_multitask"), records.untuned())
    assert gain.mean == pytest.approx(0.4)
    assert gain.n == len(TASKS) * len(CHOSEN)
    with pytest.raises(ValueError, match="item"):
        records.gain(records.tuned("desk_multitask"), records.untuned(tasks=("intent",)))


def test_the_curve_goes_by_size_and_looks_begin_at_the_start(two_seeds):
    assert {size: round(found.mean, 3) for size, found in records.learning_curve().items()} == {50: 0.98, 500: 0.998, 1000: 0.999}
    assert records.ways() == ["full 1"]
    first, middle, last = records.looks("full 1")
    assert (first["step"], first["learnt"], first["kept"]) == (0, 0.0, 1.0)
    assert (middle["learnt"], middle["kept"]) == (pytest.approx(0.3), pytest.approx(0.7))
    assert (last["step"], last["facts"], last["prose"]) == (4, 0.5, 14.0)
    assert list(records.at_end("full 1", ("summary",)).values()) == pytest.approx([0.5] * len(CHOSEN))
    assert set(records.at_end("start", ("intent", "answer")).values()) == {1.0}
    start, _, end = records.along("full 1", ("summary",))
    assert set(start.values()) == {0.0}
    assert end == records.at_end("full 1", ("summary",))


def test_what_one_phrasing_has_seen_is_found_by_the_draw():
    scores = dict.fromkeys([(task, d.id) for task in TASKS for d in measuring.frozen_dialogues()], 0.5)
    seen = records.in_first_phrasing(scores)
    assert 0 < len(seen) < len(scores) / 3
    for task in TASKS:
        first = templates.training(task)[0]
        drawn = {p.item for p in templates.render(measuring.frozen_dialogues(), task) if p.template == first}
        assert {item for t, item in seen if t == task} == drawn


def test_answers_against_the_next_dialogue_are_what_is_had_without_reading(monkeypatch):
    true = [row(task, d.id, 1.0, templates.completion_of(d, task)) for task in TASKS for d in CHOSEN]
    monkeypatch.setattr(recorded, "read_all", lambda name: [run(name, 0, {"trained": true})])
    others = records.against_others("desk_multitask", tasks=("summary", "entities", "answer"))
    assert set(others) == {(task, d.id) for task in ("summary", "entities", "answer") for d in CHOSEN}
    assert sum(others.values()) / len(others) < 0.3


@pytest.mark.parametrize("name", ["five_tasks", "learning_curve", "phrasings", "domain", "forgetting_matrix", "kept_against_learnt"])
def test_figures_are_drawn_from_the_records(name, two_seeds):
    drawn = getattr(figures, name)()
    assert drawn.axes[0].get_title(loc="left") not in ("", "Not measured yet")
