"""Problems of one's own take the place of the course's: read, answered by every method, and every figure follows."""

import json

import pytest

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.reasoning import figures, measuring, own_problems
from llmsuite_lab.world import word_problems

ROWS = [
    {"question": "A crate holds 12 jars. How many jars are in 7 crates?", "answer": 84, "steps": 1},
    {"question": "Ann has 1,250 pence and spends 999.5. What is left?", "answer": "250.5", "steps": 1},
    {"question": "Two owls and three mice: how many animals?", "answer": 5.0, "steps": 2},
]


@pytest.fixture
def file(tmp_path):
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    return tmp_path / "mine.jsonl"


@pytest.fixture
def models(monkeypatch, scripted):
    """Models by adapter: the program is right about crates alone, the chain says 84 to everything, the untuned model 5."""
    said = {
        "pal": lambda prompt, n: "answer = 12 * 7\n" if "crate" in prompt.rpartition("Q: ")[2] else "answer = 0\n",
        "cot": lambda prompt, n: "12 * 7 = 84. 3 + 3 = 7.\nThe answer is 84.\n",
        None: lambda prompt, n: " 5\n",
    }
    monkeypatch.setattr(measuring.LanguageModel, "load", lambda adapter=None: scripted(said[adapter]))


def test_problems_are_read_with_the_size_of_their_numbers(file):
    found = own_problems.load(file)
    assert [(p.text, p.answer, p.digits, p.steps) for p in found] == [
        (ROWS[0]["question"], 84, 2, 1),
        (ROWS[1]["question"], 250.5, 4, 1),
        (ROWS[2]["question"], 5, 1, 2),
    ]
    assert own_problems.load() == word_problems.load("test")


def test_a_problem_of_several_lines_is_one(tmp_path):
    (tmp_path / "two.jsonl").write_text(json.dumps({"question": "A crate\n holds 12 jars.\r\nHow many?", "answer": 12}), encoding="utf-8")
    assert [p.text for p in own_problems.load(tmp_path / "two.jsonl")] == ["A crate holds 12 jars. How many?"]


def test_what_is_no_problem_is_named_with_its_line(tmp_path):
    for row, said in [
        ({"question": "x", "answer": "many"}, "'many' is not a number"),
        ({"question": " ", "answer": 3}, "question must be a text"),
        (["x"], "question must be a text"),
        ({"question": "x", "anwser": 3}, "it has no answer .but 'question', 'anwser'"),
        ({"question": "x", "answer": 10**400}, "'?10{57}0* is not a finite number"),
        ({"question": "x", "answer": 3, "steps": -1}, "steps=-1"),
    ]:
        (tmp_path / "bad.jsonl").write_text(json.dumps(ROWS[0]) + "\n" + json.dumps(row), encoding="utf-8")
        with pytest.raises(LabError, match=rf"bad.jsonl, line 2: {said}"):
            own_problems.load(tmp_path / "bad.jsonl")
    with pytest.raises(LabError, match="No file at"):
        own_problems.load(tmp_path / "none.jsonl")


def test_every_figure_follows_from_them(file, models):
    found = measuring.on(own_problems.load(file))
    assert {kind: [r.correct for r in rows] for kind, rows in found["tuned"].items()} == {"cot": [True, False, False], "pal": [True, False, False]}
    assert [r.correct for r in found["untuned"]["direct"]] == [False, False, True]
    drawn = figures.follow(found)
    assert set(drawn) == {"by_size", "by_steps", "equation_truth", "seen_and_unseen", "tuned_or_not"}
    lines = {line.get_label(): [float(y) for y in line.get_ydata()] for line in drawn["by_size"].axes[0].get_lines()}
    assert lines == {"direct, untuned": [1.0, 0.0, 0.0], "chain of thought": [0.0, 1.0, 0.0], "program-aided": [0.0, 1.0, 0.0]}  # one, two, four digits
    assert [float(bar.get_height()) for bar in drawn["equation_truth"].axes[0].patches] == [0.5, 0.5, 0.5]
    titles = {name: figure.axes[0].get_title(loc="left") for name, figure in drawn.items()}
    assert not any(titles[name] == getattr(figures, name)().axes[0].get_title(loc="left") for name in titles), "a title says nothing that was not measured"


def test_a_figure_of_what_the_problems_or_answers_do_not_tell_is_left_out(tmp_path, models, monkeypatch, scripted):
    (tmp_path / "mine.json").write_text(json.dumps([{"question": "What is 3 and 2?", "answer": 5}]), encoding="utf-8")
    found = measuring.on(own_problems.load(tmp_path / "mine.json"))
    assert set(figures.follow(found)) == {"tuned_or_not", "by_size", "equation_truth", "seen_and_unseen"}
    assert "give each row its" in "".join(text.get_text() for text in figures.by_steps(found).axes[0].texts).replace("\n", " ")
    monkeypatch.setattr(measuring.LanguageModel, "load", lambda adapter=None: scripted(lambda prompt, n: " 5\n"))
    silent = measuring.on(own_problems.load(tmp_path / "mine.json"))
    assert "equation_truth" not in figures.follow(silent)
    assert "stated an equation" in "".join(text.get_text() for text in figures.equation_truth(silent).axes[0].texts).replace("\n", " ")


def test_the_untuned_model_is_asked_problems_from_the_whole_file(tmp_path, models):
    rows = [{"question": f"What is {10 ** (n // 40)} and 2?", "answer": 5} for n in range(160)]
    (tmp_path / "long.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    untuned = measuring.on(own_problems.load(tmp_path / "long.jsonl"))["untuned"]
    assert {method: len(found) for method, found in untuned.items()} == measuring.UNTUNED_ITEMS
    assert {method: {r.digits for r in found} for method, found in untuned.items()} == dict.fromkeys(untuned, {1, 2, 3, 4})
