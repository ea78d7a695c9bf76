"""Search against size: recall and latency of exact, IVF, HNSW and BM25 search from a thousand to a hundred thousand passages.

    recall@k(approximate) = |approximate top k ∩ exact top k| / k          gold@k = share of questions whose passage is in the top k

Embedding a hundred thousand texts takes hours on two cores, so only the first vectors are real embeddings. The rest are made from them: a random
mix of two real vectors plus noise, scaled to length 1. They keep the real ones' directions and crowding, and every query is a real question's
embedding; BM25 searches real generated text of every size, the same handbook first. Both lists of ten hold the passage that answers the question
or not, so gold@10 compares searches by meaning with a search by words. Source: Aumüller et al. 2018, "ANN-Benchmarks", for the method.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from llmsuite_lab.core.errors import within
from llmsuite_lab.core.runs import Outcome
from llmsuite_lab.retrieval.embedding import Embedder
from llmsuite_lab.retrieval.index import Index
from llmsuite_lab.retrieval.lexical import BM25
from llmsuite_lab.retrieval.retriever import indexed_text
from llmsuite_lab.world import handbook

SIZES = (1_000, 10_000, 100_000)
K = 10
DEPTHS = {"ivf": (1, 2, 4, 8, 16, 32, 64, 128, 256), "hnsw": (10, 16, 32, 64, 128, 256, 512, 1024)}


@dataclass(frozen=True)
class Measured:
    """One search method at one size: `recall` of the exact top 10 (BM25: nan), processor milliseconds per query (one at a time), seconds to build.

    `gold`: share of questions whose own passage is among the ten found (nan where it is not known).
    `depth` is the smallest that reached the wanted recall, or the deepest tried; None for methods without one. `runs_ms` are the repeats.
    """

    kind: str
    size: int
    recall: float
    query_ms: float
    build_s: float
    depth: int | None
    runs_ms: tuple[float, ...]
    gold: float = float("nan")


def grow(real: np.ndarray, size: int, seed: int = 0, noise: float = 0.5) -> np.ndarray:
    """`size` unit vectors, float32: `real` first, then mixes w a + (1 − w) b of two of them plus a random vector of length `noise`.

    Raises ValueError for fewer than two real vectors.
    """
    if len(real) < 2:
        raise ValueError(f"{len(real)} real vectors, but mixing needs at least two")
    rng = np.random.default_rng(seed)
    more = max(0, size - len(real))
    a, b = real[rng.integers(len(real), size=more)], real[rng.integers(len(real), size=more)]
    w = rng.uniform(0.5, 1.0, size=(more, 1)).astype(np.float32)
    direction = rng.standard_normal((more, real.shape[1]), dtype=np.float32)
    mixed = w * a + (1 - w) * b + noise * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    return np.concatenate([real[:size], mixed / np.linalg.norm(mixed, axis=1, keepdims=True)]).astype(np.float32)


def many_texts(size: int) -> list[str]:
    """`size` passages of generated handbooks, one company after the other."""
    within("size", size, 0, 10_000_000)
    texts: list[str] = []
    seed = 0
    while len(texts) < size:
        texts += [indexed_text(p) for p in handbook.generate("train", seed, one=0, two=0, unanswerable=0).passages]
        seed += 1
    return texts[:size]


def recall(found: Sequence[Sequence[tuple[str, float]]], truth: Sequence[Sequence[tuple[str, float]]]) -> float:
    """Mean share of the true neighbours that were found."""
    return float(np.mean([len({i for i, _ in f} & {i for i, _ in t}) / len(t) for f, t in zip(found, truth)]))


def gold_share(found: Sequence[Sequence[tuple[str, float]]], gold: Sequence[int]) -> float:
    """Share of the lists found that hold the passage with their question's number."""
    return float(np.mean([str(g) in {i for i, _ in f} for f, g in zip(found, gold, strict=True)]))


