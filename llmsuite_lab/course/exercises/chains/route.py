"""Routing by the nearest example, with the courage to say that nothing is near."""

import math

import numpy as np
import torch

from llmsuite_lab.course.exercises import Exercise, Wrong
from llmsuite_lab.course.exercises.cases import Case, by_cases


def route(question, examples, routes, threshold):
    """The solution: the route of the example with the highest cosine, or "unclear" below the threshold."""
    cosines = examples @ question / (np.linalg.norm(examples, axis=1) * np.linalg.norm(question))
    best = int(cosines.argmax())
    return routes[best] if cosines[best] >= threshold else "unclear"


def _cosines(question, examples):
    return examples @ question / (np.linalg.norm(examples, axis=1) * np.linalg.norm(question))


def _by(scores):
    def pick(question, examples, routes, threshold):
        found = scores(question, examples)
        return routes[int(found.argmax())] if found.max() >= threshold else "unclear"

    return pick


_dot_product = _by(lambda question, examples: examples @ question)
_examples_scaled = _by(lambda question, examples: examples @ question / np.linalg.norm(examples, axis=1))
_question_scaled = _by(lambda question, examples: examples @ question / np.linalg.norm(question))
_opposite_too = _by(lambda question, examples: np.abs(_cosines(question, examples)))
_by_distance = _by(lambda question, examples: -np.linalg.norm(examples - question, axis=1))
_farthest = _by(lambda question, examples: -_cosines(question, examples))
_whole_norm = _by(lambda question, examples: examples @ question / (np.linalg.norm(examples) * np.linalg.norm(question)))


def _nearest_point(question, examples, routes, threshold):
    best = int(np.linalg.norm(examples - question, axis=1).argmin())
    return routes[best] if _cosines(question, examples)[best] >= threshold else "unclear"


def _always(question, examples, routes, threshold):
    return routes[int(_cosines(question, examples).argmax())]


def _strict(question, examples, routes, threshold):
    cosines = _cosines(question, examples)
    return routes[int(cosines.argmax())] if cosines.max() > threshold else "unclear"


def _index(question, examples, routes, threshold):
    cosines = _cosines(question, examples)
    return int(cosines.argmax()) if cosines.max() >= threshold else "unclear"


def _first_above(question, examples, routes, threshold):
    return next((name for name, cosine in zip(routes, _cosines(question, examples)) if cosine >= threshold), "unclear")


def _by_route(question, examples, routes, threshold, join=np.mean):
    cosines = _cosines(question, examples)
    joined = {name: join([c for c, other in zip(cosines, routes) if other == name]) for name in routes}
    best = max(joined, key=joined.get)
    return best if joined[best] >= threshold else "unclear"


def _sum_by_route(question, examples, routes, threshold):
    return _by_route(question, examples, routes, threshold, join=np.sum)


def _none_when_unclear(question, examples, routes, threshold):
    cosines = _cosines(question, examples)
    return routes[int(cosines.argmax())] if cosines.max() >= threshold else None


def _no_zero_threshold(question, examples, routes, threshold):
    return route(question, examples, routes, threshold or 0.5)


def _positive_only(question, examples, routes, threshold):
    return route(question, examples, routes, max(threshold, 0))


def _in_place(question, examples, routes, threshold):
    question /= np.linalg.norm(question)
    examples /= np.linalg.norm(examples, axis=1, keepdims=True)
    examples *= question
    cosines = examples.sum(axis=1)
    return "unclear" if cosines.max() < threshold else np.array(routes)[cosines.argmax()]


def _with_loops(question, examples, routes, threshold):
    best, name = -2.0, ""
    for example, own in zip(examples.tolist(), routes):
        cosine = sum(a * b for a, b in zip(example, question)) / math.hypot(*example) / math.hypot(*question)
        if cosine > best:
            best, name = cosine, own
    return name if best >= threshold else "unclear"


def _with_torch(question, examples, routes, threshold):
    cosines = torch.nn.functional.cosine_similarity(torch.tensor(examples), torch.tensor(question)[None])
    best = cosines.max(dim=0)
    return routes[best.indices] if best.values.item() >= threshold else "unclear"


def _sorted(question, examples, routes, threshold):
    order = np.argsort(_cosines(question, examples))
    return [*routes, "unclear"][order[-1] if _cosines(question, examples)[order[-1]] >= threshold else -1]


def _padded(question, examples, routes, threshold):
    return (list(routes) + ["unclear"])[int(np.append(_cosines(question, examples), np.nextafter(threshold, -np.inf)).argmax())]


def _by_angle(question, examples, routes, threshold):
    unit = [example / np.sqrt(example.dot(example)) for example in examples]
    cosine, i = max((float(np.dot(u, question) / np.sqrt(question.dot(question))), i) for i, u in enumerate(unit))
    if not cosine < threshold:
        return routes[i]
    return "unclear"


