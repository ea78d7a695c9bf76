"""What the section reads off its records, against counts by hand."""

import pytest

from llmsuite_lab.agents import records
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.records import write
from llmsuite_lab.world.almanac_questions import TRAINED_KINDS, UNTRAINED_KINDS

ONE, OTHER, NEVER = TRAINED_KINDS[0], TRAINED_KINDS[1], UNTRAINED_KINDS[0]


def rows(kind, marks, name="question"):
    """Recorded answers to questions of one kind: right where the mark is 1."""
    return [{"kind": kind, "question": f"{name} {i}?", "correct": mark == "1"} for i, mark in enumerate(marks)]


@pytest.fixture
def recorded_claims(no_records, recorded):
    """Two seeds: four claims, labels 2 supports, 1 refutes, 1 not enough info; one seed right on three, the other on one."""
    labels = ["supports", "supports", "refutes", "not enough info"]
    said = {0: ["supports", "supports", "refutes", "supports"], 1: ["refutes", "supports", "supports", "supports"]}
    for seed, words in said.items():
        rows = [{"text": str(i), "label": label, "said": word} for i, (label, word) in enumerate(zip(labels, words, strict=True))]
        write(recorded("react", {"questions": [], "claims": rows}, seed=seed))


def test_labels_right_over_the_commonest_label(recorded_claims):
    over = records.over_commonest_label()
    assert over.mean == pytest.approx((3 / 4 + 1 / 4) / 2 - 2 / 4)
    assert over.n == 4  # claims, not claims times seeds


def test_shuffled_labels_leave_what_can_be_had_without_reading(recorded_claims):
    """Said: supports 3 and 2 of 4 times, refutes 1 and 1 of 4... by chance a "supports" is right in half, a "refutes" in a quarter of the shuffles."""
    chance = (6 * 0.5 + 2 * 0.25) / 8 - 0.5
    assert records.over_commonest_label(shuffles=4000).mean == pytest.approx(chance, abs=0.02)
    assert records.over_commonest_label(shuffles=30) == records.over_commonest_label(shuffles=30)


def test_the_gain_without_pages_is_that_of_another_record():
    assert records.grounding_without_pages().n == records.grounding().n
    assert records.grounding_without_pages().mean < records.grounding().mean


@pytest.fixture
def recorded_answers(no_records, recorded):
    """Two seeds of ReAct on three questions of one kind and one of another: scores 1, ½, 0 and 1; two of a kind that was never trained."""
    for seed, marks in enumerate(("110", "100")):
        questions = rows(ONE, marks) + rows(OTHER, "1") + rows(NEVER, "11")
        claims = [{"text": str(i), "label": "supports", "said": said} for i, said in enumerate(("supports", ("refutes", "supports")[seed]))]
        write(recorded("react", {"questions": questions, "claims": claims}, seed=seed))


def test_an_items_score_is_its_mean_over_the_seeds(recorded_answers):
    assert records.recorded_seeds() == [0, 1]
    assert records.tuned_scores() == [(ONE, 1.0), (ONE, 0.5), (ONE, 0.0), (OTHER, 1.0), (NEVER, 1.0), (NEVER, 1.0)]
    assert {kind: (interval.mean, interval.n) for kind, interval in records.tuned_by_kind().items()} == {ONE: (0.5, 3), OTHER: (1.0, 1), NEVER: (1.0, 2)}
    assert records.fact_checking_scores() == [1.0, 0.5]


def test_answers_in_one_turn_are_paired_by_kind_and_place_on_the_trained_kinds_alone(recorded_answers, recorded):
    """Names that were respelt and another order of the kinds pair all the same; what was never trained does not count."""
    write(recorded("react_closed_book", {"questions": rows(NEVER, "00", "other") + rows(OTHER, "0", "other") + rows(ONE, "001", "other")}))
    over = records.over_one_turn("react_closed_book")
    assert over.mean == pytest.approx(((1 - 0) + (0.5 - 0) + (0 - 1) + (1 - 0)) / 4)
    assert over.n == 4
    write(recorded("react_one_retrieval", {"questions": rows(ONE, "111") + rows(OTHER, "11")}))
    with pytest.raises(ValueError, match="4, 5 items"):
        records.over_one_turn("react_one_retrieval")


def test_what_a_refused_action_costs_is_paired_question_by_question(no_records, recorded):
    """In another order: the difference is 0, −1, 0, −1 of four questions, of which three were right undisturbed."""
    refused = rows(ONE, "100")[::-1] + rows(OTHER, "0")
    write(recorded("react_refused", {"undisturbed": rows(ONE, "110") + rows(OTHER, "1"), "refused": refused, "steps": {}}))
    assert (records.undisturbed().mean, records.undisturbed().n) == (0.75, 4)
    assert (records.after_refusal().mean, records.after_refusal().n) == (-0.5, 4)


def test_what_other_sentences_cost_is_counted_on_the_kinds_asked_for(no_records, recorded):
    write(recorded("react_wordings", {"trained": rows(ONE, "110") + rows(NEVER, "11"), "own": rows(ONE, "011") + rows(NEVER, "01")}))
    found = {name: (round(interval.mean, 3), interval.n) for name, interval in records.by_wording((ONE,)).items()}
    assert found == {"trained": (0.667, 3), "own": (0.667, 3), "lost": (0.0, 3)}
    both = {name: (round(interval.mean, 3), interval.n) for name, interval in records.by_wording((ONE, NEVER)).items()}
    assert both == {"trained": (0.8, 5), "own": (0.6, 5), "lost": (0.2, 5)}


def test_a_record_that_is_not_made_names_its_command(recorded_answers):
    for read, name in (
        (lambda: records.over_one_turn("react_closed_book"), "react_closed_book"),
        (records.after_refusal, "react_refused"),
        (records.undisturbed, "react_refused"),
        (lambda: records.by_wording((ONE,)), "react_wordings"),
        (records.grounding_without_pages, "react_without_pages"),
    ):
        with pytest.raises(LabError, match=f"`llmsuite train {name} --seed 0`"):
            read()
