"""The three ways of looking for near vectors, as faiss has them: exact, IVF (clusters), HNSW (a graph of neighbours).

`depth` is how far a search looks: clusters for IVF, candidates for HNSW; the exact index looks at everything. IVF learns its clusters by k-means from
the first vectors it is given.
Sources: Johnson, Douze & Jégou 2017 (faiss); Malkov & Yashunin 2016 (HNSW).
"""

from typing import Any

import numpy as np

from llmsuite_lab.core.errors import unknown

KINDS = ("exact", "ivf", "hnsw")
_POINTS_PER_CLUSTER = 39  # faiss asks for at least this many training vectors per cluster


def make(kind: str, vectors: np.ndarray, depth: int | None = None) -> Any:
    """An empty faiss index for vectors like these, float32 [n, dimension]. Raises ValueError for an unknown kind."""
    import faiss

    _check(kind)
    count, dimension = vectors.shape
    if kind == "exact":
        return faiss.IndexFlatIP(dimension)
    if kind == "hnsw":
        made = faiss.IndexHNSWFlat(dimension, 32, faiss.METRIC_INNER_PRODUCT)
        made.hnsw.efConstruction = 200
    else:
        clusters = max(1, min(int(2 * count**0.5), count // _POINTS_PER_CLUSTER))
        made = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimension), dimension, clusters, faiss.METRIC_INNER_PRODUCT)
        some = np.random.default_rng(0).permutation(count)[: 2 * _POINTS_PER_CLUSTER * clusters]
        made.train(vectors[np.sort(some)])  # k-means on a sample finds the same clusters in a fraction of the time
        made.make_direct_map()
    set_depth(made, kind, depth)
    return made


def set_depth(made: Any, kind: str, depth: int | None = None) -> None:
    """Let searches in this faiss index look `depth` far; None: a sixteenth of the clusters, 64 candidates. Raises ValueError for an unknown kind."""
    _check(kind)
    if kind == "ivf":
        made.nprobe = min(depth or max(1, made.nlist // 16), made.nlist)
    elif kind == "hnsw":
        made.hnsw.efSearch = depth or 64


def parameters(kind: str, rows: np.ndarray, depth: int) -> Any:
    """faiss's search parameters that find nothing but these rows (int64), looking `depth` far; they keep the selector that faiss only borrows.

    Raises ValueError for an unknown kind.
    """
    import faiss

    _check(kind)
    wanted = faiss.IDSelectorBatch(rows)
    if kind == "ivf":
        return faiss.SearchParametersIVF(sel=wanted, nprobe=depth)
    if kind == "hnsw":
        return faiss.SearchParametersHNSW(sel=wanted, efSearch=depth)
    return faiss.SearchParameters(sel=wanted)


def _check(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(unknown("kind of index", kind, list(KINDS)))