def _cases() -> list[Case]:
    routes = ["handbook", "sums", "almanac"]
    examples = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 30.0, 0.0]])  # the third is long
    two = np.array([[2.0, 1.0], [-3.0, 0.5]])
    many = np.array([[1.0, 0.1, 0.0], [0.0, 1.0, 0.2], [0.9, 0.5, 0.1], [0.1, 0.8, 1.0], [-1.0, -1.0, -0.9]])
    names = ["a", "b", "a", "c", "a"]
    cosine = "The cosine decides: neither the lengths of the examples nor that of the question count."
    near = "The route of the nearest example is asked for."
    one = "The one nearest example decides, however many a route has."
    below = "Below the threshold the route is 'unclear', and a cosine that equals the threshold is not below it."
    plans = [
        ([0.0, 4.0], [[1.0, 0.0], [0.0, 1.0]], ["a", "b"], 0.5, "b", "This is the statement's example."),
        ([0.0, 4.0, 1.0, 0.0], examples, routes, 0.5, "sums", near),
        ([0.1, 0.0, 0.0, 5.0], examples, routes, 0.5, "unclear", below),
        ([0.1, 0.0, 0.0, 5.0], examples, routes, 0.01, "handbook", "The threshold is an argument."),
        ([2.0, 2.0, 2.0, 2.1], examples * [[1.0], [1.5], [1.0]], routes, 0.95, "unclear", cosine),
        ([0.01, 0.0, 0.001, 0.0], examples, routes, 0.9, "handbook", cosine),
        ([70.0, 10.0, 5.0, 90.0], examples, routes, 0.7, "unclear", cosine),
        ([4.0, 0.0, 0.0, 0.0], examples, routes, 1.0, "handbook", below),
        ([2.0, 2.0, 2.0, -2.0], [[0.0, 0.0, 0.0, 3.0], [4.0, 0.0, 0.0, 0.0]], ["ships", "tides"], 0.5, "tides", below),
        ([2.0, 2.0, 2.0, -2.0], [[0.0, 0.0, 0.0, 3.0], [4.0, 0.0, 0.0, 0.0]], ["ships", "tides"], 0.501, "unclear", below),
        ([5.0, 0.1], two, ["north", "south"], 0.0, "north", "A threshold of 0 is a threshold."),
        ([1.0, -1.5], two, ["north", "south"], 0.0, "north", "A threshold of 0 is a threshold."),
        ([-1.0, -1.0], [[2.0, 1.0]], ["north"], 0.0, "unclear", "A threshold of 0 is a threshold."),
        ([0.3, -2.0], two, ["north", "south"], -0.5, "south", "A cosine and a threshold may be negative."),
        ([-4.0, -2.0], two, ["north", "south"], 0.6, "south", "An example in the opposite direction is far."),
        ([0.3, -2.0], two, ["north", "south"], -0.1, "unclear", below),
        ([1.0, 0.6, 0.1], many, names, 0.4, "a", near),
        ([0.2, 1.0, 0.3], many, names, 0.2, "b", one),
        ([0.7, 1.0], [[1.0, 0.0], [0.3, 1.0], [1.0, 0.1]], ["c", "b", "c"], 0.2, "b", one),
        ([0.0, 0.5, 0.6], many, names, 0.2, "c", near),
        ([3.0, 1.0], [[2.0, 1.0]], ["only"], 0.9, "only", "There may be one example."),
    ]
    return [
        Case((np.array(question), np.array(given), own, threshold), want, rule) for question, given, own, threshold, want, rule in plans
    ]


_MISTAKES = (
    Wrong(_dot_product, "You compare dot products, and a long vector wins over a near one. Divide by the lengths: a cosine."),
    Wrong(_examples_scaled, "You divide by the examples' lengths only: the question's length moves the threshold."),
    Wrong(_question_scaled, "You divide by the question's length only: a long example wins over a near one."),
    Wrong(_whole_norm, "You divide all examples by one norm. Each has its own (`axis=1`)."),
    Wrong(_opposite_too, "You take the absolute value of the cosine: an example in the opposite direction is far."),
    Wrong(_by_distance, "You compare distances. The cosine decides."),
    Wrong(_nearest_point, "You take the example at the smallest distance. The highest cosine is asked for: direction, not place."),
    Wrong(_farthest, "You take the lowest cosine. The highest is asked for."),
    Wrong(_always, "You never return 'unclear'. Below the threshold it is the answer, not a guess."),
    Wrong(_strict, "A cosine that equals the threshold is not below it."),
    Wrong(_index, "You return the position of the example. The caller needs the name of its route."),
    Wrong(_first_above, "You return the first example above the threshold. The nearest is asked for."),
    Wrong(_by_route, "You compare the routes' mean cosines. The one nearest example decides."),
    Wrong(_sum_by_route, "You sum the cosines of a route. The one nearest example decides."),
    Wrong(_none_when_unclear, "You return None below the threshold. 'unclear' is asked for."),
    Wrong(_no_zero_threshold, "You take a threshold of 0 for none."),
    Wrong(_positive_only, "You take a negative threshold for 0."),
)

EXERCISE = Exercise(
    id="chains.route",
    notebook="05_langchain_applications",
    title="route by the nearest example",
    difficulty=3,
    minutes=20,
    statement=(
        "Write `route(question, examples, routes, threshold)`. `question` is a vector `[d]`, `examples` an array `[n, d]`, both **not** scaled to length 1, "
        "none of length 0; `routes` names the route of each example (several may share one). Return the route of the example with the highest cosine, "
        "or `'unclear'` when that cosine is below `threshold`. `route([0., 4.], [[1., 0.], [0., 1.]], ['a', 'b'], 0.5)`, with arrays for the lists of numbers, "
        "is `'b'`."
    ),
    name="route",
    starter="def route(question, examples, routes, threshold):\n    ...",
    check=by_cases(_cases, _MISTAKES),
    hints=(
        "The cosine is the dot product divided by both lengths.",
        "`examples @ question` gives all dot products; `np.linalg.norm(examples, axis=1)` all lengths.",
        "Take `best = cosines.argmax()`, then compare `cosines[best] >= threshold`.",
    ),
    solution=route,
    wrong=_MISTAKES,
    equivalent={"best = cosines.argmax()": "a numpy integer is an index, too"},
    right=(_in_place, _with_loops, _with_torch, _sorted, _padded, _by_angle),
)
