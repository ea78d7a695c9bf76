"""What this section reads off its recorded runs: the recipe `react` by seed, the untuned model beside it, and adapters from narrower mixtures.

    react, short_react, react_two_hop, react_one_three_hop    results: "questions" (rows of `evaluation.Answer`) and, of the first two, "claims"
    react_without_pages                                       results: "questions", asked of an encyclopedia that holds no page
    react_refused                                             results: "undisturbed", "refused" (such rows), "steps"
    react_wordings                                            results: such rows over pages of "trained" and of "own" sentences
    react_closed_book, react_one_retrieval                    results: "questions", answered in one turn
    react_elsewhere, react_varied                             results: such rows by world of another author; react_varied: the sets of `react` too
    react_baselines                                           results: "answers" (such rows by method) and the "steps" taken
"""

import random
from collections.abc import Sequence

from llmsuite_lab.core import records
from llmsuite_lab.core.errors import within
from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.core.records import Record, mean_over_seeds, paired_differences
from llmsuite_lab.world.almanac_questions import TRAINED_KINDS
from llmsuite_lab.world.elsewhere import pages


def runs() -> list[Record]:
    """The recorded trainings of the shipped recipe, by seed. Raises LabError when there is none."""
    return records.read_all("react")


def recorded_seeds() -> list[int]:
    """The seeds whose training is recorded, in order. Raises LabError when there is none."""
    return [run.seed for run in runs()]


def correct(run: Record) -> dict[tuple[str, str], float]:
    """(kind, question) → 1 or 0, of every question that a run was asked."""
    return records.held(run, lambda run: correct_in(run.results["questions"]))


def correct_in(rows: list[dict]) -> dict[tuple[str, str], float]:
    """The same of recorded rows."""
    return {(row["kind"], row["question"]): float(row["correct"]) for row in rows}


def tuned_scores() -> list[tuple[str, float]]:
    """(kind, score) of every frozen question, its score the mean over the recorded seeds. Raises LabError when none is recorded."""
    return [(kind, score) for (kind, _), score in mean_over_seeds(runs(), correct).items()]


def tuned_by_kind() -> dict[str, Interval]:
    """Accuracy of the tuned model by kind, averaged over seeds, interval over questions."""
    scores = tuned_scores()
    return {kind: mean_interval([s for k, s in scores if k == kind]) for kind in dict.fromkeys(k for k, _ in scores)}


def grounding() -> Interval:
    """Tuned ReAct minus the untuned chain of thought on the trained kinds, exact match, the same questions, ReAct averaged over its seeds."""
    return _over_chain_of_thought(mean_over_seeds(runs(), correct))


def grounding_without_pages() -> Interval:
    """The same of the shipped adapter with an encyclopedia that holds no page: what is left of the gain when nothing can be looked up."""
    return _over_chain_of_thought(correct(records.read("react_without_pages")))


def over_one_turn(name: str) -> Interval:
    """Tuned ReAct minus an adapter that answers in one turn ("react_closed_book", "react_one_retrieval"): the trained kinds, question by question."""
    ours, theirs = (mean_over_seeds(found, _by_place) for found in (runs(), records.read_all(name)))
    return mean_interval(paired_differences(ours, theirs), differences=True)


def after_refusal() -> Interval:
    """Exact match of the shipped adapter with one refused action minus undisturbed, question by question."""
    found = records.read("react_refused").results
    return mean_interval(paired_differences(correct_in(found["refused"]), correct_in(found["undisturbed"])), differences=True)


def undisturbed() -> Interval:
    """Exact match of the same questions without the refused action."""
    return mean_interval([row["correct"] for row in records.read("react_refused").results["undisturbed"]])


def by_wording(kinds: tuple[str, ...]) -> dict[str, Interval]:
    """Exact match on questions of `kinds` over pages of "trained" and of "own" sentences, and what is lost from one to the other, paired."""
    found = {name: [row for row in rows if row["kind"] in kinds] for name, rows in records.read("react_wordings").results.items()}
    lost = mean_interval(paired_differences(correct_in(found["trained"]), correct_in(found["own"])), differences=True)
    return {name: mean_interval([row["correct"] for row in rows]) for name, rows in found.items()} | {"lost": lost}


