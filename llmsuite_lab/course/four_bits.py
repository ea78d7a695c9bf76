"""The scores of the course's claims once more, written from the model's 4-bit codes: does a claim read the same with quantize="q4"?

    d_i = mark of item i written from four bits − its mark in float32        unchanged: the interval of the mean of d holds 0

The items, adapters and judges are those of notebooks 02 to 04. float32 keeps the adapter's sum as it is, the 4-bit step in 8 bits; both read prompts in
float32. An engine that is known to be worse answers as well, float32 with one block in three values (`bitnet.fidelity.WORSE`): marks that do not see it
see nothing. It stands here because no section knows them all. `llmsuite train q4_scores` records it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from llmsuite_lab.agents.evaluation import react_answers
from llmsuite_lab.agents.measuring import PER_KIND
from llmsuite_lab.bitnet.after_training import blocks_of, rounded
from llmsuite_lab.bitnet.fidelity import WORSE
from llmsuite_lab.core.errors import LabError, whole
from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.core.runs import Outcome
from llmsuite_lab.core.runtime import profile
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.reasoning.evaluation import evaluate
from llmsuite_lab.reasoning.measuring import EVALUATED
from llmsuite_lab.retrieval.embedding import Embedder
from llmsuite_lab.retrieval.experiments import every, with_passages
from llmsuite_lab.retrieval.pipeline import RAG
from llmsuite_lab.retrieval.prompting import few_shot, zero_shot
from llmsuite_lab.retrieval.retriever import Retriever
from llmsuite_lab.world import handbook, word_problems
from llmsuite_lab.world.almanac_frozen import load_almanac, load_questions

Marks = Callable[[LanguageModel, int | None], list[bool]]  # a model, and how many items (None: all): right or not, item by item


def _problems(method: str, lm: LanguageModel, items: int | None) -> list[bool]:
    return [result.correct for result in evaluate(lm, method, word_problems.load("test")[: items or EVALUATED])]


def _handbook(form: Callable[[str, Sequence[str]], str], lm: LanguageModel, items: int | None) -> list[bool]:
    book = handbook.load()
    asked = book.of_kind("one", "unanswerable")
    rag = RAG(Retriever(book.passages, Embedder.load()), lm, form=form)
    return with_passages(rag, every(asked, items or len(asked)), "top-1").correct


def _almanac(lm: LanguageModel, items: int | None) -> list[bool]:
    asked = load_questions(per_kind=PER_KIND)
    return [answer.correct for answer in react_answers(lm, asked[:items], load_almanac())[0]]


SETS: Mapping[str, tuple[str | None, Marks]] = {  # what is asked → (adapter, marks)
    "word problems, by programs": ("pal", partial(_problems, "pal")),
    "word problems, in words": ("cot", partial(_problems, "cot")),
    "handbook, the model as published": (None, partial(_handbook, few_shot)),
    "handbook, the tuned reader": ("reader", partial(_handbook, zero_shot)),
    "almanac, ReAct": ("react", _almanac),
}


def measure(items: int | None = None, sets: Mapping[str, tuple[str | None, Marks]] = SETS) -> Outcome:
    """The marks of every set by engine, on the same items. Raises LabError where the 4-bit step cannot run, ValueError for fewer than one item."""
    if items is not None:
        whole("items", items, 1, 10_000)
    found = {name: {engine: list(marks(lm, items)) for engine, lm in _engines(adapter)} for name, (adapter, marks) in sets.items()}
    adapters = {name: adapter for name, (adapter, _) in sets.items()}
    return Outcome({"adapters": adapters, "items": items, "threads": profile().threads, "decoding": "greedy"}, found)


def _engines(adapter: str | None) -> Iterator[tuple[str, LanguageModel]]:
    whole_lm = LanguageModel.load(adapter=adapter, dtype=torch.float32, device="cpu")
    yield "float32", whole_lm
    with rounded(whole_lm.model, [len(blocks_of(whole_lm.model)) // 2]):
        yield WORSE, whole_lm
    four = LanguageModel.load(adapter=adapter, dtype=torch.float32, device="cpu", quantize="q4")
    if four.quantize != "q4":
        raise LabError("the 4-bit step cannot run here (the warning above says why): there is nothing to compare")
    yield "q4", four


def table(results: Mapping[str, Mapping[str, Sequence[bool]]]) -> list[dict[str, Any]]:
    """A row for each set and each engine but float32: `set`, `engine`, `n`, `float32` and `score` with their intervals, and their paired `difference`."""
    return [
        {
            "set": name,
            "engine": engine,
            "n": len(marks),
            "float32": mean_interval(by_engine["float32"]),
            "score": mean_interval(marks),
            "difference": difference(marks, by_engine["float32"]),
        }
        for name, by_engine in results.items()
        for engine, marks in by_engine.items()
        if engine != "float32"
    ]


def difference(marks: Sequence[bool], reference: Sequence[bool]) -> Interval:
    """Mean of `marks` − `reference`, item by item, with its interval. Raises ValueError for lists of different length."""
    return mean_interval([float(a) - float(b) for a, b in zip(marks, reference, strict=True)], differences=True)
