"""Whatever is put in the place of an argument, retrieval answers with a sentence (see tests/bad_input.py)."""

from types import SimpleNamespace

import numpy as np

from llmsuite_lab.core.metrics import Interval
from llmsuite_lab.core.records import read_all
from llmsuite_lab.retrieval import abstention, evaluation, injection, neighbours, records
from llmsuite_lab.retrieval.corpus import Corpus
from llmsuite_lab.retrieval.foreign import ForeignRetriever
from llmsuite_lab.retrieval.index import Index
from llmsuite_lab.retrieval.lexical import BM25
from llmsuite_lab.retrieval.pipeline import RAG
from llmsuite_lab.retrieval.retriever import Retriever
from tests.retrieval.test_documents import pdf

LEFT_OUT = {
    "retrieval.varied": "trains a reader and evaluates it; what it draws is in test_varied.py",
    "retrieval.measuring": "evaluates real models: minutes; its parts are fed here",
    "retrieval.own_gate_measuring": "measures on public sets: test_own_gate_measuring.py",
    "retrieval.reader.train": "trains a model",
    "retrieval.reader.examples": "needs the model's tokenizer",
    "retrieval.reader.pairs": "embeds whole handbooks; what it draws from is fed in the world's test",
    "retrieval.embedding.Embedder": "loads the real embedder: test_embedding.py",
    "retrieval.chunking.token_offsets": "takes a tokenizer: test_chunking.py",
    "retrieval.experiments": "runs the whole pipeline over questions: its parts are fed here, and test_experiments.py",
    "retrieval.python_docs": "reads Python's own documentation: test_scale_and_docs.py",
    "retrieval.scale.measure": "minutes of timing; its parts are fed here",
    "retrieval.scale.speed_up": "as measure",
    "retrieval.scale.measure_dense": "as measure",
    "retrieval.scale.measure_bm25": "as measure",
    "retrieval.figures.abstention": "draws what the recorded run holds",
    "retrieval.figures.search_latency": "as abstention",
    "retrieval.figures.attacked": "draws what experiments.attack gives: test_experiments.py",
}


class Theirs:
    """A retriever of LangChain's, as far as ours looks at it."""

    def invoke(self, question):
        """One document."""
        return [SimpleNamespace(page_content="some words", metadata={}, id=None)]


