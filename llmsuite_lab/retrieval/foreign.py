"""A LangChain retriever in the place of our own: whatever has `invoke(question)` and returns documents with `page_content` and `metadata`.

    Document(page_content, metadata)  →  Hit(Passage(id, document, title, text), score, cosine)

It is asked as it is, and its order is kept; documents without text are left out. Where several pieces of one source have no ids, the second new one is
"source#2", and is so for every later question. LangChain is not imported here. The other way round, `chains.retriever.LabRetriever` puts our retriever behind
LangChain's interface.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from llmsuite_lab.retrieval.documents import Passage
from llmsuite_lab.retrieval.embedding import Embedder
from llmsuite_lab.retrieval.retriever import Hit, indexed_text


class ForeignRetriever:
    """A LangChain retriever behind the interface of `Retriever`. `embedder` gives the cosines that a gate looks at; without it they are 0.

    `passages` holds those that were found so far: how many there are in all, nobody says. Raises ValueError for what has no `invoke`.
    """

    def __init__(self, retriever: Any, embedder: Embedder | None = None) -> None:
        if not callable(getattr(retriever, "invoke", None)):
            more = ": give what its as_retriever() returns" if callable(getattr(retriever, "as_retriever", None)) else ""
            raise ValueError(f"a {type(retriever).__name__} is no retriever, it has neither retrieve(questions, k) nor invoke(question){more}")
        self.retriever, self.embedder = retriever, embedder
        self.passages: dict[str, Passage] = {}

    def retrieve(self, questions: Sequence[str], k: int = 3) -> list[list[Hit]]:
        """At most the first `k` documents of each question, as it ranks them. Raises TypeError for a bare string, ValueError for k < 1."""
        if isinstance(questions, str):
            raise TypeError("questions is one string; pass a list of questions")
        if k < 1:
            raise ValueError(f"k={k}, but at least one passage is asked for")
        rows = [self._named(self._asked(question))[:k] for question in questions]
        if self.embedder is None or not any(rows):
            return [[Hit(passage, 0.0, 0.0) for passage in row] for row in rows]
        asked = self.embedder.embed(list(questions))
        near = self.embedder.embed([indexed_text(passage) for row in rows for passage in row])
        hits, start = [], 0
        for vector, row in zip(asked, rows, strict=True):
            cosines = (near[start : start + len(row)] @ vector).tolist()
            hits.append([Hit(passage, cosine, cosine) for passage, cosine in zip(row, cosines, strict=True)])
            start += len(row)
        return hits

    def _asked(self, question: str) -> list[Passage]:
        found = self.retriever.invoke(question)
        if not isinstance(found, Iterable) or isinstance(found, str | Mapping):
            raise ValueError(f"the retriever returned a {type(found).__name__}, but it must return a list of documents")
        return [passage for passage in map(_passage, found) if passage.text.strip()]

    def _named(self, row: list[Passage]) -> list[Passage]:
        """The passages with ids of their own, each once and the same for every question: several pieces of one source may come without."""
        named: dict[str, Passage] = {}
        for passage in row:
            name, n = passage.id, 1
            while name in self.passages and self.passages[name].text != passage.text:
                n += 1
                name = f"{passage.id}#{n}"
            named.setdefault(name, self.passages.setdefault(name, replace(passage, id=name)))
        return list(named.values())


def _passage(document: Any) -> Passage:
    if not isinstance(getattr(document, "page_content", None), str):
        raise ValueError(f"the retriever returned a {type(document).__name__}, but a document has page_content, a string")
    about = dict(getattr(document, "metadata", None) or {})
    source = str(about.get("source") or about.get("document") or "")
    own = str(getattr(document, "id", None) or about.get("id") or source or document.page_content[:60])
    return Passage(own, source or own, str(about.get("title") or source), document.page_content, str(about.get("dated") or ""))
