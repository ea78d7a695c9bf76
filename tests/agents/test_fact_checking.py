"""Fact checking: the same loop, a closed set of labels."""

import pytest

from llmsuite_lab.agents.demonstrations import demonstrate, opening_text, render_turn
from llmsuite_lab.agents.fact_checking import NO_LABEL, check_claims, confusion, read_label
from llmsuite_lab.agents.tools import almanac_tools
from llmsuite_lab.world.almanac_claims import LABELS
from llmsuite_lab.world.almanac_frozen import load_claims


@pytest.mark.parametrize("answer", [None, "", "true", "not supports", "supports.", "supports, I think", "not enough"])
def test_labels_are_read_strictly(answer):
    assert read_label(answer) == NO_LABEL


def test_labels_ignore_case_and_outer_space():
    assert [read_label(f" {label.upper()} ") for label in LABELS] == list(LABELS)


def test_gold_turns_give_every_frozen_claim_its_label(scripted, frozen):
    claims = load_claims(7)
    model = scripted({opening_text(claim): [render_turn(t) for t in demonstrate(claim, frozen)] for claim in claims})
    verdicts = check_claims(model, claims, lambda: almanac_tools(frozen))
    assert [v.label for v in verdicts] == [c.label for c in claims]
    table = confusion(claims, verdicts)
    assert all(table[label][label] == 7 and sum(table[label].values()) == 7 for label in LABELS)


def test_no_finish_is_no_label(scripted, frozen):
    claims = load_claims(1)[:1]
    model = scripted({opening_text(claims[0]): [" Hm.\nAction: Search[X]\n"] * 9})
    verdicts = check_claims(model, claims, lambda: almanac_tools(frozen), max_steps=2)
    assert verdicts[0].label == NO_LABEL
    assert confusion(claims, verdicts)["supports"][NO_LABEL] == 1
    with pytest.raises(ValueError, match="zip"):
        confusion(claims, [])