def valid(folder, call, fresh, writer, pages=None, embedder=None):
    """Valid calls, where the signature does not say enough."""
    (folder / "page.md").write_text("# A\n\nSome words.", encoding="utf-8")
    (folder / "page.html").write_text("<p>Kettle</p>", encoding="utf-8")
    (folder / "notes").mkdir(exist_ok=True)
    (folder / "notes" / "a.md").write_text("# A\n\nSome words.", encoding="utf-8")
    (folder / "questions.jsonl").write_text('{"question": "What?", "answer": "words"}\n', encoding="utf-8")
    (folder / "a.pdf").write_bytes(pdf("some words"))
    if not (folder / "corpus").exists():
        Corpus.read([{"text": "some words"}], embedder).persist(folder / "corpus")
    search = Retriever(pages, embedder)
    rag = RAG(search, writer())
    (hits,) = search.retrieve(["kettle"], 2)
    rankings = [[("a", 1.0), ("b", 0.5)], [("b", 1.0)]]
    vectors = np.eye(4, 40, dtype=np.float32)
    index = Index(40, "words")
    index.add(["a", "b", "c", "d"], vectors)
    index.save(folder / "index")
    rows = np.random.default_rng(0).normal(size=(12, len(abstention.SIGNALS))).tolist()
    gate = abstention.fit_gate(rows, [True, False] * 6)
    outcomes = [evaluation.judge("67 crowns", "67 crowns", "What does it cost?", ["It costs 67 crowns."])]

    def fresh_index():
        made = Index(40, "words")
        made.add(["a", "b", "c", "d"], vectors)
        return made

    return {
        "retrieval.abstention.Coverage": call(["some words", "other words"]),
        "retrieval.abstention.Gate.score": call(rows, on=lambda: gate),
        "retrieval.abstention.Gate.declines": call(rows, on=lambda: gate),
        "retrieval.abstention.fit_gate": call(rows, [True, False] * 6),
        "retrieval.abstention.choose_threshold": call([0.1, 0.5, 0.9]),
        "retrieval.abstention.tradeoff": call([0.1, 0.9], [False, True]),
        "retrieval.chunking.read_document": call(folder / "page.md"),
        "retrieval.corpus.Corpus": call(pages, embedder),
        "retrieval.corpus.Corpus.read": call([{"text": "some words"}], embedder),
        "retrieval.corpus.Corpus.open": call(folder / "corpus", embedder),
        "retrieval.corpus.Corpus.update": call([{"text": "some words"}], on=lambda: Corpus.read([{"text": "a"}], embedder)),
        "retrieval.corpus.Corpus.persist": call(folder / "again", on=lambda: Corpus.read([{"text": "a"}], embedder)),
        "retrieval.corpus.Corpus.rag": call(writer(), on=lambda: Corpus.read([{"text": "a"}], embedder)),
        "retrieval.documents.read_folder": call(folder / "notes"),
        "retrieval.documents.announce": call([]),
        "retrieval.documents.from_rows": call([{"text": "some words"}]),
        "retrieval.documents.read_rows": call([{"text": "some words"}]),
        "retrieval.html_pages.html_source": call(folder / "page.html", "utf-8"),
        "retrieval.documents.pdf_pages": call(folder / "a.pdf"),
        "retrieval.foreign.ForeignRetriever": call(Theirs()),
        "retrieval.foreign.ForeignRetriever.retrieve": call(["kettle"], 2, on=lambda: ForeignRetriever(Theirs())),
        "retrieval.own_gate.adapted": call(records.gate(), rag, ["kettle"]),
        "retrieval.own_gate.signals_with_and_without": call(rag, ["kettle"]),
        "retrieval.own_gate.stand_ins": call(rag),
        "retrieval.own_questions.load": call(folder / "notes", folder / "questions.jsonl"),
        "retrieval.pipeline.RAG.stream": call("kettle", on=lambda: rag),
        "retrieval.figures.follow": call(records.load()),
        "retrieval.evaluation.recall_at_k": call([["a", "b"]], [["a"]], 1),
        "retrieval.evaluation.reciprocal_ranks": call([["a", "b"]], [["a"]]),
        "retrieval.evaluation.shares": call(outcomes),
        "retrieval.evaluation.tally": call(outcomes),
        "retrieval.evaluation.paired_gain": call([True, False], [False, False]),
        "retrieval.figures.rankings": call({"dense": {"recall@1": Interval(0.5, 0.4, 0.6, 10)}}),
        "retrieval.fusion.reciprocal_rank_fusion": call(rankings),
        "retrieval.fusion.convex_fusion": call(rankings),
        "retrieval.index.Index": call(40, "words"),
        "retrieval.index.Index.build": call(embedder, ["a"], ["a text"]),
        "retrieval.index.Index.add": call(["e"], vectors[:1], on=fresh_index),
        "retrieval.index.Index.remove": call(["a"], on=fresh_index),
        "retrieval.index.Index.update": call(embedder, ["a"], ["a text"], on=lambda: Index.build(embedder, ["a"], ["old"])),
        "retrieval.index.Index.search": call(vectors[:1], 2, on=fresh_index),
        "retrieval.index.Index.save": call(folder / "saved", on=fresh_index),
        "retrieval.index.Index.load": call(folder / "index", "words"),
        "retrieval.injection.plant": call(hits, injection.ATTACKS[0]),
        "retrieval.injection.filtered": call(hits),
        "retrieval.lexical.BM25": call(["a", "b"], ["some words", "other words"]),
        "retrieval.lexical.BM25.scores": call("some words", on=lambda: BM25(["a", "b"], ["some words", "other words"])),
        "retrieval.lexical.BM25.search": call(["some words"], 1, on=lambda: BM25(["a", "b"], ["some words", "other words"])),
        "retrieval.neighbours.make": call("hnsw", vectors, 3),
        "retrieval.neighbours.set_depth": call(neighbours.make("hnsw", vectors), "hnsw", 3),
        "retrieval.neighbours.parameters": call("hnsw", np.arange(2), 3),
        "retrieval.pipeline.RAG": call(search, writer()),
        "retrieval.pipeline.RAG.answer": call(["kettle"], on=lambda: rag),
        "retrieval.pipeline.RAG.signals": call(["kettle"], [hits], on=lambda: rag),
        "retrieval.pipeline.subject": call(pages[0]),
        "retrieval.pipeline.shown_text": call(pages[0]),
        "retrieval.prompting.assemble": call("What?", [("a", "a text")], len, 1000),
        "retrieval.records.accuracies": call({"rag": [True, False]}),
        "retrieval.records.right_by_passages": call("one"),
        "retrieval.records.loss_by_passages": call("three"),
        "retrieval.records.elsewhere": call(read_all("reader_varied")),
        "retrieval.records.reader_shares": call(records.readers()),
        "retrieval.records.declined_shares": call(records.load()),
        "retrieval.retriever.indexed_text": call(pages[0]),
        "retrieval.retriever.Retriever": call(pages, embedder),
        "retrieval.retriever.Retriever.update": call(pages, on=lambda: Retriever(pages, embedder)),
        "retrieval.retriever.Retriever.retrieve": call(["kettle"], 2, on=lambda: search),
        "retrieval.scale.grow": call(vectors, 6),
        "retrieval.scale.many_texts": call(3),
        "retrieval.scale.recall": call([[("a", 1.0)]], [[("a", 1.0)]]),
        "retrieval.scale.gold_share": call([[("0", 1.0)]], [0]),
        "retrieval.scale.per_query_ms": call(lambda n: None, 2),
    }


def test_every_callable_answers_a_wrong_argument_with_a_sentence(bad_input, tmp_path, monkeypatch, pages, embedder):
    table = valid(tmp_path, bad_input.call, bad_input.fresh_random, bad_input.Writer, pages, embedder)
    allowed = (KeyError,)  # Index.remove, for what is not in it
    keep = [(f"retrieval.corpus.Corpus.{name}", "embedder") for name in ("read", "open")]  # None loads the real embedder
    bad_input.check("llmsuite_lab.retrieval", tmp_path, monkeypatch, valid=table, left_out=LEFT_OUT, allowed=allowed, keep=keep)
