"""The equation of the section: softmax(Q Kᵀ / √d_k) V, with a mask."""

import importlib
import math
import warnings

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


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


def _width_of_values(Q, K, V, mask):
    return _scaled_by(math.sqrt(V.shape[-1]), Q, K, V, mask)


def _over_queries(Q, K, V, mask):
    return _scaled_by(math.sqrt(Q.shape[-1]), Q, K, V, mask, dim=-2)


def _over_heads(Q, K, V, mask):
    return _scaled_by(math.sqrt(Q.shape[-1]), Q, K, V, mask, dim=1)


def _mask_after(Q, K, V, mask):
    weights = torch.softmax(Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1]), dim=-1)
    return weights.masked_fill(~mask, 0.0) @ V


def _no_mask(Q, K, V, mask):
    return torch.softmax(Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1]), dim=-1) @ V


def _own_mask(Q, K, V, mask):
    return attention(Q, K, V, torch.ones(mask.shape).tril(mask.shape[1] - mask.shape[0]).bool())


def _mask_turned(Q, K, V, mask):
    return attention(Q, K, V, ~mask)


def _mask_of_zeros(Q, K, V, mask):
    return torch.softmax((Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])).masked_fill(~mask, 0.0), dim=-1) @ V


def _mask_added(Q, K, V, mask):
    return torch.softmax(Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1]) + mask, dim=-1) @ V


def _weights_only(Q, K, V, mask):
    return torch.softmax((Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])).masked_fill(~mask, -torch.inf), dim=-1)


def _first_text_only(Q, K, V, mask):
    return attention(Q[:1], K[:1], V[:1], mask).expand(*Q.shape[:3], -1)


def _library(Q, K, V, mask):
    return torch.nn.functional.scaled_dot_product_attention(Q, K, V, attn_mask=mask)


def _library_by_its_operation(Q, K, V, mask):
    return torch.ops.aten.scaled_dot_product_attention.default(Q, K, V, mask)


def _library_by_its_kernel(Q, K, V, mask):
    return getattr(torch._C._VariableFunctions, "_scaled_dot_product" + "_attention_math")(Q, K, V, mask)[0]


def _library_unwatched(Q, K, V, mask):
    with torch._C.DisableTorchFunction():
        return torch.nn.functional.scaled_dot_product_attention(Q, K, V, mask)


def _library_in_python(Q, K, V, mask):
    flex = importlib.import_module("torch.nn.attention.flex_attention").flex_attention
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is slow when it is not compiled
        return flex(Q, K, V, score_mod=lambda score, b, h, q, k: torch.where(mask[q, k], score, -torch.inf))


def _by_einsum_in_double(Q, K, V, mask):
    scores = torch.einsum("bhqd,bhkd->bhqk", Q.double(), K.double()) * Q.shape[-1] ** -0.5
    return torch.einsum("bhqk,bhkd->bhqd", scores.masked_fill(mask.logical_not(), -1e9).softmax(-1), V.double())


def _in_place(Q, K, V, mask):
    Q /= math.sqrt(Q.shape[-1])
    scores = Q @ K.mT
    scores[:, :, ~mask] = -math.inf
    scores -= scores.amax(-1, keepdim=True)
    scores.exp_().div_(scores.sum(-1, keepdim=True))
    return scores @ V


def _in_numpy(Q, K, V, mask):
    Q, K, V, mask = Q.numpy(), K.numpy(), V.numpy(), mask.numpy()
    weights = np.where(mask, np.exp(Q @ K.swapaxes(-1, -2) / np.sqrt(Q.shape[-1])), 0)
    return weights / weights.sum(-1, keepdims=True) @ V


def _by_loops(Q, K, V, mask):
    result = torch.zeros(*Q.shape[:3], V.shape[-1])
    for b, h, i in np.ndindex(*Q.shape[:3]):
        seen = [j for j in range(len(K[b, h])) if mask[i, j]]
        weights = torch.tensor([math.exp(torch.dot(Q[b, h, i], K[b, h, j]).item() / math.sqrt(Q.shape[-1])) for j in seen])
        result[b, h, i] = sum(w / weights.sum() * V[b, h, j] for w, j in zip(weights, seen))
    return result


def _additive_mask(Q, K, V, mask):
    bias = torch.zeros_like(mask, dtype=Q.dtype).masked_fill(~mask, float("-inf"))
    return torch.nn.Softmax(-1)(torch.matmul(Q, K.transpose(2, 3)) / torch.tensor(K.shape[-1]).sqrt() + bias).matmul(V)


def _as_lists(Q, K, V, mask):
    return attention(Q, K, V, mask).tolist()


