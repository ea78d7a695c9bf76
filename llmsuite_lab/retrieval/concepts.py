"""The ideas of the section as pictures, from the frozen handbook and the package's own cutting, packing and fusing; nothing here is a measurement."""

import textwrap
from typing import Any

from llmsuite_lab.core.diagrams import arrow, box, canvas, colour, say
from llmsuite_lab.retrieval.chunking import by_headings, by_sentences, by_tokens
from llmsuite_lab.retrieval.fusion import reciprocal_rank_fusion
from llmsuite_lab.retrieval.prompting import assemble, zero_shot
from llmsuite_lab.world import handbook

_SHADES = ("baseline", "accent", "third", "second", "fourth", "tuned")


def handbook_page() -> Any:
    """A passage of the frozen handbook beside three of its questions: one with an answer, one that needs two passages, one without any."""
    book = handbook.load()
    asked = [next(q for q in book.questions if q.kind == kind) for kind in ("one", "two", "unanswerable")]
    passage = next(p for p in book.passages if p.id == asked[0].gold[0])
    drawn, ax = canvas("Every question has its truth, and some have none", 6.6, 5.4)
    _card(ax, 3.3, 4.45, 6.4, 1.5, "bound")
    say(ax, 0.3, 4.98, passage.title, size=13, bold=True, across="left")
    say(ax, 0.3, 4.75, textwrap.fill(passage.text, 62), size=12.5, across="left", down="top")
    for n, (question, fill) in enumerate(zip(asked, ("accent", "baseline", "tuned"))):
        y = 3.05 - 1.12 * n
        _card(ax, 3.3, y, 6.4, 0.98, fill)
        say(ax, 0.3, y + 0.2, textwrap.shorten(question.text, 72, placeholder=" …"), size=12.5, across="left")
        known = f"→ {question.answer}" if question.answer else "→ no answer anywhere: “I don't know” is right"
        say(ax, 0.3, y - 0.18, known, size=13, bold=True, across="left", ink=fill)
        say(ax, 6.35, y - 0.18, f"{len(question.gold)} passage" + "s" * (len(question.gold) != 1), size=12, across="right")
    return drawn


def _card(ax: Any, x: float, y: float, width: float, height: float, fill: str) -> None:
    box(ax, x, y, width, height, fill=fill, outline=True)


def three_ways_to_cut(size: int = 24, overlap: int = 6) -> Any:
    """The same pages cut by headings, by sentences, and by tokens with an overlap; each bar is a passage, as long as its text."""
    text = _pages(3)
    found = (
        ("by headings", by_headings(text), "where the author put a border"),
        ("by sentences", by_sentences(text, size), f"whole ones, at most {size} words together"),
        ("by tokens", by_tokens(text, size, overlap), f"windows of {size} words, {overlap} shared with the neighbour"),
    )
    drawn, ax = canvas("Where you cut decides what can be found", 6.6, 4.9)
    scale = 6.4 / len(text)
    for n, (name, chunks, below) in enumerate(found):
        y = 3.85 - 1.55 * n
        say(ax, 0.1, y + 0.72, name, size=14, bold=True, across="left")
        say(ax, 1.8, y + 0.72, below, size=12.5, italic=True, across="left")
        for k, chunk in enumerate(chunks):
            lane = 0.17 if k % 2 == 0 else -0.17
            x, width = 0.1 + scale * chunk.start, scale * (chunk.end - chunk.start)
            box(ax, x + width / 2, y + lane, width, 0.3, fill=_SHADES[k % len(_SHADES)])
    return drawn


def _pages(n: int) -> str:
    return "\n".join(f"## {p.title}\n{p.text}" for p in handbook.load().passages[:n])


def near_vectors() -> Any:
    """Texts as arrows: what means the same points the same way. The angles are drawn; the cosines beside them belong to those angles."""
    from math import cos, radians, sin

    drawn, ax = canvas("What means the same points the same way", 6.6, 4.8)
    texts = (
        (64, "How much is the fan?", "the question", "tuned", (0.1, 0.42)),
        (52, "The list price is 438 crowns.", "other words", "accent", (0.2, 0.1)),
        (18, "The fan weighs 540 grams.", "another fact", "baseline", (0.15, 0.12)),
        (126, "Leave is approved by personnel.", "another matter", "base", (-0.35, 0.72)),
    )
    x0, y0, length = 2.1, 0.35, 2.9
    for angle, text, note, ink, (right, up) in texts:
        x, y = x0 + length * cos(radians(angle)), y0 + length * sin(radians(angle))
        arrow(ax, (x0, y0), (x, y), ink=ink, width=3)
        across, down = "center" if angle > 90 else "left", "bottom" if angle > 60 else "center"
        say(ax, x + right, y + up, textwrap.fill(text, 18 if angle > 60 else 15), size=13, bold=True, ink=ink, across=across, down=down)
        nearness = "" if ink == "tuned" else f", cos {cos(radians(angle - 64)):.2f}"
        below = y + up - (0.17 if angle > 60 else 0.5)
        say(ax, x + right, below, note + nearness, size=12, across=across)
    return drawn


