"""Which methods are worth a look: those that no other beats in parameters and score at once."""

import math

import numpy as np
import torch

from llmsuite_lab.course.exercises import Case, Exercise, Wrong, by_cases


def pareto_front(methods: list[tuple[str, float, float]]) -> list[str]:
    """The solution: a method stays unless some other is as good in both and better in one."""
    measured = [method for method in methods if not math.isnan(method[2])]
    front = []
    for name, n, score in measured:
        beaten = any(m <= n and s >= score and (m < n or s > score) for _, m, s in measured)
        if not beaten:
            front.append(name)
    return front


def _kept(methods, beats):
    """The names that no measured method beats, by `beats(parameters, score, other parameters, other score)`."""
    known = [method for method in methods if not math.isnan(method[2])]
    return [name for name, n, s in known if not any(beats(m, t, n, s) for other, m, t in known if other != name)]


def _better_in_both(methods):
    return _kept(methods, lambda m, t, n, s: m < n and t > s)


def _equals_beat(methods):
    return _kept(methods, lambda m, t, n, s: m <= n and t >= s)


def _beats_itself(methods):
    return [name for name, n, s in methods if not any(m <= n and t >= s for _, m, t in methods) and not math.isnan(s)]


def _smaller_alone(methods):
    return _kept(methods, lambda m, t, n, s: m < n and t >= s)


def _higher_alone(methods):
    return _kept(methods, lambda m, t, n, s: m <= n and t > s)


def _more_parameters_better(methods):
    return _kept(methods, lambda m, t, n, s: m >= n and t >= s and (m, t) != (n, s))


def _lower_score_better(methods):
    return _kept(methods, lambda m, t, n, s: m <= n and t <= s and (m, t) != (n, s))


def _better_in_one(methods):
    return _kept(methods, lambda m, t, n, s: m < n or t > s)


def _best_score(methods):
    return _kept(methods, lambda m, t, n, s: t > s)


def _fewest_parameters(methods):
    return _kept(methods, lambda m, t, n, s: m < n)


def _best_ratio(methods):
    return _kept(methods, lambda m, t, n, s: t / max(m, 1) > s / max(n, 1))


def _both_ends(methods):
    ends = {*_best_score(methods), *_fewest_parameters(methods)}
    return [name for name in pareto_front(methods) if name in ends]


def _nan_stays(methods):
    return [name for name, n, s in methods if not any(m <= n and t >= s and (m < n or t > s) for _, m, t in methods)]


def _nan_is_zero(methods):
    return pareto_front([(name, n, 0.0 if math.isnan(s) else s) for name, n, s in methods])


def _first_of_equals(methods):
    found = dict.fromkeys((n, s) for _, n, s in methods)
    chosen = [next(name for name, n, s in methods if (n, s) == pair) for pair in found if not math.isnan(pair[1])]
    return [name for name in pareto_front(methods) if name in chosen]


def _by_size(methods):
    return pareto_front(sorted(methods, key=lambda method: method[1]))


def _by_score(methods):
    return pareto_front(sorted((method for method in methods if not math.isnan(method[2])), key=lambda method: -method[2]))


def _convex_hull(methods):
    front = sorted((n, s) for name, n, s in methods if name in pareto_front(methods))
    between = {
        (n, s)
        for n, s in front
        for a, x in front
        for b, y in front
        if a < n < b and s < x + (y - x) * (n - a) / (b - a)
    }  # fmt: skip
    return [name for name in pareto_front(methods) if next((n, s) for other, n, s in methods if other == name) not in between]


def _beaten(methods):
    return [name for name, _, _ in methods if name not in pareto_front(methods)]


def _neighbours_only(methods):
    known = [method for method in methods if not math.isnan(method[2])]
    pairs = list(zip([(None, math.inf, -math.inf), *known], known))
    return [name for (_, m, t), (name, n, s) in pairs if not (m <= n and t >= s and (m < n or t > s))]


def _whole_rows(methods):
    return [method for method in methods if method[0] in pareto_front(methods)]


