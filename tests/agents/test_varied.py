"""ReAct on varied worlds: gold trajectories say what the pages say and decline where none does; the record holds every world."""

import json
from collections import Counter
from random import Random

import pytest

from llmsuite_lab.agents import records, varied
from llmsuite_lab.agents.demonstrations import demonstrate, render_observation, render_turn
from llmsuite_lab.agents.react import parse_turn
from llmsuite_lab.world import leakage
from llmsuite_lab.world.almanac import build
from llmsuite_lab.world.almanac_questions import draw_question
from llmsuite_lab.world.almanac_relations import BY_SUBJECT
from llmsuite_lab.world.almanac_reworded import reworded
from llmsuite_lab.world.elsewhere import pages as elsewhere
from llmsuite_lab.world.varied.pages import KINDS, NOT_ENOUGH, World, items
from llmsuite_lab.world.varied.relations import keyword
from llmsuite_lab.world.varied.retold import retold


@pytest.fixture(scope="module")
def drawn():
    return list(items(160, seed=3, worlds=8))


def test_gold_turns_end_in_the_answer_and_name_only_what_was_seen(drawn):
    for item, world in drawn:
        turns = varied.demonstrate_item(item, world.almanac)
        answer = getattr(item.item, "answer", None) or item.item.label
        assert (turns[-1].action, turns[-1].argument) == ("Finish", answer)
        seen = item.item.text.casefold()
        for turn in turns:
            assert parse_turn(render_turn(turn)) is not None
            if turn.action == "Search":
                assert turn.argument.casefold() in seen
            seen += f" {turn.observation.casefold()}"
        if answer not in ("yes", "no", "supports", "refutes", NOT_ENOUGH):
            assert answer.casefold() in seen


def test_nothing_is_answered_where_no_page_says_it(drawn):
    found = Counter()
    for item, world in drawn:
        answer = getattr(item.item, "answer", None) or item.item.label
        last = item.steps[-1]
        page = world.almanac.pages.get(last.subject)
        assert (page is not None) == item.page_exists
        if answer == NOT_ENOUGH:
            found[item.page_exists] += 1
            assert last.value is None
            assert page is None or last.keyword.casefold() not in " ".join((page.opening, *page.details)).casefold()
        else:
            assert all(step.value for step in item.steps)
    assert min(found[True], found[False]) >= 3


def test_a_fact_behind_a_lookup_is_found_by_its_keyword_and_not_shown_at_first():
    for seed in range(6):
        world = World(seed)
        for (title, name), value in world.facts.items():
            sort, page = world.sort[title], world.almanac.pages[title]
            (r,) = (r for r in world.relations[sort] if r.name == name)
            behind = [said for said in page.details if r.keyword.casefold() in said.casefold()]
            if (sort, name) in world.behind:
                assert any(value.casefold() in said.casefold() for said in behind), (title, name, page.details)
            else:
                assert value.casefold() in page.opening.casefold()


def test_worlds_differ_in_relations_and_repeat_by_seed():
    assert World(4).almanac.pages == World(4).almanac.pages
    relations = [frozenset(r.name for listed in World(seed).relations.values() for r in listed) for seed in range(5)]
    assert len(set(relations)) == 5
    assert len({World(seed).records for seed in range(12)}) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_drawn(kind):
    item = World(2).draw(kind, Random(5))
    assert getattr(item.item, "kind", None) == kind or item.item.label == kind


def test_keywords_are_words_of_the_name():
    assert [keyword(name) for name in ("year of death", "main crop", "founding year", "mentor")] == ["death", "crop", "founding", "mentor"]


def test_retold_pages_state_the_same_facts_and_let_lookup_find_them():
    almanac, rng = build("train", 7), Random(1)
    told = retold(almanac, rng)
    assert told.facts == almanac.facts
    changed = sum(told.pages[t].opening != almanac.pages[t].opening for t in almanac.pages)
    assert changed > 0.9 * len(almanac.pages)
    for kind in ("founder_birthplace", "headquarters_mayor", "compare_rivers", "editor_birth_year"):
        question = draw_question(almanac, kind, rng)
        assert demonstrate(question, told)[-1].argument == question.answer
    for page, again in zip(almanac.pages.values(), told.pages.values(), strict=True):
        for r in BY_SUBJECT[page.kind]:
            if value := almanac.facts.get((page.title, r.name)):
                assert value in (again.opening if r.keyword is None else " ".join(d for d in again.details if r.keyword in d))
    with pytest.raises(ValueError, match="split 'test'"):
        retold(build("test", 1), rng)


