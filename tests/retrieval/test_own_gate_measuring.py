"""The measurement of the corpus's own gate: who is asked what, which questions are left out of the judging, and what the record is read as."""

import json

import pytest

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.paths import repo_dir
from llmsuite_lab.core.records import Record
from llmsuite_lab.retrieval import own_gate_measuring, records
from llmsuite_lab.retrieval.own_gate import adapted
from llmsuite_lab.retrieval.own_gate_measuring import Asked, declined, measure, squad
from llmsuite_lab.retrieval.pipeline import RAG
from llmsuite_lab.retrieval.retriever import Retriever

PAGES = [("Ferry", f"The ferry number {n} sails to the isle of Brum{n} at {n} o'clock.") for n in range(1, 13)]


@pytest.fixture
def folder(tmp_path):
    rows = []
    for n, (title, context) in enumerate(PAGES, start=1):
        rows.append({"title": title, "context": context, "question": f"When sails ferry number {n}?", "answers": {"text": [f"{n} o'clock"]}})
        rows.append({"title": title, "context": context, "question": f"Who steers ferry number {n}?", "answers": {"text": []}})
    (tmp_path / "squad.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    far = {"question": "Which two bands played in Oslo?", "answer": "none", "type": "bridge"}
    (tmp_path / "hotpotqa.jsonl").write_text(json.dumps(far), encoding="utf-8")
    return tmp_path


def test_paragraphs_become_passages_once_and_questions_are_sorted(folder):
    asked = squad(folder)
    assert [p.title for p in asked.passages] == ["Ferry"] * 12
    assert (len(asked.answerable), len(asked.unanswerable), asked.elsewhere) == (12, 12, ["Which two bands played in Oslo?"])


def test_named_questions_are_not_judged_and_the_gates_are_those_of_the_library(folder, embedder):
    asked = squad(folder)
    rag = RAG(Retriever(asked.passages, embedder), None)
    found = declined(rag, asked)
    assert list(found) == list(own_gate_measuring.GATES)
    assert {gate: {sort: len(marks) for sort, marks in sorts.items()} for gate, sorts in found.items()} == dict.fromkeys(
        found, {"answerable": 12, "unanswerable": 12, "elsewhere": 1}
    )
    (signals,) = rag.signals([asked.answerable[0]], rag.retriever.retrieve([asked.answerable[0]], 2))
    assert found["no questions"]["answerable"][0] == float(adapted(records.gate(), rag).declines([signals])[0])
    few = Asked("few", asked.passages, asked.answerable[:5], asked.unanswerable, ())
    with pytest.raises(ValueError, match="5 answerable and 12 unanswerable questions: 11 of each"):
        declined(rag, few)


def test_the_record_is_read_by_form(folder, embedder, monkeypatch):
    monkeypatch.setattr(own_gate_measuring, "others_corpora", dict)
    done = measure(folder, embedder)
    results = {"a": done.results["squad"], "b": done.results["squad"]}
    monkeypatch.setattr(records.records, "read", lambda name: Record(name, "c", 0, "d", 1.0, {}, "w", "m", {}, results))
    shares = records.own_gate()
    assert set(shares) == {"SQuAD 2.0"}
    assert shares["SQuAD 2.0"]["no questions"]["answerable"].n == 24
    assert done.results["squad"]["asked"] == {"answerable": 12, "unanswerable": 12, "elsewhere": 1, "passages": 12}


def test_what_readme_says_of_it_is_what_was_recorded():
    text = " ".join((repo_dir() / "README.md").read_text(encoding="utf-8").split())
    shares = records.own_gate()
    gates = own_gate_measuring.GATES[1:]
    theirs, squads = ([f"{shares[form][gate]['unanswerable'].mean:.2f}"[1:] for gate in gates] for form in ("another author", "SQuAD 2.0"))
    assert f"it declined {theirs[0]} without questions of yours, {theirs[1]} with five that are answered" in text
    assert f"{theirs[2]} with five of each sort" in text
    refused = f"{shares['SQuAD 2.0']['five of each']['answerable'].mean:.2f}"[1:]
    assert f"paragraphs {squads[0]}, {squads[1]} and {squads[2]}, and at the last {refused} of the answerable ones" in text


def test_without_a_folder_it_says_which_files_it_wants(monkeypatch, embedder, tmp_path):
    monkeypatch.delenv("LLMSUITE_REAL_DATA", raising=False)
    with pytest.raises(LabError, match="LLMSUITE_REAL_DATA to the folder that holds squad.jsonl"):
        measure(embedder=embedder)
