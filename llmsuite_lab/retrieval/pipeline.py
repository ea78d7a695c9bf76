"""The pipeline: question → passages → prompt → answer with citations, or "I don't know".

    hits = retrieve(q, k)      prompt = assemble(q, hits, budget)      draft = LM(prompt)      decline ⇔ gate(signals(q, hits, draft)) < τ

All questions go through each stage together: one batch for the embedder, one for the model. Paper: section 2.1; Lewis et al. 2020.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmsuite_lab.core.language_model import LanguageModel
from llmsuite_lab.retrieval.abstention import SIGNALS, Coverage, Gate
from llmsuite_lab.retrieval.evaluation import says
from llmsuite_lab.retrieval.prompting import STOP, Prompt, assemble, few_shot
from llmsuite_lab.retrieval.retriever import Hit, Retriever, indexed_text

I_DO_NOT_KNOW = "I don't know: the handbook does not say."
ANSWER_TOKENS = 24


@dataclass(frozen=True)
class Answer:
    """One answer: `text` is what the user reads, `draft` what the model wrote; `cited` are the ids of the passages it rests on.

    `signals` are in the order of `abstention.SIGNALS`; `confidence` is None without a gate.
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

    @property
    def texts(self) -> list[str]:
        """The passages that were in the prompt."""
        return [h.passage.text for h in self.hits if h.passage.id in self.prompt.used]


class RAG:
    """A retriever, a language model and, if wanted, a gate that declines. `budget` is in tokens, prompt and answer together."""

    def __init__(
        self,
        retriever: Retriever,
        lm: LanguageModel,
        *,
        k: int = 1,
        budget: int = 1024,
        gate: Gate | None = None,
        form: Callable[[str, Sequence[str]], str] = few_shot,
    ):
        self.retriever, self.lm, self.k, self.budget, self.gate, self.form = retriever, lm, k, budget, gate, form
        self.coverage = Coverage([indexed_text(p) for p in retriever.passages.values()])

    def answer(self, questions: Sequence[str], *, hits: Sequence[Sequence[Hit]] | None = None, progress: bool = False) -> list[Answer]:
        """Answer each question from its passages (`hits`, or what the retriever finds), in order.

        Raises ValueError when a question alone exceeds the budget, TypeError for a bare string.
        """
        hits = self.retriever.retrieve(questions, self.k) if hits is None else hits
        prompts = [
            assemble(
                q,
                [(h.passage.id, indexed_text(h.passage)) for h in found],
                self.lm.count_tokens,
                self.budget,
                answer_tokens=ANSWER_TOKENS,
                form=self.form,
            )
            for q, found in zip(questions, hits)
        ]
        drafts = [c.text.strip() for c in self.lm.complete([p.text for p in prompts], ANSWER_TOKENS, stop=[STOP], progress=progress)]
        signals: list[tuple[float, ...]] = [()] * len(drafts)
        confidence: list[float | None] = [None] * len(drafts)
        if self.gate:
            signals = self.signals(questions, hits, prompts, drafts)
            columns = [SIGNALS.index(name) for name in self.gate.names]
            confidence = self.gate.score([[row[c] for c in columns] for row in signals]).tolist() if signals else []
        return [
            self._answer(q, tuple(found), p, d, s, c) for q, found, p, d, s, c in zip(questions, hits, prompts, drafts, signals, confidence)
        ]

    def signals(self, questions, hits, prompts: Sequence[Prompt], drafts: Sequence[str]) -> list[tuple[float, ...]]:
        """Cosine, coverage and mean log-probability of the draft per question; the last two are 0 and −20 where there is nothing to rate."""
        rated = [i for i, draft in enumerate(drafts) if draft]
        scores = self.lm.score([prompts[i].text for i in rated], [" " + drafts[i] for i in rated])
        logprob = dict(zip(rated, (s.logprob / s.tokens for s in scores)))
        rows = []
        for i, (question, found) in enumerate(zip(questions, hits)):
            cosine = max((h.cosine for h in found), default=0.0)
            covered = max((self.coverage(question, indexed_text(h.passage)) for h in found), default=0.0)
            rows.append((cosine, covered, logprob.get(i, -20.0)))
        return rows

    def _answer(self, question, hits, prompt, draft, signals, confidence) -> Answer:
        declined = not draft or (self.gate is not None and confidence < self.gate.threshold)
        cited = tuple(h.passage.id for h in hits if h.passage.id in prompt.used and _rests_on(draft, h.passage.text, question))
        text = I_DO_NOT_KNOW if declined else draft
        return Answer(question, text, draft, declined, () if declined else cited or prompt.used, prompt, hits, signals, confidence)


def _rests_on(draft: str, text: str, question: str) -> bool:
    """Whether the passage holds the draft itself or, for a longer draft, every number and name that the question did not bring."""
    from llmsuite_lab.retrieval.evaluation import grounded

    return says(text, draft, text) or grounded(draft, [text], question)
