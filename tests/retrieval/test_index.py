"""The index against a plain matrix product; changes, files and refusals."""

import json

import numpy as np
import pytest

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.retrieval.index import KINDS, Index

DIMENSION = 24


def unit(count, seed=0, dimension=DIMENSION):
    x = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def filled(kind, count=300, depth=None):
    index = Index(DIMENSION, "test", kind, depth)
    index.add([f"p{i}" for i in range(count)], unit(count))
    return index


def test_the_exact_index_is_the_matrix_product():
    index, queries = filled("exact"), unit(7, seed=1)
    scores = queries @ unit(300).T
    for row, found in enumerate(index.search(queries, 5)):
        best = np.argsort(-scores[row])[:5]
        assert [i for i, _ in found] == [f"p{b}" for b in best]
        np.testing.assert_allclose([s for _, s in found], scores[row][best], atol=1e-6)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_an_approximate_index_that_looks_everywhere_is_exact(kind):
    exact, other = filled("exact"), filled(kind, depth=300)
    queries = unit(11, seed=2)
    same = [{i for i, _ in a} == {i for i, _ in b} for a, b in zip(exact.search(queries, 4), other.search(queries, 4))]
    assert np.mean(same) > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_removed_passages_are_gone_and_new_ones_are_found(kind):
    index = filled(kind, depth=100)
    vectors = unit(300)
    assert index.search(vectors[17:18], 1)[0][0][0] == "p17"
    index.remove(["p17", "p40"])
    assert len(index) == 298
    assert "p17" not in index
    assert "p17" not in {i for i, _ in index.search(vectors[17:18], 100)[0]}
    index.add(["new"], vectors[17:18])
    assert index.search(vectors[17:18], 1)[0][0] == ("new", pytest.approx(1.0, abs=1e-5))
    index.remove([f"p{i}" for i in range(100, 290)])  # more than half: the index is built again from what is left
    assert len(index._ids) == len(index) == 109
    assert index.search(vectors[3:4], 1)[0][0][0] == "p3"


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_index_answers_as_before(kind, tmp_path):
    index, queries = filled(kind), unit(5, seed=3)
    index.remove(["p1"])
    index.save(tmp_path / "index")
    loaded = Index.load(tmp_path / "index", "test")
    assert len(loaded) == 299
    assert [[i for i, _ in r] for r in loaded.search(queries, 6)] == [[i for i, _ in r] for r in index.search(queries, 6)]
    loaded.add(["later"], unit(1, seed=9))
    assert "later" in loaded


def test_another_embedder_a_damaged_file_and_a_missing_one_are_refused(tmp_path):
    filled("exact").save(tmp_path / "index")
    with pytest.raises(LabError, match=r"made by \[test\], not by \[other\]"):
        Index.load(tmp_path / "index", "other")
    vectors = tmp_path / "index" / "vectors.faiss"
    vectors.write_bytes(vectors.read_bytes()[:-4] + b"\0\1\2\3")
    with pytest.raises(LabError, match="damaged"):
        Index.load(tmp_path / "index", "test")
    vectors.unlink()
    with pytest.raises(LabError, match="vectors.faiss is missing"):
        Index.load(tmp_path / "index", "test")
    (tmp_path / "index" / "index.json").write_text(json.dumps({"kind": "exact"}))
    with pytest.raises(LabError):
        Index.load(tmp_path / "index", "test")


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_among_some_is_a_search_of_an_index_that_holds_no_others(kind):
    """The 120 passages nearest to the query are left out, and some are removed: the others come, best first, however far an approximation looks."""
    near = unit(1, seed=5)
    crowd = near + 0.01 * unit(120, seed=6)
    vectors = np.concatenate([crowd / np.linalg.norm(crowd, axis=1, keepdims=True), unit(200, seed=7)])
    ids = [f"p{i}" for i in range(len(vectors))]
    index = Index(DIMENSION, "test", kind, 1)
    index.add(ids, vectors)
    index.remove(ids[:3])
    allowed, others = ids[120:140], vectors[120:140] @ near[0]
    (found,) = index.search(near, 4, among=allowed)
    if kind == "exact":
        assert [i for i, _ in found] == [allowed[j] for j in np.argsort(-others)[:4]]
    assert len(found) == 4
    assert {i for i, _ in found} <= set(allowed)
    assert [s for _, s in found] == pytest.approx(sorted((s for _, s in found), reverse=True))
    assert {i for i, _ in index.search(near, 60, among=allowed)[0]} == set(allowed)
    assert index.search(near, 4, among=[]) == [[]]
    assert len(index.search(near, 30)[0]) == 30  # the removed ones are skipped, and the search goes on


