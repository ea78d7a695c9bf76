"""Our encoder with MiniLM's weights beside sentence-transformers; order, batching and cutting."""

import numpy as np
import pytest

from llmsuite_lab.core import zoo
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.retrieval.embedding import Embedder

TEXTS = [
    "a kettle",
    "The Mizdale site has 44 desks, and lunch is served from 11:45 on every working day.",
    "",
    "Wo steht die Lampe?",
    "kettle " * 300,
]


@pytest.fixture(scope="module")
def embedder():
    try:
        return Embedder.load()
    except LabError as error:
        pytest.skip(f"the embedder is not here: {error}")


@pytest.mark.real_model
def test_vectors_equal_sentence_transformers(embedder):
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(zoo.path("all-minilm-l6-v2")), device="cpu")
    theirs.max_seq_length = embedder.max_tokens
    ours = embedder.embed(TEXTS, batch_size=2)
    np.testing.assert_allclose(ours, theirs.encode(TEXTS, normalize_embeddings=True), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)


@pytest.mark.real_model
def test_the_order_is_kept_and_the_batch_size_does_not_matter(embedder):
    whole = embedder.embed(TEXTS)
    np.testing.assert_allclose(embedder.embed(TEXTS, batch_size=1), whole, atol=1e-5)
    np.testing.assert_allclose(embedder.embed(TEXTS[::-1])[::-1], whole, atol=1e-5)
    assert embedder.embed([]).shape == (0, embedder.dimension)


@pytest.mark.real_model
def test_refusals(embedder):
    with pytest.raises(TypeError, match="one string"):
        embedder.embed("a kettle")
    with pytest.raises(ValueError, match="batch_size=0"):
        embedder.embed(["a"], batch_size=0)
