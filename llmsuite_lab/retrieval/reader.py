"""A reader that is trained to read: answer from the passages, or say that they do not.

    min over LoRA of  −(1/N) Σ_t log P(a_t | passages, question, a_<t)      a = the answer, or "not stated"

The untuned model reads a single passage after eight worked examples; the recorded run shows where it stops. Here it learns the format instead,
so that the prompt needs no examples. The passages of a training question are what the retriever finds for it, one or three, right or wrong:
when the answer stands in none of them, the right completion is `NOT_STATED`. Companies, names, values and wordings are those of the
train split. Source: Lewis et al. 2020 train the generator on retrieved passages as well; Rajpurkar et al. 2018 for questions without an answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from llmsuite_lab.lm.lora import LoraSettings, train_lora
from llmsuite_lab.lm.training import Example, History, encode
from llmsuite_lab.retrieval.embedding import Embedder
from llmsuite_lab.retrieval.pipeline import NOT_STATED, shown_text
from llmsuite_lab.retrieval.prompting import STOP, zero_shot
from llmsuite_lab.retrieval.retriever import Retriever
from llmsuite_lab.world import handbook

SHOWN = (1, 1, 3)  # passages in a training prompt: one twice as often as three


@dataclass(frozen=True)
class Settings(LoraSettings):
    """What a run is made of (`lm.lora`), and how many `companies` the questions are about."""

    steps: int = 150
    companies: int = 5


def pairs(embedder: Embedder, count: int, seed: int, companies: int = 5) -> list[tuple[str, str]]:
    """`count` (prompt, completion) pairs in random order, three quarters of them about facts that a handbook states."""
    rng = Random(f"reader {seed}")
    found = []
    for number in range(companies):
        book = handbook.generate("train", 100 * (seed + 1) + number, one=120, unanswerable=40)  # the gate is fitted on companies 0 and 1
        asked = book.of_kind("one", "unanswerable")
        hits = Retriever(book.passages, embedder).retrieve([q.text for q in asked], max(SHOWN))
        for question, ranked in zip(asked, hits, strict=True):
            shown = ranked[: rng.choice(SHOWN)]
            known = bool(set(question.gold) & {hit.passage.id for hit in shown})
            texts = [shown_text(hit.passage) for hit in shown]
            found.append((zero_shot(question.text, texts), f" {question.answer if known else NOT_STATED}{STOP}"))
    if count > len(found):
        raise ValueError(f"{count} examples wanted, but {companies} companies give {len(found)}: take more companies")
    return rng.sample(found, count)


def examples(tokenizer: Any, chosen: Sequence[tuple[str, str]]) -> list[Example]:
    """The pairs as token ids; the newline ends an answer, as it does when the model writes."""
    return [encode(tokenizer, prompt, completion, eos=False) for prompt, completion in chosen]


def train(seed: int = 0, settings: Settings | None = None, **options: Any) -> tuple[Any, History, dict[str, Any]]:
    """Train one reader: (the peft model, the history, the settings as data). `options` as for `lm.lora.train_lora`, errors too."""
    settings = settings or Settings()
    chosen = pairs(Embedder.load(), settings.steps * settings.batch_size, seed, settings.companies)
    return train_lora(settings, lambda tokenizer: examples(tokenizer, chosen), seed, **options)
