"""Word problems: exact truth, a split that holds by construction, frozen files that the generator makes again."""

import json
import re
from fractions import Fraction
from itertools import islice

import pytest

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.reasoning.interpreter import Interpreter
from llmsuite_lab.world import word_problems as w
from llmsuite_lab.world import word_stories


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[w.Problem]]:
    return {part: list(islice(w.problems(part, seed=7), 300)) for part in ("train", "dev", "test")}


def test_the_program_run_in_the_sandbox_gives_the_exact_answer(drawn):
    with Interpreter() as interpreter:
        for problem in drawn["train"][:150] + drawn["test"][:150]:
            assert interpreter.run(problem.program).value == problem.answer, problem.text


def test_every_equation_of_the_chain_of_thought_is_true_and_the_last_is_the_answer(drawn):
    for problem in drawn["train"] + drawn["test"]:
        written = problem.chain_of_thought.splitlines()
        assert written[-1] == f"The answer is {problem.answer}."
        stated = [e for line in written[:-1] for e in line.partition(" So ")[2].removesuffix(".").split("; ") if e]
        assert sum(" = " in equation for equation in stated) == problem.steps
        for equation in stated:
            left, _, right = equation.partition(" = ")
            assert word_stories.value_of(left, {}) == Fraction(right or left), equation


def test_sizes_steps_and_whole_positive_numbers(drawn):
    for problem in drawn["train"] + drawn["test"]:
        assert sum(word_stories.operations(line.expression) for line in problem.lines) == problem.steps
        assert all(0 < line.value < word_stories.LARGEST for line in problem.lines)
        numbers = [int(n) for line in problem.lines for n in re.findall(r"\d+", line.expression)]
        assert max(len(str(n)) for n in numbers) <= max(problem.digits, 4)  # 1000 meters in a km
    assert {p.digits for p in drawn["test"]} == set(w.DIGITS)
    assert {p.steps for p in drawn["test"]} == set(w.STEPS)


def test_every_operand_of_the_solution_stands_in_the_text(drawn):
    words = {word: str(n) for n, word in word_stories.WORDS.items()}
    for problem in drawn["train"] + drawn["test"]:
        text = " ".join(words.get(token, token) for token in re.findall(r"\w+", problem.text.lower()))
        known = {"2", "12", "100", "1000"}  # twice and half, a dozen, percent, meters
        for number in re.findall(r"\d+", " ".join(line.expression for line in problem.lines)):
            assert number in known or re.search(rf"\b{number}\b", text), (number, problem.text)


def test_sentences_entities_and_numbers_are_disjoint(drawn):
    train, dev, test = (word_stories.templates(part) for part in ("train", "dev", "test"))
    for key in ("names", "items", "places", "boxes", "whens", "links"):
        assert not set(train[key]) & set(test[key])
    assert not _sentences(train) & _sentences(test)
    assert len(_sentences(train)) >= 380
    assert len(_sentences(test)) >= 180
    contexts = [key for key, value in train.items() if isinstance(value, dict) and key != "whole"]
    for key in contexts:
        for kind, sentences in train[key].items():
            if (
                isinstance(sentences, list)
                and len(word_stories.templates("test").get(key, {}).get(kind, []))
                and len(sentences) + len(dev[key][kind]) >= 8
            ):
                assert not set(sentences) & set(dev[key][kind])
    for part, other in (("train", "test"), ("test", "train")):
        for problem in drawn[part]:
            operands = [int(n) for line in problem.lines for n in re.findall(r"\d{3,}", line.expression)]
            assert all(word_stories.split_of_number(n) != other for n in operands if n not in (100, 1000))


def _sentences(pool) -> set[str]:
    """Sentences as bare skeletons, so that two that differ in case or slots only count as one."""
    listed = [s for value in pool.values() if isinstance(value, dict) for kind in value.values() if isinstance(kind, list) for s in kind]
    texts = [s if isinstance(s, str) else s[0] for s in listed]
    return {re.sub(r"\{\w+\}", "_", text).lower().strip(" .?") for text in texts}


def test_the_frozen_files_are_what_the_generator_makes():
    made = w.frozen()
    assert w.load("test") == made["test"]
    assert w.load("seen") == made["seen"]
    assert len(made["test"]) == 240
    assert {(p.digits, p.steps) for p in made["test"][:30]} == {(d, s) for d in w.DIGITS for s in w.STEPS}


def test_frozen_texts_are_not_among_the_training_texts():
    frozen = {p.text for p in w.load("seen") + w.load("test")}
    for seed in range(3):
        assert not frozen & {p.text for p in islice(w.problems("train", seed), 500)}


def test_seeds_repeat_and_differ():
    texts = [[p.text for p in islice(w.problems("train", seed), 20)] for seed in (1, 1, 2)]
    assert texts[0] == texts[1]
    assert not set(texts[0]) & set(texts[2])


def test_the_program_is_the_text_with_code_between_its_sentences(drawn):
    for problem in drawn["train"][:50] + drawn["test"][:50]:
        comments = [line.removeprefix("# ") for line in problem.program.splitlines() if line.startswith("#")]
        assert " ".join(comments) == problem.text


def test_expressions_come_apart_in_the_order_of_calculation():
    assert word_stories.equations("x + 3 * 60 - x * 50 / 100", {"x": 84}) == [
        ("3 * 60", 180),
        ("84 * 50 / 100", 42),
        ("84 + 180", 264),
        ("264 - 42", 222),
    ]
    assert word_stories.operations("x + 3 * 60 - x * 50 / 100") == 4
    assert word_stories.value_of("7", {}) == 7
    assert word_stories.value_of("2 + 3 * 4", {}) == 14


def test_few_texts_are_alike(drawn):
    assert len({p.templates for p in drawn["train"]}) > 250


def test_json_and_back(drawn, tmp_path):
    file = tmp_path / "problems.jsonl"
    w.write(file, drawn["test"][:5])
    assert w.read(file) == drawn["test"][:5]


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="digits=\\(7,\\)"):
        next(w.problems("train", digits=(7,)))
    with pytest.raises(ValueError, match="2 to 6 steps"):
        next(w.problems("train", steps=(1,)))
    with pytest.raises(ValueError, match="train, dev and test"):
        word_stories.templates("validation")
    with pytest.raises(ValueError, match="test and seen"):
        w.load("train")
    with pytest.raises(LabError, match=r"gone.jsonl cannot be read"):
        w.read(tmp_path / "gone.jsonl")
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "half')
    with pytest.raises(LabError, match="restore the file"):
        w.read(broken)
    broken.write_text(json.dumps({"answer": 3}) + "\n")
    with pytest.raises(LabError, match="not a word problem"):
        w.read(broken)
    with pytest.raises(ValueError, match="neither a whole number"):
        word_stories.value_of("3 + eggs", {})
    with pytest.raises(ValueError, match="only"):
        word_stories.value_of("3 ** 2", {})
