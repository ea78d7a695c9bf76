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
    with pytest.raises(ValueError, match="train, dev, test and varied"):
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


@pytest.mark.parametrize("part", ["test", "train", "dev"])
def test_a_story_told_for_several_sizes_differs_in_its_numbers_alone(part):
    """All sentences: those that play no part too, some of whose numbers have the operands' size."""
    number = re.compile(r"\d+|\b(?:" + "|".join(word_stories.WORDS.values()) + r")\b", re.IGNORECASE)
    told = w.twins(part, 60, (2, 6, 1))
    assert [tellings[0].steps for tellings in told[:5]] == list(w.STEPS)
    for tellings in told:
        assert [p.digits for p in tellings] == [2, 6, 1]
        assert len({(p.templates, p.steps, p.distractors) for p in tellings}) == 1
        plain = [[number.sub("#", sentence.text) for sentence in p.sentences] for p in tellings]
        assert plain[0] == plain[1] == plain[2]
        assert len({p.text for p in tellings}) == 3
    assert w.twins(part, 3) == w.twins(part, 3)


def test_things_that_play_no_part_are_as_many_as_the_operands_are_large():
    sentences = [text for kinds in word_stories.templates("train").values() if isinstance(kinds, dict) for text in kinds.get("distractor", ())]
    asked = [re.sub(r"\\{\w+\\}", r"[\\w -]+", re.escape(text).replace(r"\{d\}", r"(\d+)")) for text in sentences if "{item}" in text]
    found = [[n for s in p.sentences for form in asked for n in re.findall(form, s.text)] for tellings in w.twins("train", 200, (2, 5)) for p in tellings]
    small, large = ([len(n) for numbers in found[i::2] for n in numbers] for i in (0, 1))
    assert len(small) == len(large) >= 5
    assert (set(small), set(large)) == ({2}, {5})


def test_bad_sizes_of_a_story_told_twice():
    with pytest.raises(ValueError, match="1 to 6 digits"):
        w.twins("test", 1, (0, 2))
