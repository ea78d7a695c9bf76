"""Reading a learned prompt: the tokens whose embeddings point the same way."""

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def prompt_neighbours(prompt: torch.Tensor, embeddings: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The solution: both sides scaled to length 1, each vector by its own, then the k highest products."""
    P = prompt / prompt.norm(dim=1, keepdim=True)
    E = embeddings / embeddings.norm(dim=1, keepdim=True).clamp(min=1e-8)  # a row of zeros stays one: cosine 0
    cosines, ids = (P @ E.T).topk(k)
    return ids, cosines


def _cosines(prompt, embeddings):
    return torch.cosine_similarity(prompt[:, None].double(), embeddings[None].double(), dim=-1)


def _top(scores, k, **options):
    values, ids = scores.topk(min(k, scores.shape[-1]), **options)
    return ids, values


def _unit(rows):
    return torch.nn.functional.normalize(rows)


def _dot_products(prompt, embeddings, k):
    return _top(prompt @ embeddings.T, k)


def _prompt_not_scaled(prompt, embeddings, k):
    return _top(prompt @ _unit(embeddings).T, k)


def _embeddings_not_scaled(prompt, embeddings, k):
    return _top(_unit(prompt) @ embeddings.T, k)


def _distances(prompt, embeddings, k):
    return _top(torch.cdist(prompt, embeddings), k, largest=False)


def _one_norm_for_all(prompt, embeddings, k):
    return _top(prompt / prompt.norm() @ (embeddings / embeddings.norm()).T, k)


def _columns_norm(prompt, embeddings, k):
    return _top(prompt / prompt.norm(dim=0) @ (embeddings / embeddings.norm(dim=0)).T, k)


def _norm_squared(prompt, embeddings, k):
    return _top(_unit(prompt) @ (embeddings / embeddings.square().sum(1, keepdim=True).clamp(min=1e-9)).T, k)


def _absolute(prompt, embeddings, k):
    return _top(_cosines(prompt, embeddings).abs(), k)


def _farthest(prompt, embeddings, k):
    return _top(_cosines(prompt, embeddings), k, largest=False)


def _nearest_last(prompt, embeddings, k):
    return tuple(part.flip(1) for part in prompt_neighbours(prompt, embeddings, k))


def _sorted_ids(prompt, embeddings, k):
    ids = prompt_neighbours(prompt, embeddings, k)[0].sort(1).values
    return ids, _cosines(prompt, embeddings).gather(1, ids)


def _angles(prompt, embeddings, k):
    ids, cosines = prompt_neighbours(prompt, embeddings, k)
    return ids, torch.acos(cosines.clamp(-1, 1))


def _nearest_alone(prompt, embeddings, k):
    return prompt_neighbours(prompt, embeddings, 1)


def _of_the_mean(prompt, embeddings, k):
    return tuple(part.expand(len(prompt), k) for part in prompt_neighbours(prompt.mean(0, keepdim=True), embeddings, k))


def _of_tokens(prompt, embeddings, k):
    return _top(_cosines(prompt, embeddings).T, k)


def _never_twice(prompt, embeddings, k):
    cosines, found = _cosines(prompt, embeddings), []
    for row in cosines:
        found.append(_top(row.clone(), k))
        cosines[:, found[-1][0]] = -2
    return tuple(torch.stack(part) for part in zip(*found))


def _nan_of_zeros(prompt, embeddings, k):
    return _top(_unit(prompt) @ (embeddings / embeddings.norm(dim=1, keepdim=True)).T, k)


def _zeros_left_out(prompt, embeddings, k):
    return _top(_cosines(prompt, embeddings[embeddings.norm(dim=1) > 0]), k)


def _zeros_last(prompt, embeddings, k):
    return _top(_cosines(prompt, embeddings).masked_fill(embeddings.norm(dim=1) == 0, -1), k)


def _exchanged(prompt, embeddings, k):
    return prompt_neighbours(prompt, embeddings, k)[::-1]


def _ids_alone(prompt, embeddings, k):
    return prompt_neighbours(prompt, embeddings, k)[0]


def _transposed(prompt, embeddings, k):
    return tuple(part.T for part in prompt_neighbours(prompt, embeddings, k))


def _by_cosine_similarity(prompt, embeddings, k):
    cosines = torch.nn.functional.cosine_similarity(prompt.unsqueeze(1), embeddings.unsqueeze(0), dim=2)
    ids = cosines.argsort(1, descending=True)[:, :k]
    return ids.to(torch.int32), torch.take_along_dim(cosines, ids, 1)


def _in_numpy(prompt, embeddings, k):
    prompt, embeddings = prompt.double().numpy(), embeddings.double().numpy()
    cosines = (prompt @ embeddings.T) / np.maximum(np.linalg.norm(embeddings, axis=1), 1e-12) / np.linalg.norm(prompt, axis=1)[:, None]
    ids = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return ids, np.take_along_axis(cosines, ids, 1)


def _by_angle(prompt, embeddings, k):
    angles, ids = torch.acos(_cosines(prompt, embeddings).clamp(-1, 1)).topk(k, dim=1, largest=False, sorted=True)
    return [ids, torch.cos(angles)]


def _by_distance_of_unit_vectors(prompt, embeddings, k):
    squared = torch.cdist(_unit(prompt.double()), _unit(embeddings.double())) ** 2
    squared[:, embeddings.norm(dim=1) == 0] = 2  # of two unit vectors of cosine 0
    squared, ids = squared.sort(1)
    return ids[:, :k], 1 - squared[:, :k] / 2


def _in_place(prompt, embeddings, k):
    embeddings /= embeddings.norm(dim=-1, keepdim=True).add_(1e-30)
    prompt = prompt.mul_(prompt.pow(2).sum(1, keepdim=True).rsqrt())
    found = torch.einsum("nd,vd->nv", prompt, embeddings).topk(k, dim=-1)
    return found.indices.tolist(), found.values.tolist()


def _by_loops(prompt, embeddings, k):
    ids, values = [], []
    for p in prompt.tolist():
        cosines = {}
        for i, e in enumerate(embeddings.tolist()):
            norm = sum(x * x for x in p) ** 0.5 * sum(x * x for x in e) ** 0.5
            cosines[i] = sum(a * b for a, b in zip(p, e)) / norm if norm else 0.0
        best = sorted(cosines, key=cosines.get, reverse=True)[:k]
        ids, values = [*ids, best], [*values, [cosines[i] for i in best]]
    return ids, values


def _cases() -> list[Case]:
    generator = torch.Generator().manual_seed(1)

    def case(n: int, d: int, vocabulary: int, k: int, rule: str, zero: int | None = None) -> Case:
        prompt = torch.randn(n, d, generator=generator) * torch.logspace(-2, 2, n)[:, None]
        embeddings = torch.randn(vocabulary, d, generator=generator) * torch.logspace(1, -1, vocabulary)[:, None]
        if zero is not None:
            embeddings[zero] = 0
        P, E = prompt.double(), embeddings.double()
        cosines = (P @ E.T / (P.norm(dim=1)[:, None] * E.norm(dim=1))).nan_to_num(0)
        ids = cosines.argsort(1, descending=True)[:, :k]
        return Case((prompt, embeddings, k), (ids, cosines.gather(1, ids)), rule)

    four = torch.tensor([[0.1, 0.0], [9.0, 9.0], [0.0, 2.0], [-5.0, 0.0]])
    cosine = "The cosine decides: neither the prompt's length nor a token's counts."
    zeros = "The cosine with a row of zeros is 0: it comes before all that point the other way."
    own = "Every vector of the prompt has neighbours of its own; a token may be a neighbour of several."
    return [
        Case((torch.tensor([[3.0, 1.0]]), four, 2), ([[0, 1]], [[0.9486833, 0.8944272]]), "The statement's example: the shortest token points nearest."),
        case(3, 5, 9, 4, cosine),
        case(6, 4, 11, 3, own),
        case(5, 2, 6, 2, own),
        case(2, 7, 8, 8, "With k the size of the vocabulary all tokens come, in their order."),
        case(4, 3, 7, 1, "With k = 1 the result still has two axes."),
        case(3, 3, 9, 9, zeros, zero=2),
        case(2, 4, 6, 5, zeros, zero=0),
    ]


_MISTAKES = (
    Wrong(_dot_products, "You compare dot products: a long embedding wins over a near one. Divide by the lengths."),
    Wrong(_distances, "You compare distances: a learned prompt is often far longer than any embedding. The cosine decides."),
    Wrong(_one_norm_for_all, "You divide by one norm for all rows. Each row has its own (`dim=1`)."),
    Wrong(_columns_norm, "You divide by the columns' lengths. A row is a vector (`dim=1`)."),
    Wrong(_norm_squared, "You divide by the squared length: short embeddings win. The root is missing."),
    Wrong(_absolute, "You take the absolute value of the cosine: a token in the opposite direction is far."),
    Wrong(_farthest, "You take the lowest cosines. The highest are asked for."),
    Wrong(_nearest_last, "The nearest stands last in yours. It comes first."),
    Wrong(_sorted_ids, "Your neighbours are sorted by id. The nearest comes first."),
    Wrong(_angles, "You return angles beside the ids. The cosines are asked for."),
    Wrong(_prompt_not_scaled, "The order is right, the cosines are not: divide by the prompt's own lengths, too."),
    Wrong(_embeddings_not_scaled, "You divide by the prompt's lengths only: a long embedding wins over a near one."),
    Wrong(_exchanged, "The two are exchanged: the ids come first, then the cosines."),
    Wrong(_nearest_alone, "You return one neighbour a vector. `k` are asked for."),
    Wrong(_of_the_mean, "You look for the neighbours of the mean. Each vector of the prompt has its own."),
    Wrong(_of_tokens, "You look for each token's nearest vector. Each vector's nearest tokens are asked for."),
    Wrong(_never_twice, "A token is a neighbour once in yours. Several vectors may share it."),
    Wrong(_nan_of_zeros, "A row of zeros has length 0, and its cosine became nan, which sorts first. It is 0: keep the divisor above 0."),
    Wrong(_zeros_left_out, "You leave out rows of zeros: the ids behind them shift. Their cosine is 0."),
    Wrong(_zeros_last, "You put a row of zeros last. Its cosine is 0, above those that are negative."),
)

EXERCISE = Exercise(
    id="peft_methods.prompt_neighbours",
    notebook="10_prompt_tuning",
    title="the neighbours of a learned prompt",
    difficulty=2,
    minutes=15,
    statement=(
        "Write `prompt_neighbours(prompt, embeddings, k)`. `prompt` is `(n, d)`, `embeddings` is `(vocabulary, d)`, neither scaled. For each vector of "
        "the prompt find the `k` tokens whose embeddings have the highest cosine with it. Return the pair of their ids and their cosines, both `(n, k)`, "
        "the nearest first. No vector of the prompt is zero; the cosine with an embedding of zeros (a token that never came) is 0. For a prompt "
        "`[[3, 1]]`, embeddings `[[0.1, 0], [9, 9], [0, 2], [-5, 0]]` and k = 2 the ids are `[[0, 1]]`."
    ),
    name="prompt_neighbours",
    starter="def prompt_neighbours(prompt, embeddings, k):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "The cosine is the dot product divided by both lengths, each vector's own.",
        "`embeddings.norm(dim=1, keepdim=True)` is a column of lengths; `.clamp(min=1e-8)` keeps zeros from dividing.",
        "`(P @ E.T).topk(k)`, with both scaled to length 1, holds `.values` and `.indices`.",
    ),
    solution=prompt_neighbours,
    wrong=(*_MISTAKES, Wrong(_transposed, "The statement's example", shares_hint=True), Wrong(_ids_alone, "The statement's example", shares_hint=True)),
    right=(_by_cosine_similarity, _in_numpy, _by_angle, _by_distance_of_unit_vectors, _in_place, _by_loops),
)  # fmt: skip
