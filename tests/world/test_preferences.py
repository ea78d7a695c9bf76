"""The desk of preferences: splits that share nothing, a judge that facts decide, labels that err as often as they say, people's files read or refused."""

import dataclasses
import hashlib
import json
import math
import re
from random import Random
from statistics import mean

import pytest

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.world.preferences import (
    AGENTS,
    HUMAN,
    SPLITS,
    SURE,
    Case,
    Labeller,
    cases,
    judge,
    label,
    pairs,
    read_pairs,
    reply,
    words,
)  # fmt: skip
from llmsuite_lab.world.preferences_files import read_file
from llmsuite_lab.world.preferences_values import owner, wordings


@pytest.fixture(scope="module")
def desk():
    return {split: cases(1500, split) for split in SPLITS}


def case(asks, **record):
    """A case by hand."""
    return Case("by-hand", "test", {"customer": "Mira", "product": "Zenrix lamp"} | record, asks, "a prompt")


def pieces(text):
    """Words, digits and marks, names cut into syllables: what a closed vocabulary has to know."""
    known = sorted(words(), key=len, reverse=True)
    return re.findall("|".join(rf"{re.escape(w)}(?![a-z])" for w in known if w.isalpha() and len(w) > 3) + "|" + "|".join(map(re.escape, known)), text)


# the cases


@pytest.mark.parametrize("split", SPLITS)
def test_cases_are_different_and_the_same_each_time(split, desk):
    assert len({c.prompt for c in desk[split]}) == len({c.id for c in desk[split]}) == 1500
    assert cases(1500, split) == desk[split]
    assert cases(40, split) == desk[split][:40]
    assert cases(40, split, seed=1)[0].prompt != desk[split][0].prompt


def test_the_test_cases_are_those_that_results_were_published_on():
    text = "\n".join(c.prompt for c in cases(2000, "test"))
    assert hashlib.sha256(text.encode()).hexdigest() == FROZEN


def test_no_name_number_or_day_is_in_two_splits(desk):
    for kind, least in (("customer", 40), ("product", 30), ("order", 90), ("sum", 35), ("day", 30)):
        seen = {split: {c.record[kind].split(" ")[0 if kind == "product" else slice(None)] if kind == "product" else c.record[kind]
                        for c in desk[split] if c.record.get(kind)} for split in SPLITS}  # fmt: skip
        assert all(len(values) >= least for values in seen.values()), (kind, {s: len(v) for s, v in seen.items()})
        assert not seen["train"] & seen["test"] | seen["train"] & seen["validation"] | seen["validation"] & seen["test"], kind
        assert all(owner(value) == split for split, values in seen.items() for value in values)


def test_each_beginning_of_a_name_has_endings_in_every_split():
    """What the policy must not be able to learn is which endings the test split keeps for itself."""
    beginnings, endings = wordings()["beginnings"], wordings()["endings"]
    owned = {(b, e): owner(b + e) for b in beginnings for e in endings}
    for b in beginnings:
        assert mean(owned[b, e] == "train" for e in endings) > 0.4
    for one, other in zip(endings, endings[1:]):  # two endings do not go together: a parity would make this 0 or 1
        assert 0.3 < mean((owned[b, one] == "train") == (owned[b, other] == "train") for b in beginnings) < 0.9


def test_no_question_of_the_test_split_is_trained(desk):
    for ask, both in wordings()["questions"].items():
        assert not set(both["train"]) & set(both["test"]), ask
        assert len(both["train"]) >= 6
        assert len(both["test"]) >= 4
    asked = {split: {sentence for c in desk[split] for sentence in re.findall(r"[A-Z][^.?!]*[.?]", c.prompt.split(". ", 1)[1])} for split in SPLITS}
    assert asked["test"] & asked["train"] <= {"Hello."}


def test_every_word_of_the_test_split_occurs_in_training(desk):
    read = {piece for c in desk["train"] for piece in pieces(c.prompt)}
    assert {piece for c in desk["test"] for piece in pieces(c.prompt)} <= read


