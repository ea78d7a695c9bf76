"""The support desk: splits that share nothing, facts that stand in the dialogue, and a score that sees what is missing and what is invented."""

import re
from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.world import support_desk
from llmsuite_lab.world.support_desk import SPLITS, dialogues, facts_in
from llmsuite_lab.world.support_desk_values import MONTHS, owner, wordings


@pytest.fixture(scope="module")
def desk():
    return {split: dialogues(500, split) for split in SPLITS}


@pytest.mark.parametrize("split", SPLITS)
def test_thousands_of_different_dialogues_the_same_each_time(split, desk):
    many = dialogues(3000, split, seed=4)
    assert len({d.text for d in many}) == len({d.id for d in many}) == 3000
    assert desk[split] == dialogues(500, split)
    assert desk[split][:40] == dialogues(40, split)
    assert desk[split][0].text != dialogues(1, split, seed=1)[0].text


def _wordings(value, path=()):
    if isinstance(value, str):
        yield value
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if key not in ("name", "problem", "intent", "outcomes", "moods", "order"):
            yield from _wordings(part)
    if isinstance(value, dict) and isinstance(value.get("order"), list):  # order = false marks a plot, a list holds wordings
        yield from _wordings(value["order"])


def _sentences(part):
    texts = [text.casefold() for text in _wordings(wordings(part))]
    pieces = {piece.strip(" .?!,:") for text in texts for piece in re.split(r"(?<=[.?!])\s+", text)} | {t.strip(" .?!,:") for t in texts}
    return {piece for piece in pieces if len(re.findall(r"[a-z']+", re.sub(r"\{\w+\}", "", piece))) > 1}  # bare slots are no wording


def test_no_wording_of_the_test_split_is_trained():
    common = _sentences("train") & _sentences("test") - {""}
    assert not common
    assert not {p["name"] for p in wordings("train")["plot"]} & {p["name"] for p in wordings("test")["plot"]}


def test_the_splits_share_no_name_product_number_or_day(desk):
    for kind in ("customer", "agent", "product", "order", "amount", "date"):
        seen = {split: {getattr(d.facts, kind) for d in desk[split]} - {None} for split in SPLITS}
        assert all(len(values) > 25 for values in seen.values()), kind
        assert not seen["train"] & seen["validation"] | seen["train"] & seen["test"] | seen["validation"] & seen["test"], kind
    nouns = {split: {d.facts.product.split(" ", 1)[1] for d in desk[split]} for split in SPLITS}
    assert not nouns["train"] & nouns["validation"] | nouns["train"] & nouns["test"] | nouns["validation"] & nouns["test"]


@pytest.mark.parametrize("split", SPLITS)
def test_every_number_of_three_digits_or_more_is_its_splits_own(split, desk):
    for dialogue in desk[split]:
        for number in re.findall(r"\d+(?:\.\d+)?", dialogue.text):
            if len(number) > 2:
                assert owner(number) == split, (number, dialogue.text)


def test_the_plots_are_many_and_validation_uses_those_of_training(desk):
    plots = {split: {d.template.split(".")[0] for d in desk[split]} for split in SPLITS}
    assert len(plots["train"]) >= 20
    assert len(plots["test"]) >= 6
    assert plots["train"] == plots["validation"]
    assert not plots["train"] & plots["test"]


@pytest.mark.parametrize("split", SPLITS)
def test_what_is_asked_for_stands_in_the_dialogue(split, desk):
    for d in desk[split]:
        assert 4 <= len(d.turns) <= 12
        assert all(turn.text and "{" not in turn.text for turn in d.turns)
        assert all(a.speaker != b.speaker for a, b in zip(d.turns, d.turns[1:], strict=False))
        assert d.intent in support_desk.INTENTS
        assert d.sentiment in support_desk.SENTIMENTS
        assert d.register in support_desk.REGISTERS
        assert set(d.entities) <= set(support_desk.ENTITY_KINDS)
        assert {"customer", "product"} <= set(d.entities)
        for words in (*d.entities.values(), d.answer, d.facts.agent):
            assert words in d.text, (words, d.text)
        for kind in ("order", "amount", "date"):
            assert (kind in d.entities) == (getattr(d.facts, kind) is not None)
        assert d.question.endswith(("?", "."))
        assert "{" not in d.summary + d.question + d.answer


