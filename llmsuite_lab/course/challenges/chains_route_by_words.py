"""Routing without an encoder: rules on words that send a question to its application, scored on names and wordings never shown."""

from collections.abc import Callable, Mapping

from llmsuite_lab.chains.routing import ALMANAC, HANDBOOK, SUMS, UNCLEAR, Router, held_out_questions, measure
from llmsuite_lab.core.text import words
from llmsuite_lab.course.challenges import Challenge
from llmsuite_lab.course.exercises import expect

ROUTES, PER_ROUTE = (HANDBOOK, SUMS, ALMANAC, UNCLEAR), 26


def by_a_few_words(question: str) -> str:
    """An example: sums hold several numbers, the almanac has magazines, rivers and mayors, and all the rest is for the handbook; nothing is unclear."""
    asked = words(question)
    if sum(word.isdigit() for word in asked) >= 2:
        return SUMS
    return ALMANAC if {"magazine", "magazines", "river", "rivers", "mayor"} & set(asked) else HANDBOOK


def _measure(route: Callable[[str], str], router: Router | None = None) -> float:
    shares = []
    for wanted, questions in held_out_questions(PER_ROUTE, seed=1).items():
        chosen = [route(question) for question in questions]
        other = [one for one in chosen if one not in ROUTES]
        expect(not other, f"your route returned {other[:1]}; the routes are {', '.join(ROUTES)}.")
        shares.append(sum(one == wanted for one in chosen) / len(chosen))
    return sum(shares) / len(shares)


def _marks(router: Router | None = None) -> Mapping[str, float]:
    marks = {"always the handbook": _measure(lambda question: HANDBOOK)}
    if router is not None:
        shares, _ = measure(router, held_out_questions(PER_ROUTE, seed=1))
        marks["nearest example"] = sum(shares[route].mean for route in ROUTES) / len(ROUTES)
    return marks


CHALLENGE = Challenge(
    id="chains.route_by_words",
    notebook="05_langchain_applications",
    title="how well do words alone route?",
    statement=(
        f"Write `choose(question)`, which returns one of {', '.join(f'`{route}`' for route in ROUTES)} (as text). No encoder: words and patterns. "
        "`routing.training_questions(per_route, seed)` gives as many questions of the three applications as you want, `routing.SMALL_TALK` those that "
        "belong to none. The score is the share routed rightly, averaged over the four routes, on names, wordings and small talk never shown; larger is "
        "better. There is no mark to pass: this notebook's router stands beside you, and it has seen twenty-four questions a route."
    ),
    name="choose",
    starter="def choose(question):\n    ...",
    measure=_measure,
    marks=_marks,
    unit="share routed rightly",
    difficulty=3,
    minutes=30,
    ideas=(
        "look at the questions that your first rules send astray, one route at a time",
        "which words stand in one route's training questions and in no other's? Count them instead of guessing",
        "what has no sign of any route is unclear: is that a rule, or what is left over?",
        "ask both, your rules and the nearest example, and decide what to do where they differ",
    ),
    example=by_a_few_words,
    smaller_is_better=False,
)