def _positions(methods):
    return [i for i, method in enumerate(methods) if method[0] in pareto_front(methods)]


def _swept(methods):
    best, front = -math.inf, set()
    known = [method for method in methods if method[2] == method[2]]
    for size in sorted({n for _, n, _ in known}):
        top = max(s for _, n, s in known if n == size)
        if top > best:
            front |= {name for name, n, s in known if n == size and s == top}
            best = top
    return [name for name, _, _ in methods if name in front]


def _in_numpy(methods):
    names, n, s = (np.array([method[i] for method in methods], dtype) for i, dtype in enumerate((object, float, float)))
    beats = (n[:, None] <= n) & (s[:, None] >= s) & ((n[:, None] < n) | (s[:, None] > s))
    return list(names[~beats.any(0) & ~np.isnan(s)])


def _in_torch(methods):
    methods = [method for method in methods if not np.isnan(method[2])]
    points = torch.tensor([[-n, s] for _, n, s in methods], dtype=torch.float64).reshape(-1, 2)
    beats = (points[:, None] >= points).all(-1) & (points[:, None] != points).any(-1)
    return tuple(method[0] for method, beaten in zip(methods, beats.any(0).tolist()) if not beaten)


def _in_place(methods):
    methods[:] = [method for method in methods if not math.isnan(method[2])]
    for loser in [a for a in methods if any(b[1] <= a[1] and b[2] >= a[2] and b[1:] != a[1:] for b in methods)]:
        methods.remove(loser)
    return [name for name, *_ in methods]


def _by_best_at_size(methods):
    front = []
    for name, n, s in methods:
        rivals = [t for _, m, t in methods if m <= n and not math.isnan(t)]
        same = [m for _, m, t in methods if t == s]
        if rivals and s == max(rivals) and n == min(same):
            front.append(name)
    return front


def _while_loop(methods):
    waiting, front = list(methods), []
    while waiting:
        name, n, s = waiting.pop(0)
        if math.isnan(s):
            continue
        for _, m, t in methods:
            if (m < n and t >= s) or (m <= n and t > s):
                break
        else:
            front += [name]
    return front


def _cases() -> list[Case]:
    nan = math.nan
    example = [("full", 134, 0.9), ("lora", 2, 0.8), ("prompt", 1, 0.4), ("last layers", 7, 0.7)]
    both = "A method is beaten by one that is at least as good in both, and better in one."
    equal = "Equal in both, neither beats the other: both stay."
    missing = "A score of nan is no score: that method is not on the front, and beats nobody."
    return [
        Case((example,), ["full", "lora", "prompt"], "This is the statement's example."),
        Case(([("a", 5, 0.5), ("b", 5, 0.6), ("c", 9, 0.9), ("d", 5, 0.4)],), ["b", "c"], both),
        Case(([("a", 5, 0.5), ("b", 4, 0.5), ("c", 1, 0.2), ("d", 8, 0.5)],), ["b", "c"], both),
        Case(([("b", 4, 0.5), ("a", 5, 0.5), ("e", 4, 0.3)],), ["b"], both),
        Case(([("x", 3, 0.7), ("y", 3, 0.7), ("z", 2, 0.1), ("w", 6, 0.7)],), ["x", "y", "z"], equal),
        Case(([("x", 3, 0.7), ("y", 3, 0.7), ("z", 3, 0.8)],), ["z"], "Equal ones may both be beaten by a third."),
        Case(([("n", 0, nan), ("a", 3, 0.2), ("m", 5, nan), ("b", 4, 0.3), ("k", 9, 0.1)],), ["a", "b"], missing),
        Case(([("n", 2, nan), ("m", 1, nan)],), [], missing),
        Case(([("m", 1, nan), ("c", 2, -0.4), ("d", 3, -0.5)],), ["c"], missing),
        Case(([("c", 900, 0.9), ("b", 20, 0.2), ("a", 10, 0.1), ("d", 30, 0.15)],), ["c", "b", "a"], "The names come in the order given."),
        Case(([("base", 0, 0.3), ("a", 10, 0.25), ("b", 10, 0.45), ("c", 1_000, 0.44)],), ["base", "b"], "No parameters at all is a size, too."),
        Case(([("a", 10, 0.1), ("b", 20, 0.15), ("c", 30, 0.6)],), ["a", "b", "c"], "Only another method beats a method."),
        Case(([("only", 7, 0.0)],), ["only"], "One method alone is the front."),
        Case(([],), [], "Without methods the front is empty."),
    ]


