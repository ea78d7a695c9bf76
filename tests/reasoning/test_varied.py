"""PAL on varied worlds: what it is trained on is clean and in the usual form, what it is measured on is whole, and one record holds all of it."""

import json
from dataclasses import replace

import pytest

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.records import write
from llmsuite_lab.reasoning import records, varied
from llmsuite_lab.reasoning.evaluation import Result, as_rows, from_rows
from llmsuite_lab.reasoning.prompting import prompt
from llmsuite_lab.reasoning.training import pairs
from llmsuite_lab.world import leakage
from llmsuite_lab.world.elsewhere import problems as elsewhere
from llmsuite_lab.world.word_problems import load


@pytest.fixture(scope="module")
def chosen():
    return varied.training_problems(300, seed=4)


def test_scenes_and_running_stories_are_mixed_and_seeded(chosen):
    scenes = sum(p.templates[0].startswith("varied.") for p in chosen)
    assert 150 < scenes < 210
    assert varied.training_problems(50, seed=4) == chosen[:50]
    assert varied.training_problems(50, seed=5) != chosen[:50]
    assert all(p.templates[0].startswith("varied.") for p in varied.training_problems(40, scenes=1.0))


def test_nothing_held_out_is_trained_on(chosen):
    texts = [p.text for p in chosen]
    for which, held in varied.held_out().items():
        assert leakage.leaks(texts, held) == [], which
    assert set(varied.held_out()) == {"test", *elsewhere.SETS}


def test_a_problem_that_leaks_is_left_out(chosen, monkeypatch):
    caught = chosen[3]
    monkeypatch.setattr(varied, "held_out", lambda: {"test": [caught.text]})
    assert caught not in varied.training_problems(6, seed=4)


def test_the_form_is_that_of_the_shipped_adapter(chosen):
    for (asked, written), problem in zip(pairs("pal", chosen[:40], 0), chosen, strict=False):
        assert asked.startswith(prompt("pal", problem.text).rstrip("\n"))
        assert written.endswith((f"answer = {problem.lines[-1].target}\n", f" {problem.answer}.\n"))


class Solver:
    """Answers every prompt with the same program."""

    def complete(self, prompts, max_new_tokens=64, stop=()):
        return [type("Written", (), {"text": "answer = 12\n", "completion_tokens": 5})() for _ in prompts]


@pytest.fixture
def measured(monkeypatch, tmp_path):
    rows = [{"input": "Ann has 5 plums and eats 2. How many are left?", "target": 3.0}, {"input": "What is 3 times 4?", "target": 12.0}]
    (tmp_path / "svamp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(varied.LanguageModel, "load", lambda adapter: Solver())
    small = replace(varied.VariedSettings(), steps=5)
    monkeypatch.delenv("LLMSUITE_REAL_DATA", raising=False)
    without = varied.solved("adapter", 1, small)
    monkeypatch.setenv("LLMSUITE_REAL_DATA", str(tmp_path))
    return without, varied.solved("adapter", 1, small)


def test_one_record_holds_every_set_and_the_leaks(measured):
    without, found = measured
    sizes = {which: len(rows) for which, rows in found.items()}
    assert sizes == {"test": 120, "seen": 60, "numbers": 60, "single": 96, "several": 96, "svamp": 2, "leaks": 4}
    assert found["leaks"] == {"test": 0, "single": 0, "several": 0, "svamp": 0}
    assert "svamp" not in without
    assert [r.correct for r in from_rows(found["svamp"])] == [False, True]
    told = elsewhere.load("single")
    assert [r.correct for r in from_rows(found["single"])] == [p.answer == 12 for p in told]
    assert [r.digits for r in from_rows(found["single"])] == [5 if p.large else 2 for p in told]
    json.dumps(found)


def test_mawps_is_read_where_its_file_is_named_and_asked_for_where_it_is_not(monkeypatch, tmp_path):
    monkeypatch.setattr(varied.LanguageModel, "load", lambda adapter: Solver())
    small = replace(varied.VariedSettings(), steps=5)
    monkeypatch.setenv("LLMSUITE_REAL_DATA", str(tmp_path))
    with pytest.raises(LabError, match="mawps-single.jsonl: MAWPS' problems of one operation"):
        varied.on_mawps("adapter", 1, small)
    rows = [{"input": "What is 3 times 4?", "target": 12.0}, {"input": "What is 3 and 4?", "target": 7.0}]
    (tmp_path / "mawps-single.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = varied.on_mawps("adapter", 1, small)
    assert [r.correct for r in from_rows(found["mawps"])] == [True, False]
    assert [r.correct for r in from_rows(found["test"])] == [p.answer == 12 for p in load("test")[:120]]
    assert found["leaks"] == {"mawps": 0}
    assert {"single", "several", "mawps"} == set(varied.away(Solver()))


def test_a_story_of_another_author_counts_once_with_both_its_tellings(no_records, recorded):
    def rows(*right):
        return as_rows([Result(2, 0, bool(one), "right", 1, tokens=1) for one in right])

    write(recorded("pal_elsewhere", {"single": rows(1, 0, 0, 0), "several": rows(0, 0)}))
    write(recorded("pal_varied", {"single": rows(1, 0, 1, 0), "several": rows(1, 1), "test": rows(1, 1), "leaks": {"test": 0}}))
    write(recorded("pal_varied", {"single": rows(1, 0, 1, 1), "several": rows(1, 0), "test": rows(0, 1), "leaks": {"test": 0}}, seed=1))
    assert records.by_told_story(records.runs("pal_varied")) == [1.0, 0.25, 0.75]
    assert (records.elsewhere_gain().mean, records.elsewhere_gain().n) == (pytest.approx((0.5 + 0.25 + 0.75) / 3), 3)
    assert (records.elsewhere_gain(["several"]).mean, records.elsewhere_gain(["several"]).n) == (0.75, 1)
    write(recorded("pal", {"test": rows(1, 0)}))
    assert records.problem_gain("test").mean == pytest.approx((0.5 - 1 + 1 - 0) / 2)
    write(recorded("pal_elsewhere", {"single": rows(1, 0, 0, 0), "several": rows(0, 0), "mawps": rows(0, 0)}))
    write(recorded("pal_mawps", {"mawps": rows(1, 0), "leaks": {"mawps": 0}}))
    write(recorded("pal_mawps", {"mawps": rows(0, 0), "leaks": {"mawps": 0}}, seed=1))
    assert records.problem_gain("mawps").mean == pytest.approx(0.25)
    with pytest.raises(ValueError, match="unknown which 'gsm8k'"):
        records.problem_gain("gsm8k")
    write(recorded("pal_elsewhere", {"single": rows(1, 0, 0), "several": rows(0, 0)}))
    with pytest.raises(ValueError, match="3 answers in 'single', and each story is told twice"):
        records.by_told_story(records.runs("pal_elsewhere"))