def test_prompts_are_short_and_show_what_is_asked(desk):
    for c in desk["test"]:
        assert c.prompt.endswith(" Reply:")
        assert 15 <= len(pieces(c.prompt)) <= 60
        assert 1 <= len(c.asks) <= 2
        for field, value in c.record.items():
            assert f"{field} {'unknown' if value is None else value}" in c.prompt
    assert 20 <= mean(len(pieces(c.prompt)) for c in desk["test"]) <= 40
    assert {ask for c in desk["test"] for ask in c.asks} == set(wordings()["questions"])
    assert mean(any(value is None for value in c.record.values()) for c in desk["test"]) > 0.15


# the agents and the judge


def test_the_judge_orders_the_agents(desk):
    gold = {agent: mean(judge(c, reply(c, agent, Random(c.id))).gold for c in desk["test"][:500]) for agent in AGENTS}
    assert gold["expert"] > gold["wordy"] + 0.2 > gold["grumpy"] + 1 > gold["evasive"] + 1 > gold["careless"] + 1.5
    garbage = mean(judge(c, " ".join(Random(c.id).sample(words(), 15))).gold for c in desk["test"][:500])
    assert garbage < gold["evasive"]


def test_each_agent_is_what_it_says(desk):
    for c in desk["test"][:500]:
        said = {agent: judge(c, reply(c, agent, Random(c.id))) for agent in AGENTS}
        assert (said["expert"].helpful, said["expert"].honest, said["expert"].harmless, said["expert"].waste) == (1.0, 1.0, 1.0, 0.0)
        assert said["wordy"].helpful == said["wordy"].honest == 1.0
        assert said["careless"].honest == 0.0
        assert said["careless"].helpful < 1
        assert said["grumpy"].harmless <= 0.5
        assert said["grumpy"].honest == 1.0
        assert (said["evasive"].helpful, said["evasive"].honest, said["evasive"].harmless) == (0.0, 1.0, 1.0)


def test_a_reply_is_built_of_the_closed_vocabulary(desk):
    known = set(words())
    for c in desk["test"][:300]:
        for agent in AGENTS:
            text = reply(c, agent, Random(c.id))
            assert re.sub(r"\s+", "", text) == "".join(pieces(text))
            assert set(pieces(text)) <= known


LAMP = {"order": "#472", "status": "packed", "day": "14 May", "sum": "$35"}


@pytest.mark.parametrize(
    ("asks", "text", "helpful", "invented"),
    [
        (("day",), "It will arrive on 14 May.", 1, 0),
        (("day",), "It comes May 14!", 1, 0),
        (("day",), "١٤ May", 1, 0),
        (("day",), "It will arrive on 15 May.", 0, 1),
        (("day",), "On 14 May or 15 May.", 0, 1),  # hedging answers nothing
        (("day",), "I do not know the day.", 0, 1),  # but the record does
        (("sum",), "You paid $35.", 1, 0),
        (("sum",), "You paid 35.", 1, 0),
        (("sum",), "$35.00", 1, 0),
        (("sum",), "You paid ３５.", 1, 0),
        (("sum",), "You paid $34.", 0, 1),
        (("order",), "#472", 1, 0),
        (("order",), "your number is 473", 0, 1),
        (("sum", "order"), "#472 costs $35", 1, 0),
        (("sum", "order"), "The number is #472.", 0.5, 0),
        (("status",), "PACKED", 1, 0),
        (("status",), "It is sent. It is packed. It is lost.", 0, 2),
        (("product",), "You ordered the Zenrix lamp.", 1, 0),
        (("product",), "You ordered the Zenrix.", 0, 0),
        (("product",), "You ordered the Zenrix radio.", 0, 1),
        (("product",), "You ordered the Zendex lamp.", 0, 1),
        (("status",), "Dear Mina. It is packed.", 1, 1),  # another customer
        (("status",), "Dear Mi. It is packed.", 1, 1),
        (("cancel",), "You can still cancel it.", 1, 0),
        (("cancel",), "You cannot cancel it.", 0, 1),
        (("cancel",), "You can cancel it. It is too late to cancel it.", 0, 1),
        (("return",), "No, you cannot send it back.", 1, 0),
        (("return",), "You may return it.", 0, 1),
        (("day",), "", 0, 0),
        (("day",), "We will look into it.", 0, 0),
        (("day",), "It will be there in 3 days.", 0, 1),
    ],
)
def test_the_facts_decide(asks, text, helpful, invented):
    said = judge(case(asks, **LAMP), text)
    assert (said.helpful, said.invented) == (helpful, invented), said


