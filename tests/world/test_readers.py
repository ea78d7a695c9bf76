"""Readers on rows written by hand in each public format, on broken files, and on real samples where a folder of them is at hand."""

import json
import os
from pathlib import Path

import pytest

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.world.readers import FORMATS, Dialogue, MultiHop, Problem, Verdict, read

ROWS = {
    "gsm8k": {"question": "Two and 1,998?", "answer": "2+1998=<<2+1998=2000>>2000\n#### 2,000"},
    "gsm-hard": {"input": "A big sum?", "code": "def solution():\n    return 7", "target": -9867630.0},
    "svamp": {"input": "How many are left?", "target": 17.0},
    "hotpotqa": {"question": "Same river?", "answer": "no", "type": "comparison"},
    "fever": {
        "claim": "A film was made.",
        "label": "SUPPORTS",
        "evidence": [[[1, 2, "Soul_Food_-LRB-film-RRB-", 0]], [[1, 3, "Soul_Food_-LRB-film-RRB-", 4], [1, 3, "Fox_2000", 0]]],
    },
    "dialogsum": {
        "fname": "dev_0",
        "dialogue": "#Person1#: Hello: you?\n#Person2#: Fine.\nReally.",
        "summary": "They greet.",
        "topic": "greeting",
    },
    "samsum": {"id": "1", "dialogue": "Ann: Hi\r\nBob: Bye", "summary": "Ann and Bob talk."},
}
READ = {
    "gsm8k": Problem("Two and 1,998?", 2000.0, "2+1998=<<2+1998=2000>>2000"),
    "gsm-hard": Problem("A big sum?", -9867630.0, "def solution():\n    return 7"),
    "svamp": Problem("How many are left?", 17.0),
    "hotpotqa": MultiHop("Same river?", "no", "comparison"),
    "fever": Verdict("A film was made.", "supports", ("Soul Food (film)", "Fox 2000")),
    "dialogsum": Dialogue((("Person1", "Hello: you?"), ("Person2", "Fine. Really.")), "They greet.", "greeting"),
    "samsum": Dialogue((("Ann", "Hi"), ("Bob", "Bye")), "Ann and Bob talk."),
}


def written(tmp_path, text, name="rows.jsonl"):
    (tmp_path / name).write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
    return tmp_path / name


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read_as_lines_and_as_a_list(name, tmp_path):
    line = json.dumps(ROWS[name])
    assert read(name, written(tmp_path, f"{line}\n\n{line}\n")) == [READ[name]] * 2
    assert read(name, written(tmp_path, f"\ufeff[{line},\n{line}, {line}]"), limit=2) == [READ[name]] * 2


def test_the_other_published_forms_of_svamp_and_hotpotqa(tmp_path):
    row = {"Body": "Each pack costs 76 dollars", "Question": "How much are two?", "Answer": 152.0, "Equation": "( 76.0 * 2.0 )"}
    assert read("svamp", written(tmp_path, json.dumps(row))) == [
        Problem("Each pack costs 76 dollars. How much are two?", 152.0, "( 76.0 * 2.0 )")
    ]
    pairs = {**ROWS["hotpotqa"], "context": [["Elbe", ["It flows. ", "North."]]], "supporting_facts": [["Elbe", 0], ["Elbe", 1]]}
    columns = {
        **pairs,
        "context": {"title": ["Elbe"], "sentences": [["It flows. ", "North."]]},
        "supporting_facts": {"title": ["Elbe"], "sent_id": [0]},
    }
    expected = MultiHop("Same river?", "no", "comparison", (("Elbe", "It flows. North."),), ("Elbe",))
    assert read("hotpotqa", written(tmp_path, json.dumps([pairs, columns]))) == [expected, expected]


