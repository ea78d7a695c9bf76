"""Answers in a single turn, trained on what the ReAct adapter is trained on: without any page, and with the pages of one retrieval in front.

    closed book:     Question: …  Thought: The founder of … is …. The birthplace of … is ….  Answer: …
    one retrieval:   Pages: …     the same, after the K pages nearest to the question

These are the two lines that ReAct has to beat: the one knows that a tuned model may do better without any tool, the other that a search before the
answer may be enough. Same items, same number of updates, same LoRA. Where a page that is needed was not retrieved, the completion is the gold one
all the same: the model learns to guess there, which is the most that exact match can give it. Source: Lewis et al. 2020 for retrieval before the
answer, Yao et al. 2022 (Table 1) for the comparison.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmsuite_lab.agents.demonstrations import opening_text
from llmsuite_lab.agents.evaluation import Answer, in_one_turn, reasoning
from llmsuite_lab.agents.training import Settings as ReActSettings
from llmsuite_lab.agents.training import draw_items
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.lm.lora import train_lora
from llmsuite_lab.lm.training import Example, History, encode
from llmsuite_lab.retrieval.embedding import Embedder
from llmsuite_lab.retrieval.retriever import Retriever
from llmsuite_lab.world.almanac import Almanac, Page
from llmsuite_lab.world.almanac_claims import Claim
from llmsuite_lab.world.almanac_questions import Question

K = 3  # pages of one retrieval: a comparison needs two, a chain of two relations the first and, with luck, the second


@dataclass(frozen=True)
class Settings(ReActSettings):
    """What a run is made of (`agents.training`), and whether pages are `retrieved` before the answer."""

    retrieved: bool = False


@dataclass(frozen=True)
class _Entry:
    """A page of the almanac as something to retrieve (`retrieval.retriever.PassageLike`)."""

    id: str
    document: str
    title: str
    text: str
    dated: str = ""


def _entry(page: Page) -> _Entry:
    return _Entry(page.title, page.title, page.title, " ".join((page.opening, *page.details)))


class Pages:
    """The pages that one retrieval puts in front of a question, best first; each set of pages is embedded once."""

    def __init__(self, embedder: Embedder | None = None, k: int = K):
        if k < 1:
            raise ValueError(f"k={k}: one retrieval brings at least one page")
        self.embedder, self.k = embedder or Embedder.load(), k
        self._retrievers: dict[tuple[Page, ...], Retriever] = {}

    def before(self, items: Sequence[Question | Claim], almanac: Almanac) -> list[str]:
        """For each item the text that stands before its opening."""
        key = tuple(almanac.pages.values())
        if key not in self._retrievers:
            self._retrievers[key] = Retriever([_entry(page) for page in key], self.embedder)
        found = self._retrievers[key].retrieve([item.text for item in items], self.k)
        return ["Pages:\n" + "".join(f"{hit.passage.text}\n" for hit in hits) for hits in found]


def completion(item: Question | Claim) -> str:
    """The gold completion of an opening: the facts on the way, then the answer."""
    return f" {reasoning(item)}".rstrip() + f"\nAnswer: {item.label if isinstance(item, Claim) else item.answer}\n"


def training_set(tokenizer: Any, settings: Settings, n: int, seed: int, pages: Pages | None = None) -> list[Example]:
    """`n` examples about the items of `agents.training.draw_items`, in its order."""
    items = draw_items(settings.mixture, n, seed)
    front = [""] * n
    if settings.retrieved:
        pages = pages or Pages()
        front = [pages.before([item], world)[0] for item, world in items]
    return [encode(tokenizer, before + opening_text(item), completion(item)) for before, (item, _) in zip(front, items, strict=True)]


def train(seed: int = 0, settings: Settings | None = None, **options: Any) -> tuple[Any, History, dict[str, Any]]:
    """Train one adapter: (the peft model, the history, the settings as data). `options` as for `lm.lora.train_lora`, errors too."""
    settings = settings or Settings()
    count = settings.steps * settings.batch_size
    return train_lora(settings, lambda tokenizer: training_set(tokenizer, settings, count, seed), seed, **options)


def answers(lm: LanguageModel, questions: Sequence[Question], almanac: Almanac, pages: Pages | None = None) -> list[Answer]:
    """Scored answers of one turn each, closed book or, given `pages`, after those of one retrieval."""
    front = [""] * len(questions) if pages is None else pages.before(questions, almanac)
    return in_one_turn(lm, questions, [before + opening_text(question) for before, question in zip(front, questions, strict=True)])


def all_there(questions: Sequence[Question], almanac: Almanac, pages: Pages | None = None) -> dict[str, list[bool]]:
    """By kind of question: whether the values of all its facts stand in the pages of one retrieval. What is not there no reader can read."""
    found: dict[str, list[bool]] = {}
    for question, front in zip(questions, (pages or Pages()).before(questions, almanac), strict=True):
        found.setdefault(question.kind, []).append(all(str(value).casefold() in front.casefold() for _, _, value in question.hops))
    return found