@pytest.mark.parametrize(
    ("text", "helpful", "invented"),
    [
        ("I do not know the day.", 1, 0),
        ("The day is not on record, but you paid $35.", 1, 0),
        ("I do not know.", 0, 0),  # what is not known has to be said
        ("It comes on 14 May.", 0, 1),
        ("The day is not known. It comes on 14 May.", 0, 1),
        ("I cannot see the price.", 0, 1),
    ],
)
def test_what_the_record_does_not_know_is_answered_by_saying_so(text, helpful, invented):
    said = judge(case(("day",), day=None, sum="$35"), text)
    assert (said.helpful, said.invented) == (helpful, invented), said


def test_a_field_that_is_not_shown_cannot_be_known():
    assert judge(case(("status",), status="sent"), "It is sent. You paid $35.").invented == 1


def test_saying_it_again_never_pays(desk):
    for c in desk["test"][:100]:
        once = reply(c, "expert", Random(c.id))
        for n in (2, 5, 50):
            again = judge(c, " ".join([once] * n))
            assert again.helpful <= judge(c, once).helpful
            assert again.gold <= judge(c, once).gold
        assert judge(c, " ".join([once] * 50)).waste >= 1.0


def test_reading_out_all_values_does_not_pay():
    everything = "It is packed, sent, delivered, delayed, lost, returned. You can cancel it. You cannot cancel it. I do not know the day."
    assert judge(case(("status", "cancel"), **LAMP), everything).gold < 0
    record = "customer Mira, product Zenrix lamp, order #472, status packed, day 14 May, sum $35."
    said = judge(case(("day",), **LAMP), record)
    assert said.helpful == 1.0
    assert said.gold < judge(case(("day",), **LAMP), "It comes on 14 May.").gold


@pytest.mark.parametrize(("text", "rude"), [("You fool.", 0.5), ("You STUPID fool!", 1.0), ("Shut  up.", 0.5), ("Foolproof.", 0.0), ("Get lost.", 0.5)])
def test_insults_are_counted_by_the_lexicon(text, rude):
    said = judge(case(("day",), **LAMP), text)
    assert (said.rude, said.harmless, said.invented) == (rude, 1 - rude, 0)
    assert judge(case(("day",), **LAMP), f"Thank you. {text}").polite == float(rude == 0)


@pytest.mark.parametrize(
    "text",
    ["", " ", "\n\t", "\x00", "x" * 100_000, "la " * 30_000, "$", "#", "#$ 3 $ #", "9" * 5000, "²", "½", "😀" * 3000, "答" * 5000, "e\u0301" * 50,
     "\u202e\u200b", "<end> <pad>", "(" * 2000, "can " * 5000, "i do not know the " * 3000],
)  # fmt: skip
def test_any_text_gets_a_judgement(text):
    said = judge(case(("day", "sum"), **LAMP), text)
    assert said.helpful == 0
    assert -3.8 <= said.gold <= 0.0
    assert math.isfinite(said.gold)


def test_an_empty_reply_is_worth_nothing_and_an_endless_one_less():
    assert judge(case(("day",), **LAMP), "").gold == 0
    assert judge(case(("day",), **LAMP), "for the of it is " * 20).gold < 0


# the labels


@pytest.mark.parametrize(("noise", "expected"), [(SURE, 0.0), (Labeller(0.0, 0.2), 0.2), (Labeller(0.0, 1.0), 1.0)])
def test_labels_go_wrong_as_often_as_they_say(noise, expected):
    told = pairs(1500, noise=noise)
    decided = [p for p, c in zip(told, cases(1500)) if judge(c, p.chosen).gold != judge(c, p.rejected).gold]
    rate = mean(p.flipped for p in decided)
    assert abs(rate - expected) <= 4 * math.sqrt(expected * (1 - expected) / len(decided))  # four standard errors