def two_rankings_fused() -> Any:
    """Two rankings that do not share a scale become one by their ranks alone; the fused order is the package's."""
    words = ["NE-656 filter", "KL-111 filter", "filter order form", "fan warranty"]
    meaning = ["spare parts of the fan", "NE-656 filter", "filter order form", "cleaning the fan"]
    rankings = [[(name, float(-n)) for n, name in enumerate(names)] for names in (words, meaning)]
    fused = reciprocal_rank_fusion(rankings)
    drawn, ax = canvas("Fuse the ranks, not the raw scores: found by both comes first", 10.8, 3.6)
    columns = ((1.6, "BM25: words", words, "baseline"), (9.2, "vectors: meaning", meaning, "third"))
    both = set(words) & set(meaning)
    place = {name: 2.62 - 0.46 * n for n, (name, _) in enumerate(fused)}
    for x, title, names, fill in columns:
        say(ax, x, 3.25, title, size=14, bold=True, ink=fill)
        for n, name in enumerate(names):
            y = 2.62 - 0.62 * n
            box(ax, x, y, 2.7, 0.48, f"{n + 1}   {name}", fill=fill, outline=name not in both, size=12.5)
            side = 1 if x < 5 else -1
            arrow(
                ax,
                (x + 1.4 * side, y),
                (5.4 - 1.7 * side, place[name]),
                ink="accent" if name in both else "base",
                width=2 if name in both else 1.2,
            )
    say(ax, 5.4, 3.25, "1 / (60 + rank), added up", size=14, bold=True, ink="accent")
    for name, score in fused:
        box(ax, 5.4, place[name], 3.3, 0.39, f"{name}   {score:.4f}", fill="accent", outline=name not in both, size=12.5)
    return drawn


def version_in_force() -> Any:
    """Two versions of one document of the frozen handbook: nearly the same words, another value; the date tells which one holds."""
    book = handbook.load()
    document = next(d for d in (p.document for p in book.passages) if sum(p.document == d for p in book.passages) > 1)
    old, new = sorted((p for p in book.passages if p.document == document), key=lambda p: p.dated)[:2]
    drawn, ax = canvas("Meaning cannot tell them apart, the date can", 6.6, 5.2)
    for y, passage, fill, word in ((3.75, old, "base", "void"), (1.6, new, "accent", "in force")):
        _card(ax, 3.75, y, 5.5, 1.75, fill)
        say(ax, 1.15, y + 0.66, f"{passage.title.partition(': ')[2]}  ·  {word}", size=13, bold=True, across="left", ink=fill)
        say(ax, 1.15, y + 0.45, textwrap.fill(passage.text, 52), size=12, across="left", down="top")
        say(ax, 0.42, y, passage.dated[:4], size=14, bold=True, ink=fill)
    arrow(ax, (0.42, 3.45), (0.42, 1.9), ink="bound", width=2.4)
    say(ax, 3.75, 0.35, "search by meaning, then keep the newest of each document", size=12.5, italic=True)
    return drawn


def window_budget(budget: int = 190, answer_tokens: int = 24) -> Any:
    """The window as a bar, packed by the package's own rule: question, passages best first until one does not fit, and room for the answer."""
    book = handbook.load()
    question = book.questions[0]
    best = [next(p for p in book.passages if p.id == question.gold[0]), *[p for p in book.passages if p.id != question.gold[0]]][:8]

    def count(text: str) -> int:
        return round(1.3 * len(text.split()))  # a token is some three quarters of a word

    packed = assemble(question.text, [(p.id, p.text) for p in best], count, budget, answer_tokens=answer_tokens, form=zero_shot)
    drawn, ax = canvas("Prompt and answer share one window", 6.6, 4.2)
    scale, x = 6.4 / budget, 0.1
    parts = [("question", count(zero_shot(question.text, [])), "bound")]
    parts += [(f"{n}", count(text), "baseline") for n, text in enumerate(packed.texts, 1)]
    for name, tokens, fill in parts:
        box(ax, x + scale * tokens / 2, 2.75, scale * tokens - 0.05, 0.9, name if name != "question" else "Q", fill=fill, size=15)
        x += scale * tokens
    right, room = 6.5, scale * answer_tokens
    box(ax, right - room / 2, 2.75, room, 0.9, "answer", fill="accent", size=12.5)
    late = scale * count(best[len(packed.texts)].text)
    ax.plot([right - room] * 2, [1.0, 3.27], color=colour("bound"), linestyle="--", linewidth=1.8)
    box(ax, x + late / 2, 1.45, late - 0.05, 0.7, f"{len(packed.texts) + 1}", fill="tuned", outline=True, size=15)
    say(ax, x - 0.12, 1.45, "the next one does not fit: stop", size=13, across="right", ink="tuned", bold=True)
    say(ax, 0.1, 3.45, "passages, best first", size=13, across="left", ink="baseline", bold=True)
    say(ax, right, 3.45, "kept free", size=13, across="right", ink="accent", bold=True)
    arrow(ax, (0.1, 0.62), (6.5, 0.62), ink="base")
    arrow(ax, (6.5, 0.62), (0.1, 0.62), ink="base")
    say(ax, 3.3, 0.36, "the context window, in tokens", size=12.5)
    return drawn
