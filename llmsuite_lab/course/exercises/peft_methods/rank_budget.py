"""One budget of ranks for a whole model: the most important terms of all matrices together get it."""

import heapq
from collections import Counter

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def rank_budget(importance: dict[str, list[float]], budget: int) -> dict[str, int]:
    """The solution: all terms in one list, the most important first; a matrix' rank is how many of its terms are among the first `budget`."""
    terms = [(value, name) for name, values in importance.items() for value in values if value > 0]
    ranks = dict.fromkeys(importance, 0)
    for _, name in sorted(terms, reverse=True)[:budget]:
        ranks[name] += 1
    return ranks


def _scaled(importance, factor):
    return {name: [value * factor(values) for value in values] for name, values in importance.items()}


def _even(importance, budget):
    return {name: min(budget // len(importance), len(values)) for name, values in importance.items()}


def _in_proportion(importance, budget):
    total = sum(map(sum, importance.values()))
    return {name: min(round(budget * sum(values) / total), len(values)) if total else 0 for name, values in importance.items()}


def _budget_each(importance, budget):
    return {name: min(sum(value > 0 for value in values), budget) for name, values in importance.items()}


def _least_important(importance, budget):
    return rank_budget({name: [1 / value for value in values if value > 0] for name, values in importance.items()}, budget)


def _zeros_too(importance, budget):
    return rank_budget(_scaled({name: [value + 1e-12 for value in values] for name, values in importance.items()}, lambda values: 1), budget)


def _above_the_mean(importance, budget):
    flat = [value for values in importance.values() for value in values]
    return {name: sum(value > sum(flat) / len(flat) for value in values) for name, values in importance.items()}


def _shares_of_a_matrix(importance, budget):
    return rank_budget(_scaled(importance, lambda values: 1 / sum(values) if any(values) else 0), budget)


def _of_the_largest(importance, budget):
    return rank_budget(_scaled(importance, lambda values: 1 / max(values) if any(values) else 0), budget)


def _whole_matrices(importance, budget):
    ranks = dict.fromkeys(importance, 0)
    for name in sorted(importance, key=lambda name: -sum(importance[name])):
        ranks[name] = min(budget, sum(value > 0 for value in importance[name]))
        budget -= ranks[name]
    return ranks


def _by_best_term(importance, budget):
    ranks = dict.fromkeys(importance, 0)
    for name in sorted(importance, key=lambda name: -max(importance[name], default=0)):
        ranks[name] = min(budget, sum(value > 0 for value in importance[name]))
        budget -= ranks[name]
    return ranks


def _one_each_first(importance, budget):
    ranks = {name: int(any(values)) for name, values in importance.items()}
    rest = {name: sorted(values, reverse=True)[1:] for name, values in importance.items()}
    more = rank_budget(rest, max(budget - sum(ranks.values()), 0))
    return {name: ranks[name] + more[name] for name in ranks}


def _none_left_out(importance, budget):
    return {name: rank for name, rank in rank_budget(importance, budget).items() if rank}


def _first_in_line(importance, budget):
    ranks = {}
    for name, values in importance.items():
        ranks[name] = min(budget, sum(value > 0 for value in values))
        budget -= ranks[name]
    return ranks


def _one_more(importance, budget):
    return rank_budget(importance, budget + 1)


def _budget_of_importance(importance, budget):
    ranks, spent = dict.fromkeys(importance, 0), 0.0
    for value, name in sorted(((value, name) for name, values in importance.items() for value in values), reverse=True):
        if value > 0 and spent + value <= budget:
            ranks[name], spent = ranks[name] + 1, spent + value
    return ranks


def _as_given(importance, budget):
    ranks = rank_budget(importance, budget)
    cut = sorted((value for values in importance.values() for value in values), reverse=True)[:budget]
    return {name: 0 if not ranks[name] else sum(1 for value in values[: ranks[name]] if value in cut) for name, values in importance.items()}


def _terms_kept(importance, budget):
    ranks = rank_budget(importance, budget)
    return {name: sorted(values, reverse=True)[: ranks[name]] for name, values in importance.items()}


def _list_of_ranks(importance, budget):
    return list(rank_budget(importance, budget).values())


def _by_threshold(importance, budget):
    flat = sorted((value for values in importance.values() for value in values if value), reverse=True)
    bar = flat[budget - 1] if 0 < budget <= len(flat) else 0 if budget else float("inf")
    return {name: sum(value >= bar and value > 0 for value in values) for name, values in importance.items()}


def _in_numpy(importance, budget):
    owners = np.repeat(np.arange(len(importance)), [len(values) for values in importance.values()])
    flat = np.concatenate([np.asarray(values, float) for values in importance.values()])
    order = np.argsort(-flat)[:budget]
    return dict(zip(importance, np.bincount(owners[order[flat[order] > 0]], minlength=len(importance))))


def _in_torch(importance, budget):
    width = max(map(len, importance.values()))
    table = torch.stack([torch.nn.functional.pad(torch.tensor(v, dtype=torch.float64), (0, width - len(v))) for v in importance.values()])
    kept = torch.zeros(table.numel(), dtype=torch.bool)
    kept[table.flatten().topk(min(budget, table.numel())).indices] = True
    ranks = (kept.view_as(table) & (table > 0)).sum(1)
    return {name: ranks[i] for i, name in enumerate(importance)}


def _with_a_heap(importance, budget):
    heap = [(-value, name) for name, values in importance.items() for value in values]
    heapq.heapify(heap)
    ranks = dict.fromkeys(importance, 0)
    while heap and budget and heap[0][0] < 0:
        ranks[heapq.heappop(heap)[1]] += 1
        budget -= 1
    return ranks


def _pruned(importance, budget):
    ranks = {name: sum(1 for value in values if value > 0) for name, values in importance.items()}
    terms = sorted((value, name) for name, values in importance.items() for value in values if value > 0)
    while sum(ranks.values()) > budget:
        ranks[terms.pop(0)[1]] -= 1
    return ranks


def _counted(importance, budget):
    terms = heapq.nlargest(budget, [(value, name) for name in importance for value in importance[name]])
    found = Counter(name for value, name in terms if value != 0)
    return {name: found[name] for name in importance}


def _in_place(importance, budget):
    ranks = dict.fromkeys(importance, 0)
    for values in importance.values():
        values.sort()
    for _ in range(budget):
        best = max(importance, key=lambda name: importance[name][-1] if importance[name] else 0)
        if not importance[best] or importance[best][-1] == 0:
            break
        importance[best].pop()
        ranks[best] += 1
    return ranks


def _cases() -> list[Case]:
    layers = {"q": [0.9, 0.1, 0.05], "k": [0.3, 0.2], "v": [0.8, 0.7, 0.6, 0.01], "o": [0.02]}
    mixed = {"up": [2.0, 7.0, 0.0, 5.0], "down": [6.0, 0.0, 1.0, 3.0], "gate": [0.0, 0.0], "out": [4.5, 8.0]}
    together = "The terms of all matrices compete for one budget."
    zero = "A term of importance 0 is never kept, even when budget is left."
    none = "A matrix without a kept term has rank 0, and stands in the result."
    return [
        Case(({"q": [5.0, 1.0], "v": [4.0, 3.0], "o": [0.5, 0.2]}, 3), {"q": 1, "v": 2, "o": 0}, "This is the statement's example."),
        Case((layers, 4), {"q": 1, "k": 0, "v": 3, "o": 0}, together),
        Case((layers, 6), {"q": 1, "k": 2, "v": 3, "o": 0}, together),
        Case((layers, 8), {"q": 3, "k": 2, "v": 3, "o": 0}, together),
        Case((layers, 1), {"q": 1, "k": 0, "v": 0, "o": 0}, none),
        Case((layers, 9), {"q": 3, "k": 2, "v": 3, "o": 1}, together),
        Case((layers, 0), {"q": 0, "k": 0, "v": 0, "o": 0}, none),
        Case((layers, 50), {"q": 3, "k": 2, "v": 4, "o": 1}, "More budget than terms keeps them all."),
        Case((mixed, 5), {"up": 2, "down": 1, "gate": 0, "out": 2}, "Terms come in any order."),
        Case((mixed, 7), {"up": 3, "down": 2, "gate": 0, "out": 2}, "Terms come in any order."),
        Case((mixed, 12), {"up": 3, "down": 3, "gate": 0, "out": 2}, zero),
        Case(({"a": [1e-4, 3e-4], "b": [2e-4]}, 2), {"a": 1, "b": 1}, "Importances may be small: only 0 is none."),
        Case(({"a": [900.0, 700.0, 800.0], "b": []}, 2), {"a": 2, "b": 0}, none),
    ]


_MISTAKES = (
    Wrong(_even, "You give every matrix the same rank. The important terms decide."),
    Wrong(_in_proportion, "You share the budget in proportion to the sums, and round. The terms compete one by one."),
    Wrong(_budget_each, "Every matrix has the whole budget in yours. There is one for all."),
    Wrong(_least_important, "You keep the least important terms."),
    Wrong(_zeros_too, "You keep terms of importance 0 when budget is left. They change nothing and cost parameters."),
    Wrong(_above_the_mean, "You keep what is above the mean. The budget says how many are kept."),
    Wrong(_shares_of_a_matrix, "You compare a term's share of its matrix. Terms compete as they are."),
    Wrong(_of_the_largest, "You divide by each matrix' largest term. Terms compete as they are."),
    Wrong(_whole_matrices, "You fill the matrix with the largest sum first. Terms compete one by one, whichever matrix they are in."),
    Wrong(_by_best_term, "You fill the matrix with the best term first. Its other terms compete, too."),
    Wrong(_one_each_first, "You give every matrix a term first. None has a right to one."),
    Wrong(_none_left_out, "A matrix of rank 0 is missing in yours."),
    Wrong(_first_in_line, "You fill the matrices in their order. The most important terms come first."),
    Wrong(_one_more, "You keep one term too many."),
    Wrong(_budget_of_importance, "Your budget counts importance. It counts terms."),
    Wrong(_as_given, "You take each matrix' terms for sorted. They come in any order."),
)

EXERCISE = Exercise(
    id="peft_methods.rank_budget",
    notebook="11_comparing_peft",
    title="a budget of ranks",
    difficulty=3,
    minutes=15,
    statement=(
        "Write `rank_budget(importance, budget)`, the idea of AdaLoRA. `importance` gives, for the name of each matrix, the importance of each of its rank-one "
        "terms, none below 0, in any order. Keep the `budget` most important terms of all matrices together; a term of importance 0 is never kept. Return a "
        "dictionary of the matrices' ranks, how many terms each one keeps, also where that is 0; with a budget of 0 every rank is. "
        "No two terms above 0 are equal. `rank_budget({'q': [5.0, 1.0], 'v': [4.0, 3.0], 'o': [0.5, 0.2]}, 3)` is `{'q': 1, 'v': 2, 'o': 0}`."
    ),
    name="rank_budget",
    starter="def rank_budget(importance, budget):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Forget the matrices for a moment: put all terms into one list, each with its matrix' name.",
        "Sort that list, the most important first, and cut it at `budget`. What is 0 does not come into it.",
        "Begin with `ranks = dict.fromkeys(importance, 0)` and add 1 for each kept term's matrix.",
    ),
    solution=rank_budget,
    wrong=(*_MISTAKES, Wrong(_terms_kept, "This is the statement's example."), Wrong(_list_of_ranks, "This is the statement's example.")),
    right=(_by_threshold, _in_numpy, _in_torch, _with_a_heap, _pruned, _counted, _in_place),
)  # fmt: skip
