"""The varied training worlds: what they say is true, and they hold nothing that skills are measured on."""

import re
from fractions import Fraction
from itertools import islice

import pytest

from llmsuite_lab.reasoning.interpreter import Interpreter
from llmsuite_lab.world import leakage, word_stories
from llmsuite_lab.world.elsewhere import problems as elsewhere
from llmsuite_lab.world.varied import sentences, stories
from llmsuite_lab.world.word_problems import load, problems


@pytest.fixture(scope="module")
def told():
    return list(islice(stories.stories(5, (1, 2, 3, 4)), 400))


@pytest.fixture(scope="module")
def running():
    return list(islice(problems("varied", 5, (1, 2, 3), (2, 3, 4)), 200))


def test_programs_of_both_kinds_give_their_answers(told, running):
    with Interpreter() as interpreter:
        for problem in told[:200] + running[:100]:
            assert interpreter.run(problem.program).value == problem.answer, problem.text
            assert problem.answer > 0


def test_every_number_of_the_lines_stands_in_the_text(told):
    words = {word: str(n) for n, word in word_stories.WORDS.items()} | {"half": "2", "third": "3", "quarter": "4", "fifth": "5"}
    for problem in told:
        text = " ".join(words.get(token.lower(), token) for token in re.findall(r"\w+", problem.text))
        for number in re.findall(r"\b\d+\b", " ".join(line.expression for line in problem.lines)):
            assert number in {"2", "7", "12", "60", "100"} or re.search(rf"\b{number}\b", text), (number, problem.text)


def test_every_scene_is_told_and_texts_are_whole():
    many = list(islice(stories.stories(1, (1, 2)), 800))
    assert {problem.templates[0].split(".")[1] for problem in many} == {str(i) for i in range(len(stories.scenes()["scene"]))}
    for problem in many:
        assert not re.search(r"[{}<>|]|\b[Aa] [aeiou]|  |\$[a-z]", problem.text), problem.text
        assert problem.text[-1] in "?."
        assert 0 <= problem.steps <= 5


def test_the_same_facts_are_asked_in_several_ways():
    asked = {}
    for problem in islice(stories.stories(2, (2,)), 900):
        _, scene, question = problem.templates[0].split(".")
        asked.setdefault(scene, set()).add(question)
    scenes = stories.scenes()["scene"]
    assert all(asked[str(i)] == {str(q) for q in range(len(scene["questions"]))} for i, scene in enumerate(scenes) if len(scene["questions"]) < 3)
    assert sum(len(scene["questions"]) for scene in scenes) >= 2 * len(scenes)


def test_a_number_that_plays_no_part_is_told_often(told):
    extra = sum(problem.distractors > 0 for problem in told) / len(told)
    assert 0.2 < extra < 0.8


def test_held_out_numbers_are_the_tests(told):
    for split, drawn in (("train", told), ("test", islice(stories.stories(5, (3, 4), held_out=True), 60))):
        for problem in drawn:
            operands = [int(n) for line in problem.lines for n in re.findall(r"(?<![\w])\d{3,}", line.expression)]
            tens = [n // 10 if n % 10 == 0 else n for n in operands]  # a price is ten times an operand
            owners = [(word_stories.split_of_number(n) or split, word_stories.split_of_number(m) or split) for n, m in zip(operands, tens, strict=True)]
            assert all(split in pair for pair in owners)


def test_seeds_repeat_and_differ():
    texts = [[problem.text for problem in islice(stories.stories(seed), 20)] for seed in (1, 1, 2)]
    assert texts[0] == texts[1]
    assert not set(texts[0]) & set(texts[2])


def test_the_training_pool_is_widened_and_the_others_are_not():
    train, varied = word_stories.templates("train"), word_stories.templates("varied")
    for context, kind in (("goods", "sub"), ("stock", "add"), ("money", "sub")):
        assert set(train[context][kind]) < set(varied[context][kind])
        assert len(varied[context][kind]) > len(train[context][kind]) + 10
    test = word_stories.templates("test")
    for context, kinds in varied.items():
        for kind, listed in kinds.items() if isinstance(kinds, dict) else ():
            if kind == "variable":
                continue
            held = {_skeleton(text) for text in test.get(context, {}).get(kind, ()) if isinstance(text, str)}
            assert not held & {_skeleton(text) for text in listed if isinstance(text, str)}, (context, kind)


def _skeleton(text):
    return re.sub(r"\{\w+\}", "_", text).lower().strip(" .?")


def test_every_word_list_that_a_frame_names_is_there():
    for lexicon in sentences.lexicons().values():
        for frames in lexicon.values():
            assert all(name in lexicon for frame in frames for name in re.findall(r"<(\w+)>", frame))
    assert not any("<" in text for kinds in word_stories.templates("varied").values() if isinstance(kinds, dict) for texts in kinds.values() for text in texts)


def test_sentences_of_one_kind_do_what_their_lines_say(running):
    for problem in running:
        known = {}
        for line in problem.lines:
            known[line.target] = word_stories.value_of(line.expression, known)
            assert known[line.target] == Fraction(line.value)


def test_scenes_share_no_run_of_words_with_what_is_measured():
    drawn = [problem.text for problem in islice(stories.stories(11, (1, 2, 3)), 800)]
    held = {"test": [p.text for p in load("test")]} | {name: [p.text for p in elsewhere.load(name)] for name in elsewhere.SETS}
    for name, texts in held.items():
        assert len(leakage.leaks(drawn, texts)) <= len(texts) // 40, f"{name}: more than chance; what chance leaves, the training filters out"
    assert len(leakage.leaks([*drawn, held["single"][7]], held["single"])) >= 1, "a copy is found"


def test_a_run_of_words_is_a_leak_whatever_its_numbers():
    asked = "Of 86 tickets, 34 are sold. How many can still be bought?"
    assert leakage.leaks(["Of 9,000 tickets, 2 are sold. How many can still be bought?"], [asked]) == [(asked, "# are sold how many can still be")]
    assert leakage.leaks(["Tickets are sold."], [asked]) == []
    assert leakage.leaks([], [asked]) == []
    assert leakage.leaks(["They sang: how many? Nobody knew."], ["How many?"]) == [("How many?", "how many")]
    assert leakage.grams("a b c", 2) == {("a", "b"), ("b", "c")}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: next(stories.stories(0, (7,))), "1 to 6"),
        (lambda: next(stories.stories(0, ())), "1 to 6"),
        (lambda: leakage.grams("a", 0), "n"),
        (lambda: leakage.leaks("one text", ["a"]), "list"),
    ],
    ids=["digits", "none", "n", "string"],
)
def test_what_cannot_be_told_is_refused(wrong, said):
    with pytest.raises((ValueError, TypeError), match=said):
        wrong()
