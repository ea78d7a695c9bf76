"""BM25: score a passage by the words it shares with the question, rare words more, repeated words less and less.

    score(q, d) = Σ_{w in q} idf(w) · tf(w, d) (k1 + 1) / (tf(w, d) + k1 (1 − b + b |d| / mean |d|)),   idf(w) = ln(1 + (N − n_w + ½) / (n_w + ½))

It knows no synonyms, but a name or an order code that an embedder has never met is just a rare word to it.
Source: Robertson & Zaragoza 2009, "The Probabilistic Relevance Framework". Production: bm25s, which does the counting here.
"""

from collections.abc import Collection, Sequence

import numpy as np

from llmsuite_lab.core.text import words as text_words

_STOP = frozenset(
    "a an the of is are was be been to in on at for and or by with from as it its this that what which who whom whose when where how does do did "
    "i my have has much many".split()
)
_SUFFIXES = ("ing", "ed", "es", "s", "e")


def words(text: str) -> list[str]:
    """Folded words without stop words, plain English endings cut ("costs", "costing" and "cost" meet): the terms that BM25 counts.

    Any script has words (`core.text.words`); one without spaces gives pairs of neighbouring characters, and its ideographs one by one.
    """
    return [_stem(word) for word in text_words(text, inside="_", between="-:", size=2) if word not in _STOP]


def _stem(word: str) -> str:
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            return word[: -len(suffix)]
    return word


class BM25:
    """A lexical index over passages. `k1` bends the gain of repetition, `b` the penalty of length.

    Raises ValueError for an empty corpus or a repeated id.
    """

    def __init__(self, ids: Sequence[str], texts: Sequence[str], k1: float = 1.5, b: float = 0.75):
        import bm25s

        if not texts:
            raise ValueError("texts is empty: a lexical index needs at least one passage")
        if len(ids) != len(texts) or len(set(ids)) < len(ids):
            raise ValueError(f"{len(ids)} ids ({len(set(ids))} different) for {len(texts)} texts: one id of its own for each text")
        self.ids = list(ids)
        self._rows = {passage_id: row for row, passage_id in enumerate(self.ids)}
        self._scorer = bm25s.BM25(k1=k1, b=b, method="lucene", idf_method="lucene")
        self._scorer.index([words(text) or [""] for text in texts], show_progress=False)  # bm25s needs a term per passage

    def __len__(self) -> int:
        return len(self.ids)

    def scores(self, question: str) -> np.ndarray:
        """BM25 of every passage for one question, float32 [passages]; 0 where no term is shared."""
        terms = [term for term in words(question) if term in self._scorer.vocab_dict]
        if not terms:
            return np.zeros(len(self.ids), dtype=np.float32)
        return np.asarray(self._scorer.get_scores(terms), dtype=np.float32)

    def search(self, questions: Sequence[str], k: int, among: Collection[str] | None = None) -> list[list[tuple[str, float]]]:
        """Per question the best `k` (id, score), best first; fewer when fewer passages share a term, none when no passage does.

        `among`: these passages only (rarity is still that of the whole corpus). Raises ValueError for k out of range, KeyError for an unknown id.
        """
        if not 1 <= k <= len(self.ids):
            raise ValueError(f"k={k} but the index holds {len(self.ids)} passages; k must lie between 1 and that")
        others = np.ones(len(self.ids), dtype=bool)
        if among is not None and (missing := [i for i in among if i not in self._rows]):
            raise KeyError(f"not in the index: {', '.join(map(str, missing[:5]))}")
        others[[self._rows[i] for i in (self.ids if among is None else among)]] = False
        results = []
        for question in questions:
            scores = np.where(others, 0.0, self.scores(question))
            best = np.argpartition(-scores, k - 1)[:k]
            best = best[np.lexsort((best, -scores[best]))]  # ties in the order of the corpus
            results.append([(self.ids[i], float(scores[i])) for i in best if scores[i] > 0])
        return results
