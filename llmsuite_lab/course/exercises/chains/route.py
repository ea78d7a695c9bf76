"""Routing by the nearest example, with the courage to say that nothing is near."""

import numpy as np

from llmsuite_lab.course.exercises import Exercise, Wrong, expect


def route(question, examples, routes, threshold):
    """The solution: the route of the example with the highest cosine, or "unclear" below the threshold."""
    cosines = examples @ question / (np.linalg.norm(examples, axis=1) * np.linalg.norm(question))
    best = int(cosines.argmax())
    return routes[best] if cosines[best] >= threshold else "unclear"


def _dot_product(question, examples, routes, threshold):
    scores = examples @ question
    best = int(scores.argmax())
    return routes[best] if scores[best] >= threshold else "unclear"


def _always(question, examples, routes, threshold):
    cosines = examples @ question / (np.linalg.norm(examples, axis=1) * np.linalg.norm(question))
    return routes[int(cosines.argmax())]


def _strict(question, examples, routes, threshold):
    cosines = examples @ question / (np.linalg.norm(examples, axis=1) * np.linalg.norm(question))
    best = int(cosines.argmax())
    return routes[best] if cosines[best] > threshold else "unclear"


def _index(question, examples, routes, threshold):
    cosines = examples @ question / (np.linalg.norm(examples, axis=1) * np.linalg.norm(question))
    best = int(cosines.argmax())
    return best if cosines[best] >= threshold else "unclear"


def _check(answer) -> None:
    routes = ["handbook", "sums", "almanac"]
    examples = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 30.0, 0.0]])  # the third is long
    near = answer(np.array([0.0, 4.0, 1.0, 0.0]), examples, routes, 0.5)
    expect(not isinstance(near, int), "You return the position of the example. The caller needs the name of its route.")
    expect(near != "almanac", "A long vector won over a near one. Divide by the lengths: a cosine, not a dot product.")
    expect(near == "sums", "The nearest example to [0, 4, 1, 0] is the second: its route is 'sums'.")
    far = answer(np.array([0.1, 0.0, 0.0, 5.0]), examples, routes, 0.5)
    expect(far == "unclear", "This question resembles no example. Below the threshold the route is 'unclear', not a guess.")
    on_it = answer(np.array([3.0, 0.0, 0.0, 4.0]), examples, routes, 0.6)
    expect(on_it == "handbook", "A cosine that equals the threshold is not below it.")


EXERCISE = Exercise(
    id="chains.route",
    notebook="05_langchain_applications",
    title="route by the nearest example",
    statement=(
        "Write `route(question, examples, routes, threshold)`. `question` is a vector `[d]`, `examples` an array `[n, d]`, both **not** scaled to length 1; "
        "`routes` names the route of each example. Return the route of the example with the highest cosine, or `'unclear'` when that cosine is below "
        "`threshold`."
    ),
    name="route",
    starter="def route(question, examples, routes, threshold):\n    ...",
    check=_check,
    hints=(
        "The cosine is the dot product divided by both lengths.",
        "`examples @ question` gives all dot products; `np.linalg.norm(examples, axis=1)` all lengths.",
        "Take `best = cosines.argmax()`, then compare `cosines[best] >= threshold`.",
    ),
    solution=route,
    wrong=(
        Wrong(_dot_product, "long vector won"),
        Wrong(_always, "resembles no example"),
        Wrong(_strict, "not below it"),
        Wrong(_index, "position of the example"),
    ),
)
