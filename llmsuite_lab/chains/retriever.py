"""The course's retriever behind LangChain's interface: a question in, `Document`s out (paper 2.1, 2.4).

    Hit(passage, score, cosine)  →  Document(page_content = what the model reads, metadata = id, title, score, cosine, …)

What searches is `llmsuite_lab.retrieval.Retriever` with all it knows: hybrid ranking, and only the newest version of a document. Questions that are
asked at the same moment are embedded in one batch. In production: `FAISS.from_texts(...).as_retriever()`.
"""

from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import PrivateAttr

from llmsuite_lab.chains.fields import Checked
from llmsuite_lab.chains.gathering import Gathered
from llmsuite_lab.retrieval.pipeline import shown_text
from llmsuite_lab.retrieval.retriever import Hit


class LabRetriever(Checked, BaseRetriever):
    """The `k` best passages as Documents, best first. Raises ValueError, when asked, for an empty question or a `k` outside the corpus."""

    retriever: Any  # llmsuite_lab.retrieval.retriever.Retriever
    k: int = 1
    _search: Gathered = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        """Set up the shared search."""
        super().model_post_init(context)
        self._search = Gathered(lambda questions: self.retriever.retrieve(questions, self.k), quiet_s=0.01)

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        if not query.strip():
            raise ValueError("the question is empty: there is nothing to search for")
        return [as_document(hit) for hit in self._search(query)]


def as_document(hit: Hit) -> Document:
    """A hit as a Document: its content is the text the model is shown, its metadata the rest."""
    passage = hit.passage
    metadata = {"id": passage.id, "document": passage.document, "title": passage.title, "dated": passage.dated}
    return Document(shown_text(passage), id=passage.id, metadata=metadata | {"score": hit.score, "cosine": hit.cosine})
