"""Prompts: the three forms, solved examples in front, bad input."""

from itertools import islice

import pytest

from llmsuite_lab.reasoning.prompting import METHODS, completion, final_prompt, prompt
from llmsuite_lab.world.word_problems import problems


@pytest.fixture(scope="module")
def three():
    return list(islice(problems("train", seed=5), 3))


@pytest.mark.parametrize("method", METHODS)
def test_few_shot_is_the_solved_examples_and_then_the_zero_shot_prompt(method, three):
    zero = prompt(method, three[2].text)
    few = prompt(method, three[2].text, three[:2])
    assert few.endswith(zero)
    assert few.count("Q: ") == 3
    for example in three[:2]:
        assert prompt(method, example.text) + completion(method, example) in few


def test_the_answer_is_in_no_prompt(three):
    for method in METHODS:
        assert completion(method, three[0]) not in prompt(method, three[0].text, three[1:])


def test_each_completion_ends_in_the_answer(three):
    problem = three[0]
    assert completion("direct", problem) == f" {problem.answer}.\n"
    assert completion("cot", problem).endswith(f"The answer is {problem.answer}.\n")
    assert completion("pal", problem).splitlines()[-1].startswith("answer = ")


def test_final_prompt_carries_question_program_and_value(three):
    text = final_prompt(three[0].text, three[0].program, "74")
    assert text.startswith(prompt("pal", three[0].text) + three[0].program.rstrip())
    assert text.endswith("# output: 74\nA: The answer is")


def test_bad_input():
    with pytest.raises(ValueError, match="direct, cot, pal"):
        prompt("tree", "How many?")
    with pytest.raises(ValueError, match="question is empty"):
        prompt("pal", "  \n")
