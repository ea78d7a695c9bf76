"""Answers in one turn: the same items as the ReAct adapter's, pages in front where one retrieval brings them, and the line that counts."""

from dataclasses import replace

import pytest

from llmsuite_lab.agents import measuring, one_turn, training
from llmsuite_lab.agents.demonstrations import opening_text
from llmsuite_lab.world.almanac_frozen import load_questions


class Nearest:
    """A stand-in for `one_turn.Pages`: the almanac's first page stands in front of every item."""

    def before(self, items, almanac):
        return [f"Pages:\n{next(iter(almanac.pages.values())).opening}\n" for _ in items]


@pytest.mark.parametrize("retrieved", [False, True])
def test_the_items_are_those_of_the_react_adapter_and_pages_stand_in_front(monkeypatch, retrieved):
    monkeypatch.setattr(one_turn, "encode", lambda tokenizer, prompt, completion: (prompt, completion))
    settings = one_turn.Settings(retrieved=retrieved)
    made = one_turn.training_set(None, settings, 12, seed=3, pages=Nearest())
    items = training.draw_items("varied", 12, seed=3)
    for (prompt, completion), (item, _) in zip(made, items, strict=True):
        assert prompt.endswith(opening_text(item))
        assert prompt.startswith("Pages:\n") == retrieved
        answer = item.label if hasattr(item, "label") else item.answer
        assert completion.endswith(f"\nAnswer: {answer}\n")
        assert "None" not in completion


def test_what_counts_is_the_line_behind_answer(scripted):
    questions = load_questions(("founder_birthplace", "compare_rivers"), per_kind=2)
    said = [" I know.\nAnswer: " + questions[0].answer, " Answer? no", f"\nAnswer: {questions[2].answer}\nAnswer: x", "\nAnswer: none of them"]
    model = scripted({opening_text(question): [text] for question, text in zip(questions, said, strict=True)})
    found = one_turn.answers(model, questions, None)
    assert [answer.correct for answer in found] == [True, False, True, False]


def test_the_pages_of_one_retrieval_are_whole_and_those_of_the_almanac_given(embedder, frozen):
    """Two almanacs of one split and seed with other pages: each is embedded once, and neither's pages stand in front of the other's questions."""
    pages, question = one_turn.Pages(embedder, k=2), load_questions(("compare_rivers",), per_kind=1)[0]
    page = frozen.pages[question.hops[0][0]]
    whole = " ".join((page.opening, *page.details))
    changed = replace(frozen, pages=frozen.pages | {page.title: replace(page, opening=f"{page.title} is dry.")})
    asked = [replace(question, text=whole), question]
    first, again, other = (pages.before(asked, almanac) for almanac in (frozen, frozen, changed))
    assert first == again
    assert all(front.startswith("Pages:\n") and front.count("\n") == 3 for front in first + other)
    assert first[0].startswith(f"Pages:\n{whole}\n")
    assert whole not in other[0]
    assert f"{page.title} is dry. {page.details[0]}" in other[0]
    assert embedder.embedded == 2 * len(frozen.pages) + 3 * len(asked)


def test_one_retrieval_brings_at_least_a_page():
    with pytest.raises(ValueError, match="at least one"):
        one_turn.Pages(embedder=object(), k=0)


def test_what_a_refusal_costs_is_measured_on_the_same_questions(scripted, monkeypatch, frozen):
    from llmsuite_lab.agents.demonstrations import demonstrate, render_turn

    questions = load_questions(per_kind=1)
    gold = {opening_text(question): [render_turn(turn) for turn in demonstrate(question, frozen)] for question in questions}
    monkeypatch.setattr(measuring.LanguageModel, "load", lambda **options: scripted(gold))
    found = measuring.refused_once(per_kind=1).results
    assert [row["question"] for row in found["undisturbed"]] == [row["question"] for row in found["refused"]]
    assert all(row["correct"] for row in found["undisturbed"])
    assert all(row["refusals"] == 1 for row in found["refused"])


def test_a_retrieval_holds_all_the_facts_or_not(frozen):
    class Named:
        """Every page that a question's facts stand on."""

        def before(self, items, almanac):
            return [" ".join(" ".join((page.opening, *page.details)) for page in (almanac.pages[name] for name, _, _ in item.hops)) for item in items]

    questions = load_questions(("founder_birthplace", "compare_rivers"), per_kind=2)
    assert one_turn.all_there(questions, frozen, Named()) == {"founder_birthplace": [True, True], "compare_rivers": [True, True]}
    assert one_turn.all_there(questions, frozen, Nearest()) == {"founder_birthplace": [False, False], "compare_rivers": [False, False]}
