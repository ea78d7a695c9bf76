"""From scores to a token: the likeliest one, or a draw from a distribution that was first made sharper and shorter.

    temperature   p_i ∝ exp(x_i / T)            T → 0: always the likeliest; T = 1: the model's own distribution
    top-k         keep the k likeliest tokens, drop the rest
    top-p         keep the smallest set of likeliest tokens whose probability reaches p ("nucleus")

Greedy decoding is deterministic; a draw uses one uniform number per row and step from that row's own seeded generator, so a row's text does not
depend on who shares its batch.

Sources: Fan et al. 2018 (top-k); Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration", section 3.1 (top-p).
Production: `transformers.GenerationConfig(do_sample=True, temperature=..., top_k=..., top_p=...)`.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raise ValueError for a negative temperature, top_k below 1, or top_p outside (0, 1]."""
    if not temperature >= 0:
        raise ValueError(f"temperature={temperature} must be 0 (greedy) or above")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k={top_k} must be at least 1, or None for all tokens")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p={top_p} must lie in (0, 1], or be None for all tokens")


def token_probabilities(
    logits: Float[Tensor, "batch vocabulary"], temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Float[Tensor, "batch vocabulary"]:
    """The distribution that is drawn from: softmax(logits / T) restricted to the top k, then to the nucleus p, and normalised again.

    Raises:
        ValueError: as `check_sampling`, or temperature 0 (a draw needs a distribution; greedy is `argmax`).
    """
    check_sampling(temperature, top_k, top_p)
    if temperature == 0:
        raise ValueError("temperature=0 is greedy decoding: take the argmax instead of a draw")
    scores = logits.float() / temperature
    if top_k is not None and top_k < scores.shape[-1]:
        kth = scores.topk(top_k, dim=-1).values[:, -1:]
        scores = scores.masked_fill(scores < kth, -torch.inf)
    p = torch.softmax(scores, dim=-1)
    if top_p is not None and top_p < 1:
        ordered, order = p.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered  # probability of all likelier tokens: the token that crosses p is still kept
        p = p.scatter(-1, order, ordered.masked_fill(before >= top_p, 0.0))
        p = p / p.sum(-1, keepdim=True)
    return p


def draw(probabilities: Float[Tensor, "batch vocabulary"], generators: list[torch.Generator]) -> Int[Tensor, " batch"]:
    """One token per row by inverting the cumulative distribution at a uniform number from that row's generator."""
    u = torch.cat([torch.rand(1, generator=g, dtype=torch.float64) for g in generators]).to(probabilities.device)
    cumulative = probabilities.double().cumsum(-1)
    u = u[:, None] * cumulative[:, -1:]  # rounding may leave the last entry just off 1
    return torch.searchsorted(cumulative, u, right=True).squeeze(-1).clamp(max=probabilities.shape[-1] - 1)
