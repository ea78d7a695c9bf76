"""`llmsuite bench retrieval`: our index beside faiss itself, and our embedder beside sentence-transformers.

Both sides of a search row get the same vectors and the same queries and must end with passage ids and scores: ours through `Index.search`, the
reference through `faiss.Index.search` and a list look-up. Of 100,000 vectors the first are real embeddings, the others mixes of them
(`retrieval.scale.grow`); the queries are real questions.
"""

import time
from collections.abc import Callable

import numpy as np

from llmsuite_lab.core import zoo
from llmsuite_lab.course.bench import Row, compare, interleaved, say
from llmsuite_lab.retrieval.embedding import Embedder
from llmsuite_lab.retrieval.index import Index
from llmsuite_lab.retrieval.scale import K, grow
from llmsuite_lab.world import handbook

SIZE, QUERIES = 100_000, 40


def rows(size: int = SIZE, n: int = 7) -> list[Row]:
    """All rows; about three minutes on two free cores. Needs the embedder in the cache."""
    say("embedding")
    book, embedder = handbook.load(), Embedder.load()
    texts = [p.text for p in book.passages]
    queries = embedder.embed([q.text for q in book.questions[:QUERIES]])
    vectors = grow(embedder.embed(texts), size)
    measured = []
    for kind in ("exact", "ivf", "hnsw"):
        say(f"{kind} search over {size} vectors")
        measured.append(search_row(kind, vectors, queries, n))
    return [*measured, embedding_row(embedder, texts[:64])]


def search_row(kind: str, vectors: np.ndarray, queries: np.ndarray, n: int) -> Row:
    """Seconds per query, one query at a time, with results mapped to ids: `Index.search` against faiss on the very same structure."""
    ids = [f"p{i}" for i in range(len(vectors))]
    index = Index(vectors.shape[1], "bench", kind)
    index.add(ids, vectors)
    raw = index._faiss  # the same graph and lists, so that only the wrapping differs

    def ours() -> None:
        for query in queries:
            index.search(query[None], K)

    def reference() -> None:
        for query in queries:
            scores, found = raw.search(query[None], K)
            [[(ids[r], s) for r, s in zip(*row)] for row in zip(found.tolist(), scores.tolist())]

    return compare(
        f"{kind} query over {len(vectors)} vectors against faiss",
        "s",
        *interleaved(_per(ours, len(queries)), _per(reference, len(queries)), n=n),
    )


def embedding_row(embedder: Embedder, texts: list[str], n: int = 3) -> Row:
    """Texts per second, the same texts and batch size: our encoder against `SentenceTransformer.encode`."""
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(zoo.path(embedder.name)), device="cpu")

    def rate(call: Callable[[], object]) -> Callable[[], float]:
        seconds = _per(call, len(texts))
        return lambda: 1 / seconds()

    ours = rate(lambda: embedder.embed(texts, batch_size=32))
    reference = rate(lambda: theirs.encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False))
    return compare("embedding against sentence-transformers", "texts/s", *interleaved(ours, reference, n=n))


def _per(call: Callable[[], object], count: int) -> Callable[[], float]:
    def seconds() -> float:
        start = time.perf_counter()
        call()
        return (time.perf_counter() - start) / count

    return seconds
