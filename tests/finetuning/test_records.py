"""What is read off the records: seeds averaged per item, pairs compared item by item, curves from the common start."""

import pytest

from llmsuite_lab.core import records as recorded
from llmsuite_lab.core.records import Record
from llmsuite_lab.finetuning import figures, measuring, records, templates
from llmsuite_lab.finetuning.public_summaries import WAYS
from llmsuite_lab.finetuning.templates import TASKS

CHOSEN = measuring.frozen_dialogues(6)


def row(task, item, score, said="x"):
    return {"task": task, "item": item, "said": said, "score": score, "recall": score, "precision": score, "rougeL": score}


def run(name, seed, results):
    settings = {"task": "entities"} if name == "desk_forgetting_more" else {}
    made = {"command": "-", "versions": {}, "machine": "-", "date": "-", "wall_s": 1.0, "commit": "-", "settings": settings}
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
        "desk_public": [{"dialogsum": {way: [{"rougeL": 0.1 * i, "kept": None if i else 0.5, "true": 0.5} for i in range(4)] for way in WAYS}}],
        "desk_untuned": [{"shots": answered(lambda t, i: 0.1), "chat": answered(lambda t, i: 0.0), "general": {}}],
        "desk_forgetting": [{"start": look(0, 0.0), "full 1": [look(2, 0.2 + s), look(4, 0.4 + s)]} for s in (0.0, 0.2)],
    }
    made["desk_forgetting_more"] = [{"start": look(0, 0.2), "entities, lora 1": [look(3, 0.6)]}]
    made |= {name: [{"trained": answered(lambda t, i, n=n: 1 - 1 / n)}] for n, name in records.SIZES.items()}
    monkeypatch.setattr(recorded, "read_all", lambda name: [run(name, s, results) for s, results in enumerate(made[name])])
    monkeypatch.setattr(recorded, "read", lambda name, seed=0: run(name, seed, made[name][seed]))
    monkeypatch.setattr(figures, "read_all", recorded.read_all)
    monkeypatch.setattr(figures, "seeds", lambda name: list(range(len(made.get(name, [])))))
    monkeypatch.setattr(figures, "read", recorded.read)
    return made


def test_an_item_is_a_task_of_a_dialogue_averaged_over_seeds(two_seeds):
    scores = records.tuned("desk_multitask")
    assert set(scores) == {(task, d.id) for task in TASKS for d in CHOSEN}
    assert set(scores.values()) == {0.5}
    assert records.seeds("desk_multitask") == [0, 1]
    by_task = records.by_task(scores)
    assert list(by_task) == list(TASKS)
    assert {interval.n for interval in by_task.values()} == {len(CHOSEN)}


def test_a_summary_that_states_nothing_counts_in_no_mean_of_precisions(monkeypatch):
    def said(*precisions):
        return [row("summary", d.id, 0.5) | {"precision": p or 0.0, "states": float(p is not None)} for d, p in zip(CHOSEN, precisions)]

    made = [run("desk_summary", s, {"trained": rows}) for s, rows in enumerate([said(0.4, None, None, 0.0), said(0.8, 0.6, None, 1.0)])]
    monkeypatch.setattr(recorded, "read_all", lambda name: made)
    precisions = records.tuned("desk_summary", part="precision", tasks=("summary",))
    assert list(precisions.values()) == pytest.approx([0.6, 0.6, 0.5])  # the third says nothing by either seed; the fourth invents all, by one
    assert [d.id for d in CHOSEN[:4] if ("summary", d.id) not in precisions] == [CHOSEN[2].id]
    assert len(records.tuned("desk_summary", part="recall", tasks=("summary",))) == 4
    assert records.silent("desk_summary") == (3, 8)


def test_gains_are_paired_and_need_the_same_items(two_seeds):
    gain = records.gain(records.tuned("desk_multitask"), records.untuned())
    assert gain.mean == pytest.approx(0.4)
    assert gain.n == len(TASKS) * len(CHOSEN)
    with pytest.raises(ValueError, match="item"):
        records.gain(records.tuned("desk_multitask"), records.untuned(tasks=("intent",)))


def test_the_curve_goes_by_size_and_looks_begin_at_the_start(two_seeds):
    assert {size: round(found.mean, 3) for size, found in records.learning_curve().items()} == {50: 0.98, 500: 0.998, 1000: 0.999}
    assert records.ways() == ["full 1"]
    named = {"full 0.0001": "full 1e-4", "full 2e-05": "full 2e-5", "lora 0.0016": "lora 1.6e-3", "full 0.0001 mixed": "full 1e-4 mixed"}
    assert {way: records.label(way) for way in named} == named
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


@pytest.mark.parametrize("name", ["five_tasks", "learning_curve", "phrasings", "domain", "public_summaries", "forgetting_matrix", "kept_against_learnt"])
def test_figures_are_drawn_from_the_records(name, two_seeds):
    drawn = getattr(figures, name)()
    assert drawn.axes[0].get_title(loc="left") not in ("", "Not measured yet")


def test_the_matrix_has_a_row_for_every_tuning_that_is_recorded(two_seeds):
    def rows():
        axes = figures.forgetting_matrix().axes[0]
        return dict(zip([label.get_text() for label in axes.get_yticklabels()], axes.images[0].get_array().tolist(), strict=True))

    expected = {"summary, full 1": [0.5, -0.5, -0.5, -0.5, -0.5], "entities, lora 1": [0.4, -0.4, -0.4, -0.4, -0.4]}
    order = [list(TASKS).index(task) for task in ("summary", *(task for task in TASKS if task != "summary"))]
    found = rows()
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert [found[name][i] for i in order] == pytest.approx(values)
    looks = records.looks("entities, lora 1", "desk_forgetting_more")
    assert [(round(look["learnt"], 3), round(look["kept"], 3)) for look in looks] == [(0.8, 0.65), (0.4, 0.45)]  # the entities, and the mean of the four others
    del two_seeds["desk_forgetting_more"]
    assert list(rows()) == ["summary, full 1"]
