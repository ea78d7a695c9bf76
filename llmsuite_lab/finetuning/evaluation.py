"""How the answers of the five tasks are scored, item by item.

    summary     F1 of the facts, 2·recall·precision / (recall + precision) (`world.support_desk.facts_in`), beside ROUGE-1 and ROUGE-L
    intent, sentiment     1[answer = class] after `core.values.normalise_answer`; an answer that is no class at all is counted as not parsed
    entities    F1 over (kind, value) pairs; what does not parse counts as said and wrong
    answer      exact match

Nothing is right for containing the truth: a model that lists every class would be always right. Rows of DialogSum and SAMSum have no known facts: their
score is ROUGE-L, the best over the human summaries. Take means with `core.metrics.mean_interval`. In production: `evaluate`, `seqeval`.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from llmsuite_lab.core.errors import unknown
from llmsuite_lab.core.metrics import exact_match, rouge
from llmsuite_lab.core.values import normalise_answer
from llmsuite_lab.finetuning.entities import read_entities
from llmsuite_lab.finetuning.templates import TASKS, completion_of, labels
from llmsuite_lab.world.support_desk import facts_in


def score(task: str, prediction: str, dialogue: Any) -> dict[str, float]:
    """The parts of one answer's score, each in [0, 1]; "score" is the task's own. Errors as `scores`."""
    return scores(task, [prediction], [dialogue])[0]


def scores(task: str, predictions: Sequence[str], dialogues: Sequence[Any]) -> list[dict[str, float]]:
    """`score` of each answer, with one call of ROUGE for all.

    summary: score, rouge1, rougeL and, where the facts are known, recall, precision, f1 and `states`: 0 for a summary that states no fact at all. Its
    precision is undefined and stands as 0: leave it out of a mean of precisions. intent, sentiment: score and parsed. entities: score, recall,
    precision, and parsed, the share of its pieces that parse. answer: score.
    Raises ValueError for an unknown task, lists of different length, and a dialogue that lacks what the task asks.
    """
    if task not in TASKS:
        raise ValueError(unknown("task", task, list(TASKS)))
    if isinstance(predictions, str) or len(predictions) != len(dialogues):
        raise ValueError(f"{len(predictions)} predictions and {len(dialogues)} dialogues: give a list of each, of the same length")
    for prediction in predictions:
        if not isinstance(prediction, str):
            raise TypeError(f"a prediction is {type(prediction).__name__} ({prediction!r:.60}), but it must be text")
    if task == "summary":
        return _summaries(predictions, dialogues)
    one = {"entities": _entities, "answer": _answer}.get(task, lambda said, dialogue: _class(task, said, dialogue))
    return [one(said, dialogue) for said, dialogue in zip(predictions, dialogues, strict=True)]


def part_of(row: dict[str, Any], part: str) -> float | None:
    """A part of one answer's score, for a mean. None for the precision of a summary that states no fact: it is undefined, and counts in no mean."""
    return None if part == "precision" and row.get("states") == 0 else float(row[part])


def silent(rows: Sequence[dict[str, Any]]) -> int:
    """How many of these answers are summaries that state no fact at all: what a mean of precisions has left out, and a reader should be told."""
    return sum(row.get("states") == 0 for row in rows)


def f1(recall: float, precision: float) -> float:
    """Harmonic mean of the two; 0 when both are."""
    return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


def _summaries(predictions: Sequence[str], dialogues: Sequence[Any]) -> list[dict[str, float]]:
    references = [getattr(d, "summaries", None) or [completion_of(d, "summary")] for d in dialogues]
    found = rouge(predictions, references) if dialogues else {}
    rows = []
    for i, (said, dialogue) in enumerate(zip(predictions, dialogues, strict=True)):
        row = {kind: float(found[kind][i]) for kind in ("rouge1", "rougeL")}
        if getattr(dialogue, "facts", None) is None:
            rows.append({"score": row["rougeL"]} | row)
            continue
        facts = facts_in(said, dialogue)
        precision = facts.precision or 0.0
        both = f1(facts.recall, precision)
        rows.append({"score": both, "f1": both, "recall": facts.recall, "precision": precision, "states": float(facts.precision is not None)} | row)
    return rows


def _class(task: str, said: str, dialogue: Any) -> dict[str, float]:
    answer = normalise_answer(said)
    return {"score": float(exact_match(said, completion_of(dialogue, task))), "parsed": float(answer in map(normalise_answer, labels(task)))}


def _entities(said: str, dialogue: Any) -> dict[str, float]:
    wanted, got = read_entities(completion_of(dialogue, "entities")), read_entities(said)
    true, told = _counted(wanted.pairs), _counted(got.pairs)
    right, pieces = (true & told).total(), told.total() + got.unparsed
    recall = right / true.total() if true else float(not pieces)
    precision = right / pieces if pieces else float(not true)
    return {"score": f1(recall, precision), "recall": recall, "precision": precision, "parsed": told.total() / pieces if pieces else 1.0}


def _counted(pairs: Sequence[tuple[str, str]]) -> Counter:
    return Counter((normalise_answer(kind), normalise_answer(value)) for kind, value in pairs)


def _answer(said: str, dialogue: Any) -> dict[str, float]:
    return {"score": float(exact_match(said, completion_of(dialogue, "answer")))}
