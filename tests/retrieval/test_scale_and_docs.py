"""Measuring search against size, the real corpus, and the pictures: on sizes that take no time."""

import math

import numpy as np
import pytest

from llmsuite_lab.core.metrics import Interval
from llmsuite_lab.retrieval import figures, python_docs, records, scale
from llmsuite_lab.retrieval.experiments import DEFENCES
from llmsuite_lab.retrieval.injection import ATTACKS


def unit(count, dimension, seed=0):
    x = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_grown_vectors_keep_the_real_ones_have_length_one_and_lie_among_them():
    real = unit(30, 48)
    grown = scale.grow(real, 700)
    assert grown.shape == (700, 48)
    np.testing.assert_array_equal(grown[:30], real)
    np.testing.assert_allclose(np.linalg.norm(grown, axis=1), 1, atol=1e-5)
    nearest = (grown[30:] @ real.T).max(1)
    assert 0.6 < nearest.mean() < 0.95
    np.testing.assert_array_equal(grown, scale.grow(real, 700))
    assert scale.grow(real, 12).shape == (12, 48)
    with pytest.raises(ValueError, match="at least two"):
        scale.grow(real[:1], 5)


def test_every_method_is_measured_and_depth_is_the_smallest_that_suffices():
    rows = scale.measure_dense(scale.grow(unit(40, 24), 900), unit(9, 24, seed=1), repeats=2)
    assert [row.kind for row in rows] == ["exact", "ivf", "hnsw"]
    assert rows[0].recall == 1
    assert rows[0].depth is None
    assert all(row.recall >= 0.9 and row.size == 900 and len(row.runs_ms) == 2 for row in rows)
    shallow = scale.measure_dense(scale.grow(unit(40, 24), 900), unit(9, 24, seed=1), kinds=("hnsw",), wanted=0.0, repeats=1)
    assert shallow[0].depth == scale.DEPTHS["hnsw"][0]


def test_bm25_is_measured_on_generated_text():
    texts = scale.many_texts(500)
    assert len(texts) == len(set(texts)) == 500
    row = scale.measure_bm25(texts, ["What does the kettle cost?"], repeats=2)
    assert row.size == 500
    assert math.isnan(row.recall)
    assert math.isnan(row.gold)


def test_the_share_of_gold_passages_found_is_counted_for_meaning_and_for_words():
    vectors = scale.grow(unit(40, 24), 300)
    rows = scale.measure_dense(vectors, vectors[[3, 7]], kinds=("exact",), repeats=1, gold=[3, 8])
    assert rows[0].gold == 0.5  # a vector finds itself; the other's gold is somebody else
    texts = [f"The number of item {i} is {i * i}." for i in range(300)]
    assert scale.measure_bm25(texts, ["item 17", "item 18"], 1, gold=[17, 200]).gold == 0.5


def test_the_recorded_sizes_reach_a_hundred_thousand_and_the_record_is_complete():
    rows, about = records.search_by_size()
    assert {(r.kind, r.size) for r in rows} == {(kind, size) for kind in ("exact", "ivf", "hnsw", "bm25") for size in scale.SIZES}
    assert {"seed", "threads", "queries", "real_vectors"} <= set(about)
    assert all(r.recall >= 0.9 for r in rows if r.kind in ("ivf", "hnsw"))
    assert len(scale.speed_up(rows, "hnsw", 100_000)) == len(rows[0].runs_ms)
    assert all(0 < r.gold <= 1 for r in rows)


def test_python_carries_its_reference_and_chunks_are_pieces_of_it():
    topics = python_docs.topics()
    passages = python_docs.passages(120, names={"lambda", "pass", "try"})
    assert {p.document.rsplit("-", 1)[0] for p in passages} == {"lambda", "pass", "try"}
    assert all(p.text in topics[p.title] for p in passages)
    assert len({p.id for p in passages}) == len(passages)
    assert len(python_docs.questions()) >= 15
    with pytest.raises(ValueError, match="by='pages'"):
        python_docs.passages(by="pages")


def test_every_picture_of_a_recorded_run_can_be_drawn():
    for draw in (figures.pipeline_map, figures.accuracy, figures.outcomes, figures.abstention, figures.search_latency, figures.attacked):
        assert draw().axes, draw.__name__


def test_the_ranking_picture_draws_what_it_is_given():
    quality = {mode: {"recall@1": Interval(0.5, 0.4, 0.6, 9), "MRR": Interval(0.6, 0.5, 0.7, 9)} for mode in ("bm25", "dense", "hybrid")}
    ax = figures.rankings(quality).axes[0]
    assert len(ax.patches) == 6


def test_the_records_of_formats_and_attacks_are_read_question_by_question():
    one, three = (records.right_by_passages(examples) for examples in ("one", "three"))
    for examples, right in (("one", one), ("three", three)):
        assert records.loss_by_passages(examples).mean == pytest.approx(right["1"].mean - right["3"].mean)
    assert one["1"].mean != three["1"].mean
    counts = records.obeyed_by_attack()
    assert list(counts) == list(ATTACKS)
    by_hand = {(row.attack, row.defence): sum(row.obeyed) for row in records.attacks()}
    assert all(by_hand[attack, defence] == n for attack, found in counts.items() for defence, n in found.items())
    assert all(set(found) == set(DEFENCES) for found in counts.values())
    with pytest.raises(ValueError, match="was not measured; the recorded run has one, three"):
        records.loss_by_passages("four")