def test_all_labels_occur_and_none_is_read_off_the_first_number_or_one_word(desk):
    for split in SPLITS:
        assert set(Counter(d.intent for d in desk[split])) == set(support_desk.INTENTS)
        assert set(Counter(d.sentiment for d in desk[split])) == set(support_desk.SENTIMENTS)
        assert max(Counter(d.intent for d in desk[split]).values()) < 0.2 * 500
        orders = [d for d in desk[split] if d.facts.order]
        first = [re.search(r"\d{5}", d.text)[0] == d.facts.order for d in orders]
        assert 0.4 < sum(first) / len(first) < 0.9
        assert len({d.intent for d in desk[split] if "cancel" in d.text.lower()} | {d.intent for d in desk[split] if "back" in d.text}) > 3


@pytest.mark.parametrize("split", SPLITS)
def test_a_reference_states_its_facts_and_nothing_else(split, desk):
    for d in desk[split]:
        score = facts_in(d.summary, d)
        assert (score.recall, score.precision, score.missing, score.invented) == (1.0, 1.0, (), ()), (d.summary, score)
        assert {"customer", "outcome", "problem"} <= set(score.stated), (d.summary, score)
        for kind in ("order", "amount", "date"):
            assert (kind in score.stated) == (kind in d.entities and d.entities[kind] in d.summary), (d.summary, score)


def _swapped(d, other, kind):
    """The summary with one fact exchanged for that of another dialogue."""
    if kind == "customer":
        given = d.facts.customer.split()[0]
        return d.summary.replace(d.facts.customer, other.facts.customer.split()[0]).replace(given, other.facts.customer.split()[0])
    if kind in ("agent", "product"):
        return d.summary.replace(getattr(d.facts, kind), getattr(other.facts, kind))
    return d.summary.replace(d.entities[kind], other.entities[kind])


@pytest.mark.parametrize("kind", ["customer", "agent", "product", "order", "amount", "date"])
def test_a_wrong_fact_costs_recall_and_precision(kind, desk):
    checked = 0
    for d in desk["test"][:200]:
        if kind not in facts_in(d.summary, d).stated:
            continue
        other = next(o for o in desk["validation"] if getattr(o.facts, kind) and getattr(o.facts, kind) != getattr(d.facts, kind))
        score = facts_in(_swapped(d, other, kind), d)
        assert max(score.recall, score.precision) < 1, (_swapped(d, other, kind), score)
        assert score.missing == (kind,)
        checked += 1
    assert checked > 20


def test_a_wrong_outcome_costs_recall_and_precision(desk):
    acts = {"refund": "refunded it", "repair": "booked a repair", "cancelled": "cancelled it", "declined": "refused", "escalated": "passed it on"}
    for d in desk["train"][:300]:
        name = d.facts.customer.split()[0]
        for outcome, act in acts.items():
            score = facts_in(f"{name} called. {d.facts.agent} {act}.", d)
            beside = wordings("lexicon")["beside"].get(d.facts.outcome, [])
            assert ("outcome" in score.stated) == (outcome == d.facts.outcome)
            assert bool(score.invented) == (outcome != d.facts.outcome and outcome not in beside), (score, d.facts.outcome)


def test_nothing_said_is_no_recall_and_no_precision(desk):
    for text in ("", "   ", "…", "They talked."):
        score = facts_in(text, desk["test"][0])
        assert (score.recall, score.precision, score.stated, score.invented) == (0.0, None, (), ())
        assert score.missing


def test_the_summary_of_another_dialogue_scores_low(desk):
    for split in SPLITS:
        pairs = list(zip(desk[split], desk[split][1:], strict=False))
        scores = [facts_in(other.summary, d) for d, other in pairs]
        assert sum(s.recall for s in scores) / len(scores) < 0.15
        assert sum(s.precision or 0 for s in scores) / len(scores) < 0.15


@pytest.fixture
def talk(desk):
    """A dialogue with every kind of fact, whose date is not the same read both ways round."""
    found = next(d for d in desk["test"] if set(d.entities) == set(support_desk.ENTITY_KINDS) and d.facts.outcome == "refund" and d.facts.date.day > 12)
    return replace(found, summary=f"{found.facts.customer} got {found.entities['amount']} back on {found.entities['date']}, order {found.facts.order}.")


