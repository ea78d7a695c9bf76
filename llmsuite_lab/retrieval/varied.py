"""A reader trained on corpora of many forms, a gate fitted on them, and what both do at home and on corpora of another author.

    training    the course's handbooks, drawn corpora (`world.varied.corpora`), pages of drawn encyclopedias (`world.varied.pages`)
    measured    home        the held-out handbook, as `measuring.read_by`
                minutes …   corpora of another author (`world.elsewhere`): the reader's verdicts, and whom the gate would decline

Prompt, answer and LoRA are those of `reader`. The gate's weights and threshold come from corpora with seeds of their own, none of them trained on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from llmsuite_lab.core.runs import Outcome
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.lm.lora import train_lora
from llmsuite_lab.lm.training import History
from llmsuite_lab.retrieval import experiments, measuring, records
from llmsuite_lab.retrieval.abstention import Gate, fit_gate
from llmsuite_lab.retrieval.embedding import Embedder
from llmsuite_lab.retrieval.pipeline import NOT_STATED, RAG, shown_text
from llmsuite_lab.retrieval.prompting import STOP, zero_shot
from llmsuite_lab.retrieval.reader import SHOWN, Settings, examples
from llmsuite_lab.retrieval.retriever import Retriever
from llmsuite_lab.world import handbook
from llmsuite_lab.world.elsewhere import corpora as elsewhere
from llmsuite_lab.world.handbook import Handbook, Passage, Question
from llmsuite_lab.world.varied import corpora, pages

DEVELOPED = (9_000, 9_001, 9_002, 9_003, 9_004, 9_005)  # seeds of the corpora that the gate is fitted on
_ASKED_OF_PAGES = {"one": 24, "not stated": 8, "foreign": 6, "no page": 4}


@dataclass(frozen=True)
class VariedSettings(Settings):
    """What a run is made of (`reader.Settings`; `companies` are the handbooks among it), how many `corpora` and `encyclopedias`."""

    steps: int = 450
    companies: int = 4
    corpora: int = 16
    encyclopedias: int = 8


def books(seed: int, settings: VariedSettings) -> Iterator[Handbook]:
    """The corpora that a run asks about, one after the other."""
    for number in range(settings.companies):
        yield handbook.generate("train", 100 * (seed + 1) + number, one=110, unanswerable=50)
    for number in range(settings.corpora):
        yield corpora.generate(100 * (seed + 1) + number)
    for number in range(settings.encyclopedias):
        yield encyclopedia(100 * (seed + 1) + number)


def encyclopedia(seed: int) -> Handbook:
    """The pages of a drawn encyclopedia as passages, with questions about one page each."""
    world, rng = pages.World(seed), Random(f"encyclopedia {seed}")
    told = [(page.title, " ".join((page.opening, *page.details))) for page in world.almanac.pages.values()]
    passages = tuple(Passage(f"page-{seed}-{i}", title, title, text, "") for i, (title, text) in enumerate(told))
    ids = {p.title: p.id for p in passages}
    asked: dict[str, Question] = {}
    for kind, count in _ASKED_OF_PAGES.items():
        for number in range(count):
            item = world.draw(kind, rng)
            subject, known = item.steps[-1].subject, kind == "one"
            gold, note = ((ids[subject],), "") if known else ((), "not stated" if item.page_exists else "unknown subject")
            answer = item.item.answer if known else None
            asked[item.item.text] = Question(f"{seed}-{kind}-{number}", item.item.text, answer, "one" if known else "unanswerable", gold, kind, note)
    return Handbook(f"encyclopedia {seed}", "train", seed, passages, tuple(asked.values()))


def pairs(embedder: Embedder, count: int, seed: int, settings: VariedSettings | None = None) -> list[tuple[str, str]]:
    """`count` (prompt, completion) pairs in random order. Raises ValueError when the corpora give fewer."""
    settings, rng = settings or VariedSettings(), Random(f"varied reader {seed}")
    found = []
    for book in books(seed, settings):
        asked = book.of_kind("one", "unanswerable")
        hits = Retriever(book.passages, embedder).retrieve([q.text for q in asked], max(SHOWN))
        for question, ranked in zip(asked, hits, strict=True):
            shown = ranked[: rng.choice(SHOWN)]
            known = bool(set(question.gold) & {hit.passage.id for hit in shown})
            prompt = zero_shot(question.text, [shown_text(hit.passage) for hit in shown])
            found.append((prompt, f" {question.answer if known else NOT_STATED}{STOP}"))
    if count > len(found):
        raise ValueError(f"{count} examples wanted, but these corpora give {len(found)}: take more of them")
    return rng.sample(found, count)


def train(seed: int = 0, settings: VariedSettings | None = None, **options: Any) -> tuple[Any, History, dict[str, Any]]:
    """Train one reader: (the peft model, the history, the settings as data). `options` as for `lm.lora.train_lora`, errors too."""
    settings = settings or VariedSettings()
    chosen = pairs(Embedder.load(), settings.steps * settings.batch_size, seed, settings)
    return train_lora(settings, lambda tokenizer: examples(tokenizer, chosen), seed, **options)


def gate(embedder: Embedder, lm: LanguageModel, seeds: Sequence[int] = DEVELOPED) -> Gate:
    """A gate fitted on drawn corpora and encyclopedias. Raises ValueError without seeds."""
    rows: list[tuple[float, ...]] = []
    truths: list[bool] = []
    for seed in seeds:
        for book in (corpora.generate(seed), encyclopedia(seed)):
            signals, answerable = experiments.gate_signals(RAG(Retriever(book.passages, embedder), lm), book.of_kind("one", "unanswerable"))
            rows, truths = [*rows, *signals], [*truths, *answerable]
    return fit_gate(rows, truths)


def read_by(adapter: Path | str) -> dict[str, Any]:
    """A tuned reader and the gate, at home and on corpora of another author: plain data for a record."""
    lm, embedder = LanguageModel.load(adapter=adapter), Embedder.load()
    fitted = gate(embedder, lm)
    found = {name: away(lm, embedder, fitted, elsewhere.load(name)) for name in elsewhere.names()}
    return {"home": measuring.read_by(adapter), "gate": asdict(fitted)} | found


def shipped(adapter: Path | str = "reader") -> Outcome:
    """The first reader and the first gate on corpora of another author: what the varied ones are compared with."""
    lm, embedder, fitted = LanguageModel.load(adapter=adapter), Embedder.load(), records.gate()
    found = {name: away(lm, embedder, fitted, elsewhere.load(name)) for name in elsewhere.names()}
    return Outcome({"adapter": str(adapter), "gate": asdict(fitted)}, found)


def away(lm: LanguageModel, embedder: Embedder, fitted: Gate, book: Handbook) -> dict[str, Any]:
    """The reader's verdicts on one corpus with one and with three passages, and per question whether the gate declines."""
    retriever, asked = Retriever(book.passages, embedder), book.of_kind("one", "unanswerable")
    found: dict[str, Any] = {"answerable": [q.answer is not None for q in asked], "verdicts": {}, "exact": {}, "texts": {}}
    for k in (1, 3):
        run = experiments.with_passages(RAG(retriever, lm, k=k, form=zero_shot), asked, f"top-{k}")
        found["verdicts"][run.name] = [o.verdict for o in run.outcomes]
        found["exact"][run.name] = run.exact
        found["texts"][run.name] = list(run.texts)
    signals, _ = experiments.gate_signals(RAG(retriever, lm), asked)
    return found | {"gate declines": fitted.declines(signals), "signals": [list(map(float, row)) for row in signals]}
