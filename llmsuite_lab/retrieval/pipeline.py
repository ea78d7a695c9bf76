"""The pipeline: question → passages → prompt → answer with citations, or "I don't know".

    hits = retrieve(q, k)      prompt = assemble(q, hits, budget)      draft = LM(prompt)      decline ⇔ no passage in the prompt, or gate(signals(q, hits)) < τ

An answer needs grounds: where no passage was found, or none fits the budget, the model is not asked. All questions go through each stage
together: one batch for the embedder, one for the model. Paper: section 2.1; Lewis et al. 2020.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from llmsuite_lab.core.text import one_line
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.retrieval.abstention import SIGNALS, Coverage, Gate
from llmsuite_lab.retrieval.chunking import by_sentences
from llmsuite_lab.retrieval.evaluation import grounded, says
from llmsuite_lab.retrieval.foreign import ForeignRetriever
from llmsuite_lab.retrieval.prompting import STOP, Prompt, assemble, few_shot
from llmsuite_lab.retrieval.retriever import Hit, PassageLike, Retriever, indexed_text

I_DO_NOT_KNOW = "I don't know: the documents do not say."
NOT_STATED = "not stated"  # what a tuned reader writes when its passages do not hold the answer
ANSWER_TOKENS = 24
NOTHING_FOUND = "no passage was found"
NOTHING_FITS = "no passage fits the budget"
EMPTY_DRAFT = "the model wrote nothing"
READER_DECLINED = "the reader found no answer in the passages"
UNSURE = "the gate's confidence is below its threshold"


@dataclass(frozen=True)
class Answer:
    """One answer: `text` is what the user reads, `draft` what the model wrote ("" where it was not asked); `cited` are the ids of the passages it rests on.

    `reason` says why it was declined ("" when it was not): one of the five above. `signals` are in the order of `abstention.SIGNALS`; `confidence`
    is None without a gate.
    """

    question: str
    text: str
    draft: str
    declined: bool
    cited: tuple[str, ...]
    prompt: Prompt
    hits: tuple[Hit, ...]
    signals: tuple[float, ...] = ()
    confidence: float | None = None
    reason: str = ""

    @property
    def texts(self) -> list[str]:
        """The passages that were in the prompt."""
        return [h.passage.text for h in self.hits if h.passage.id in self.prompt.used]


class RAG:
    """A retriever, a language model and, if wanted, a gate that declines. `budget` is in tokens, prompt and answer together.

    Without a passage in the prompt the answer is declined and the model not asked; an empty draft and a draft that says `NOT_STATED`, which a
    tuned reader learns to write, are declined too. `unknown` is what is said then. A LangChain retriever is taken as it is (`foreign`). Raises
    ValueError for k outside 1…number of passages.
    """

    def __init__(
        self,
        retriever: Retriever | Any,
        lm: LanguageModel,
        *,
        k: int = 1,
        budget: int = 1024,
        gate: Gate | None = None,
        form: Callable[[str, Sequence[str]], str] = few_shot,
        unknown: str = I_DO_NOT_KNOW,
    ):
        if not hasattr(retriever, "retrieve"):
            retriever = ForeignRetriever(retriever)
        foreign = isinstance(retriever, ForeignRetriever)
        if lm is not None and not callable(getattr(lm, "complete", None)):  # None: `signals` alone are asked for
            raise TypeError(f"lm is a {type(lm).__name__}, but a language model is needed: LanguageModel.load(…)")
        if not isinstance(unknown, str):
            raise TypeError(f"unknown={unknown!r}, but it is what is said where nothing fits: a text")
        if isinstance(k, bool) or not isinstance(k, Integral):
            raise TypeError(f"k={k!r}, but it is how many passages the model is shown: a whole number")
        if k < 1 or not (foreign or k <= len(retriever.passages)):
            raise ValueError(f"k={k} but there are {len(retriever.passages)} passages; k must lie between 1 and that")
        if gate is not None and foreign and retriever.embedder is None:
            raise ValueError("a gate looks at cosines: give the retriever an embedder, ForeignRetriever(retriever, Embedder.load())")
        self.retriever, self.lm, self.k, self.budget, self.gate, self.form, self.unknown = retriever, lm, k, budget, gate, form, unknown
        self._covered: tuple[Any, Coverage | None] = (None, None)

    @property
    def wide(self) -> int:
        """How many passages are looked for: the gate wants to know how far behind the second is."""
        wanted = max(self.k, 2)
        return wanted if isinstance(self.retriever, ForeignRetriever) else min(wanted, len(self.retriever.passages))

    @property
    def coverage(self) -> Coverage | None:
        """How rare a word is among the retriever's passages as they are now; None for a retriever that does not show them."""
        passages = self.retriever.passages
        if not isinstance(self.retriever, ForeignRetriever) and self._covered[0] is not passages:  # an update puts others in their place
            self._covered = (passages, Coverage([indexed_text(p) for p in passages.values()]))
        return self._covered[1]

    def answer(self, questions: Sequence[str], *, hits: Sequence[Sequence[Hit]] | None = None, progress: bool = False) -> list[Answer]:
        """Answer each question from its passages (`hits`, or what the retriever finds), in order.

        Raises ValueError for an empty question and when a question alone exceeds the budget, for another number of hit lists than of questions, or for
        a passage given twice; TypeError for a bare string.
        """
        _check_questions(questions)
        if hits is not None and len(hits) != len(questions):
            raise ValueError(
                f"{len(hits)} lists of hits for {len(questions)} questions: give one list a question, empty where there is nothing"
            )
        if hits is None:
            found = self.retriever.retrieve(questions, self.wide)
            signals = self.signals(questions, found) if self.gate else [()] * len(questions)
            hits = [row[: self.k] for row in found]
        else:
            signals = self.signals(questions, hits) if self.gate else [()] * len(questions)
        prompts = [self._prompt(question, found) for question, found in zip(questions, hits)]
        grounds = [p.text for p in prompts if p.used]
        written = iter(self.lm.complete(grounds, ANSWER_TOKENS, stop=[STOP], progress=progress) if grounds else ())
        drafts = [next(written).text.strip() if p.used else "" for p in prompts]
        return [self._answer(*row) for row in zip(questions, map(tuple, hits), prompts, drafts, signals, self._confidence(signals))]

    def stream(self, question: str) -> Generator[str, None, Answer]:
        """Pieces of the answer to one question as they are written; joined they are the answer's text, and the generator returns the Answer.

        What is declined before the model is asked comes as one piece. Raises ValueError as `answer`.
        """
        if not isinstance(question, str):
            raise TypeError(f"stream() answers one question, got a {type(question).__name__}: answer() takes a list")
        _check_questions([question])
        (found,) = self.retriever.retrieve([question], self.wide)
        hits, signals = tuple(found[: self.k]), self.signals([question], [found]) if self.gate else [()]
        prompt, (confidence,) = self._prompt(question, hits), self._confidence(signals)
        written = shown = ""
        if not self._reason(hits, prompt, "…", confidence):
            for piece in self.lm.stream(prompt.text, ANSWER_TOKENS, stop=[STOP]):
                written += piece
                ready = written.strip()
                if len(ready) > len(shown) and not NOT_STATED.startswith(ready):  # it may still become a refusal
                    yield ready[len(shown) :]
                    shown = ready
        answer = self._answer(question, hits, prompt, written.strip(), signals[0], confidence)
        if len(answer.text) > len(shown):
            yield answer.text[len(shown) :]
        return answer

    def signals(self, questions: Sequence[str], hits: Sequence[Sequence[Hit]]) -> list[tuple[float, ...]]:
        """The gate's signals of each question, in the order of `SIGNALS`; all 0 where nothing was found."""
        best = [found[0] if found else None for found in hits]
        coverage = self.coverage or Coverage([indexed_text(h.passage) for found in hits for h in found] or [""])
        pieces = [[c.text for c in by_sentences(h.passage.text, 1)] if h else [] for h in best]
        sentences = [f"{subject(h.passage)}. {piece}" for h, own in zip(best, pieces) for piece in own]
        near = self.retriever.embedder.embed(sentences)
        asked = self.retriever.embedder.embed(questions)
        rows, start = [], 0
        for question, vector, found, own in zip(questions, asked, hits, pieces):
            focus = float((near[start : start + len(own)] @ vector).max()) if own else 0.0
            start += len(own)
            covered = coverage(question, indexed_text(found[0].passage)) if found else 0.0
            margin = found[0].score - found[1].score if len(found) > 1 else 0.0
            rows.append((max((h.cosine for h in found), default=0.0), covered, focus, margin))
        return rows

    def _prompt(self, question: str, hits: Sequence[Hit]) -> Prompt:
        passages = [(h.passage.id, shown_text(h.passage)) for h in hits]
        return assemble(one_line(question), passages, self.lm.count_tokens, self.budget, answer_tokens=ANSWER_TOKENS, form=self.form)

    def _confidence(self, signals: Sequence[Sequence[float]]) -> list[float | None]:
        if self.gate is None or not signals:
            return [None] * len(signals)
        columns = [SIGNALS.index(name) for name in self.gate.names]
        return self.gate.score([[row[c] for c in columns] for row in signals]).tolist()

    def _answer(self, question, hits, prompt, draft, signals, confidence) -> Answer:
        reason = self._reason(hits, prompt, draft, confidence)
        cited = tuple(h.passage.id for h in hits if h.passage.id in prompt.used and _rests_on(draft, h.passage.text, question))
        cited, text = ((), self.unknown) if reason else (cited or prompt.used, draft)
        return Answer(question, text, draft, bool(reason), cited, prompt, hits, signals, confidence, reason)

    def _reason(self, hits: Sequence[Hit], prompt: Prompt, draft: str, confidence: float | None) -> str:
        if not prompt.used:
            return NOTHING_FITS if hits else NOTHING_FOUND
        if draft in ("", NOT_STATED):
            return READER_DECLINED if draft else EMPTY_DRAFT
        return UNSURE if self.gate is not None and confidence < self.gate.threshold else ""


def _check_questions(questions: Sequence[str]) -> None:
    if isinstance(questions, str):
        raise TypeError("questions is one string; pass a list of questions")
    for i, question in enumerate(questions):
        if isinstance(question, str) and not question.strip():
            raise ValueError(f"questions[{i}] is empty: there is nothing to answer")


def subject(passage: PassageLike) -> str:
    """What a passage is about: its title without the section's name."""
    title = passage.title.split(": ", 1)[-1]
    return title[:1].upper() + title[1:]


def shown_text(passage: PassageLike) -> str:
    """A passage as the model sees it: its subject and its text, on one line, because a line of its own begins the question."""
    text = one_line(passage.text)
    return f"{subject(passage)}. {text}" if passage.title else text


def _rests_on(draft: str, text: str, question: str) -> bool:
    """Whether the passage holds the draft itself or, for a longer draft, every number and name that the question did not bring."""
    return says(text, draft, text) or grounded(draft, [text], question)