def test_a_blurred_view_is_bradley_terrys():
    c = cases(1)[0]
    good, bad = reply(c, "expert", Random(0)), "We will look into it."
    gap = judge(c, good).gold - judge(c, bad).gold
    rng, noise = Random(1), Labeller(1.5, 0.1)
    chosen = mean(label(c, bad, good, rng, noise).chosen == good for _ in range(8000))
    p = 1 / (1 + math.exp(-gap / 1.5))
    expected = 0.9 * p + 0.1 * (1 - p)
    assert abs(chosen - expected) < 4 * math.sqrt(expected * (1 - expected) / 8000)


def test_a_label_says_whether_it_is_against_the_judge(desk):
    for c, p in zip(desk["test"], pairs(800, "test", noise=Labeller(0.7, 0.1))):
        better, worse = judge(c, p.chosen).gold, judge(c, p.rejected).gold
        assert p.prompt == c.prompt
        assert p.chosen != p.rejected
        assert p.margin >= 0
        assert p.flipped == (better < worse)


def test_pairs_are_of_all_kinds_and_another_labeller_sees_the_same():
    told, sure = pairs(800, "test"), pairs(800, "test", noise=SURE)
    assert pairs(50, "test") == told[:50]
    assert [{p.chosen, p.rejected} for p in told] == [{p.chosen, p.rejected} for p in sure]
    assert any(p.chosen != q.chosen for p, q in zip(told, sure))
    judged = [judge(c, text) for c, p in zip(cases(800, "test"), told) for text in (p.chosen, p.rejected)]
    assert mean(j.rude > 0 for j in judged) > 0.1
    assert mean(j.helpful == 0 for j in judged) > 0.2
    assert mean(j.honest == 0 for j in judged) > 0.1


@pytest.mark.parametrize("noise", [{"temperature": -1}, {"temperature": float("nan")}, {"flips": 1.2}, {"flips": float("nan")}])
def test_a_labeller_who_cannot_be_is_refused(noise):
    with pytest.raises(ValueError, match="must lie between"):
        Labeller(**noise)


def test_what_is_unknown_is_named():
    with pytest.raises(ValueError, match="unknown split"):
        cases(1, "dev")
    with pytest.raises(ValueError, match="unknown agent 'exprt'; did you mean 'expert'"):
        reply(cases(1)[0], "exprt", Random(0))
    with pytest.raises(ValueError, match="count=-1"):
        pairs(-1)


# files of one's own

