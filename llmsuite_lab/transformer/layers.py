"""The small parts that every transformer is made of: y = x Wᵀ + b, a table look-up, softmax, cross-entropy, and the residual connection.

    linear         y = x Wᵀ + b                                            torch.nn.functional.linear
    embedding      y_t = E[id_t]                                           torch.nn.functional.embedding
    softmax        p_i = exp(x_i - m) / Σ_j exp(x_j - m),  m = max_j x_j   torch.softmax
    cross-entropy  L = mean_t( log Σ_j exp(x_tj) - x_t,target )            torch.nn.functional.cross_entropy
    residual       y = x + f(norm(x)) (pre-norm)  or  y = norm(x + f(x)) (post-norm)

Subtracting the largest score m changes nothing in exact arithmetic and keeps exp() from overflowing: that is the whole of "numerically stable".
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmsuite_lab.core.errors import within
from llmsuite_lab.transformer.fused import fused


def linear(
    x: Float[Tensor, "*batch d_in"], W: Float[Tensor, "d_out d_in"], b: Float[Tensor, " d_out"] | None = None
) -> Float[Tensor, "*batch d_out"]:
    """y = x Wᵀ + b, along the last axis of x. Production: `torch.nn.functional.linear`.

    Raises:
        ValueError: the last axis of x is not the width W expects.
    """
    if x.shape[-1] != W.shape[-1]:
        raise ValueError(
            f"linear: x {tuple(x.shape)} ends in {x.shape[-1]} features but W {tuple(W.shape)} (d_out, d_in) takes {W.shape[-1]}"
        )
    y = x @ W.T
    return y if b is None else y + b


def embedding(ids: Int[Tensor, "*batch"], E: Float[Tensor, "vocabulary d_model"]) -> Float[Tensor, "*batch d_model"]:
    """y_t = E[id_t]: row `id` of the table for every token. Production: `torch.nn.functional.embedding`. Raises as `check_ids` does."""
    check_ids(ids, E.shape[0])
    return E[ids]


def check_ids(ids: Int[Tensor, "*batch"], vocabulary: int) -> None:
    """Refuse what the table has no row for, with the id and the size, before an index error deep inside (or a dead GPU context) does.

    Raises:
        TypeError: ids are not integers.
        ValueError: an id below 0 or at or above `vocabulary`.
    """
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise TypeError(f"token ids must be integers (torch.long); got {ids.dtype} of shape {tuple(ids.shape)}")
    if ids.numel():
        low, high = (int(v) for v in ids.aminmax())
        if low < 0 or high >= vocabulary:
            raise ValueError(
                f"token id {low if low < 0 else high} is outside the vocabulary: ids of shape {tuple(ids.shape)} must lie in 0..{vocabulary - 1}"
            )


def softmax(x: Float[Tensor, "*shape"], dim: int = -1) -> Float[Tensor, "*shape"]:
    """p_i = exp(x_i - m) / Σ_j exp(x_j - m) with m = max_j x_j, along `dim`. Production: `torch.softmax`."""
    within("dim", dim, -max(x.dim(), 1), max(x.dim(), 1) - 1)
    exp = torch.exp(x - x.amax(dim, keepdim=True).detach())  # m cancels, so no gradient needs to flow through it
    return exp / exp.sum(dim, keepdim=True)


def cross_entropy(
    logits: Float[Tensor, "*batch vocabulary"], targets: Int[Tensor, "*batch"], ignore_index: int = -100
) -> Float[Tensor, ""]:
    """L = mean over t of ( log Σ_j exp(x_tj) - x_t,target ), in nats per token; targets equal to `ignore_index` do not count.

    Production: `torch.nn.functional.cross_entropy` (which returns NaN where this raises because no target counts).

    Raises:
        ValueError: shapes do not match, a target outside the vocabulary, or no target left to average over.
    """
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"cross_entropy: logits {tuple(logits.shape)} need targets of shape {tuple(logits.shape[:-1])}, got {tuple(targets.shape)}"
        )
    counted = targets != ignore_index
    n_counted = int(counted.sum())
    if n_counted == 0:
        raise ValueError(
            f"cross_entropy: none of the {targets.numel()} targets counts (all are ignore_index={ignore_index}), so there is no mean to take"
        )
    check_ids(targets.masked_fill(~counted, 0), logits.shape[-1])
    if fused():
        return nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), ignore_index=ignore_index)
    m = logits.amax(-1, keepdim=True).detach()
    log_sum_exp = m.squeeze(-1) + torch.exp(logits - m).sum(-1).log()
    target_logit = logits.gather(-1, targets.masked_fill(~counted, 0).unsqueeze(-1)).squeeze(-1)
    return torch.where(counted, log_sum_exp - target_logit, 0.0).sum() / n_counted


def residual(
    x: Float[Tensor, "*batch d_model"],
    sublayer: Callable[[Tensor], Tensor],
    norm: Callable[[Tensor], Tensor],
    pre_norm: bool,
    dropout: Callable[[Tensor], Tensor] = lambda y: y,
) -> Float[Tensor, "*batch d_model"]:
    """y = x + f(norm(x)) when `pre_norm` (GPT-2, Llama, T5), else y = norm(x + f(x)) (the 2017 transformer, BERT, BART).

    Source: Vaswani et al. 2017, section 3.1 (post-norm); Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture" (pre-norm:
    the path x → y is never normalised, so gradients reach the first layer unshrunk and no warm-up is needed to survive the first steps).
    """
    if pre_norm:
        return x + dropout(sublayer(norm(x)))
    return norm(x + dropout(sublayer(x)))


class Linear(nn.Linear):
    """y = x Wᵀ + b as a module. Storage is `torch.nn.Linear`'s, so libraries that swap or wrap linear layers (peft, BitNet) find it by type."""

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """Apply the layer along the last axis of x."""
        return nn.functional.linear(x, self.weight, self.bias) if fused() else linear(x, self.weight, self.bias)


class Embedding(nn.Embedding):
    """y_t = E[id_t] as a module, with ids checked against the vocabulary. Production: `torch.nn.Embedding`."""

    def forward(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch d_model"]:
        """Look up every id. Raises as `check_ids` does."""
        check_ids(ids, self.num_embeddings)
        return nn.functional.embedding(ids, self.weight) if fused() else self.weight[ids]
