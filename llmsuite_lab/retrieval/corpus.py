"""A corpus of one's own: read, cut, embedded, asked, kept on disk and opened again.

    folder | table  →  passages  →  index  →  answer with its source            persist(folder)  ⇄  open(folder)

`Corpus.read("my-notes").rag(lm).answer([…])` is all of notebook 02 on one's own material. Reading a changed folder again through `update` embeds only what is
new. In production: a vector database (`faiss` on disk, pgvector, Qdrant) fed by a document loader.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from llmsuite_lab.core import zoo
from llmsuite_lab.core.errors import LabError, no_empty_name
from llmsuite_lab.core.files import whole_folder, write_json
from llmsuite_lab.core.swap import settle
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.retrieval import records
from llmsuite_lab.retrieval.documents import SIZE, Passage, Skipped, read_folder, read_rows
from llmsuite_lab.retrieval.embedding import Embedder
from llmsuite_lab.retrieval.index import Index, Update
from llmsuite_lab.retrieval.own_gate import adapted
from llmsuite_lab.retrieval.pipeline import I_DO_NOT_KNOW, RAG
from llmsuite_lab.retrieval.retriever import Retriever, indexed_text

KIND = "a corpus"
AT_ONCE = 128  # passages between two steps of the bar


class Corpus:
    """Passages with their index. `skipped` names the files or rows that were left out. Raises ValueError as `Retriever`."""

    def __init__(self, passages: Sequence[Passage], embedder: Embedder, *, skipped: Sequence[Skipped] = (), index: Index | None = None) -> None:
        self.retriever, self.skipped = Retriever(passages, embedder, index=index), tuple(skipped)

    @classmethod
    def read(
        cls, source: Any, embedder: Embedder | None = None, *, size: int = SIZE, encoding: str = "utf-8", text: str | None = None, progress: bool = False
    ) -> "Corpus":
        """The corpus of a folder (or one file), or of a table such as a `datasets.Dataset` whose column `text` is read; chunks of at most `size` words.

        `progress` shows a bar: thousands of passages take minutes on a CPU. Raises LabError and ValueError as `documents.read_folder` and `from_rows`.
        """
        passages, skipped = _read(source, size, encoding, text)
        embedder = Embedder.load() if embedder is None else embedder
        corpus = cls(passages, _Shown(embedder) if progress else embedder, skipped=skipped)
        corpus.retriever.embedder = embedder
        return corpus

    @classmethod
    def open(cls, folder: str | Path, embedder: Embedder | None = None) -> "Corpus":
        """The corpus that `persist` wrote; nothing is embedded again. Raises LabError for a folder that holds none, a damaged one, another embedder."""
        no_empty_name("folder", folder)
        place = Path(folder).expanduser()
        settle(place)
        try:
            about = json.loads((place / "corpus.json").read_text(encoding="utf-8"))
            rows = [json.loads(line) for line in (place / "passages.jsonl").read_text(encoding="utf-8").split("\n") if line]
            passages, skipped = [Passage(**row) for row in rows], [Skipped(**row) for row in about["skipped"]]
            if not all(isinstance(value, str) for one in (*passages, *skipped) for value in vars(one).values()):
                raise ValueError("of a passage everything is a text")
            name = str(about["embedder"])
        except FileNotFoundError as error:
            raise LabError(f"there is no corpus in {place}: {Path(error.filename).name} is missing. Write one with persist()") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LabError(f"the corpus in {place} cannot be read ({error}): read the documents again") from error
        if embedder is None and name not in zoo.ENTRIES:
            raise LabError(f"the corpus in {place} was made with an embedder of your own, {name!r}: give it, Corpus.open(folder, embedder)")
        embedder = Embedder.load(name) if embedder is None else embedder
        index = Index.load(place / "index", embedder.identity)
        if not index.holds([p.id for p in passages], [indexed_text(p) for p in passages]):
            raise LabError(f"the passages and the index in {place} do not belong together: read the documents again")
        return cls(passages, embedder, skipped=skipped, index=index)

    def __len__(self) -> int:
        return len(self.retriever.passages)

    def update(self, source: Any, *, size: int = SIZE, encoding: str = "utf-8", text: str | None = None) -> Update:
        """Hold exactly what `source` holds now (as in `read`); only new and changed passages are embedded. Returns what was done.

        A RAG that was made before searches what is held now; its gate keeps the threshold it has until `rag` makes another.
        """
        passages, skipped = _read(source, size, encoding, text)
        done = self.retriever.update(passages)
        self.skipped = skipped  # with the passages, or not at all
        return done

    def persist(self, folder: str | Path) -> None:
        """Write passages and index to `folder`, whole or not at all; a corpus that stands there is replaced, anything else is left as it is (LabError)."""
        no_empty_name("folder", folder)
        with whole_folder(Path(folder).expanduser(), KIND) as new:
            lines = [json.dumps(asdict(p), ensure_ascii=False) for p in self.retriever.passages.values()]
            (new / "passages.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
            write_json(new / "corpus.json", {"embedder": self.retriever.embedder.name, "skipped": [asdict(one) for one in self.skipped]})
            self.retriever.index.save(new / "index")

    def rag(
        self,
        lm: LanguageModel,
        *,
        questions: Sequence[str] = (),
        unanswerable: Sequence[str] = (),
        gate: bool = True,
        unknown: str = I_DO_NOT_KNOW,
        **options: Any,
    ) -> RAG:
        """A `RAG` over this corpus that says `unknown` where nothing fits.

        Its gate is the shipped one with a threshold for this corpus (`own_gate`): a handful of `questions` that it answers makes it better, `unanswerable`
        ones stricter, with both sorts. `gate=False`, or a corpus of one passage: no gate. Further options as for `RAG`.
        """
        rag = RAG(self.retriever, lm, unknown=unknown, **options)
        if gate and len(self) > 1:
            rag.gate = adapted(records.gate(), rag, questions, unanswerable)
        return rag


class _Shown:
    """An embedder that shows how far it has come."""

    def __init__(self, embedder: Any) -> None:
        self.embedder, self.identity, self.dimension = embedder, embedder.identity, embedder.dimension

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        parts = [np.zeros((0, self.dimension), np.float32)]
        for start in tqdm(range(0, len(texts), AT_ONCE), desc="embedding", unit=f"{AT_ONCE} passages"):
            parts.append(self.embedder.embed(texts[start : start + AT_ONCE]))
        return np.concatenate(parts)


def _read(source: Any, size: int, encoding: str, text: str | None) -> tuple[list[Passage], tuple[Skipped, ...]]:
    if isinstance(source, str | os.PathLike):
        passages, skipped = read_folder(source, size=size, encoding=encoding)
        return passages, tuple(skipped)
    if not isinstance(source, Iterable | Mapping):
        raise TypeError(f"a corpus is read from a folder or from a table's rows, not from a {type(source).__name__}")
    passages, skipped = read_rows(source, text=text, size=size)
    return passages, tuple(skipped)