def _cases() -> list[Case]:
    generator = torch.Generator().manual_seed(3)

    def case(batch: int, heads: int, d_k: int, d_v: int, mask: torch.Tensor, rule: str) -> Case:
        queries, keys = mask.shape
        Q, K, V = (torch.randn(batch, heads, n, d, generator=generator) for n, d in ((queries, d_k), (keys, d_k), (keys, d_v)))
        right = torch.nn.functional.scaled_dot_product_attention(Q.double(), K.double(), V.double(), attn_mask=mask)
        return Case((Q, K, V, mask), right, rule)

    scattered = torch.tensor([[1, 0, 0, 1], [0, 1, 1, 0], [0, 0, 1, 0]]).bool()  # no triangle
    return [
        case(
            1,
            1,
            2,
            3,
            torch.ones(1, 2).bool(),
            "One query, two keys, nothing masked: softmax of two scaled scores, then the mean of two values.",
        ),
        case(2, 3, 4, 6, torch.ones(5, 7).tril(2).bool(), "Four steps: scores, scale, mask, softmax; then the weighted sum of the values."),
        case(3, 2, 9, 5, scattered, "The mask that is given decides, whatever its form: True where the query may look."),
        case(1, 4, 1, 3, torch.ones(2, 3).bool(), "Every width d_k, number of heads and batch size must work."),
    ]


_TORCHS_OWN = "That is torch's own attention, and here it is yours to write: matrix products, a mask and a softmax."
_MISTAKES = (
    Wrong(_over_queries, "Your softmax runs over the queries. Each QUERY spreads its attention over the keys: which axis holds the keys?"),
    Wrong(_over_heads, "Your softmax runs over the heads. Each head attends on its own: which axis holds the keys?"),
    Wrong(_unscaled, "The scores are not scaled. Without the division by the root of d_k they grow with the width and softmax saturates."),
    Wrong(_no_root, "You divide by d_k itself: the root is missing, and the weights come out nearly even."),
    Wrong(_d_model, "You divide by the root of d_model (all heads together). A head's scores are sums over its own d_k features only."),
    Wrong(_width_of_values, "You divide by the root of d_v. The scores are sums over the d_k features of queries and keys."),
    Wrong(
        _mask_after,
        "The mask comes after softmax: the rows no longer sum to 1, since forbidden keys took their share first. Mask the scores.",
    ),
    Wrong(_no_mask, "The mask has no effect: queries still look at forbidden keys."),
    Wrong(_own_mask, "You mask the future whatever `mask` says. Use the mask that is given."),
    Wrong(_mask_turned, "The mask is used the wrong way round: True means the query may look."),
    Wrong(_mask_of_zeros, "A forbidden score of 0 is not small: softmax gives it weight e⁰. Which score gets no weight at all?"),
    Wrong(_mask_added, "The boolean mask is added to the scores: allowed keys gain 1, forbidden ones keep their place."),
)

EXERCISE = Exercise(
    id="transformer.attention",
    notebook="01_transformers_from_scratch",
    title="scaled dot-product attention",
    difficulty=2,
    minutes=15,
    statement=(
        "Write `attention(Q, K, V, mask)`. `Q` is `(batch, heads, queries, d_k)`, `K` is `(batch, heads, keys, d_k)`, `V` is "
        "`(batch, heads, keys, d_v)`; `mask` is boolean, `(queries, keys)`, True where the query may look. Return "
        "$\\mathrm{softmax}(QK^\\top/\\sqrt{d_k})\\,V$ of shape `(batch, heads, queries, d_v)`, without calling torch's own attention."
    ),
    name="attention",
    starter="def attention(Q, K, V, mask):\n    ...",
    check=by_cases(
        _cases,
        _MISTAKES,
        lambda: {r"scaled_dot_product.*|(\w+_)?multi_head_attention.*|(flash|efficient|cudnn|flex)_attention.*": _TORCHS_OWN},
    ),
    hints=(
        "Four steps: scores, scale, mask, softmax; then the weighted sum. Write the shape after each as a comment.",
        "`K.transpose(-2, -1)` swaps the last two axes whatever stands before them. A forbidden score is minus infinity.",
        "`scores.masked_fill(~mask, -torch.inf)`, then softmax over `dim=-1`, then `@ V`.",
    ),
    solution=attention,
    wrong=(
        *_MISTAKES,
        Wrong(_weights_only, "expected the shape (1, 1, 1, 3), got (1, 1, 1, 2)"),
        Wrong(_first_text_only, "entries differ"),
        *(
            Wrong(answer, "torch's own attention", shares_hint=True)
            for answer in (_library, _library_by_its_operation, _library_by_its_kernel, _library_in_python, _library_unwatched)
        ),
    ),
    right=(_by_einsum_in_double, _in_place, _in_numpy, _by_loops, _additive_mask, _as_lists),
    equivalent={
        "scores = Q @ K.transpose(-1, -2) / math.sqrt(Q.shape[-1])": "a transpose swaps two axes, in either order",
        "scores = Q @ K.transpose(-2, -1) / math.sqrt(K.shape[-1])": "queries and keys have the same width",
        "scores = Q @ K.transpose(2, -1) / math.sqrt(Q.shape[-1])": "of four axes, 2 is the last but one",
    },
)
