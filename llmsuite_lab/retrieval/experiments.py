"""The measurements of this section, each as one function that a notebook calls with fewer questions and `record` with all of them.

closed book        the question alone                        gold          the passages that hold the answer
top-k              the k best of the retriever               truncated     the gold passage, cut before its answer
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from llmsuite_lab.core.errors import whole
from llmsuite_lab.core.metrics import Interval, exact_match, mean_interval
from llmsuite_lab.core.text import one_line, place
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.retrieval.evaluation import Outcome, judge, recall_at_k, reciprocal_ranks
from llmsuite_lab.retrieval.injection import ATTACKS, filtered, obeyed, plant
from llmsuite_lab.retrieval.pipeline import ANSWER_TOKENS, RAG, Answer, shown_text
from llmsuite_lab.retrieval.prompting import STOP, assemble, delimited, few_shot
from llmsuite_lab.retrieval.retriever import Hit, Retriever
from llmsuite_lab.world.handbook import Handbook, Question


@dataclass(frozen=True)
class Run:
    """One condition: what was answered to each question, and how it was judged."""

    name: str
    questions: tuple[Question, ...]
    texts: tuple[str, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def correct(self) -> list[bool]:
        """Per question, whether the answer was right."""
        return [o.verdict == "correct" for o in self.outcomes]

    @property
    def exact(self) -> list[bool]:
        """Per question, whether the answer is the true value and nothing else: stricter than `correct`, which allows a sentence around it."""
        return [q.answer is not None and exact_match(text, q.answer) for text, q in zip(self.texts, self.questions)]

    @property
    def wrong(self) -> list[bool]:
        """Per question, whether something untrue was stated."""
        return [o.verdict == "wrong" for o in self.outcomes]

    @property
    def accuracy(self) -> Interval:
        """Share of right answers with its interval."""
        return mean_interval([float(c) for c in self.correct])


def every(questions: Sequence[Question], count: int) -> list[Question]:
    """`count` questions spread evenly over the list, so that no kind is left out; all of them when there are fewer."""
    step = max(1.0, len(questions) / count)
    return [questions[int(i * step)] for i in range(min(count, len(questions)))]


def closed_book(lm: LanguageModel, questions: Sequence[Question]) -> Run:
    """Ask without any passage."""
    drafts = lm.complete([few_shot(q.text, []) for q in questions], ANSWER_TOKENS, stop=[STOP])
    texts = tuple(d.text.strip() for d in drafts)
    outcomes = tuple(judge(text, q.answer, q.text, []) for text, q in zip(texts, questions))
    return Run("closed book", tuple(questions), texts, outcomes)


def with_passages(rag: RAG, questions: Sequence[Question], name: str, hits: Sequence[Sequence[Hit]] | None = None) -> Run:
    """Ask with what the retriever finds, or with the given hits."""
    return judged(name, questions, rag.answer([q.text for q in questions], hits=hits))


def judged(name: str, questions: Sequence[Question], answers: Sequence[Answer]) -> Run:
    """The run of answers that were already given."""
    outcomes = tuple(judge(a.draft, q.answer, q.text, a.texts, a.declined) for a, q in zip(answers, questions))
    return Run(name, tuple(questions), tuple(a.text for a in answers), outcomes)


def gold_hits(book: Handbook, questions: Sequence[Question]) -> list[list[Hit]]:
    """For each question exactly the passages that answer it. Raises ValueError for a question about passages that the book does not hold."""
    by_id = {p.id: p for p in book.passages}
    if unknown := sorted({i for q in questions for i in q.gold if i not in by_id}):
        raise ValueError(f"not in this handbook: {', '.join(unknown[:5])}; give questions that were asked about it")
    return [[Hit(by_id[i], 1.0, 1.0) for i in q.gold] for q in questions]


def truncated(lm: LanguageModel, book: Handbook, questions: Sequence[Question]) -> Run:
    """The gold passage under a budget that ends just before the answer: what a window filled by something else does to it."""
    by_id = {p.id: p for p in book.passages}
    prompts = []
    for question in questions:
        passage = by_id[question.gold[0]]
        shown = unicodedata.normalize("NFC", shown_text(passage))  # an own document may hold its accents apart
        start = len(shown) - len(unicodedata.normalize("NFC", one_line(passage.text)))
        before = shown[: max(place(question.answer, shown, start), start)].strip()
        budget = lm.count_tokens(few_shot(question.text, [before])) + ANSWER_TOKENS
        prompts.append(assemble(question.text, [(passage.id, shown)], lm.count_tokens, budget, answer_tokens=ANSWER_TOKENS, cut=True))
    texts = [c.text.strip() for c in lm.complete([p.text for p in prompts], ANSWER_TOKENS, stop=[STOP])]
    outcomes = tuple(judge(text, q.answer, q.text, p.texts) for text, q, p in zip(texts, questions, prompts))
    return Run("truncated", tuple(questions), tuple(texts), outcomes)


def retrieval_quality(retriever: Retriever, questions: Sequence[Question], **settings) -> dict[str, Interval]:
    """recall@1, recall@3, recall@10 and MRR over the questions with one gold passage; settings as for `Retriever.retrieve`."""
    asked = [q for q in questions if q.kind == "one"]
    rankings = [[h.passage.id for h in hits] for hits in retriever.retrieve([q.text for q in asked], min(10, len(retriever.passages)), **settings)]
    gold = [q.gold for q in asked]
    found = {f"recall@{k}": mean_interval(recall_at_k(rankings, gold, k)) for k in (1, 3, 10)}
    return found | {"MRR": mean_interval(reciprocal_ranks(rankings, gold))}


def gate_signals(rag: RAG, questions: Sequence[Question]) -> tuple[list[tuple[float, ...]], list[bool]]:
    """Signals of each question, and whether it has an answer: what a gate is fitted on. The language model is not asked."""
    texts = [q.text for q in questions]
    return rag.signals(texts, rag.retriever.retrieve(texts, 2)), [q.kind != "unanswerable" for q in questions]


def around_gold(retriever: Retriever, book: Handbook, questions: Sequence[Question], k: int) -> list[list[Hit]]:
    """For each question its gold passage and the k − 1 best others, in the order of the ranking: the answer is there, however many passages are.

    Raises ValueError for a k below 1, or not below the number of passages.
    """
    whole("k", k, 1, len(retriever.passages) - 1)
    found = retriever.retrieve([q.text for q in questions], k + 1)
    hits = []
    for question, ranked, gold in zip(questions, found, gold_hits(book, questions), strict=True):
        kept = [hit for hit in ranked if hit.passage.id != question.gold[0]][: k - 1]
        place = next((i for i, hit in enumerate(ranked) if hit.passage.id == question.gold[0]), len(kept))
        hits.append([*kept[:place], gold[0], *kept[place:]])
    return hits


DEFENCES = ("none", "delimiting", "filtering", "both")


@dataclass(frozen=True)
class Attacked:
    """Answers to the same questions under one `defence`, the gold passage clean (`attack` is "") or with that order planted in it: per question,
    whether it `obeyed` (said the payload) and whether it was still `correct`."""

    defence: str
    attack: str
    obeyed: tuple[bool, ...]
    correct: tuple[bool, ...]


def attack(rag: RAG, book: Handbook, questions: Sequence[Question], defences: Sequence[str] = DEFENCES) -> list[Attacked]:
    """Ask every question with its gold passage unattacked and with each attack planted in it, once per defence. ValueError: unknown defence."""
    if unknown := set(defences) - set(DEFENCES):
        raise ValueError(f"defences {sorted(unknown)}: the known ones are {', '.join(DEFENCES)}")
    gold, texts = gold_hits(book, questions), [q.text for q in questions]
    rows = []
    for defence in defences:
        asked = RAG(rag.retriever, rag.lm, k=1, budget=rag.budget, form=delimited if defence in ("delimiting", "both") else few_shot)
        clean = filtered if defence in ("filtering", "both") else list
        for order in ("", *ATTACKS):
            answers = asked.answer(texts, hits=[clean(plant(hits, order) if order else hits) for hits in gold])
            right = tuple(judge(a.draft, q.answer, q.text, []).verdict == "correct" for a, q in zip(answers, questions, strict=True))
            rows.append(Attacked(defence, order, tuple(obeyed(a.draft) for a in answers), right))
    return rows


def by_defence(rows: Sequence[Attacked]) -> dict[str, dict[str, Interval]]:
    """Per defence "right, unattacked", "right, attacked" and "obeyed": a question counts once, with its mean over the attacks."""

    def over(chosen: Sequence[Attacked], field: str) -> Interval:
        return mean_interval([sum(marks) / len(marks) for marks in zip(*(getattr(row, field) for row in chosen), strict=True)])

    found = {}
    for defence in dict.fromkeys(row.defence for row in rows):
        clean, planted = ([row for row in rows if row.defence == defence and bool(row.attack) == attacked] for attacked in (False, True))
        found[defence] = {"right, unattacked": over(clean, "correct"), "right, attacked": over(planted, "correct"), "obeyed": over(planted, "obeyed")}
    return found
