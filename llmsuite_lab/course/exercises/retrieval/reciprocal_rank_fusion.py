"""One ranking out of two that share no scale: sum the reciprocal ranks."""

from llmsuite_lab.course.exercises import Exercise, Wrong, expect


def fuse(rankings: list[list[str]], k: int = 60) -> list[str]:
    """The solution: every ranking gives 1 / (k + rank) to each id it holds, rank counted from 1; the largest sum comes first."""
    total: dict[str, float] = {}
    for ranking in rankings:
        for rank, passage in enumerate(ranking, start=1):
            total[passage] = total.get(passage, 0.0) + 1 / (k + rank)
    return sorted(total, key=lambda passage: -total[passage])


def _by_rank_sum(rankings, k=60):
    total: dict[str, int] = {}
    for ranking in rankings:
        for rank, passage in enumerate(ranking, start=1):
            total[passage] = total.get(passage, 0) + rank
    return sorted(total, key=lambda passage: total[passage])


def _only_common(rankings, k=60):
    common = set(rankings[0]).intersection(*rankings[1:])
    return [passage for passage in fuse(rankings, k) if passage in common]


def _worst_first(rankings, k=60):
    return fuse(rankings, k)[::-1]


def _interleaved(rankings, k=60):
    return list(dict.fromkeys(passage for row in zip(*rankings) for passage in row))


def _without_k(rankings, k=60):
    return fuse(rankings, k=0)


def _check(answer) -> None:
    first, second = ["a", "b", "c", "d", "e"], ["x", "c", "a"]
    result = answer([first, second])
    expect(isinstance(result, list), "Return a list of ids, best first.")
    expect(set(result) == set(first) | set(second), "Ids are missing: a passage that only one ranking found still belongs in the result.")
    expect(result[::-1] != fuse([first, second]), "The worst passage stands first. Which way does your sort go?")
    expect(
        result[0] == "a",
        "Passage a is first in one ranking and third in the other, and should win. Does a high rank add much, and a missing one nothing?",
    )
    expect(len(result) == len(set(result)), "An id stands twice.")
    flat, steep = [["p", "q", "r"], ["s", "q", "t"]], ["q", "p", "s", "r", "t"]
    expect(answer(flat) == steep, "With k = 60 two second places beat one first place. Is k in your denominator, next to the rank?")
    expect(answer(flat, k=0)[0] in ("p", "s", "q"), "k must be an argument.")
    expect(answer([first, second], 60) == fuse([first, second]), "Nearly. Ranks count from 1, and every ranking adds 1 / (k + rank).")


EXERCISE = Exercise(
    id="retrieval.reciprocal_rank_fusion",
    notebook="02_retrieval_augmented_generation",
    title="fuse two rankings",
    statement=(
        "Write `fuse(rankings, k=60)`. `rankings` is a list of rankings, each a list of passage ids, best first. Return one list of all ids, best first, by\n\n"
        "$$\\mathrm{RRF}(d) = \\sum_r \\frac{1}{k + \\mathrm{rank}_r(d)}$$\n\n"
        "with ranks counted from 1. A ranking that does not hold a passage adds nothing for it. `fuse([['a', 'b'], ['b']])` is `['b', 'a']`."
    ),
    name="fuse",
    starter="def fuse(rankings, k=60):\n    ...",
    check=_check,
    hints=(
        "Keep a dictionary from id to its sum so far, and go through the rankings one after the other.",
        "`enumerate(ranking, start=1)` gives rank and id together.",
        "`total[d] = total.get(d, 0) + 1 / (k + rank)`, then sort the ids by their total, largest first.",
    ),
    solution=fuse,
    wrong=(
        Wrong(_by_rank_sum, "a missing one nothing"),
        Wrong(_only_common, "Ids are missing", shares_hint=True),
        Wrong(_worst_first, "The worst passage stands first"),
        Wrong(_interleaved, "Ids are missing", shares_hint=True),
        Wrong(_without_k, "Is k in your denominator"),
    ),
)
