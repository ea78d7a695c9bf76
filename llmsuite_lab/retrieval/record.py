"""The section's recorded run: the gate fitted on a development company, and every condition on held-out questions, with provenance.

A notebook runs the same functions live on fewer questions; the slides draw these figures. `record()` makes the file again.
"""

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import write_json
from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.core.paths import data_dir
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.retrieval import experiments
from llmsuite_lab.retrieval.abstention import Gate, fit_gate
from llmsuite_lab.retrieval.embedding import Embedder
from llmsuite_lab.retrieval.pipeline import RAG
from llmsuite_lab.retrieval.prompting import zero_shot
from llmsuite_lab.retrieval.retriever import Retriever
from llmsuite_lab.world import handbook


def path() -> Path:
    """Where the record stands."""
    return data_dir() / "recorded" / "retrieval.json"


def load() -> dict:
    """The recorded run as plain data. Raises LabError when it is missing or broken."""
    try:
        return json.loads(path().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LabError(
            f"{path()} cannot be read ({error}). It belongs to the repository: restore it, or make it with {__name__}.record()."
        ) from None


def gate(found: dict | None = None) -> Gate:
    """The shipped gate: weights and threshold chosen on the development company. Raises LabError as `load`."""
    row = (found or load())["gate"]
    return Gate(tuple(row["names"]), tuple(row["mean"]), tuple(row["scale"]), tuple(row["weights"]), row["threshold"])


def interval(row: dict) -> Interval:
    """A recorded interval."""
    return Interval(**row)


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


def record(target: Path | None = None) -> Path:
    """Fit, measure and write everything; about five minutes on two free cores."""
    start = time.perf_counter()
    lm, embedder = LanguageModel.load(), Embedder.load()
    developed = develop(lm, embedder)
    measured = measure(lm, embedder, gate(developed))
    about = {
        "command": "python -c 'from llmsuite_lab.retrieval import record; record.record()'",
        "model": lm.name,
        "dtype": str(lm.model.dtype),
        "embedder": embedder.identity,
        "decoding": "greedy",
        "machine": f"{platform.machine()}, {platform.system()}",
        "date": time.strftime("%Y-%m-%d"),
        "wall_s": round(time.perf_counter() - start),
    }
    target = target or path()
    write_json(target, {"about": about, **developed, **measured})
    return target


def reader_results(adapter: Path | str) -> dict:
    """A tuned reader (`retrieval.reader`) on all held-out questions with one and with three passages, no gate: plain data for its record."""
    lm, book = LanguageModel.load(adapter=adapter), handbook.load()
    retriever, asked = Retriever(book.passages, Embedder.load()), book.of_kind("one", "unanswerable")
    found: dict = {"answerable": [q.answer is not None for q in asked], "verdicts": {}, "exact": {}}
    for k in (1, 3):
        run = experiments.with_passages(RAG(retriever, lm, k=k, form=zero_shot), asked, f"top-{k}")
        found["verdicts"][run.name] = [o.verdict for o in run.outcomes]
        found["exact"][run.name] = run.exact
    return found


def readers() -> list[dict]:
    """The recorded training runs of the reader, by seed. Raises LabError when there is none."""
    files = sorted((data_dir() / "runs").glob("reader_seed*.json"))
    if not files:
        raise LabError("no recorded run of the reader stands in data/runs: restore the folder, or make one with `llmsuite train reader`")
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def reader_shares(found: Sequence[dict], run: str = "top-1") -> dict[str, Interval]:
    """Share of answerable questions right and refused, of unanswerable ones declined: a question's score is its mean over the seeds."""
    answerable = found[0]["results"]["answerable"]

    def share(verdict: str, known: bool) -> Interval:
        rows = zip(*(made["results"]["verdicts"][run] for made in found), strict=True)
        return mean_interval([row.count(verdict) / len(row) for row, has in zip(rows, answerable, strict=True) if has == known])

    return {"right": share("correct", True), "refused": share("declined", True), "declined": share("declined", False)}


def accuracies(correct: dict[str, Sequence[bool]]) -> dict[str, Interval]:
    """Share of right answers per condition, with intervals."""
    return {name: mean_interval([float(c) for c in values]) for name, values in correct.items()}


def declined_shares(found: dict, run: str = "top-1 with gate") -> tuple[Interval, Interval]:
    """(share of unanswerable questions declined, share of answerable ones declined) of a recorded run."""
    verdicts, answerable = found["verdicts"][run], found["questions"]["one"]
    declined = [float(v == "declined") for v in verdicts]
    return mean_interval(declined[answerable:]), mean_interval(declined[:answerable])


def _undeclined(answer):
    from dataclasses import replace

    return replace(answer, declined=not answer.draft, text=answer.draft)
