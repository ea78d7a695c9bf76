"""What the recipes of this section measure: the gate fitted on development companies, every condition on held-out questions, a tuned reader.

A notebook runs the same functions live on fewer questions.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from llmsuite_lab.core.runs import Outcome
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.retrieval import experiments
from llmsuite_lab.retrieval.abstention import Gate, fit_gate
from llmsuite_lab.retrieval.embedding import Embedder
from llmsuite_lab.retrieval.pipeline import RAG
from llmsuite_lab.retrieval.prompting import zero_shot
from llmsuite_lab.retrieval.records import gate
from llmsuite_lab.retrieval.retriever import Retriever
from llmsuite_lab.world import handbook


def held_out() -> Outcome:
    """Fit the gate, measure everything; about five minutes on two free cores."""
    lm, embedder = LanguageModel.load(), Embedder.load()
    developed = develop(lm, embedder)
    settings = {"model": lm.name, "dtype": str(lm.model.dtype), "embedder": embedder.identity, "decoding": "greedy"}
    return Outcome(settings, {**developed, **measure(lm, embedder, gate(developed))})


def develop(lm: LanguageModel, embedder: Embedder, seeds: Sequence[int] = (0, 1)) -> dict:
    """Fit the gate on train-split companies: signals and truths of their one-passage and unanswerable questions, and the gate."""
    signals: list[tuple[float, ...]] = []
    answerable: list[bool] = []
    for seed in seeds:
        book = handbook.generate("train", seed)
        rows, truths = experiments.gate_signals(RAG(Retriever(book.passages, embedder), lm), book.of_kind("one", "unanswerable"))
        signals, answerable = [*signals, *rows], [*answerable, *truths]
    fitted = fit_gate(signals, answerable)
    return {
        "gate": asdict(fitted),
        "development": {"seeds": list(seeds), "signals": [list(map(float, row)) for row in signals], "answerable": answerable},
    }


def measure(
    lm: LanguageModel, embedder: Embedder, fitted: Gate, one: int = 120, two: int = 24, unanswerable: int = 60, attacked: int = 4
) -> dict:
    """Every condition on the held-out company, as plain data: truths per question, verdicts, signals, attacks."""
    book = handbook.load()
    retriever = Retriever(book.passages, embedder)
    asked, pairs, nothing = (experiments.every(book.of_kind(k), n) for k, n in (("one", one), ("two", two), ("unanswerable", unanswerable)))
    single, triple, gated = RAG(retriever, lm), RAG(retriever, lm, k=3), RAG(retriever, lm, gate=fitted)
    closed = experiments.closed_book(lm, [*asked, *nothing])
    answers = gated.answer([q.text for q in [*asked, *nothing]])
    drafts = experiments.judged("top-1", [*asked, *nothing], [_undeclined(a) for a in answers])
    behind = experiments.judged("top-1 with gate", [*asked, *nothing], answers)
    runs = {
        "closed book": closed.correct[: len(asked)],
        "top-1": drafts.correct[: len(asked)],
        "top-3": experiments.with_passages(triple, asked, "top-3").correct,
        "gold": experiments.with_passages(single, asked, "gold", experiments.gold_hits(book, asked)).correct,
        "truncated": experiments.truncated(lm, book, asked).correct,
    }
    twice = {
        "top-1": experiments.with_passages(single, pairs, "top-1").correct,
        "top-3": experiments.with_passages(triple, pairs, "top-3").correct,
        "gold": experiments.with_passages(single, pairs, "gold", experiments.gold_hits(book, pairs)).correct,
    }
    return {
        "questions": {"one": len(asked), "two": len(pairs), "unanswerable": len(nothing)},
        "notes": [q.note for q in asked],
        "exact": {"closed book": closed.exact[: len(asked)], "top-1": drafts.exact[: len(asked)]},
        "correct": runs,
        "correct_two": twice,
        "verdicts": {run.name: [o.verdict for o in run.outcomes] for run in (closed, drafts, behind)},
        "signals": [list(a.signals) for a in answers],
        "attacks": [asdict(row) for row in experiments.attack(single, book, experiments.every(asked, attacked))],
    }


def read_by(adapter: Path | str) -> dict:
    """A tuned reader (`retrieval.reader`) on all held-out questions with one and with three passages, no gate: plain data for its record."""
    lm, book = LanguageModel.load(adapter=adapter), handbook.load()
    retriever, asked = Retriever(book.passages, Embedder.load()), book.of_kind("one", "unanswerable")
    found: dict = {"answerable": [q.answer is not None for q in asked], "verdicts": {}, "exact": {}}
    for k in (1, 3):
        run = experiments.with_passages(RAG(retriever, lm, k=k, form=zero_shot), asked, f"top-{k}")
        found["verdicts"][run.name] = [o.verdict for o in run.outcomes]
        found["exact"][run.name] = run.exact
    return found


def _undeclined(answer):
    return replace(answer, declined=not answer.draft, text=answer.draft)