def test_ids_that_are_not_the_vectors_own_are_refused(tmp_path):
    filled("exact").save(tmp_path / "index")
    file = tmp_path / "index" / "index.json"
    about = json.loads(file.read_text())
    first, second, *others = about["ids"]
    file.write_text(json.dumps(about | {"ids": [second, first, *others]}))
    with pytest.raises(LabError, match="not its own"):
        Index.load(tmp_path / "index", "test")


def test_update_embeds_only_what_is_new_or_changed(embedder):
    texts = {"a": "red kettle", "b": "blue lamp", "c": "green tent"}
    index = Index.build(embedder, list(texts), list(texts.values()))
    assert embedder.embedded == 3
    texts = {"a": "red kettle", "b": "blue lamp with a cord", "d": "yellow radio"}
    done = index.update(embedder, list(texts), list(texts.values()))
    assert (done.added, done.changed, done.removed, done.unchanged) == (("d",), ("b",), ("c",), 1)
    assert embedder.embedded == 5
    assert index.search(embedder.embed(["yellow radio"]), 1)[0][0][0] == "d"
    embedder.name = "another"
    with pytest.raises(ValueError, match="another space"):
        index.update(embedder, ["a"], ["red kettle"])


def test_what_cannot_be_searched_or_added_says_so(embedder):
    index = Index(DIMENSION, "test")
    with pytest.raises(ValueError, match="the index is empty"):
        index.search(unit(1), 1)
    index.add(["a", "b"], unit(2))
    with pytest.raises(ValueError, match="k=3 but the index holds 2 passages"):
        index.search(unit(1), 3)
    with pytest.raises(ValueError, match="k=0"):
        index.search(unit(1), 0)
    with pytest.raises(ValueError, match=r"\(2, 9\)"):
        index.search(unit(2, dimension=9), 1)
    with pytest.raises(ValueError, match="already in the index"):
        index.add(["b", "c"], unit(2))
    with pytest.raises(ValueError, match="given twice"):
        index.add(["c", "c"], unit(2))
    with pytest.raises(ValueError, match="NaN"):
        index.add(["c"], np.full((1, DIMENSION), np.nan))
    with pytest.raises(KeyError, match="zzz"):
        index.remove(["a", "zzz"])
    with pytest.raises(ValueError, match="2 ids, 1 different"):
        index.remove(["a", "a"])
    with pytest.raises(KeyError, match="zzz"):
        index.search(unit(1), 1, among=["a", "zzz"])
    assert len(index) == 2
    with pytest.raises(ValueError, match="nothing to retrieve from"):
        Index.build(embedder, [], [])
    with pytest.raises(ValueError, match="kind='flat'"):
        Index(DIMENSION, "test", "flat")


def test_depth_is_a_dial_of_the_approximate_kinds():
    index = filled("ivf", depth=2)
    assert index.depth == 2
    index.depth = 5
    assert index.depth == 5
    with pytest.raises(ValueError, match="no depth"):
        filled("exact").depth = 3


@pytest.mark.parametrize("change", [{"kind": "ivf"}, {"dimension": 9}, {"checksums": {}}, {"depth": 3}, {"embedder": "another"}])
def test_nothing_that_is_said_about_the_vectors_may_be_changed(tmp_path, change):
    index = Index(4, "an embedder")
    index.add(["a", "b"], np.eye(4, dtype=np.float32)[:2])
    index.save(tmp_path / "index")
    file = tmp_path / "index" / "index.json"
    about = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**about, **change} if "checksums" not in change else {**about, "checksums": {"a": "0"}}), encoding="utf-8")
    with pytest.raises(LabError, match="do not match their checksum"):
        Index.load(tmp_path / "index", "an embedder")