def test_numbers_and_days_count_in_any_spelling(talk):
    amount, day = talk.facts.amount, talk.facts.date
    month = MONTHS[day.month - 1]
    for words in (f"${amount}", f"{amount} dollars", f"£ {amount:.2f}", f"{amount}€", f"USD {amount}", f"{amount:.2f}"):
        assert "amount" in facts_in(f"She got {words}.", talk).stated, words
    for words in (
        f"{day.day} {month}", f"{month} {day.day}", f"the {day.day}th of {month}", f"{month.upper()} {day.day}", f"{month[:3]} {day.day}, 2031",
        f"{day.day}/{day.month}", f"{day.month}/{day.day}", f"{day.month}/{day.day}/31", day.isoformat(), f"the {day.day}th",
    ):  # fmt: skip
        assert "date" in facts_in(f"It is due {words}.", talk).stated, words
        assert "amount" not in facts_in(f"It is due {words}.", talk).stated
    for words in (talk.facts.order, f"#{talk.facts.order}", f"{int(talk.facts.order):,}"):
        assert facts_in(f"order {words}", talk).stated == ("order",), words


def test_a_summary_by_a_person_is_read(talk):
    given, agent, amount = talk.facts.customer.split()[0], talk.facts.agent, talk.entities["amount"]
    said = facts_in(f"{given.lower()} wanted a replacement but {agent.upper()} gave {amount} back instead. However, nobody called.", talk)
    assert {"customer", "agent", "amount", "outcome"} <= set(said.stated)
    assert said.invented == ()
    wrong = facts_in(f"{given} spoke to Peter Miller about a Zorka lawnmower, order 11111, and got $999 back on June 31.", talk)
    assert [i.split(":")[0] for i in wrong.invented].count("name") == 2
    assert {"product: Zorka lawnmower", "order: 11111", "amount: 999", "date: 31 June"} <= set(wrong.invented)


def test_what_is_only_mentioned_is_an_error_in_the_place_of_a_fact_and_none_beside_it(desk):
    found = 0
    for d in desk["train"]:
        for other in re.findall(r"\b\d{5}\b", d.text):
            if d.facts.order and other != d.facts.order:
                assert facts_in(f"Order {other}.", d).invented == (f"order: {other}",)
                assert facts_in(f"Order {d.facts.order}, not {other}.", d).invented == ()
                found += 1
    assert found > 30


def test_the_stored_dialogues_are_those_the_generator_makes(tmp_path):
    support_desk.freeze(tmp_path / "again.jsonl")
    assert support_desk.read(tmp_path / "again.jsonl") == support_desk.frozen() == dialogues(support_desk.FROZEN, "test")
    assert (tmp_path / "again.jsonl").read_bytes() == support_desk._file().read_bytes()


def test_bad_input_is_answered(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'validation'"):
        dialogues(3, "valid")
    with pytest.raises(ValueError, match="count=-1"):
        dialogues(-1)
    with pytest.raises(ValueError, match="only test is stored"):
        support_desk.frozen("train")
    (tmp_path / "torn.jsonl").write_text('{"id": 1}\n', encoding="utf-8")
    with pytest.raises(LabError, match="not a support-desk dialogue"):
        support_desk.read(tmp_path / "torn.jsonl")
    with pytest.raises(LabError, match="restore"):
        support_desk.read(tmp_path / "nowhere.jsonl")
    assert dialogues(0) == []


def test_checksums_and_numbers_are_drawn_evenly():
    counts = Counter(owner(str(Random(0).randint(0, 10**9) + i)) for i in range(4000))
    assert counts["test"] > 1600
    assert counts["train"] > 1200
    assert counts["validation"] > 300


@pytest.mark.parametrize(
    ("problem", "outcome", "words"),
    [
        ("broken", "credit", "{c}'s {n} stopped working. No refund was given, but {a} offered a 50 dollars voucher."),
        ("damaged", "replacement", "{c}'s {n} arrived broken, so {a} is exchanging it."),
        ("damaged", "replacement", "{c}'s {n} was smashed. {a} will deliver a new {n}."),
        ("charged twice", "refund", "{c} saw a duplicate payment for a {n}. {a} promised a refund."),
    ],
)
def test_other_peoples_words_for_problem_and_outcome_are_read(problem, outcome, words, desk):
    d = next(d for d in desk["test"] if (d.facts.problem, d.facts.outcome) == (problem, outcome))
    said = facts_in(words.format(c=d.facts.customer.split()[0], a=d.facts.agent, n=d.facts.product.split(" ", 1)[1]), d)
    assert {"problem", "outcome", "product", "customer", "agent"} <= set(said.stated)
    assert [i for i in said.invented if i.startswith(("outcome", "problem"))] == []
