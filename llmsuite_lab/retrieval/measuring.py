"""What the recipes of this section measure: the gate fitted on development companies, every condition on held-out questions, a tuned reader.

A notebook runs the same functions live on fewer questions.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from llmsuite_lab.core.metrics import Interval
from llmsuite_lab.core.runs import Outcome
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.retrieval import experiments
from llmsuite_lab.retrieval.abstention import Gate, fit_gate
from llmsuite_lab.retrieval.embedding import Embedder
from llmsuite_lab.retrieval.injection import PAYLOAD
from llmsuite_lab.retrieval.own_gate import adapted
from llmsuite_lab.retrieval.pipeline import RAG
from llmsuite_lab.retrieval.prompting import few_shot, few_shot_several, zero_shot
from llmsuite_lab.retrieval.records import gate
from llmsuite_lab.retrieval.retriever import Retriever
from llmsuite_lab.world import handbook

ATTACKED = 24  # questions whose passage is planted with every order


def on(book: handbook.Handbook, lm: LanguageModel, embedder: Embedder | None = None, tuned: LanguageModel | None = None) -> dict:
    """Every condition on a book of one's own (`own_questions.load`), as `held_out` has it for the course's; the gate has a threshold for this corpus.

    `tuned`: the trained reader (None: the shipped one). `figures.follow` draws what comes back. Raises ValueError for a book of fewer than three passages or
    without a question of either sort.
    """
    if len(book.passages) < 3 or not book.of_kind("one") or not book.of_kind("unanswerable"):
        raise ValueError("a book needs three passages, a question that it answers and one that it does not (answer null)")
    embedder = Embedder.load() if embedder is None else embedder
    rag = RAG(Retriever(book.passages, embedder), lm)
    fitted = adapted(gate(), rag)
    asked = book.of_kind("one", "unanswerable")
    signals, truths = experiments.gate_signals(rag, asked)
    development = {"signals": [list(map(float, row)) for row in signals], "answerable": truths}
    measured = measure(lm, embedder, fitted, len(asked), 24, len(asked), book=book)
    planted = experiments.attack(rag, book, experiments.every(book.of_kind("one"), ATTACKED))
    read = _read(LanguageModel.load(adapter="reader") if tuned is None else tuned, rag.retriever, asked)
    return {"gate": asdict(fitted), "development": development, **measured, "attacked": planted, "quality": _quality(rag.retriever, book), "read": read}


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
    lm: LanguageModel,
    embedder: Embedder,
    fitted: Gate,
    one: int = 120,
    two: int = 24,
    unanswerable: int = 60,
    book: handbook.Handbook | None = None,
) -> dict:
    """Every condition on the held-out company, or another `book`, as plain data: truths per question, verdicts, signals."""
    book = book or handbook.load()
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
    }


def attacks(questions: int = ATTACKED) -> Outcome:
    """The untuned reader on the same gold passages clean and with every order of `injection.ATTACKS` planted, under each defence."""
    lm, book = LanguageModel.load(), handbook.load()
    rag, asked = RAG(Retriever(book.passages, Embedder.load()), lm), experiments.every(book.of_kind("one"), questions)
    settings = {"model": lm.name, "questions": [q.text for q in asked], "payload": PAYLOAD, "decoding": "greedy"}
    return Outcome(settings, [asdict(row) for row in experiments.attack(rag, book, asked)])


def formats(questions: int = 120, passages: tuple[int, ...] = (1, 3), budget: int = 2048) -> Outcome:
    """The untuned reader with the gold passage among 1 and among 3, all whole, in two forms of prompt: exact match of every question."""
    lm, book = LanguageModel.load(), handbook.load()
    retriever, asked = Retriever(book.passages, Embedder.load()), experiments.every(book.of_kind("one"), questions)
    found: dict[str, dict[str, list[bool]]] = {}
    for name, form in (("one", few_shot), ("three", few_shot_several)):  # passages in each worked example
        found[name] = {}
        for k in passages:
            hits = experiments.around_gold(retriever, book, asked, k)
            run = experiments.with_passages(RAG(retriever, lm, budget=budget, form=form), asked, f"{k} passages", hits)
            found[name][str(k)] = run.exact
    return Outcome({"model": lm.name, "questions": len(asked), "passages": list(passages), "budget": budget, "decoding": "greedy"}, found)


def read_by(adapter: Path | str) -> dict:
    """A tuned reader (`retrieval.reader`) on all held-out questions with one and with three passages, no gate: plain data for its record."""
    book = handbook.load()
    return _read(LanguageModel.load(adapter=adapter), Retriever(book.passages, Embedder.load()), book.of_kind("one", "unanswerable"))


def _read(lm: LanguageModel, retriever: Retriever, asked: Sequence[handbook.Question]) -> dict:
    found: dict = {"answerable": [q.answer is not None for q in asked], "verdicts": {}, "exact": {}}
    for k in (1, 3):
        run = experiments.with_passages(RAG(retriever, lm, k=k, form=zero_shot), asked, f"top-{k}")
        found["verdicts"][run.name] = [o.verdict for o in run.outcomes]
        found["exact"][run.name] = run.exact
    return found


def _quality(retriever: Retriever, book: handbook.Handbook) -> dict[str, dict[str, Interval]]:
    ways = {"bm25": {"mode": "bm25"}, "dense": {"mode": "dense"}, "both, scores": {"fusion": "convex"}}
    return {name: experiments.retrieval_quality(retriever, book.questions, **settings) for name, settings in ways.items()}


def _undeclined(answer):
    return replace(answer, declined=not answer.draft, text=answer.draft)
