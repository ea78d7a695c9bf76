"""The pipeline: question → passages → prompt → answer with citations, or "I don't know".

    hits = retrieve(q, k)      prompt = assemble(q, hits, budget)      draft = LM(prompt)      decline ⇔ gate(signals(q, hits, draft)) < τ

All questions go through each stage together: one batch for the embedder, one for the model. Paper: section 2.1; Lewis et al. 2020.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmsuite_lab.core.language_model import LanguageModel
from llmsuite_lab.retrieval.abstention import SIGNALS, Coverage, Gate
from llmsuite_lab.retrieval.evaluation import grounded, says
from llmsuite_lab.retrieval.prompting import STOP, Prompt, assemble, few_shot, zero_shot
from llmsuite_lab.retrieval.retriever import Hit, PassageLike, Retriever, indexed_text

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

    def answer(
        self, questions: Sequence[str], *, hits: Sequence[Sequence[Hit]] | None = None, rate: bool = False, progress: bool = False
    ) -> list[Answer]:
        """Answer each question from its passages (`hits`, or what the retriever finds), in order; `rate` asks for signals without a gate.

        Raises ValueError when a question alone exceeds the budget, TypeError for a bare string.
        """
        hits = self.retriever.retrieve(questions, self.k) if hits is None else hits
        prompts = [
            assemble(
                question,
                [(h.passage.id, shown_text(h.passage)) for h in found],
                self.lm.count_tokens,
                self.budget,
                answer_tokens=ANSWER_TOKENS,
                form=self.form,
            )
            for question, found in zip(questions, hits)
        ]
        drafts = [c.text.strip() for c in self.lm.complete([p.text for p in prompts], ANSWER_TOKENS, stop=[STOP], progress=progress)]
        rated = self.gate is not None or rate
        signals = self.signals(questions, hits, prompts, drafts) if rated else [()] * len(drafts)
        columns = [SIGNALS.index(name) for name in self.gate.names] if self.gate else []
        confidence = (
            self.gate.score([[row[c] for c in columns] for row in signals]).tolist() if self.gate and signals else [None] * len(drafts)
        )
        return [self._answer(*row) for row in zip(questions, map(tuple, hits), prompts, drafts, signals, confidence)]

    def signals(
        self, questions: Sequence[str], hits: Sequence[Sequence[Hit]], prompts: Sequence[Prompt], drafts: Sequence[str]
    ) -> list[tuple[float, ...]]:
        """Cosine and coverage of the best passage, and the draft's mean log-probability per token, −20 for an empty draft.

        The model rates its draft after the passages alone, without the worked examples: a fifth of the tokens to read, the same order.
        """
        stated = [i for i, draft in enumerate(drafts) if draft]
        scores = self.lm.score([zero_shot(questions[i], prompts[i].texts) for i in stated], [" " + drafts[i] for i in stated])
        logprobs = dict(zip(stated, (score.logprob / score.tokens for score in scores)))
        rows = []
        for i, (question, found) in enumerate(zip(questions, hits)):
            cosine = max((h.cosine for h in found), default=0.0)
            covered = max((self.coverage(question, indexed_text(h.passage)) for h in found), default=0.0)
            rows.append((cosine, covered, logprobs.get(i, -20.0)))
        return rows

    def _answer(self, question, hits, prompt, draft, signals, confidence) -> Answer:
        declined = not draft or (self.gate is not None and confidence < self.gate.threshold)
        cited = tuple(h.passage.id for h in hits if h.passage.id in prompt.used and _rests_on(draft, h.passage.text, question))
        text = I_DO_NOT_KNOW if declined else draft
        return Answer(question, text, draft, declined, () if declined else cited or prompt.used, prompt, hits, signals, confidence)


def shown_text(passage: PassageLike) -> str:
    """A passage as the model sees it: its subject, without the section's name, and its text."""
    subject = passage.title.split(": ", 1)[-1]
    return f"{subject[:1].upper()}{subject[1:]}. {passage.text}"


def _rests_on(draft: str, text: str, question: str) -> bool:
    """Whether the passage holds the draft itself or, for a longer draft, every number and name that the question did not bring."""
    return says(text, draft, text) or grounded(draft, [text], question)