def per_query_ms(search: Callable[[int], object], queries: int, repeats: int = 3) -> tuple[float, ...]:
    """Milliseconds of processor time per query, one query at a time as a user sends them: one mean per repeat, after a round to warm up.

    Processor time, because on a busy machine the wall clock measures the neighbours; with one faiss thread the two agree on a free core.
    """
    within("queries", queries, 1, 1_000_000)
    within("repeats", repeats, 1, 10_000)
    runs = []
    for turn in range(repeats + 1):
        start = time.process_time()
        for i in range(queries):
            search(i)
        if turn:
            runs.append(1000 * (time.process_time() - start) / queries)
    return tuple(runs)


def measure_dense(
    vectors: np.ndarray,
    queries: np.ndarray,
    kinds: Sequence[str] = ("exact", "ivf", "hnsw"),
    wanted: float = 0.9,
    repeats: int = 3,
    gold: Sequence[int] | None = None,
) -> list[Measured]:
    """Each kind of index over `vectors` [size, d]: the approximate ones at the smallest depth whose recall@10 reaches `wanted`.

    `gold`: for every query the row of the passage that answers it.
    """
    ids = [str(i) for i in range(len(vectors))]
    exact = Index(vectors.shape[1], "measured", "exact")
    exact.add(ids, vectors)
    truth = exact.search(queries, K)
    rows = []
    for kind in kinds:
        start = time.perf_counter()
        index = Index(vectors.shape[1], "measured", kind)
        index.add(ids, vectors)
        build_s = time.perf_counter() - start
        reached, depth = 1.0, None
        for depth in DEPTHS.get(kind, ()):
            index.depth = depth
            reached = recall(index.search(queries, K), truth)
            if reached >= wanted:
                break
        runs = per_query_ms(lambda i, index=index: index.search(queries[i : i + 1], K), len(queries), repeats)
        held = float("nan") if gold is None else gold_share(index.search(queries, K), gold)
        rows.append(Measured(kind, len(vectors), reached, float(np.median(runs)), build_s, depth, runs, held))
    return rows


def measure_bm25(texts: Sequence[str], questions: Sequence[str], repeats: int = 3, gold: Sequence[int] | None = None) -> Measured:
    """BM25 over `texts`; there is no recall against the exact index, since it ranks by something else. `gold` as in `measure_dense`."""
    start = time.perf_counter()
    index = BM25([str(i) for i in range(len(texts))], texts)
    build_s = time.perf_counter() - start
    runs = per_query_ms(lambda i: index.search([questions[i]], K), len(questions), repeats)
    held = float("nan") if gold is None else gold_share(index.search(questions, K), gold)
    return Measured("bm25", len(texts), float("nan"), float(np.median(runs)), build_s, None, runs, held)


def speed_up(rows: Sequence[Measured], kind: str, size: int) -> list[float]:
    """How many times faster than exact search, one ratio per repeat, at this size. Raises KeyError when one of them was not measured."""
    by = {(row.kind, row.size): row for row in rows}
    return [exact / other for exact, other in zip(by["exact", size].runs_ms, by[kind, size].runs_ms)]


def measure(sizes: Sequence[int] = SIZES, queries: int = 100, repeats: int = 5) -> Outcome:
    """Every method at every size with one thread, as rows of `Measured`; a minute or two on a free core."""
    import faiss

    faiss.omp_set_num_threads(1)
    book, embedder = handbook.load(), Embedder.load()
    chosen = book.of_kind("one")[:queries]
    questions, own = [q.text for q in chosen], [indexed_text(p) for p in book.passages]
    number = {p.id: i for i, p in enumerate(book.passages)}
    gold = [number[q.gold[0]] for q in chosen]
    asked = embedder.embed(questions)
    vectors, texts = grow(embedder.embed(own), max(sizes)), [*own, *many_texts(max(sizes))]
    rows = []
    for size in sizes:
        rows += measure_dense(vectors[:size], asked, repeats=repeats, gold=gold)
        rows.append(measure_bm25(texts[:size], questions, repeats, gold))
    settings = {"threads": 1, "real_vectors": len(book.passages), "queries": len(chosen), "repeats": repeats}
    return Outcome(settings, [{**asdict(row), "recall": None if np.isnan(row.recall) else row.recall} for row in rows])
