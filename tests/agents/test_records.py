"""What the section reads off its records, against counts by hand."""

import pytest

from llmsuite_lab.agents import records
from llmsuite_lab.core.records import write


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
