"""A question set of one's own: read, held against its corpus, and every figure follows from it."""

import json

import pytest

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.retrieval import experiments, figures, measuring, own_questions
from llmsuite_lab.retrieval.corpus import Corpus
from llmsuite_lab.retrieval.pipeline import RAG
from llmsuite_lab.retrieval.prompting import zero_shot
from llmsuite_lab.retrieval.retriever import Retriever
from llmsuite_lab.world import handbook

NOTES = {
    "cat.md": "# Cat\n\nThe cat Mimi is fed 3 times a day.\n\n## Doctor\n\nHer doctor has 18 patients.\n",
    "garden.txt": "The roses are cut in March. There are 12 roses.",
    "car.txt": "The tyres of the car need 2 bar.",
}
ASKED = [
    {"question": "How often is the cat Mimi fed?", "answer": "3"},
    {"question": "How many roses are there?", "answer": "12", "id": "roses", "gold": ["garden.txt#0"]},
    {"question": "How many patients has the doctor?", "answer": "18"},
    {"question": "Who is the captain of the ferry Zorvat?", "answer": None},
    {"question": "Which colour has the balloon?", "answer": None},
]


@pytest.fixture
def material(tmp_path):
    (tmp_path / "notes").mkdir()
    for name, text in NOTES.items():
        (tmp_path / "notes" / name).write_text(text, encoding="utf-8")

    def written(rows):
        (tmp_path / "q.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
        return tmp_path / "notes", tmp_path / "q.jsonl"

    return written


def test_questions_find_their_passages(material, embedder):
    folder, file = material(ASKED)
    book = own_questions.load(folder, file)
    assert [(q.id, q.answer, q.kind, q.gold) for q in book.questions] == [
        ("q1", "3", "one", ("cat.md#0",)),
        ("roses", "12", "one", ("garden.txt#0",)),
        ("q3", "18", "one", ("cat.md#1",)),
        ("q4", None, "unanswerable", ()),
        ("q5", None, "unanswerable", ()),
    ]
    assert own_questions.load(Corpus.read(folder, embedder), file) == book


def test_an_answer_is_found_however_its_accents_are_composed(material):
    for inside, asked in (("Caf\u00e9", "Cafe\u0301"), ("Cafe\u0301", "Caf\u00e9")):
        folder, file = material([{"question": "What opens?", "answer": asked, "id": None}])
        (folder / "opening.txt").write_text(f"The {inside} opens at nine.", encoding="utf-8")
        assert [(q.id, q.gold) for q in own_questions.load(folder, file).questions] == [("q1", ("opening.txt#0",))]


def test_an_answer_stands_in_a_passage_as_words_of_its_own(material):
    folder, file = material([{"question": "How\nmany?", "answer": 3}, {"question": "Where?", "answer": "Rom"}, {"question": "How high?", "answer": "333"}])
    more = {"toys": "There are 13 toys, 3.5 of them in 1930.", "rome": "From Rome. Rom is in Berlin.", "romance": "A Romance.", "tower": "高さ333メートル。"}
    for name, text in more.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    found = own_questions.load(folder, file).questions
    assert found[0].text == "How many?"
    assert [(q.answer, q.gold) for q in found] == [("3", ("cat.md#0",)), ("Rom", ("rome.txt#0",)), ("333", ("tower.txt#0",))]


@pytest.mark.filterwarnings("error::UserWarning")
def test_files_that_cannot_be_read_are_told_of(material):
    folder, file = material(ASKED)
    own_questions.load(folder, file)  # a warning would be an error here
    file = file.rename(folder / "q.jsonl")
    own_questions.load(folder, file)
    (folder / "plan.docx").write_bytes(b"PK")
    with pytest.warns(UserWarning, match=r"not read: plan\.docx \(files of the kind \.docx are not read\)"):
        own_questions.load(folder, file)


def test_a_passage_is_cut_before_its_answer_however_its_accents_are_composed(material, copycat):
    folder, file = material([{"question": "What opens here?", "answer": "Caf\u00e9"}])
    (folder / "opening.txt").write_text("Here one thing opens, the Cafe\u0301 of nine.", encoding="utf-8")
    book = own_questions.load(folder, file)
    assert experiments.truncated(copycat, book, book.questions).outcomes[0].verdict != "correct"


def test_what_is_no_question_is_named(material):
    for rows, said in [
        ([{"question": "How many?", "answer": "99"}], "line 1: the answer '99' stands in no passage"),
        ([{"question": "How many?", "answer": "12", "gold": ["cat.md#0"]}], "stands in no passage named as gold"),
        ([{"question": "How many?", "answer": "12", "gold": "cat.md#0"}], "gold is a list"),
        ([{"question": "How many?", "answer": "12", "gold": {}}], "gold is a list"),
        ([*ASKED, {"q": "x"}], "q.jsonl, line 6"),
        ([{"question": "How many?", "anwser": "12"}], "it has no answer .but 'question', 'anwser'"),
        ([["x"]], "row 1: a row is an object, not 'x'"),
        ([{"question": " ", "answer": "x"}], "q.jsonl, line 1: question must be"),
        ([{"question": "x", "answer": True}], "answer must be a text or null, not True"),
        ([{"question": "x", "answer": ["3"]}], r"answer must be a text or null, not \['3'\]"),
        ([{"question": "How many?", "answer": "1"}], "the answer '1' stands in no passage, word for word"),
        ([], "q.jsonl is empty"),
    ]:
        with pytest.raises(LabError, match=said):
            own_questions.load(*material(rows))
    with pytest.raises(LabError, match="No file at"):
        own_questions.load(material(ASKED)[0], "nowhere.jsonl")
    with pytest.raises(ValueError, match="give both"):
        own_questions.load(material(ASKED)[0])
    assert own_questions.load() == handbook.load()


def test_every_figure_follows_from_the_own_book(material, embedder, copycat):
    book = own_questions.load(*material(ASKED))
    found = measuring.on(book, copycat, embedder, copycat)
    assert found["questions"] == {"one": 3, "two": 0, "unanswerable": 2}
    assert found["correct"]["gold"] == [True, True, True]
    assert found["correct"]["closed book"] == [False] * 3
    drawn = figures.follow(found)
    assert set(drawn) == {"accuracy", "outcomes", "abstention", "attacked", "rankings", "readers"}
    titles = {name: figure.axes[0].get_title(loc="left") for name, figure in drawn.items() if name in ("accuracy", "abstention", "readers")}
    recorded = {name: getattr(figures, name)().axes[0].get_title(loc="left") for name in titles}
    assert not any(titles[name] == recorded[name] for name in titles), "a title says nothing that was not measured"
    development = found["development"]
    live = {"accuracy": figures.accuracy(found["correct"], own=True), "abstention": figures.abstention(*development.values(), own=True)}
    assert {name: titles[name] for name in live} == {name: drawing.axes[0].get_title(loc="left") for name, drawing in live.items()}
    bars = [bar.get_height() for bar in drawn["readers"].axes[0].patches]
    readers = [RAG(Retriever(book.passages, embedder), copycat, k=k, form=zero_shot) for k in (1, 3)]
    answered = [experiments.with_passages(reader, book.questions, "") for reader in readers]
    assert bars[1:3] == [sum(o.verdict == "correct" for o in run.outcomes) / 3 for run in answered]
    heights = [bar.get_height() for bar in drawn["accuracy"].axes[0].patches]
    assert heights[list(found["correct"]).index("gold")] == 1.0
    shares = experiments.retrieval_quality(Retriever(book.passages, embedder), book.questions)
    assert shares["recall@3"].n == 3
    assert experiments.with_passages(RAG(Retriever(book.passages, embedder), copycat), book.of_kind("one"), "mine").accuracy.n == 3
    with pytest.raises(ValueError, match="three passages, a question"):
        measuring.on(own_questions.load(*material(ASKED[:3])), copycat, embedder)