def right_in(found: Sequence[Record], which: str) -> Interval:
    """Exact match on a set of questions of `react_varied`, "questions" or "reworded"; a question's score is its mean over the runs."""
    return mean_interval(list(mean_over_seeds(found, lambda run: correct_in(run.results[which])).values()))


def elsewhere(found: Sequence[Record]) -> dict[str, Interval]:
    """Exact match in the worlds of another author: of "all" questions, of those whose answer is on the pages ("answered"), of the others ("not there").

    found: runs of `react_varied` or `react_elsewhere`; a question's score is its mean over them.
    """
    nothing = {(name, i) for name in pages.names() for i, question in enumerate(pages.load(name).questions) if question.answer == pages.NOT_ENOUGH}
    means = mean_over_seeds(found, _away)
    chosen = {"all": list(means), "answered": [key for key in means if key[:2] not in nothing], "not there": [key for key in means if key[:2] in nothing]}
    return {name: mean_interval([means[key] for key in keys]) for name, keys in chosen.items()}


def elsewhere_by_kind(found: Sequence[Record]) -> dict[str, Interval]:
    """The same by kind of question."""
    means = mean_over_seeds(found, _away)
    return {kind: mean_interval([mean for key, mean in means.items() if key[2] == kind]) for kind in dict.fromkeys(key[2] for key in means)}


def claims_elsewhere(found: Sequence[Record]) -> Interval:
    """Label accuracy on the claims about these worlds; a claim's score is its mean over the runs."""

    def marks(run: Record) -> dict[tuple[str, int], float]:
        return {(name, i): float(row["said"] == row["label"]) for name in pages.names() for i, row in enumerate(run.results[f"{name} claims"])}

    return mean_interval(list(mean_over_seeds(found, marks).values()))


def said_not_enough(found: Sequence[Record]) -> tuple[int, int]:
    """(how many of the wrong answers in these worlds are "not enough info", wrong answers), over all runs."""

    def wrong_in(run: Record) -> list[str]:
        return [row["answer"] for name in pages.names() for row in run.results[name] if not row["correct"]]

    wrong = [answer for run in found for answer in records.held(run, wrong_in)]
    return wrong.count(pages.NOT_ENOUGH), len(wrong)


def _away(run: Record) -> dict[tuple[str, int, str], float]:
    """(world, place in it, kind) → 1 or 0."""
    return {(name, i, row["kind"]): float(row["correct"]) for name in pages.names() for i, row in enumerate(run.results[name])}


def _by_place(run: Record) -> dict[tuple[str, int], float]:
    """(kind, place in its kind) → 1 or 0 on the trained kinds. The place, since some names were respelt between the records."""
    places: dict[str, int] = {}
    found = {}
    for row in run.results["questions"]:
        places[row["kind"]] = place = places.get(row["kind"], -1) + 1
        if row["kind"] in TRAINED_KINDS:
            found[row["kind"], place] = float(row["correct"])
    return found


def _over_chain_of_thought(ours: dict[tuple[str, str], float]) -> Interval:
    theirs = correct_in([row for row in records.read("react_baselines").results["answers"]["chain of thought"] if row["kind"] in TRAINED_KINDS])
    return mean_interval(paired_differences({item: ours[item] for item in theirs}, theirs), differences=True)


def fact_checking_scores() -> list[float]:
    """For every frozen claim the share of seeds whose label was right."""
    means = mean_over_seeds(runs(), lambda run: {(i, row["text"]): float(row["said"] == row["label"]) for i, row in enumerate(run.results["claims"])})
    return list(means.values())


def over_commonest_label(shuffles: int = 0) -> Interval:
    """Label accuracy over the frozen claims minus the commonest label's share, a claim's score averaged over the seeds.

    With `shuffles`, the true labels are handed to the claims at random that many times (seed 0) and a claim's score is its mean over these, too:
    what is left is what can be had without reading.
    """
    within("shuffles", shuffles, 0, 100_000)
    found = runs()
    labels = [row["label"] for row in found[0].results["claims"]]
    share = max(labels.count(label) for label in set(labels)) / len(labels)
    rng = random.Random(0)
    given = [rng.sample(labels, len(labels)) for _ in range(shuffles)] or [labels]
    scores = mean_over_seeds(
        found, lambda run: [sum(row["said"] == told[i] for told in given) / len(given) for i, row in enumerate(run.results["claims"])]
    )
    return mean_interval([score - share for score in scores], differences=True)
