"""The equation of the section: softmax(Q Kᵀ / √d_k) V, with a mask."""

import math

import torch

from llmsuite_lab.course.exercises import Exercise, Mistake, Wrong, expect


def attention(Q: torch.Tensor, K: torch.Tensor, V: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The solution: scores, mask, softmax over the keys, weighted mean of the values."""
    scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])  # (batch, heads, queries, keys)
    scores = scores.masked_fill(~mask, -torch.inf)
    return torch.softmax(scores, dim=-1) @ V


def _scaled_by(divisor, Q, K, V, mask, dim=-1):
    return torch.softmax((Q @ K.transpose(-2, -1) / divisor).masked_fill(~mask, -torch.inf), dim=dim) @ V


def _unscaled(Q, K, V, mask):
    return _scaled_by(1.0, Q, K, V, mask)


def _no_root(Q, K, V, mask):
    return _scaled_by(Q.shape[-1], Q, K, V, mask)


def _d_model(Q, K, V, mask):
    return _scaled_by(math.sqrt(Q.shape[1] * Q.shape[-1]), Q, K, V, mask)


def _over_queries(Q, K, V, mask):
    return torch.nan_to_num(_scaled_by(math.sqrt(Q.shape[-1]), Q, K, V, mask, dim=-2))


def _mask_after(Q, K, V, mask):
    weights = torch.softmax(Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1]), dim=-1)
    return weights.masked_fill(~mask, 0.0) @ V


def _no_mask(Q, K, V, mask):
    return torch.softmax(Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1]), dim=-1) @ V


def _mask_turned(Q, K, V, mask):
    return torch.nan_to_num(attention(Q, K, V, ~mask))


def _check(answer) -> None:
    generator = torch.Generator().manual_seed(3)
    batch, heads, queries, keys, d_k, d_v = 2, 3, 5, 7, 4, 6  # all different: a swapped axis cannot pass
    Q = torch.randn(batch, heads, queries, d_k, generator=generator)
    K, V = torch.randn(batch, heads, keys, d_k, generator=generator), torch.randn(batch, heads, keys, d_v, generator=generator)
    mask = torch.ones(queries, keys).tril(keys - queries).bool()
    right = torch.nn.functional.scaled_dot_product_attention(Q, K, V, attn_mask=mask)
    result = answer(Q, K, V, mask)
    expect(isinstance(result, torch.Tensor), "Return a torch tensor.")
    expect(result.shape == right.shape, "The result must have the shape (batch, heads, queries, d_v): one mixed value per query.")

    def is_like(wrong) -> bool:
        return torch.allclose(result, wrong(Q, K, V, mask), atol=1e-5)

    if is_like(_over_queries):
        raise Mistake("Your softmax runs over the queries. Each QUERY spreads its attention over the keys: which axis holds the keys?")
    if is_like(_unscaled):
        raise Mistake("The scores are not scaled. Without the division by the root of d_k they grow with the width and softmax saturates.")
    if is_like(_no_root):
        raise Mistake("You divide by d_k itself: the root is missing, and the weights come out nearly even.")
    if is_like(_d_model):
        raise Mistake("You divide by the root of d_model (all heads together). A head's scores are sums over its own d_k features only.")
    if is_like(_mask_after):
        raise Mistake(
            "The mask comes after softmax: the rows no longer sum to 1, since forbidden keys took their share first. Mask the scores."
        )
    if is_like(_no_mask):
        raise Mistake("The mask has no effect: queries still look at forbidden keys.")
    if is_like(_mask_turned):
        raise Mistake("The mask is used the wrong way round: True means the query may look.")
    expect(torch.isfinite(result).all(), "There are NaN or infinite values in the result.")
    expect(torch.allclose(result, right, atol=1e-5), "The values differ from softmax(Q Kᵀ / √d_k) V. Check each of the four steps.")


EXERCISE = Exercise(
    id="transformer.attention",
    notebook="01_transformers_from_scratch",
    title="scaled dot-product attention",
    statement=(
        "Write `attention(Q, K, V, mask)`. `Q` is `(batch, heads, queries, d_k)`, `K` is `(batch, heads, keys, d_k)`, `V` is "
        "`(batch, heads, keys, d_v)`; `mask` is boolean, `(queries, keys)`, True where the query may look. Return "
        "$\\mathrm{softmax}(QK^\\top/\\sqrt{d_k})\\,V$ of shape `(batch, heads, queries, d_v)`, without calling torch's own attention."
    ),
    name="attention",
    starter="def attention(Q, K, V, mask):\n    ...",
    check=_check,
    hints=(
        "Four steps: scores, scale, mask, softmax; then the weighted sum. Write the shape after each as a comment.",
        "`K.transpose(-2, -1)` swaps the last two axes whatever stands before them. A forbidden score is minus infinity.",
        "`scores.masked_fill(~mask, -torch.inf)`, then softmax over `dim=-1`, then `@ V`.",
    ),
    solution=attention,
    wrong=(
        Wrong(_over_queries, "runs over the queries"),
        Wrong(_unscaled, "not scaled"),
        Wrong(_no_root, "root is missing"),
        Wrong(_d_model, "root of d_model"),
        Wrong(_mask_after, "after softmax"),
        Wrong(_no_mask, "no effect"),
        Wrong(_mask_turned, "wrong way round"),
    ),
)
