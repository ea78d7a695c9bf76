"""Somebody else's dialogues: names and numbers found in them, and the same rows whatever the folder holds."""

import pytest

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.finetuning import public_summaries
from llmsuite_lab.finetuning.public_summaries import details, judged
from llmsuite_lab.world.rows import read_dialogue

ROW = {"dialogue": "#Person1#: Hey Jimmy. Let's meet at 3:30 in Leeds!\nBen: Sure. Thanks for the 2 tickets.", "summary": "Jimmy and #Person1# meet at 3:30."}
DIALOGUE = read_dialogue(ROW)


def test_details_are_names_and_what_holds_a_digit():
    assert details("We met Ann O'Dell at 11:45, in room B12. She paid $1,250.") == {"ann", "dell", "11:45", "b12", "1,250"}  # I, We, She: no names
    assert details("Jimmy left. I stayed.") == set()
    assert details("Jimmy left.", {"jimmy"}) == {"jimmy"}


@pytest.mark.parametrize(
    ("said", "kept", "true"),
    [
        ("Jimmy meets Person1 at 3:30.", 1, 1),
        ("jimmy has a plan", 1 / 3, None),  # kept whatever the case; nothing is named
        ("They meet Jimmy and Carol at 4:30 in Leeds", 1 / 3, 1 / 2),
        ("Ben thanks.", 0, 1),  # a speaker that opens the sentence
        ("", 0, None),
    ],
)
def test_a_summary_is_judged_by_the_names_and_numbers_of_the_human_one_and_of_the_dialogue(said, kept, true):
    assert judged(said, DIALOGUE) == {"kept": pytest.approx(kept), "true": true}
    assert judged(said, read_dialogue(ROW | {"summary": "They meet."}))["kept"] is None


def test_the_sets_that_are_there_are_read(tmp_path, monkeypatch):
    monkeypatch.delenv("LLMSUITE_REAL_DATA", raising=False)
    with pytest.raises(LabError, match="set LLMSUITE_REAL_DATA"):
        public_summaries.given()
    with pytest.raises(LabError, match="neither dialogsum.jsonl nor samsum.jsonl"):
        public_summaries.given(tmp_path)
    (tmp_path / "samsum.jsonl").write_text('{"dialogue": "Ann: Hi\\nBen: Bye", "summary": "They part."}\n' * 3, encoding="utf-8")
    monkeypatch.setenv("LLMSUITE_REAL_DATA", str(tmp_path))
    assert {name: len(rows) for name, rows in public_summaries.given(limit=2).items()} == {"samsum": 2}


def test_what_is_undefined_is_left_out():
    rows = [{"kept": None, "true": 0.5}, {"kept": 0.25, "true": 1.0}]
    assert public_summaries.part(rows, "kept") == [0.25]
    assert public_summaries.part(rows, "true") == [0.5, 1.0]
    with pytest.raises(ValueError, match="did you mean 'kept'"):
        public_summaries.part(rows, "keptt")
