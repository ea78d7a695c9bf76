"""The retriever on a corpus one can read: words, meaning, versions, updates, refusals."""

from dataclasses import replace

import pytest

from llmsuite_lab.retrieval.index import KINDS
from llmsuite_lab.retrieval.retriever import FUSIONS, MODES, Retriever
from tests.retrieval.conftest import Page


@pytest.fixture
def retriever(pages, embedder):
    return Retriever(pages, embedder)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fusion", ["convex", "rrf"])
def test_each_mode_finds_the_passage(retriever, mode, fusion):
    found = retriever.retrieve(
        ["Which phone extension does Skara Lemell answer?", "How much is the Huxum Mini kettle?"], 2, mode=mode, fusion=fusion
    )
    assert [hits[0].passage.id for hits in found] == ["e", "b"]
    assert all(hits[0].score >= hits[-1].score for hits in found)


def test_only_the_newest_version_comes_back_unless_asked(retriever):
    question = ["How many days does study leave allow a year?"]
    assert [h.passage.id for h in retriever.retrieve(question, 5)[0]].count("c") == 0
    assert retriever.retrieve(question, 5)[0][0].passage.id == "d"
    assert {"c", "d"} <= {h.passage.id for h in retriever.retrieve(question, 5, newest_only=False)[0]}


def test_a_changed_document_is_found_by_its_new_words_and_only_it_is_embedded(retriever, pages, embedder):
    before = embedder.embedded
    pages[4] = replace(pages[4], text="Skara Lemell left the company and keeps bees.")
    done = retriever.update(pages)
    assert (done.changed, done.unchanged) == (("e",), len(pages) - 1)
    assert embedder.embedded == before + 1
    assert retriever.retrieve(["Who keeps bees?"], 1)[0][0].passage.text.endswith("bees.")


def test_fewer_current_passages_than_k_come_back_short(retriever, pages):
    assert len(retriever.retrieve(["study leave"], len(pages), mode="dense")[0]) == len(pages) - 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_old_versions_take_no_place(kind, mode, fusion, pages, embedder):
    """120 versions of one document, all nearer to the question than anything else: the newest comes, and then the others."""
    versions = [Page(f"v{i}", "tea", "Tea", f"Tea break rule number {i} for the canteen", f"2030-01-01-{i:03}") for i in range(120)]
    others = [Page(f"o{i}", f"o{i}", f"Canteen {i}", f"Tea break in the canteen with soup {i}") for i in range(4)]
    retriever = Retriever([*versions, *pages, *others], embedder, kind=kind, mode=mode, fusion=fusion)
    (hits,) = retriever.retrieve(["What is the tea break rule for the canteen?"], 5)
    assert hits[0].passage.id == "v119"
    assert {h.passage.id for h in hits[1:]} == {"o0", "o1", "o2", "o3"}


def test_bm25_without_a_shared_word_finds_nothing_and_adds_nothing(retriever):
    assert retriever.retrieve(["zebra crossing"], 3, mode="bm25") == [[]]
    for fusion in FUSIONS:
        fused, dense = (retriever.retrieve(["zebra crossing"], 3, mode=mode, fusion=fusion)[0] for mode in ("hybrid", "dense"))
        assert [h.passage.id for h in fused] == [h.passage.id for h in dense]


def test_no_questions_no_hits(retriever):
    assert retriever.retrieve([]) == []


def test_refusals(retriever, pages, embedder):
    with pytest.raises(ValueError, match="passages is empty"):
        Retriever([], embedder)
    with pytest.raises(ValueError, match=f"k=99 but the index holds {len(pages)} passages"):
        retriever.retrieve(["x"], 99)
    with pytest.raises(TypeError, match="one string"):
        retriever.retrieve("x")
    with pytest.raises(ValueError, match="mode='sparse'"):
        retriever.retrieve(["x"], 1, mode="sparse")
    with pytest.raises(ValueError, match="7 different"):
        Retriever([*pages, pages[0]], embedder)