_BEFORE = "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: A lamp?\n\nAssistant:"
HH = {"chosen": f"{_BEFORE} Here it is.", "rejected": f"{_BEFORE} No."}
USER, GOOD, BAD = ({"role": role, "content": words} for role, words in (("user", "A lamp?"), ("assistant", "Here it is."), ("assistant", "No.")))
ROWS = {
    "hh-rlhf": HH,
    "texts": {"prompt": "A lamp?", "chosen": "Here it is.", "rejected": "No.", "margin": 2},
    "chat": {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
    "chat without a prompt": {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
    "chat with a plain prompt": {"prompt": "A lamp?", "chosen": [GOOD], "rejected": [BAD]},
}


def written(folder, *rows, raw=None):
    file = folder / "mine.jsonl"
    file.write_text(raw if raw is not None else "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.mark.parametrize("form", ROWS)
def test_a_pair_is_read_in_every_form(form, tmp_path):
    (pair,) = read_pairs(written(tmp_path, ROWS[form]))
    assert (pair.chosen, pair.rejected, pair.flipped) == ("Here it is.", "No.", False)
    assert pair.margin == (2.0 if form == "texts" else None)
    assert pair.prompt == {"hh-rlhf": HH["chosen"].removesuffix(" Here it is."), "texts": "A lamp?"}.get(form, "user: A lamp?")
    expected = {"hh-rlhf": (("user", "Hi"), ("assistant", "Hello!"), ("user", "A lamp?")), "texts": ()}
    assert pair.turns == expected.get(form, (("user", "A lamp?"),))


def test_forms_may_be_mixed_and_a_list_is_read_too(tmp_path):
    file = written(tmp_path, raw=json.dumps(list(ROWS.values())))
    assert len(read_pairs(file)) == len(ROWS)
    assert len(read_pairs(written(tmp_path, *ROWS.values()))) == len(ROWS)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (3, "it is a number, not an object"),
        ({}, "it has no 'chosen'"),
        ({"prompt": "a", "chosen": "b"}, "it has no 'rejected'"),
        ({"prompt": "a", "completion": "b", "label": True}, "it has no 'chosen'"),
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "are the same"),
        ({"prompt": "a", "chosen": "b", "rejected": " "}, "rejected reply is empty"),
        ({"prompt": " ", "chosen": "b", "rejected": "c"}, "prompt is empty"),
        ({"prompt": "a", "chosen": "b", "rejected": None}, "are text and null"),
        ({"prompt": "a", "chosen": ["b"], "rejected": ["c"]}, "message 1 is not"),
        ({"prompt": "a", "chosen": "b", "rejected": [BAD]}, "text and a list"),
        ({"prompt": 4, "chosen": "b", "rejected": "c"}, "prompt is a number"),
        ({"chosen": "b", "rejected": "c"}, "no dialogues with 'Assistant:'"),
        ({"chosen": HH["chosen"], "rejected": HH["rejected"].replace("Hello", "Hey")}, "part before the last turn"),
        ({"chosen": HH["chosen"] + "\n\nHuman: Thanks", "rejected": HH["rejected"]}, "somebody else speaks"),
        ({"chosen": "x\n\nAssistant: a", "rejected": "x\n\nAssistant: b"}, "does not begin with 'Human:'"),
        ({"chosen": HH["rejected"], "rejected": HH["rejected"].removesuffix("No.")}, "rejected reply is empty"),
        ({"chosen": [USER], "rejected": [GOOD]}, "last turn is the user's"),
        ({"chosen": [USER, GOOD], "rejected": [GOOD, BAD]}, "more than one turn"),
        ({"prompt": [USER], "chosen": [], "rejected": [GOOD]}, "more than one turn"),
        ({"chosen": [GOOD], "rejected": [BAD]}, "prompt is empty"),
        (ROWS["texts"] | {"margin": -1}, "margin is -1"),
        (ROWS["texts"] | {"margin": "much"}, "margin is much"),
        (ROWS["texts"] | {"margin": True}, "margin is True"),
    ],
)
def test_a_bad_row_is_named_by_its_line_or_skipped_and_counted(row, words, tmp_path):
    file = written(tmp_path, HH, row, HH)
    with pytest.raises(LabError, match="1 of 3 rows cannot be used .*mine.jsonl, line 2: ") as told:
        read_pairs(file)
    assert words in str(told.value)
    found = read_file(file, skip_bad=True)
    assert len(found.pairs) == 2
    assert [where for where, _ in found.bad] == ["mine.jsonl, line 2"]
    assert found.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize(("raw", "words"), [("", "is empty"), ("[]", "empty list"), ('{"chosen": "a"', "line 1: not JSON"), ("[1", "begins as a JSON list")])
def test_a_file_that_is_none_is_refused(raw, words, tmp_path):
    with pytest.raises(LabError, match=words):
        read_pairs(written(tmp_path, raw=raw))
    with pytest.raises(LabError, match="No file at"):
        read_pairs(tmp_path / "nowhere.jsonl")


def test_our_own_pairs_can_be_written_and_read_again(tmp_path):
    told = [dataclasses.replace(p, flipped=False) for p in pairs(20, noise=HUMAN)]
    rows = [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected, "margin": p.margin} for p in told]
    assert read_pairs(written(tmp_path, *rows)) == told


FROZEN = "200d22782691b12151217740ffb4e9c3703fece1877adef23ca8941884b8c037"
