"""Embedding: one unit vector per text, so that a dot product is a cosine and near meanings lie near.

    e(text) = mean over tokens of encoder(text), scaled to length 1;   similarity(a, b) = e(a) · e(b)

The encoder is the course's own (`transformer.encoder`) with MiniLM's published weights. Texts are sorted by length before batching: a batch is
padded to its longest member, and padding is computed for nothing. Source: Reimers & Gurevych 2019, "Sentence-BERT".
Production: `sentence_transformers.SentenceTransformer.encode`, equal within 1e-5 in the tests.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from llmsuite_lab.core import zoo
from llmsuite_lab.core.forks import compute_safely
from llmsuite_lab.lm.text import encode_wrapped

MAX_TOKENS = 256  # MiniLM was trained on 128 and is published with 256; what is longer is cut, so chunk first


@dataclass
class Embedder:
    """Turns texts into unit vectors. `identity` names model and settings: vectors of two identities must never meet in one index."""

    name: str
    encoder: Any
    tokenizer: Any
    max_tokens: int = MAX_TOKENS

    @classmethod
    def load(cls, name: str = "all-minilm-l6-v2", device: str = "cpu", max_tokens: int = MAX_TOKENS) -> "Embedder":
        """Our encoder with the weights of a zoo model. Raises LabError when the model cannot be had, ValueError when it is no encoder."""
        from llmsuite_lab.transformer.weights import load_encoder

        return cls(name, load_encoder(name, device=device).eval(), zoo.load_tokenizer(name), max_tokens)

    @property
    def identity(self) -> str:
        """What the vectors depend on: model name, pooling, longest text."""
        return f"{self.name}, mean pooling, {self.max_tokens} tokens, {self.dimension} dimensions"

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.encoder.config.d_model

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], batch_size: int = 32) -> np.ndarray:
        """Unit vectors, float32 [len(texts), dimension], in the order given. Longer texts are cut at `max_tokens`.

        Raises TypeError when given a single string, ValueError for batch_size < 1.
        """
        from llmsuite_lab.transformer.encoder import sentence_embeddings

        if isinstance(texts, str):
            raise TypeError("texts is one string; pass a list of texts")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}, but it must be at least 1")
        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        if not len(texts):
            return vectors
        compute_safely()
        ids = encode_wrapped(self.tokenizer, list(texts), self.max_tokens)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        device = next(self.encoder.parameters()).device
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            longest = len(ids[rows[-1]])
            batch = torch.zeros(len(rows), longest, dtype=torch.long)  # [batch, seq]; BERT pads on the right
            mask = torch.zeros(len(rows), longest, dtype=torch.bool)
            for row, i in enumerate(rows):
                batch[row, : len(ids[i])] = torch.tensor(ids[i])
                mask[row, : len(ids[i])] = True
            vectors[rows] = sentence_embeddings(self.encoder, batch.to(device), mask.to(device)).float().cpu().numpy()
        return vectors