_MISTAKES = (
    Wrong(_better_in_both, "You drop a method only when another is better in both. With the same score and more parameters it is beaten as well."),
    Wrong(_equals_beat, "Two methods that are equal in both drop each other in yours. Neither is better: both stay."),
    Wrong(_beats_itself, "In yours a method beats itself, for it is as good as itself in both. Nothing is left."),
    Wrong(_smaller_alone, "At equal size yours keeps the lower score, too. It is beaten."),
    Wrong(_higher_alone, "At equal score yours keeps the larger one, too. It is beaten."),
    Wrong(_more_parameters_better, "You prefer more parameters. Fewer are better."),
    Wrong(_lower_score_better, "You prefer lower scores. Higher are better."),
    Wrong(_better_in_one, "You drop a method when another is better in one of the two. It must be at least as good in the other."),
    Wrong(_best_score, "You keep the best score alone. A smaller method with a lower score is a choice, too."),
    Wrong(_fewest_parameters, "You keep the smallest alone. A larger method with a higher score is a choice, too."),
    Wrong(_best_ratio, "You keep the best ratio of score and size. No exchange rate is given: only what is beaten in both goes."),
    Wrong(_both_ends, "You keep the two ends. What lies between them and is not beaten stays."),
    Wrong(_convex_hull, "You drop what lies below the line between two others. Nobody can choose a point on that line: only methods beat methods."),
    Wrong(_nan_stays, "A method with the score nan stays in yours, because no comparison with nan is true. It has no score."),
    Wrong(_nan_is_zero, "You take nan for a score of 0. It is no score."),
    Wrong(_first_of_equals, "You keep the first of two equal methods. Both stay."),
    Wrong(_by_size, "You sort by size. The order given stays."),
    Wrong(_by_score, "You sort by score. The order given stays."),
    Wrong(_beaten, "You return those that are beaten."),
    Wrong(_neighbours_only, "You compare each with the one before it. Compare it with all."),
)

EXERCISE = Exercise(
    id="peft_methods.pareto_front",
    notebook="11_comparing_peft",
    title="the Pareto front",
    difficulty=2,
    minutes=15,
    statement=(
        "Write `pareto_front(methods)`. `methods` is a list of `(name, parameters, score)`, all names different; fewer parameters are better, and a "
        "higher score is. A method is beaten when another is at least as good in both and better in one. Return the names of those that no other beats, "
        "in the order given: of two methods equal in both, both stay. A score of nan is no score: such a method is not on the front, and beats nobody. "
        "`pareto_front([('full', 134, 0.9), ('lora', 2, 0.8), ('prompt', 1, 0.4), ('last layers', 7, 0.7)])` is `['full', 'lora', 'prompt']`."
    ),
    name="pareto_front",
    starter="def pareto_front(methods):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "Put the methods without a score aside. Then look, for each one, whether any other beats it.",
        "'At least as good in both and better in one' keeps equal methods from beating each other, and a method from beating itself.",
        "`any(m <= n and s >= score and (m < n or s > score) for _, m, s in measured)`.",
    ),
    solution=pareto_front,
    wrong=(*_MISTAKES, Wrong(_whole_rows, "expected ['full', 'lora', 'prompt'], got [("), Wrong(_positions, "got [0, 1, 2]")),
    right=(_swept, _in_numpy, _in_torch, _in_place, _by_best_at_size, _while_loop),
)  # fmt: skip
