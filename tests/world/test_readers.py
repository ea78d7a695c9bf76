"""Readers on rows written by hand in each public format, on broken files, and on real samples where a folder of them is at hand."""

import json
import os
from pathlib import Path

import pytest

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.world.readers import FORMATS, MultiHop, Problem, Reading, Verdict, read
from llmsuite_lab.world.rows import Dialogue

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
    "squad": {"title": "Cat_(pet)", "context": "It sleeps.", "question": "What does it do?", "answers": {"text": ["sleeps"], "answer_start": [3]}},
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
    "squad": Reading("Cat (pet)", "It sleeps.", "What does it do?", ("sleeps",)),
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


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n \n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_blank_lines_and_a_byte_order_mark_change_nothing(end, mark, tmp_path):
    line = json.dumps(ROWS["svamp"] | {"input": "a\u2028b"}, ensure_ascii=False)
    assert read("svamp", written(tmp_path, f"{mark}{line}{end}{line}{end}")) == [Problem("a\u2028b", 17.0)] * 2


@pytest.mark.parametrize("name", FORMATS)
def test_a_row_of_another_format_is_refused_with_its_line(name, tmp_path):
    for other in FORMATS:
        if {name, other} not in ({name}, {"dialogsum", "samsum"}):
            with pytest.raises(LabError, match=rf"^rows.jsonl, line 2: [^\n]*{name}[^\n]*$"):
                read(name, written(tmp_path, f"{json.dumps(ROWS[name])}\n{json.dumps(ROWS[other])}\n"))


@pytest.mark.parametrize(
    ("answer", "value"),
    [("#### 2,000", 2000.0), ("#### -$5.", -5.0), ("#### −3", -3.0), ("#### 3/4", 0.75), ("#### 1e3", 1000.0), ("#### ١٢", 12.0)],
)
def test_answers_are_numbers_however_they_are_written(answer, value, tmp_path):
    (problem,) = read("gsm8k", written(tmp_path, json.dumps(ROWS["gsm8k"] | {"answer": answer})))
    assert problem.answer == value


def test_fevers_escapes_are_resolved_in_pages_and_claims(tmp_path):
    names = ["A_-LSB-b-RSB-", "C-COLON-_D", "E_-LCB-f-RCB-", "AC-SLASH-DC", "Zoe\u0308_-LRB-g-RRB-"]
    row = ROWS["fever"] | {"claim": "A -LRB-b-RRB- is C-COLON- D.", "evidence": [[[1, 2, name, 0] for name in names]]}
    (verdict,) = read("fever", written(tmp_path, json.dumps(row)))
    assert verdict == Verdict("A (b) is C: D.", "supports", ("A [b]", "C: D", "E {f}", "AC/DC", "Zoë (g)"))


def test_dialogsums_test_file_has_three_summaries(tmp_path):
    row = {k: v for k, v in ROWS["dialogsum"].items() if k not in ("summary", "topic")}
    row |= {
        "summary2": "They say hello.",
        "summary1": "They greet.",
        "summary3": "Two greet.",
        "topic1": "greeting",
        "topic2": "hello",
        "topic3": "hi",
    }
    (dialogue,) = read("dialogsum", written(tmp_path, json.dumps(row)))
    assert dialogue.summaries == (dialogue.summary, *dialogue.others) == ("They greet.", "They say hello.", "Two greet.")
    assert dialogue.topic == "greeting"
    with pytest.raises(LabError, match="'summary2' is null"):
        read("dialogsum", written(tmp_path, json.dumps(row | {"summary2": None})))


@pytest.mark.parametrize(
    ("lines", "turns"),
    [
        ("Ann: Hi\n19:30 at the station\nBob: Ok", [("Ann", "Hi 19:30 at the station"), ("Bob", "Ok")]),
        ("14:05 Ann: Hi\n[14:06] Bob: Ok\n(2:15 pm) Ann: Bye", [("Ann", "Hi"), ("Bob", "Ok"), ("Ann", "Bye")]),
        ("Ann: Hi\n10.30 works for me: see you", [("Ann", "Hi 10.30 works for me: see you")]),
        ("Re:Zero: Hi\nBob: so", [("Re:Zero", "Hi"), ("Bob", "so")]),
        ("Ann:Hi\nBob :Oh\nhttp://a.b/c\n:) ok\nlol :D", [("Ann", "Hi Bob :Oh http://a.b/c :) ok lol :D")]),
        ("Ann's mum (on the phone): Yes\nBob: Oh", [("Ann's mum (on the phone)", "Yes"), ("Bob", "Oh")]),
        ("Ann:\nBob: 3:2!", [("Ann", ""), ("Bob", "3:2!")]),
        ("(a call)\nДр. Иванов: Да\n#Person1#: Yes", [("", "(a call)"), ("Др. Иванов", "Да"), ("Person1", "Yes")]),
        ("Ann: I say\nwhat do you think of this: no\nReally? Well: no", [("Ann", "I say what do you think of this: no Really? Well: no")]),
    ],
)
def test_lines_of_a_dialogue_that_are_no_plain_turns(lines, turns, tmp_path):
    (dialogue,) = read("samsum", written(tmp_path, json.dumps({"dialogue": lines.replace("\n", "\r\n"), "summary": "They talk."})))
    assert list(dialogue.turns) == turns


