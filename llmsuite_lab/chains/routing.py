"""Routing: which of several applications a question is for, by the nearest example (paper Fig. 1: the part that picks).

    route(q) = route of argmax_e cos(q, e),     but "unclear" when that cosine is below τ

A small language model cannot be trusted to choose among tools; a sentence encoder and some examples can. The examples are questions of the training
splits, and small talk as a route of its own; what resembles nothing is met with a question back, not with a guess. Documents of one's own take the
handbook's place with questions about them, `own`: a third are examples, a third set the threshold, and a third are held out.
In production: `semantic-router`, or a large model's tool choice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

import numpy as np

from llmsuite_lab.core.errors import within
from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.retrieval.abstention import choose_threshold
from llmsuite_lab.retrieval.embedding import Embedder
from llmsuite_lab.world import almanac_frozen, handbook, word_problems
from llmsuite_lab.world.almanac import build
from llmsuite_lab.world.almanac_questions import TRAINED_KINDS, draw_question

HANDBOOK, SUMS, ALMANAC, UNCLEAR = "handbook", "sums", "almanac", "unclear"
SMALL_TALK = (  # examples that are for none of the applications
    "Hello there", "Good morning!", "Thanks a lot", "Bye for now", "Who are you?", "What can you do for me?", "Write me a poem about the sea",
    "Tell me a joke", "What is the weather like tomorrow?", "Translate 'good night' into French", "I am bored", "Can you recommend a film?",
    "Sing me a song", "What is your favourite colour?", "How do I cook rice?", "Who won the football match?", "Do you like music?",
    "Explain quantum mechanics to me", "Write an email to my boss", "What is the meaning of life?", "Fix the bug in my code", "asdf qwer",
    "Please help", "That is wrong", "Set an alarm for seven", "Which phone should I buy?",
)  # fmt: skip
HELD_OUT_SMALL_TALK = (  # never an example: what the refusal is measured on
    "Hi, how is it going?", "Good evening", "Thank you so much!", "See you later", "Are you a human being?", "What are you good at?",
    "Compose a haiku about autumn", "Make me laugh", "Will it rain on Sunday?", "How do you say 'cheese' in German?", "I cannot sleep",
    "Which book should I read next?", "Play some jazz", "What do you think about cats?", "Give me a recipe for pancakes", "Who is the best tennis player?",
    "Can you dance?", "What is a black hole?", "Write a cover letter for me", "Why are we here?", "My program crashes, what now?", "blah blah blah",
    "I need a hand", "No, I did not mean that", "Wake me up at six", "Is a laptop better than a tablet?",
)  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """Where a question goes: `route`, the `nearest` example and its `cosine`; "unclear" when that example is small talk or too far."""

    route: str
    cosine: float
    nearest: str


class Router:
    """Routes by nearest example. Raises ValueError for a route without examples or a threshold outside [−1, 1]."""

    def __init__(self, embedder: Embedder, examples: Mapping[str, Sequence[str]], threshold: float = 0.0) -> None:
        if not examples or not all(examples.values()):
            raise ValueError("every route needs at least one example question")
        if not -1 <= threshold <= 1:
            raise ValueError(f"threshold={threshold} is no cosine: it lies between -1 and 1")
        self.embedder, self.threshold = embedder, threshold
        self.routes = [route for route, questions in examples.items() for _ in questions]
        self.questions = [question for questions in examples.values() for question in questions]
        self.vectors = embedder.embed(self.questions)  # [examples, d]

    @classmethod
    def trained(cls, embedder: Embedder, per_route: int = 40, max_refused: float = 0.02, own: Sequence[str] = ()) -> "Router":
        """A router over examples of the training splits; its threshold lets all but `max_refused` of further training questions pass.

        `own`: as for `training_questions`.
        """
        router = cls(embedder, {**training_questions(per_route, 0, own), UNCLEAR: SMALL_TALK})
        seen = router([q for questions in training_questions(per_route, 1, own).values() for q in questions])
        router.threshold = choose_threshold([choice.cosine for choice in seen], max_refused)
        return router

    def __call__(self, questions: Sequence[str]) -> list[Choice]:
        """One choice per question, in order. Raises TypeError for a bare string."""
        cosines = self.embedder.embed(questions) @ self.vectors.T  # [questions, examples]
        best = cosines.argmax(1) if len(questions) else np.array([], dtype=int)
        return [
            Choice(self.routes[e] if cosines[i, e] >= self.threshold else UNCLEAR, float(cosines[i, e]), self.questions[e])
            for i, e in enumerate(best.tolist())
        ]


def training_questions(per_route: int, seed: int = 0, own: Sequence[str] = ()) -> dict[str, list[str]]:
    """Questions of the training splits for each application: other names, other wordings than those of `held_out_questions`.

    `own`: questions about documents of one's own, in the place of the handbook's; even seeds take one third of them, odd ones another. Raises ValueError for
    fewer than three of them, TypeError for a bare string.
    """
    within("per_route", per_route, 1, 100_000)
    rng = Random(f"routing {seed}")
    book, world = handbook.generate("train", seed), build("train", 700 + seed)
    kinds = [TRAINED_KINDS[i % len(TRAINED_KINDS)] for i in range(per_route)]
    documents = [q.text for q in rng.sample(book.questions, per_route)]
    return {
        HANDBOOK: _third(own, seed % 2)[:per_route] if own else documents,
        SUMS: [p.text for p in islice(word_problems.problems("train", 700 + seed), per_route)],
        ALMANAC: [draw_question(world, kind, rng).text for kind in kinds],
    }


def held_out_questions(per_route: int = 26, seed: int = 0, own: Sequence[str] = ()) -> dict[str, list[str]]:
    """Questions of the frozen test splits, and small talk that is no example; with `own`, the third of it that `training_questions` leaves."""
    rng = Random(f"held out {seed}")
    documents = [q.text for q in rng.sample(handbook.load().questions, per_route)]
    return {
        HANDBOOK: _third(own, 2)[:per_route] if own else documents,
        SUMS: [p.text for p in rng.sample(word_problems.load("test"), per_route)],
        ALMANAC: [q.text for q in rng.sample(almanac_frozen.load_questions(), per_route)],
        UNCLEAR: list(HELD_OUT_SMALL_TALK[:per_route]),
    }


def _third(own: Sequence[str], n: int) -> list[str]:
    if isinstance(own, str):
        raise TypeError("own is one string; pass a list of questions")
    different = list(dict.fromkeys(own))
    if len(different) < 3:
        raise ValueError(f"own holds {len(different)} different questions: at least one is an example, one sets the threshold, one is held out")
    return different[n::3]


def measure(router: Router, questions: Mapping[str, Sequence[str]]) -> tuple[dict[str, Interval], dict[str, dict[str, int]]]:
    """Share routed rightly, per true route and in all (under "all"), with intervals; and the table {true route: {chosen route: count}}."""
    table, right = {}, {}
    for route, asked in questions.items():
        chosen = [choice.route for choice in router(asked)]
        table[route] = {other: chosen.count(other) for other in (HANDBOOK, SUMS, ALMANAC, UNCLEAR)}
        right[route] = [float(c == route) for c in chosen]
    shares = {route: mean_interval(values) for route, values in right.items()}
    return shares | {"all": mean_interval([v for values in right.values() for v in values])}, table
