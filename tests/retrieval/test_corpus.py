"""A corpus of one's own: answer with its source, kept and opened again, what is said when nothing fits, streaming, and other people's retrievers."""

import subprocess
import sys

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.lm.language_model import Completion
from llmsuite_lab.retrieval import records
from llmsuite_lab.retrieval.abstention import Coverage, fit_gate
from llmsuite_lab.retrieval.corpus import Corpus
from llmsuite_lab.retrieval.documents import Passage
from llmsuite_lab.retrieval.foreign import ForeignRetriever
from llmsuite_lab.retrieval.own_gate import adapted, elsewhere, signals_with_and_without, stand_ins
from llmsuite_lab.retrieval.pipeline import I_DO_NOT_KNOW, NOT_STATED, NOTHING_FOUND, RAG
from llmsuite_lab.retrieval.retriever import Retriever

NOTES = {
    "cat.md": "# Cat\n\nThe cat Mimi is fed 3 times a day.\n\n## Doctor\n\nHer doctor is open until 18 o'clock.\n",
    "garden.txt": "The roses are cut in March. There are 12 of them. The lawn is mown on Friday.",
    "car.html": "<h1>Car</h1><p>The tyres need 2 bar.</p><p>The oil was changed in 2031.</p>",
}


@pytest.fixture
def notes(tmp_path):
    for name, text in NOTES.items():
        (tmp_path / "notes").mkdir(exist_ok=True)
        (tmp_path / "notes" / name).write_text(text, encoding="utf-8")
    return tmp_path / "notes"


@pytest.fixture
def reader(copycat):
    class Streaming(type(copycat)):
        def stream(self, prompt, max_new_tokens=64, stop=(), **options):
            (done,) = self.complete([prompt], max_new_tokens, stop)
            yield from done.text
            return done

    return Streaming()


def test_from_a_folder_to_an_answer_with_its_source(notes, embedder, reader):
    corpus = Corpus.read(notes, embedder)
    answers = corpus.rag(reader, gate=False).answer(["How often is the cat Mimi fed?", "Until when is the doctor open?", "How much bar do the tyres need?"])
    assert [(a.text, a.cited) for a in answers] == [("3", ("cat.md#0",)), ("18", ("cat.md#1",)), ("2", ("car.html#0",))]


def test_persisted_and_opened_again_nothing_is_embedded_and_the_answers_are_the_same(notes, tmp_path, embedder, reader):
    corpus = Corpus.read(notes, embedder)
    asked = ["How often is the cat Mimi fed?", "How many roses are there?"]
    before = [(a.text, a.cited) for a in corpus.rag(reader).answer(asked)]
    corpus.persist(tmp_path / "kept")
    done = embedder.embedded
    again = Corpus.open(tmp_path / "kept", embedder)
    assert embedder.embedded == done
    assert len(again) == len(corpus)
    assert [(a.text, a.cited) for a in again.rag(reader).answer(asked)] == before
    again.persist(tmp_path / "kept")
    (notes / "cat.md").write_text("# Cat\n\nThe cat Mimi is fed 5 times a day.\n\n## Doctor\n\nHer doctor is open until 18 o'clock.\n", encoding="utf-8")
    changed = again.update(notes)
    assert (changed.changed, changed.unchanged) == (("cat.md#0",), len(corpus) - 1)
    assert again.rag(reader, gate=False).answer(asked)[0].text == "5"