def test_null_in_a_field_that_may_be_missing_is_nothing(tmp_path):
    (dialogue,) = read("dialogsum", written(tmp_path, json.dumps(ROWS["dialogsum"] | {"topic": None})))
    assert dialogue.topic == ""
    row = {"Body": "Two packs.", "Question": "How many?", "Answer": 2, "Equation": None}
    assert read("svamp", written(tmp_path, json.dumps(row))) == [Problem("Two packs. How many?", 2.0)]


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
    key = {"gsm-hard": "code", "svamp": "target", "fever": "label", "dialogsum": "summary", "samsum": "summary", "squad": "answers"}.get(name, "answer")
    broken = {k: v for k, v in ROWS[name].items() if k != key}
    with pytest.raises(LabError, match=rf"rows.jsonl, line 3: the key '{key}' of the {name} format is missing"):
        read(name, written(tmp_path, f"{json.dumps(ROWS[name])}\n\n{json.dumps(broken)}\n"))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("gsm8k", {"answer": "it is 7"}, "does not end in"),
        ("gsm8k", {"answer": "#### seven"}, "line 1"),
        ("gsm8k", {"answer": "#### nan"}, "line 1: not a row of the gsm8k format: ' nan' is not a number"),
        ("gsm8k", {"question": None}, "'question' is null, not text"),
        ("gsm8k", {"question": " "}, "'question' is empty"),
        ("gsm-hard", {"target": "inf"}, "'inf' is not a number"),
        ("gsm-hard", {"target": float("inf")}, "inf is not a finite number"),
        ("svamp", {"target": None}, "None is not a number"),
        ("svamp", {"target": True}, "True is not a number"),
        ("svamp", {"target": []}, r"\[\] is not a number"),
        ("svamp", {"input": []}, "'input' is a list, not text"),
        ("hotpotqa", {"supporting_facts": 3}, "'supporting_facts' is not a list"),
        ("hotpotqa", {"context": [["a", [None]]]}, "'context' is not a list"),
        ("fever", {"label": None}, "'label' is null"),
        ("fever", {"evidence": [3]}, "'evidence' is not a list of groups"),
        ("fever", {"evidence": [[[1, 2, 3, 4]]]}, "page of a piece of evidence is not text"),
        ("dialogsum", {"summary": None}, "'summary' is null"),
        ("dialogsum", {"topic": 3}, "'topic' is a number, not text"),
        ("fever", {"label": "MAYBE"}, "label 'MAYBE' is none of SUPPORTS"),
        ("fever", {"evidence": [[[1]]]}, "line 1"),
        ("samsum", {"dialogue": "nobody speaks"}, "no turn"),
        ("samsum", {"dialogue": 3}, "'dialogue' is a number, not text"),
        ("hotpotqa", {"context": [["only a title"]]}, "line 1"),
    ],
)
def test_a_row_of_another_shape_says_what_is_wrong(name, change, message, tmp_path):
    with pytest.raises(LabError, match=message):
        read(name, written(tmp_path, json.dumps({**ROWS[name], **change})))


def test_files_that_are_no_json_lines(tmp_path):
    for unreadable in (tmp_path, tmp_path / ("x" * 300)):
        with pytest.raises(LabError, match="cannot be read as a file"):
            read("svamp", unreadable)
    with pytest.raises(LabError, match="line 2: not JSON"):
        read("svamp", written(tmp_path, json.dumps(ROWS["svamp"]) + '\n{"input": "broke'))
    with pytest.raises(LabError, match="begins as a JSON list"):
        read("svamp", written(tmp_path, "[1, 2"))
    with pytest.raises(LabError, match="rows.jsonl, row 1: a row of svamp is an object with keys, not a number"):
        read("svamp", written(tmp_path, "[1, 2]"))
    with pytest.raises(LabError, match="rows.jsonl, line 2: a row of svamp is an object with keys, not a list"):
        read("svamp", written(tmp_path, json.dumps(ROWS["svamp"]) + "\n[]"))
    with pytest.raises(LabError, match="rows.jsonl is an empty list"):
        read("svamp", written(tmp_path, "\ufeff []\n"))
    with pytest.raises(LabError, match="not JSON"):
        read("svamp", written(tmp_path, "{}" * 3 + '{"a":' * 100_000))
    with pytest.raises(LabError, match="not one"):
        read("svamp", written(tmp_path, "[" * 100_000))
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
