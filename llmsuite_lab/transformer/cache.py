"""Keys and values kept from earlier steps, so that a new token costs one row of attention instead of the whole triangle.

Causal attention never changes what an earlier position computed, so its K and V can be stored: step t appends one row and reads t rows. Without the
cache, generating n tokens does n²/2 positions of work; with it, n.

This is the readable cache: it grows by concatenation (one copy per step). `packed_engine.py` preallocates instead. Production: `transformers.DynamicCache`.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from llmsuite_lab.core.errors import within


@dataclass
class LayerCache:
    """Keys and values of one attention layer, shape (batch, kv_heads, positions, d_head); empty until the first `append`."""

    keys: Float[Tensor, "batch kv_heads positions d_head"] | None = None
    values: Float[Tensor, "batch kv_heads positions d_head"] | None = None

    def append(self, K: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
        """Add new positions at the end and return all of them. Raises ValueError when the batch or the heads changed between steps."""
        if self.keys is None:
            self.keys, self.values = K, V
            return K, V
        if (K.shape[:2], K.shape[3]) != (self.keys.shape[:2], self.keys.shape[3]):
            raise ValueError(
                f"the cache holds keys {tuple(self.keys.shape)} (batch, kv_heads, positions, d_head); new keys {tuple(K.shape)} do not continue them"
            )
        self.keys = torch.cat([self.keys, K], dim=2)
        self.values = torch.cat([self.values, V], dim=2)
        return self.keys, self.values

    def select(self, rows: Tensor) -> None:
        """Keep these rows of the batch, in this order; a row may be taken several times."""
        if self.keys is not None:
            self.keys, self.values = self.keys[rows], self.values[rows]


@dataclass
class KVCache:
    """One LayerCache per block for self-attention, and one per block for cross-attention (filled once: the memory does not change)."""

    n_layers: int
    self_attention: list[LayerCache] = field(init=False)
    cross_attention: list[LayerCache] = field(init=False)

    def __post_init__(self) -> None:
        within("n_layers", self.n_layers, 0, 10_000)
        self.self_attention = [LayerCache() for _ in range(self.n_layers)]
        self.cross_attention = [LayerCache() for _ in range(self.n_layers)]

    @property
    def length(self) -> int:
        """Positions stored so far (tokens, padding included)."""
        keys = self.self_attention[0].keys
        return 0 if keys is None else keys.shape[2]

    def select(self, rows: Tensor) -> None:
        """Keep these rows of the batch, in this order; a row may be taken several times."""
        for layer in (*self.self_attention, *self.cross_attention):
            layer.select(rows)
