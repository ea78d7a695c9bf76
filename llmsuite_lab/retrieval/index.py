"""Index: the nearest of many vectors, exactly or nearly.

    exact: argmax_d q · e(d) over all d        IVF: only the d in the `n_probe` clusters nearest to q        HNSW: a greedy walk over a graph of neighbours

On unit vectors the inner product is the cosine. IVF and HNSW trade a little recall for not looking at everything (`neighbours`); here are the ids, the
texts' checksums and what changes. Production: faiss, which does the search here, or a vector database.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import whole_folder, write_json
from llmsuite_lab.core.swap import settle
from llmsuite_lab.retrieval import neighbours

if TYPE_CHECKING:
    from llmsuite_lab.retrieval.embedding import Embedder

KINDS = neighbours.KINDS


@dataclass(frozen=True)
class Update:
    """What `Index.update` did: ids added, embedded again because their text changed, removed, and the number left as they were."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: int


class Index:
    """Vectors by passage id on faiss. Removed rows are skipped at once and dropped for good when half of the rows are dead.

    `embedder` is the identity of whatever made the vectors (`Embedder.identity`); `depth` is how far a search looks: clusters for IVF,
    candidates for HNSW; the exact index has none.
    """

    def __init__(self, dimension: int, embedder: str, kind: str = "exact", depth: int | None = None):
        if kind not in KINDS:
            raise ValueError(f"kind={kind!r}, but an index is one of {', '.join(KINDS)}")
        if dimension < 1:
            raise ValueError(f"dimension={dimension}, but a vector has at least one number")
        if depth is not None and depth < 1:
            raise ValueError(f"depth={depth}, but a search looks at one cluster or candidate at least")
        self.dimension, self.embedder, self.kind = dimension, embedder, kind
        self._depth = depth
        self._faiss = None  # made at the first add: IVF needs to see vectors before it can choose its clusters
        self._ids: list[str | None] = []  # by faiss row; None where the passage was removed
        self._rows: dict[str, int] = {}
        self._checksums: dict[str, str] = {}  # of the texts, to find out which of them changed

    @classmethod
    def build(
        cls, embedder: "Embedder", ids: Sequence[str], texts: Sequence[str], kind: str = "exact", depth: int | None = None
    ) -> "Index":
        """Embed `texts` and index them. Raises ValueError for an empty corpus, unequal lengths or a repeated id."""
        if not texts:
            raise ValueError("texts is empty: there is nothing to retrieve from; pass at least one passage")
        index = cls(embedder.dimension, embedder.identity, kind, depth)
        index.update(embedder, ids, texts)
        return index

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, passage_id: str) -> bool:
        return passage_id in self._rows

    @property
    def ids(self) -> list[str]:
        """The ids of the passages that it holds."""
        return list(self._rows)

    def holds(self, ids: Sequence[str], texts: Sequence[str]) -> bool:
        """Whether it holds exactly these passages, with these texts."""
        wanted = {i: _sha256(text) for i, text in zip(ids, texts)}
        return len(ids) == len(texts) == len(wanted) and wanted == {i: self._checksums.get(i) for i in self._rows}

    @property
    def depth(self) -> int | None:
        """Clusters (IVF) or candidates (HNSW) that a search looks at; None for the exact index."""
        if self.kind == "exact" or self._faiss is None:
            return None
        return self._faiss.nprobe if self.kind == "ivf" else self._faiss.hnsw.efSearch

    @depth.setter
    def depth(self, value: int) -> None:
        """Look at `value` clusters or candidates from now on. Raises ValueError for the exact index, or below 1."""
        if self.kind == "exact":
            raise ValueError("the exact index always looks at everything: it has no depth")
        if value < 1:
            raise ValueError(f"depth={value}, but a search looks at one cluster or candidate at least")
        self._depth = value
        if self._faiss is not None:
            neighbours.set_depth(self._faiss, self.kind, value)

    def add(self, ids: Sequence[str], vectors: np.ndarray) -> None:
        """Add unit vectors, float32 [len(ids), dimension]. Raises ValueError for wrong shapes, or ids that repeat or are there already."""
        vectors = self._checked(vectors, len(ids))
        repeated = sorted(
            {i for i in ids if i in self._rows} | (set() if len(set(ids)) == len(ids) else {i for i in ids if list(ids).count(i) > 1})
        )
        if repeated:
            raise ValueError(f"already in the index, or given twice: {', '.join(repeated[:5])}; remove() it first, or use update()")
        if not len(ids):
            return
        if self._faiss is None:
            self._faiss = neighbours.make(self.kind, vectors, self._depth)
        self._rows.update({passage_id: len(self._ids) + row for row, passage_id in enumerate(ids)})
        self._ids.extend(ids)
        self._faiss.add(vectors)

    def remove(self, ids: Sequence[str]) -> None:
        """Forget these passages. Raises KeyError for an id that is not in the index, ValueError for one given twice; then nothing is removed."""
        self._check_known(ids)
        if len(set(ids)) < len(ids):
            raise ValueError(f"{len(ids)} ids, {len(set(ids))} different: give each passage to remove once")
        for passage_id in ids:
            self._ids[self._rows.pop(passage_id)] = None
            self._checksums.pop(passage_id, None)
        if len(self._rows) < len(self._ids) / 2:
            self._compact()

    def update(self, embedder: "Embedder", ids: Sequence[str], texts: Sequence[str]) -> Update:
        """Make the index hold exactly these passages, embedding only those whose text is new or changed.

        Raises ValueError when the embedder is not the one the index was made with, or when ids and texts do not go together.
        """
        if embedder.identity != self.embedder:
            raise ValueError(
                f"the index holds vectors of [{self.embedder}]; [{embedder.identity}] would add vectors of another space. Build a new one"
            )
        if len(ids) != len(texts) or len(set(ids)) != len(ids):
            raise ValueError(f"{len(ids)} ids ({len(set(ids))} different) for {len(texts)} texts: one id of its own for each text")
        wanted = {i: _sha256(text) for i, text in zip(ids, texts)}
        removed = tuple(i for i in self._rows if i not in wanted)
        changed = tuple(i for i in ids if i in self._rows and self._checksums.get(i) != wanted[i])
        added = tuple(i for i in ids if i not in self._rows)
        by_id = dict(zip(ids, texts))
        vectors = embedder.embed([by_id[i] for i in (*changed, *added)])  # before anything is removed: it may fail
        self.remove((*removed, *changed))
        self.add((*changed, *added), vectors)
        self._checksums.update({i: wanted[i] for i in (*changed, *added)})
        return Update(added, changed, removed, len(ids) - len(changed) - len(added))

    def search(self, vectors: np.ndarray, k: int, among: Collection[str] | None = None) -> list[list[tuple[str, float]]]:
        """The `k` nearest (id, cosine) of each query, best first; vectors float32 [queries, dimension].

        `among`: these passages only, as if the index held no others; with fewer than `k` of them all come back. Where an approximate index
        meets too few of them, it looks twice as far until it has enough; without `among` it may find fewer than `k`. Raises ValueError for an
        empty index or k outside 1…size, KeyError for an id in `among` that is not in the index.
        """
        if not self._rows:
            raise ValueError("the index is empty: add passages before searching")
        if not 1 <= k <= len(self._rows):
            raise ValueError(f"k={k} but the index holds {len(self._rows)} passages; k must lie between 1 and that")
        vectors = self._checked(vectors)
        wanted = self._wanted(among)
        if wanted is None:
            return self._named(*self._faiss.search(vectors, k))
        if not len(wanted):
            return [[] for _ in vectors]
        depth, everything = self.depth or 0, self._faiss.nlist if self.kind == "ivf" else len(self._ids)
        found, short = [[]] * len(vectors), np.arange(len(vectors))
        while len(short):
            again = self._named(*self._faiss.search(vectors[short], k, params=neighbours.parameters(self.kind, wanted, depth)))
            for query, hits in zip(short.tolist(), again):
                found[query] = hits
            short = np.array([q for q in short if len(found[q]) < min(k, len(wanted))], dtype=int)
            if self.kind == "exact" or depth >= everything:
                break
            depth = min(2 * depth, everything)
        return found

    def save(self, folder: Path) -> None:
        """Write the index to `folder` (replaced whole, or not at all), with the embedder's identity and a checksum."""
        import faiss

        if not self._rows:
            raise ValueError("the index is empty: there is nothing to save")
        self._compact()
        with whole_folder(folder, "an index") as new:
            faiss.write_index(self._faiss, str(new / "vectors.faiss"))
            about = {"embedder": self.embedder, "kind": self.kind, "dimension": self.dimension, "depth": self._depth}
            about |= {"ids": self._ids, "checksums": self._checksums}
            write_json(new / "index.json", about | {"sha256": _checksum(new / "vectors.faiss", about)})

    @classmethod
    def load(cls, folder: Path, embedder: str) -> "Index":
        """Read a saved index for the embedder with this identity. Raises LabError when it is missing, damaged, or of another embedder."""
        import faiss

        settle(folder)
        try:
            about = json.loads((folder / "index.json").read_text(encoding="utf-8"))
            index = cls(about["dimension"], about["embedder"], about["kind"], about["depth"])
            ids, checksums = list(about["ids"]), dict(about["checksums"])
            damaged = about.pop("sha256") != _checksum(folder / "vectors.faiss", about)
        except FileNotFoundError as error:
            raise LabError(f"No saved index in {folder}: {Path(error.filename).name} is missing. Build the index again.") from None
        except OSError as error:
            raise LabError(f"The index in {folder} cannot be read: {Path(error.filename).name} cannot be opened ({error.strerror}).") from error
        except (ValueError, KeyError, TypeError) as error:
            raise LabError(f"{folder / 'index.json'} is not a saved index ({error}). Build the index again.") from None
        if damaged:
            raise LabError(
                f"The vectors and index.json in {folder} do not match their checksum: a file is damaged or not its own. Build the index again."
            )
        if about["embedder"] != embedder:
            raise LabError(
                f"The index in {folder} was made by [{about['embedder']}], not by [{embedder}]: their vectors cannot be compared. Build it again."
            )
        index._faiss, index._ids, index._checksums = faiss.read_index(str(folder / "vectors.faiss")), ids, checksums
        index._rows = {passage_id: row for row, passage_id in enumerate(ids)}
        neighbours.set_depth(index._faiss, index.kind, index._depth)
        return index

    def _wanted(self, among: Collection[str] | None) -> np.ndarray | None:
        """The rows that may be found, int64; None when that is every row there is."""
        if among is not None:
            self._check_known(among)
        rows = {self._rows[i] for i in among} if among is not None else self._rows.values()
        return None if len(rows) == len(self._ids) else np.fromiter(rows, dtype=np.int64, count=len(rows))

    def _named(self, scores: np.ndarray, rows: np.ndarray) -> list[list[tuple[str, float]]]:
        return [[(self._ids[r], s) for r, s in zip(found, near) if r >= 0] for found, near in zip(rows.tolist(), scores.tolist())]

    def _check_known(self, ids: Collection[str]) -> None:
        missing = [i for i in ids if i not in self._rows]
        if missing:
            raise KeyError(f"not in the index: {', '.join(map(str, missing[:5]))}")

    def _compact(self) -> None:
        """Build the faiss index again from the rows that are alive."""
        if len(self._rows) == len(self._ids):
            return
        alive = [row for row, passage_id in enumerate(self._ids) if passage_id is not None]
        vectors = np.array([self._faiss.reconstruct(row) for row in alive], dtype=np.float32).reshape(-1, self.dimension)
        ids = [self._ids[row] for row in alive]
        self._faiss, self._ids, self._rows = None, [], {}
        self.add(ids, vectors)

    def _checked(self, vectors: np.ndarray, count: int | None = None) -> np.ndarray:
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension or (count is not None and len(vectors) != count):
            raise ValueError(f"vectors of shape {vectors.shape}; wanted [{'queries' if count is None else count}, {self.dimension}]")
        if not np.isfinite(vectors).all():
            raise ValueError("the vectors hold NaN or infinity: whatever made them failed")
        return vectors


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _checksum(vectors: Path, about: dict) -> str:
    """Over the vectors' file and all that is said about it: vectors under other names would answer, wrongly, without an error."""
    return hashlib.sha256(vectors.read_bytes() + json.dumps(about).encode("utf-8")).hexdigest()
