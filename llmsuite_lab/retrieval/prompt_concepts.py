"""From a page to a prompt, in two pictures: passages found by counting words, and the text that a model is then given, to its last letter."""

import textwrap
from math import sqrt
from typing import Any

from llmsuite_lab.core.diagrams import arrow, box, canvas, cells, matrix, say, tint
from llmsuite_lab.core.errors import within
from llmsuite_lab.core.text import words
from llmsuite_lab.retrieval.lexical import BM25
from llmsuite_lab.retrieval.pipeline import shown_text
from llmsuite_lab.retrieval.prompting import few_shot
from llmsuite_lab.retrieval.retriever import indexed_text
from llmsuite_lab.world import handbook

MOST_PASSAGES = 5  # more would not fit on a slide
_WORDS = ("price", "crowns", "weighs", "grams", "fan", "cream")
_CHUNKS = ("The list price of the fan is 438 crowns.", "Fully assembled, the fan weighs 540 grams.", "The fan comes in cream only.")
_QUESTION = "What is the price of the fan?"


def _counts(text: str) -> list[int]:
    found = words(text)
    return [found.count(word) for word in _WORDS]


def _cosine(a: list[int], b: list[int]) -> float:
    return sum(x * y for x, y in zip(a, b)) / sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def chunk_embed_search() -> Any:
    """The way from a page to a passage with numbers that one can check by hand: cut, count words, compare by cosine."""
    drawn, ax = canvas("Cut, turn into numbers, compare: every number here can be checked by hand", 11.2, 4.9)
    for x, text in ((1.85, "1  chunk"), (6.05, "2  embed"), (9.9, "3  search")):
        say(ax, x, 4.6, text, size=15, bold=True, ink="baseline")
    for k, word in enumerate(_WORDS):
        say(ax, 4.22 + 0.78 * k, 4.16, word, size=12, italic=True)
    asked = _counts(_QUESTION)
    near = [_cosine(asked, _counts(text)) for text in _CHUNKS]
    for n, text in enumerate((*_CHUNKS, _QUESTION)):
        y, question = 3.6 - 0.95 * n - (0.25 if n == len(_CHUNKS) else 0), n == len(_CHUNKS)
        fill = "tuned" if question else "baseline"
        box(ax, 1.85, y, 3.4, 0.66, textwrap.fill(text, 27), fill=fill, outline=True, size=12.5)
        arrow(ax, (3.6, y), (3.8, y), ink=fill)
        matrix(ax, 3.84, y + 0.25, [_counts(text)], (0.78, 0.5), fill=fill, written=True, size=14)
        if not question:
            best = near[n] == max(near)
            arrow(ax, (8.58, y), (8.95, y), ink="accent" if best else "base")
            box(ax, 9.9, y, 1.8, 0.56, f"cos {near[n]:.2f}", fill="accent" if best else "base", outline=not best, size=14)
    say(ax, 9.9, 0.5, "the largest cosine wins:\ninto the prompt with it", size=12.5, italic=True, ink="accent")
    return drawn


def prompt_with_passages(passages: int = 3) -> Any:
    """The prompt of a handbook question with its `passages` best by BM25, as the model is given it; of eight worked examples one is shown.

    Raises ValueError for fewer than 0 or more than 5 passages.
    """
    within("passages", passages, 0, MOST_PASSAGES)
    book = handbook.load()
    question = next(q for q in book.questions if q.kind == "one" and q.note == "near-duplicate")
    ranked = BM25([p.id for p in book.passages], [indexed_text(p) for p in book.passages]).search([question.text], MOST_PASSAGES)[0]
    chosen = [next(p for p in book.passages if p.id == found) for found, _ in ranked][:passages]
    *examples, asked = few_shot(question.text, [shown_text(p) for p in chosen]).split("\n\n")
    lines = [("base", line) for line in (*examples[0].splitlines(), f"… and {len(examples) - 1} more worked examples …")]
    for line in asked.splitlines():
        passage = next((p for p in chosen if shown_text(p) in line), None)
        holds = passage is not None and passage.id in question.gold
        lines.append(("accent" if holds else "baseline" if passage else "bound", line))
    blocks = [(fill, textwrap.wrap(line, 92) or [""]) for fill, line in lines]
    height = max(2.4, sum(0.22 * len(wrapped) + 0.1 for _, wrapped in blocks) + 0.2)
    title = f"{passages} passage{'s' * (passages != 1)} in the prompt, and what the model must find" if passages else "Closed book: nothing to read from"
    drawn, ax = canvas(title, 11.2, height)
    y = height - 0.1
    for fill, wrapped in blocks:
        tall = 0.22 * len(wrapped) + 0.1
        box(ax, 4.95, y - tall / 2, 9.8, tall - 0.04, fill=tint(fill, 0.14))
        say(ax, 0.15, y - tall / 2, "\n".join(wrapped), size=12, across="left", mono=True)
        y -= tall
    cells(ax, 1.0, y + 0.16, [question.answer], "tuned", width=0.3 + 0.105 * len(question.answer), size=12.5, height=0.28, mono=True)
    say(ax, 1.6 + 0.105 * len(question.answer), y + 0.16, "is what it should write", size=12, italic=True, across="left")
    for n, (name, fill) in enumerate((("example", "base"), ("other", "baseline"), ("answers", "accent"), ("question", "bound"))):
        box(ax, 10.52, height - 0.32 - 0.44 * n, 1.2, 0.34, name, fill=fill, size=12)
    return drawn
