"""The retriever: from questions to passages, by meaning (dense), by words (BM25), or by both (hybrid).

A passage is indexed with its title in front, so that "this kettle" still says which. Of several versions of one document only the newest is
returned: meaning cannot tell the old text from the new one, their dates can. Passages of one document and one date are one version of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from llmsuite_lab.retrieval.embedding import Embedder
from llmsuite_lab.retrieval.fusion import convex_fusion, reciprocal_rank_fusion
from llmsuite_lab.retrieval.index import Index, Update
from llmsuite_lab.retrieval.lexical import BM25

MODES = ("dense", "bm25", "hybrid")
FUSIONS = {"convex": convex_fusion, "rrf": reciprocal_rank_fusion}
POOL = 50  # candidates taken from each ranking before they are fused


class PassageLike(Protocol):
    """What can be indexed, such as `world.handbook.Passage`: versions of one text share `document`; `dated` is an ISO date or ""."""

    id: str
    document: str
    title: str
    text: str
    dated: str


@dataclass(frozen=True)
class Hit:
    """A retrieved passage: `score` by the mode's own ranking, `cosine` to the question (0 where it was not among the dense candidates)."""

    passage: PassageLike
    score: float
    cosine: float


def indexed_text(passage: PassageLike) -> str:
    """Title and text, as they are embedded and counted."""
    return f"{passage.title}. {passage.text}" if passage.title else passage.text


class Retriever:
    """Passages with their dense and lexical index. Raises ValueError for an empty corpus, a repeated id, an unknown mode or fusion.

    `newest_only` searches among the latest version of each document: older ones take no place in a ranking. `index` may be one that was loaded
    from disk and holds these passages.
    """

    def __init__(
        self,
        passages: Sequence[PassageLike],
        embedder: Embedder,
        *,
        kind: str = "exact",
        mode: str = "hybrid",
        fusion: str = "convex",
        newest_only: bool = True,
        index: Index | None = None,
    ):
        if not passages:
            raise ValueError("passages is empty: there is nothing to retrieve from; pass at least one")
        if mode not in MODES or fusion not in FUSIONS:
            raise ValueError(f"mode={mode!r}, fusion={fusion!r}; modes are {', '.join(MODES)}, fusions {', '.join(FUSIONS)}")
        self.embedder, self.mode, self.fusion, self.newest_only = embedder, mode, fusion, newest_only
        self.index = Index(embedder.dimension, embedder.identity, kind) if index is None else index
        self.update(passages)

    def update(self, passages: Sequence[PassageLike]) -> Update:
        """Hold exactly these passages; only new and changed ones are embedded. Returns what was done. Raises ValueError as the constructor."""
        if not passages:
            raise ValueError("passages is empty: there is nothing to retrieve from; pass at least one")
        ids, texts = [p.id for p in passages], [indexed_text(p) for p in passages]
        done = self.index.update(self.embedder, ids, texts)
        self.lexical = BM25(ids, texts)  # counts over the whole corpus: cheaper to redo than to patch
        self.passages = {p.id: p for p in passages}
        newest: dict[str, str] = {}
        for passage in passages:
            newest[passage.document] = max(passage.dated, newest.get(passage.document, ""))
        self._current = {p.id for p in passages if p.dated == newest[p.document]}  # all of the newest date: a document has many passages
        return done

    def retrieve(
        self, questions: Sequence[str], k: int = 3, *, mode: str | None = None, fusion: str | None = None, newest_only: bool | None = None
    ) -> list[list[Hit]]:
        """The best `k` passages of each question, best first; the keywords override the retriever's own settings for this call.

        Fewer than `k` come back when fewer are current, and by BM25 alone when fewer share a word with the question (none, if none does).
        Raises ValueError for k outside 1…number of passages, TypeError for a bare string.
        """
        if isinstance(questions, str):
            raise TypeError("questions is one string; pass a list of questions")
        mode, fusion = mode or self.mode, fusion or self.fusion
        if mode not in MODES or fusion not in FUSIONS:
            raise ValueError(f"mode={mode!r}, fusion={fusion!r}; modes are {', '.join(MODES)}, fusions {', '.join(FUSIONS)}")
        if not 1 <= k <= len(self.passages):
            raise ValueError(f"k={k} but the index holds {len(self.passages)} passages; k must lie between 1 and that")
        if not questions:
            return []
        newest = self.newest_only if newest_only is None else newest_only
        among = self._current if newest and len(self._current) < len(self.passages) else None
        pool = min(max(POOL, 2 * k), len(self.passages))
        dense = self.index.search(self.embedder.embed(questions), pool, among)
        lexical = self.lexical.search(questions, pool, among) if mode != "dense" else [[] for _ in questions]
        results = []
        for near, shared in zip(dense, lexical):
            ranking = FUSIONS[fusion]([near, shared]) if mode == "hybrid" else shared if mode == "bm25" else near
            cosines = dict(near)
            results.append([Hit(self.passages[i], s, cosines.get(i, 0.0)) for i, s in ranking[:k]])
        return results
