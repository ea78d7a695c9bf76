"""Fusion: one ranking out of several that do not share a scale.

    RRF(d) = Σ_r 1 / (k + rank_r(d)),   k = 60           convex(d) = Σ_r w_r (s_r(d) − min s_r) / (max s_r − min s_r)

Reciprocal ranks need no scores; the convex sum keeps how much better the first was than the second.
Sources: Cormack, Clarke & Büttcher 2009 (RRF); Bruch, Gai & Ingber 2023, "An Analysis of Fusion Functions for Hybrid Retrieval".
Production: langchain's `EnsembleRetriever`.
"""

from collections.abc import Mapping, Sequence

Ranking = Sequence[tuple[str, float]]  # (passage id, score), best first


def reciprocal_rank_fusion(rankings: Sequence[Ranking], k: int = 60) -> list[tuple[str, float]]:
    """Fuse rankings by their ranks alone; an id missing from one gets nothing from it. Ties keep the order of first appearance.

    Raises ValueError for k < 0 or an id that stands twice in one ranking.
    """
    if k < 0:
        raise ValueError(f"k={k}, but the constant that damps the first ranks must be at least 0")
    fused: dict[str, float] = {}
    for ranking in rankings:
        _check_unique(ranking)
        for rank, (passage_id, _) in enumerate(ranking, start=1):
            fused[passage_id] = fused.get(passage_id, 0.0) + 1 / (k + rank)
    return _sorted(fused)


def convex_fusion(rankings: Sequence[Ranking], weights: Sequence[float] | None = None) -> list[tuple[str, float]]:
    """Fuse rankings by their scores, each first stretched to [0, 1]; weights default to equal ones that sum to 1.

    Raises ValueError when weights are negative, sum to 0, or are not one per ranking.
    """
    weights = [1.0] * len(rankings) if weights is None else list(weights)
    if len(weights) != len(rankings) or any(w < 0 for w in weights) or (rankings and sum(weights) == 0):
        raise ValueError(f"weights={weights} for {len(rankings)} rankings: one weight each, none negative, not all zero")
    fused: dict[str, float] = {}
    for weight, ranking in zip(weights, rankings):
        _check_unique(ranking)
        low, high = min((s for _, s in ranking), default=0.0), max((s for _, s in ranking), default=0.0)
        for passage_id, score in ranking:
            stretched = (score - low) / (high - low) if high > low else 1.0
            fused[passage_id] = fused.get(passage_id, 0.0) + weight / sum(weights) * stretched
    return _sorted(fused)


def _check_unique(ranking: Ranking) -> None:
    ids = [passage_id for passage_id, _ in ranking]
    if len(set(ids)) < len(ids):
        raise ValueError("an id stands twice in one ranking: its rank would be counted twice")


def _sorted(fused: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(fused.items(), key=lambda pair: -pair[1])  # stable: ties as first seen