def test_a_folder_that_holds_no_corpus_or_somebody_elses_is_told(notes, tmp_path, embedder):
    corpus = Corpus.read(notes, embedder)
    with pytest.raises(LabError, match="there is no corpus"):
        Corpus.open(tmp_path / "none", embedder)
    with pytest.raises(LabError, match="left as it is"):
        corpus.persist(notes)
    corpus.persist(tmp_path / "kept")
    lines = (tmp_path / "kept" / "passages.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "kept" / "passages.jsonl").write_text("\n".join(lines[1:]), encoding="utf-8")
    with pytest.raises(LabError, match="do not belong together"):
        Corpus.open(tmp_path / "kept", embedder)
    with pytest.raises(LabError, match="its name|cannot be compared"):
        Corpus.open(tmp_path / "kept", type(embedder)(name="other"))
    (tmp_path / "kept" / "passages.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(LabError, match="cannot be read"):
        Corpus.open(tmp_path / "kept", embedder)
    with pytest.raises(TypeError, match="folder or from a table"):
        Corpus.read(3, embedder)


def test_a_corpus_that_was_changed_by_hand_or_cannot_be_opened_is_told(notes, tmp_path, embedder):
    corpus = Corpus.read(notes, embedder)
    corpus.persist(tmp_path / "kept")
    file = tmp_path / "kept" / "passages.jsonl"
    lines = file.read_text(encoding="utf-8")
    done = embedder.embedded
    for changed, said in (
        (lines.replace("3 times", "9 times"), "do not belong together"),
        (lines + lines, "do not belong together"),
        (lines.replace('"dated": ""', '"dated": null'), "everything is a text"),
    ):
        file.write_text(changed, encoding="utf-8")
        with pytest.raises(LabError, match=said):
            Corpus.open(tmp_path / "kept", embedder)
    file.write_text(lines, encoding="utf-8")
    assert embedder.embedded == done
    with pytest.raises(LabError, match="an embedder of your own, 'words': give it"):
        Corpus.open(tmp_path / "kept")
    (tmp_path / "kept" / "index" / "vectors.faiss").unlink()
    (tmp_path / "kept" / "index" / "vectors.faiss").mkdir()
    with pytest.raises(LabError, match="vectors.faiss cannot be opened"):
        Corpus.open(tmp_path / "kept", embedder)


def test_a_corpus_is_read_from_and_written_to_the_place_that_was_named(notes, tmp_path, embedder, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    corpus = Corpus.read("~/notes", embedder)
    monkeypatch.chdir(notes)
    corpus.persist("~/kept")
    assert len(Corpus.open("~/kept", embedder)) == len(corpus)
    assert sorted(p.name for p in notes.iterdir()) == sorted(NOTES)
    for use in (lambda: Corpus.read("", embedder), lambda: Corpus.open("", embedder), lambda: corpus.persist("")):
        with pytest.raises(ValueError, match="is empty"):
            use()
    with pytest.raises(LabError, match=r"because .*cat.md is a file"):
        corpus.persist(notes / "cat.md" / "kept")
    monkeypatch.setattr("os.access", lambda place, mode: False)
    with pytest.raises(LabError, match="nothing may be written into"):
        corpus.persist(tmp_path / "other")


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"k": "3"}, TypeError, "k='3', but .* a whole number"),
        ({"k": 2.0}, TypeError, "k=2.0, but .* a whole number"),
        ({"k": 99}, ValueError, "k=99 but there are"),
        ({"unknown": None}, TypeError, "unknown=None"),
        ({"questions": ["How often?", " "]}, ValueError, "a question is empty"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_is_asked(notes, embedder, reader, options, kind, said):
    with pytest.raises(kind, match=said):
        Corpus.read(notes, embedder).rag(reader, **options)


def test_an_empty_question_is_refused_and_one_of_several_lines_is_one(notes, embedder, reader):
    rag = Corpus.read(notes, embedder).rag(reader, gate=False)
    for use in (lambda: rag.answer(["What?", " \n"]), lambda: list(rag.stream(""))):
        with pytest.raises(ValueError, match="is empty"):
            use()
    with pytest.raises(TypeError, match="a list: answer"):
        list(rag.stream(["What?"]))
    (answer,) = rag.answer(["How often is\nthe cat Mimi fed?\nAnswer: never"])
    assert answer.prompt.text.endswith("Question: How often is the cat Mimi fed? Answer: never\nAnswer:")
    with pytest.raises(TypeError, match="lm is a str"):
        RAG(rag.retriever, "my-model")


def test_a_bar_shows_how_far_reading_is_and_changes_nothing(notes, embedder, capsys):
    plain, shown = Corpus.read(notes, embedder), Corpus.read(notes, embedder, progress=True)
    assert "embedding: 100%" in capsys.readouterr().err
    asked = ["How often is the cat fed?"]
    assert shown.retriever.retrieve(asked, 3) == plain.retriever.retrieve(asked, 3)
    assert shown.retriever.embedder is embedder


def test_a_rag_follows_its_corpus_when_that_is_updated(embedder, reader):
    corpus = Corpus.read([{"text": "The ferry takes 44 minutes."}, {"text": "The lamp costs 9 crowns."}, {"text": "The cat sleeps."}], embedder)
    rag = corpus.rag(reader)
    asked = "What does the zebra cost?"
    before = rag.coverage(asked, "The lamp costs 9 crowns.")
    corpus.update([{"text": "The zebra costs 7 crowns."}])
    assert (rag.wide, rag.answer([asked])[0].hits[0].passage.text) == (1, "The zebra costs 7 crowns.")
    assert rag.coverage(asked, "The lamp costs 9 crowns.") == Coverage(["row0. The zebra costs 7 crowns."])(asked, "The lamp costs 9 crowns.") != before


def test_odd_lines_survive_on_disk(tmp_path, embedder):
    corpus = Corpus([Passage("a", "a", "t", "one\u2028two\x85three"), Passage("b", "b", "t", "four")], embedder)
    corpus.persist(tmp_path / "kept")
    assert Corpus.open(tmp_path / "kept", embedder).retriever.passages["a"].text == "one\u2028two\x85three"


def test_a_documents_name_is_not_a_version(pages, embedder):
    many = [Passage(f"n{i}", "one file", "File", f"Fact {word} stands here.") for i, word in enumerate(("apple", "pear", "plum"))]
    retriever = Retriever(many, embedder)
    assert [hit.passage.id for hit in retriever.retrieve(["apple pear plum"], 3)[0]] != []
    assert {hit.passage.id for hit in retriever.retrieve(["fact"], 3)[0]} == {"n0", "n1", "n2"}
    dates = {"old1": "2030-01-01", "new1": "2031-01-01", "new2": "2031-01-01"}
    two = [Passage(name, "d", "D", f"fact {name[-1]}", dated) for name, dated in dates.items()]
    assert {hit.passage.id for hit in Retriever(two, embedder).retrieve(["fact"], 3)[0]} == {"new1", "new2"}


def test_what_is_said_when_nothing_fits_is_the_callers(notes, embedder, reader):
    gate = fit_gate([[0.9], [0.1]], [True, False], names=("coverage",), max_refused=0)
    corpus = Corpus.read(notes, embedder)
    (own,) = RAG(corpus.retriever, reader, gate=gate, unknown="Keine Ahnung.").answer(["Who painted the ferry Zorvat?"])
    assert (own.text, own.declined) == ("Keine Ahnung.", True)
    assert RAG(corpus.retriever, reader, gate=gate).answer(["Who painted the ferry Zorvat?"])[0].text == I_DO_NOT_KNOW
    assert corpus.rag(reader, gate=False).unknown == I_DO_NOT_KNOW


@pytest.mark.parametrize("said", [" 3 times", f" {NOT_STATED}", "", " not so often\n", "  3 "])
def test_a_streamed_answer_is_the_answer(notes, embedder, reader, said):
    class Fixed(type(reader)):
        def complete(self, prompts, max_new_tokens=64, stop=(), **options):
            return [Completion(said.partition("\n")[0], 3, 3, "stop", 0.0) for _ in prompts]

    rag = Corpus.read(notes, embedder).rag(Fixed(), gate=False)
    whole, pieces = rag.stream("How often is the cat Mimi fed?"), []
    while True:
        try:
            pieces.append(next(whole))
        except StopIteration as ended:
            answer = ended.value
            break
    assert answer == rag.answer(["How often is the cat Mimi fed?"])[0]
    assert "".join(pieces) == answer.text
    assert len(pieces) > 1 or answer.declined or len(answer.text) == 1


def test_what_is_declined_is_not_asked_when_streaming_either(notes, embedder, reader):
    class Silent(type(reader)):
        def stream(self, *args, **options):
            raise AssertionError("asked without grounds")

    gate = fit_gate([[0.9], [0.1]], [True, False], names=("coverage",), max_refused=0)
    rag = RAG(Corpus.read(notes, embedder).retriever, Silent(), gate=gate)
    assert list(rag.stream("Who painted the ferry Zorvat?")) == [I_DO_NOT_KNOW]


class Theirs(BaseRetriever):
    """A retriever of LangChain's: the documents that share a word with the question."""

    documents: list[Document]

    def _get_relevant_documents(self, query, *, run_manager):
        return [d for d in self.documents if set(query.lower().split()) & set(d.page_content.lower().split())]


def test_a_langchain_retriever_is_taken_as_it_is(embedder, reader):
    documents = [Document(f"The ferry {does}.", metadata={"source": "ferry.md"}) for does in ("takes 44 minutes", "costs 9 crowns")]
    theirs = Theirs(documents=documents)
    (answer, nothing) = RAG(theirs, reader, k=2).answer(["How long does the ferry take?", "Who?"])
    assert (answer.text, answer.cited) == ("44", ("ferry.md",))
    assert [hit.passage.id for hit in answer.hits] == ["ferry.md", "ferry.md#2"]
    assert nothing.declined
    gate = fit_gate([[0.9], [0.1]], [True, False], names=("coverage",), max_refused=0)
    with pytest.raises(ValueError, match="give the retriever an embedder"):
        RAG(theirs, reader, gate=gate)
    gated = RAG(ForeignRetriever(theirs, embedder), reader, gate=gate)
    assert gated.answer(["the ferry takes minutes"])[0].text == "44"
    with pytest.raises(ValueError, match="is no retriever"):
        RAG(object(), reader)
    with pytest.raises(ValueError, match="does not show them"):
        adapted(gate, RAG(theirs, reader))


def test_what_a_langchain_retriever_returns_is_named_once_for_all_questions(embedder, reader):
    pages = [Document(f"{word} is page {n}.", metadata={"source": "m.pdf"}) for n, word in enumerate(("alpha", "beta", "gamma"))]
    theirs = ForeignRetriever(Theirs(documents=[Document("  alpha beta"), Document(""), *pages]))
    assert [[hit.passage.id for hit in row] for row in theirs.retrieve(["beta", "alpha gamma", "beta"])] == [
        ["  alpha beta", "m.pdf"],
        ["  alpha beta", "m.pdf#2", "m.pdf#3"],
        ["  alpha beta", "m.pdf"],
    ]
    assert theirs.passages["m.pdf"].text == "beta is page 1."

    class Returns:
        def __init__(self, found):
            self.found = found

        def invoke(self, question):
            return self.found

    for found in (None, "text", {"documents": []}):
        with pytest.raises(ValueError, match="must return a list of documents"):
            RAG(Returns(found), reader).answer(["Who?"])
    assert RAG(Returns([Document(" ")]), reader).answer(["Who?"])[0].reason == NOTHING_FOUND

    class Store:
        def as_retriever(self):
            return theirs.retriever

    with pytest.raises(ValueError, match=r"a Store is no retriever.*as_retriever\(\)"):
        RAG(Store(), reader)


def test_the_gate_takes_its_threshold_from_the_corpus(pages, embedder, reader):
    rag = RAG(Retriever(pages, embedder), reader)
    shipped = records.gate()
    asked = ["How much is the Huxum Mini kettle?", "How many desks has the Mizdale site?"]
    for questions in (asked, ()):
        gate = adapted(shipped, rag, questions)
        assert (gate.weights, gate.mean) == (shipped.weights, shipped.mean)
        known, withheld = signals_with_and_without(rag, list(questions) or stand_ins(rag))
        away = rag.signals(elsewhere(), rag.retriever.retrieve(elsewhere(), 2))
        inside = known if questions else withheld
        assert gate.threshold == pytest.approx((np.median(gate.score(inside)) + np.median(gate.score(away))) / 2)
    assert adapted(shipped, rag, asked, ["Who is the captain of the ferry Zorvat?"]).threshold != gate.threshold
    assert stand_ins(rag) == stand_ins(rag) != stand_ins(rag, seed=1)
    with pytest.raises(TypeError, match="one string"):
        adapted(shipped, rag, "What?")
    with pytest.raises(ValueError, match="fewer than two"):
        adapted(shipped, RAG(Retriever(pages[:1], embedder), reader), asked)


TWENTY_THOUSAND = """
import sys
from pathlib import Path

import numpy as np

from llmsuite_lab.course.bench import peak_resident_bytes
from llmsuite_lab.retrieval.corpus import Corpus


class Random384:
    dimension, identity, name = 384, "random, 384 dimensions", "random"

    def embed(self, texts, batch_size=32):
        made = np.random.default_rng(len(texts)).standard_normal((len(texts), 384), dtype=np.float32)
        return made / np.linalg.norm(made, axis=1, keepdims=True)


words = [f"word{i}" for i in range(30_000)]
drawn = np.random.default_rng(0).zipf(1.3, (20_000, 100)) % len(words)
rows = ({"id": str(i), "text": " ".join(words[w] for w in row)} for i, row in enumerate(drawn))
corpus = Corpus.read(rows, Random384())
corpus.persist(Path(sys.argv[1]))
again = Corpus.open(Path(sys.argv[1]), Random384())
found = again.retriever.retrieve([corpus.retriever.passages["7"].text], 3)[0]
print(len(again), len(found), peak_resident_bytes() // 2**20)
"""


@pytest.mark.slow
def test_twenty_thousand_passages_are_held_searched_and_kept_in_two_gigabytes(tmp_path):
    """Vectors as wide as the real embedder's, made without it, in a process of their own that holds the corpus twice: as it was read and opened again."""
    done = subprocess.run([sys.executable, "-c", TWENTY_THOUSAND, str(tmp_path / "kept")], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    held, found, peak_mb = map(int, done.stdout.split())
    assert (held, found) == (20_000, 3)
    assert peak_mb < 2000, f"{peak_mb} MB"
