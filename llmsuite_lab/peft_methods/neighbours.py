"""What a soft prompt says: the words whose embeddings lie nearest to its vectors, and whether that is more than chance.

    cos(P_i, E_v) = P_i · E_v / (‖P_i‖ ‖E_v‖),      the k largest over the vocabulary v

A list of neighbours always looks as if it meant something. So random vectors of the same lengths are scored beside: the share of neighbours that
occur in the task's own texts, learned minus random, is what can be claimed; and the prompt as it began, since it may have begun as such words.

Source: Lester et al. 2021, section 7.
"""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmsuite_lab.core.errors import whole
from llmsuite_lab.lm.text import encode


def nearest(P: Float[Tensor, "p e"], E: Float[Tensor, "vocabulary e"], k: int = 5) -> tuple[Int[Tensor, "p k"], Float[Tensor, "p k"]]:
    """(ids, cosines) of the k tokens nearest to each vector, nearest first; an embedding of zeros has cosine 0.

    Raises ValueError for k over the vocabulary, and for vectors of another width than the embeddings.
    """
    if P.dim() != 2 or E.dim() != 2 or P.shape[1] != E.shape[1] or not len(P) or not len(E):
        raise ValueError(f"P of shape {list(P.shape)} and embeddings of shape {list(E.shape)} must be two matrices of the same width")
    whole("k", k, 1, len(E))
    with torch.no_grad():
        P, E = (torch.nn.functional.normalize(X.detach().float(), dim=1, eps=1e-8) for X in (P, E))
        found = (P @ E.T).topk(k, dim=1)
    return found.indices, found.values


def random_like(P: Float[Tensor, "p e"], seed: int = 0) -> Float[Tensor, "p e"]:
    """Vectors of random direction, each as long as its row of P: the control."""
    with torch.no_grad():
        noise = torch.randn(P.shape, generator=torch.Generator().manual_seed(seed)).to(P.device)
        return torch.nn.functional.normalize(noise, dim=1) * P.detach().float().norm(dim=1, keepdim=True)


def share_within(ids: Int[Tensor, "p k"], wanted: Collection[int]) -> float:
    """Share of these neighbours that are among the wanted tokens, each place counted. Raises ValueError for no neighbours or no wanted tokens."""
    if not ids.numel() or not len(wanted):
        raise ValueError("there are no neighbours, or no wanted tokens to look for among them: give at least one of each")
    chosen = set(wanted)
    return sum(i in chosen for i in ids.flatten().tolist()) / ids.numel()


def words_of(texts: Sequence[str], tokenizer: Any) -> set[int]:
    """Ids of all tokens that occur in the task's texts, special ones left out. Raises ValueError for no texts."""
    if isinstance(texts, str) or not texts:
        raise ValueError("texts must be a list of texts of the task, at least one")
    special = set(tokenizer.all_special_ids)
    found = {i for row in encode(tokenizer, list(texts)) for i in row}
    return found - special


def against_random(
    P: Float[Tensor, "p e"], E: Float[Tensor, "vocabulary e"], wanted: Collection[int], k: int = 5, draws: int = 20, seed: int = 0
) -> dict[str, Any]:
    """{"learned": share of the prompt's neighbours among the wanted tokens, "random": the same of `draws` random prompts, "chance": their share of
    the vocabulary}. Errors as `nearest` and `share_within`."""
    whole("draws", draws, 1, 10_000)
    learned = share_within(nearest(P, E, k)[0], wanted)
    rows = [share_within(nearest(random_like(P, seed + i), E, k)[0], wanted) for i in range(draws)]
    return {"learned": learned, "random": rows, "chance": len(set(wanted)) / len(E)}