@pytest.mark.parametrize("name", FORMATS)
def test_a_missing_key_is_named_with_its_line(name, tmp_path):
    key = {"gsm-hard": "code", "svamp": "target", "fever": "label", "dialogsum": "summary", "samsum": "summary"}.get(name, "answer")
    broken = {k: v for k, v in ROWS[name].items() if k != key}
    with pytest.raises(LabError, match=rf"rows.jsonl, line 3: the key '{key}' of the {name} format is missing"):
        read(name, written(tmp_path, f"{json.dumps(ROWS[name])}\n\n{json.dumps(broken)}\n"))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("gsm8k", {"answer": "it is 7"}, "does not end in"),
        ("gsm8k", {"answer": "#### seven"}, "line 1"),
        ("gsm-hard", {"target": "inf"}, "not a finite number"),
        ("fever", {"label": "MAYBE"}, "label 'MAYBE' is none of SUPPORTS"),
        ("fever", {"evidence": [[[1]]]}, "line 1"),
        ("samsum", {"dialogue": "nobody speaks"}, "no turn"),
        ("samsum", {"dialogue": 3}, "'dialogue' is int, not text"),
        ("hotpotqa", {"context": [["only a title"]]}, "line 1"),
    ],
)
def test_a_row_of_another_shape_says_what_is_wrong(name, change, message, tmp_path):
    with pytest.raises(LabError, match=message):
        read(name, written(tmp_path, json.dumps({**ROWS[name], **change})))


def test_files_that_are_no_json_lines(tmp_path):
    with pytest.raises(LabError, match="line 2: not JSON"):
        read("svamp", written(tmp_path, json.dumps(ROWS["svamp"]) + '\n{"input": "broke'))
    with pytest.raises(LabError, match="begins as a JSON list"):
        read("svamp", written(tmp_path, "[1, 2"))
    with pytest.raises(LabError, match="not int"):
        read("svamp", written(tmp_path, "[1, 2]"))
    with pytest.raises(LabError, match="empty"):
        read("svamp", written(tmp_path, "\n"))
    with pytest.raises(LabError, match="not UTF-8"):
        read("svamp", written(tmp_path, b"\x1f\x8b\x08\xff"))
    with pytest.raises(LabError, match="No file at"):
        read("svamp", tmp_path / "none.jsonl")
    with pytest.raises(LabError, match="cannot be read"):
        read("svamp", tmp_path)


def test_unknown_names_and_limits_are_refused(tmp_path):
    with pytest.raises(ValueError, match="the formats are gsm8k"):
        read("gsm9k")
    with pytest.raises(ValueError, match="limit=0"):
        read("svamp", tmp_path, limit=0)


def test_the_hub_out_of_reach_is_one_sentence(monkeypatch):
    import datasets

    def unreachable(*args, **kwargs):
        raise ConnectionError("no route to the hub\nwith more lines")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(LabError, match=r"openai/gsm8k could not be loaded from the hub \(no route to the hub\). Without a network"):
        read("gsm8k")


def test_the_hub_gives_the_same_rows_as_a_file(monkeypatch):
    import datasets

    asked = []

    def at_hand(*args, **kwargs):
        asked.append((args, kwargs))
        return datasets.Dataset.from_list([ROWS["gsm8k"]] * 3)

    monkeypatch.setattr(datasets, "load_dataset", at_hand)
    assert read("gsm8k", limit=2) == [READ["gsm8k"]] * 2
    assert asked == [(("openai/gsm8k", "main"), {"split": "test", "revision": None})]


def test_the_hubs_rows_of_fever_hold_one_piece_of_evidence_each(monkeypatch):
    import datasets

    row = {"claim": "A is B.", "label": "SUPPORTS", "evidence_wiki_url": "A_-LRB-b-RRB-"}
    rows = [row, row | {"evidence_wiki_url": "B"}, row, {"claim": "C is D.", "label": "NOT ENOUGH INFO", "evidence_wiki_url": ""}]
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: datasets.Dataset.from_list(rows))
    assert read("fever") == [Verdict("A is B.", "supports", ("A (b)", "B")), Verdict("C is D.", "not enough info")]
    assert len(read("fever", limit=1)) == 1


@pytest.mark.parametrize("name", FORMATS)
def test_real_samples_are_read_whole(name):
    folder = Path(os.environ.get("LLMSUITE_REAL_DATA", Path(__file__).resolve().parents[3] / "shared" / "real-data"))
    path = folder / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip(f"no real sample at {path}; set LLMSUITE_REAL_DATA to a folder that holds {name}.jsonl")
    rows = read(name, path)
    assert len(rows) == sum(bool(line.strip()) for line in path.read_text(encoding="utf-8").split("\n"))
    assert len(set(rows)) > 0.9 * len(rows)
