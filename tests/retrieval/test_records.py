"""What the section reads off its records, against counts by hand."""

from dataclasses import asdict

import pytest

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.records import write
from llmsuite_lab.retrieval import figures, records
from llmsuite_lab.retrieval.abstention import SIGNALS, Gate
from llmsuite_lab.retrieval.experiments import DEFENCES, Attacked
from llmsuite_lab.retrieval.injection import ATTACKS
from llmsuite_lab.world.elsewhere import corpora

ROWS = [
    Attacked("none", "", (False, False, False), (True, True, False)),
    Attacked("none", "Say {payload}.", (True, False, True), (False, True, False)),
    Attacked("filtering", "", (False, False, False), (True, False, False)),
    Attacked("filtering", "Say {payload}.", (False, False, False), (True, False, False)),
]


def test_attacked_answers_are_read_as_they_were_measured(no_records, recorded):
    write(recorded("retrieval_attacks", [asdict(row) for row in ROWS]))
    assert records.attacks() == ROWS
    heights = [round(bar.get_height(), 3) for bar in figures.attacked().axes[0].patches]
    assert sorted(heights) == [0.0, 0.333, 0.333, 0.333, 0.667, 0.667]


def test_the_recorded_attacks_are_every_attack_under_every_defence():
    found = records.attacks()
    assert [(row.defence, row.attack) for row in found] == [(defence, order) for defence in DEFENCES for order in ("", *ATTACKS)]
    assert len({len(marks) for row in found for marks in (row.obeyed, row.correct)}) == 1


def test_what_more_passages_cost_is_paired_for_each_form_of_prompt(no_records, recorded):
    made = {
        "one": {"1": [True, True, False, True], "3": [False, True, False, False]},
        "three": {"1": [True, False, False, True], "3": [True, True, False, True]},
    }
    write(recorded("retrieval_formats", made))
    assert (records.loss_by_passages("one").mean, records.loss_by_passages("one").n) == (0.5, 4)
    assert records.loss_by_passages("three").mean == -0.25
    write(recorded("retrieval_formats", {"one": {"1": [True, True], "3": [True]}}))
    with pytest.raises(ValueError, match="shorter"):
        records.loss_by_passages("one")


def test_shares_of_a_run_behind_the_gate(no_records, recorded):
    """Three answerable questions, then two without an answer; the gate declines one and two of them."""
    gate = Gate(SIGNALS, (0.0,) * 4, (1.0,) * 4, (1.0, 0.0, 0.0, 0.0), 0.5)
    verdicts = {"top-1": ["correct"] * 5, "top-1 with gate": ["correct", "declined", "wrong", "declined", "declined"]}
    write(recorded("retrieval", {"gate": asdict(gate), "questions": {"one": 3, "two": 1, "unanswerable": 2}, "verdicts": verdicts}))
    assert records.gate() == gate
    unanswerable, answerable = records.declined_shares(records.load())
    assert (unanswerable.mean, unanswerable.n) == (1.0, 2)
    assert (answerable.mean, answerable.n) == (pytest.approx(1 / 3), 3)
    assert records.declined_shares(records.load(), "top-1")[0].mean == 0.0
    assert {name: (share.mean, share.n) for name, share in records.accuracies({"gold": [True, False], "top-1": [False]}).items()} == {
        "gold": (0.5, 2),
        "top-1": (0.0, 1),
    }


def test_a_record_that_is_not_made_names_its_command(no_records):
    for read, name in (
        (records.load, "retrieval"),
        (records.gate, "retrieval"),
        (records.attacks, "retrieval_attacks"),
        (lambda: records.loss_by_passages("one"), "retrieval_formats"),
        (records.search_by_size, "retrieval_scale"),
        (records.readers, "reader"),
    ):
        with pytest.raises(LabError, match=f"`llmsuite train {name} --seed 0`"):
            read()


def test_reader_and_gate_elsewhere_are_one_system(recorded):
    """Two answerable questions, two others, in each corpus: what the gate declines is not answered, whatever the reader said."""
    book = {"answerable": [True, True, False, False], "gate declines": [False, True, True, False]}
    said = {"top-3": ["correct", "correct", "wrong", "declined"], "top-1": ["wrong"] * 4}
    runs = [recorded("reader_varied", {name: book | {"verdicts": said} for name in corpora.names()}, seed) for seed in (0, 1)]
    assert {name: (share.mean, share.n) for name, share in records.elsewhere(runs).items()} == {"right": (0.5, 8), "declined": (1.0, 8)}
    assert {name: share.mean for name, share in records.elsewhere(runs, gate=False).items()} == {"right": 1.0, "declined": 0.5}
    assert {name: share.mean for name, share in records.elsewhere(runs, "top-1").items()} == {"right": 0.0, "declined": 0.5}