def test_training_pages_share_no_run_of_words_with_those_of_the_test():
    trained = [render_observation(turn.observation) + opening for opening, turns in varied.draw(150, 2, 6) for turn in turns]
    pages = [text for page in reworded(build("test", 20)).pages.values() for text in page.details]
    assert leakage.leaks(trained, pages) == []
    for name in elsewhere.texts():
        world = elsewhere.load(name)
        texts = [q.text for q in world.questions] + [c.text for c in world.claims]
        texts += [text for page in world.pages.pages.values() for text in (page.opening, *page.details)]
        assert leakage.leaks(trained, texts) == [], name


def test_three_sources_are_mixed():
    trajectories = varied.draw(120, 1, 6)
    assert len(trajectories) == 120
    assert all(opening.endswith("\nThought:") and turns for opening, turns in trajectories)
    assert varied.draw(20, 1, 6) == trajectories[:20]
    assert varied.draw(20, 2, 6) != trajectories[:20]
    assert sum(turns[-1].argument == NOT_ENOUGH for _, turns in trajectories) >= 8


class Finisher:
    """Always answers that nobody says it."""

    context_length = 4096

    def complete(self, prompts, max_new_tokens=64, stop=()):
        text = f" I need the name.\nAction: Finish[{NOT_ENOUGH}"
        return [type("Turn", (), {"text": text, "finish_reason": "stop", "prompt_tokens": 9, "completion_tokens": 7})() for _ in prompts]

    def count_tokens(self, text):
        return len(text) // 4


def test_the_record_holds_every_world(monkeypatch):
    monkeypatch.setattr(varied.LanguageModel, "load", lambda adapter: Finisher())
    monkeypatch.setattr(varied.measuring.LanguageModel, "load", lambda adapter: Finisher())
    found = varied.solved("adapter", per_kind=2)
    assert {"questions", "claims", "reworded", "sea", "stage", "sea claims", "stage claims", "sea steps", "stage steps"} <= set(found)
    assert len(found["reworded"]) == 22
    right = Counter(row["kind"] for row in found["sea"] if row["correct"])
    assert right == {"not stated": 8, "foreign": 8, "no page": 8}
    json.dumps(found)


def test_answers_elsewhere_are_read_with_and_without_those_that_no_page_holds(recorded):
    asked = {name: elsewhere.load(name).questions for name in elsewhere.names()}
    rows = {name: [{"correct": q.answer == NOT_ENOUGH, "kind": q.kind, "answer": NOT_ENOUGH} for q in of] for name, of in asked.items()}
    runs = [recorded("react_varied", rows), recorded("react_varied", rows, seed=1)]
    found = records.elsewhere(runs)
    assert {name: share.mean for name, share in found.items()} == {"all": found["not there"].n / found["all"].n, "answered": 0.0, "not there": 1.0}
    assert (found["all"].n, found["answered"].n + found["not there"].n) == (128, 128)
    assert {kind for kind, share in records.elsewhere_by_kind(runs).items() if share.mean == 1} == {"not stated", "foreign", "no page"}
    assert records.said_not_enough(runs) == (2 * found["answered"].n,) * 2
    rows[elsewhere.names()[0]][0] |= {"correct": False, "answer": "Ada"}
    assert records.said_not_enough([recorded("react_varied", rows)])[0] < records.said_not_enough([recorded("react_varied", rows)])[1]


def test_claims_elsewhere_are_averaged_over_runs_claim_by_claim(recorded):
    labels = {name: [claim.label for claim in elsewhere.load(name).claims] for name in elsewhere.names()}

    def run(said, seed):
        rows = {f"{name} claims": [{"text": "c", "label": label, "said": said(label)} for label in found] for name, found in labels.items()}
        return recorded("react_varied", rows, seed=seed)

    always, reader = run(lambda label: "supports", 0), run(lambda label: label, 1)
    alone, both = records.claims_elsewhere([always]), records.claims_elsewhere([always, reader])
    assert (alone.mean, both.mean, both.n) == (pytest.approx(1 / 3), pytest.approx(2 / 3), sum(map(len, labels.values())))
