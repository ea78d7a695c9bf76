"""The ideas of the section as pictures: a prompt of vectors, and where each method sits in a block. LoRA's own are in `lora_concepts`."""

from typing import Any

from llmsuite_lab.core.diagrams import WIDE, arrow, box, canvas, colour, matrix, say


def a_prompt_of_vectors() -> Any:
    """Trained vectors in front of the embedded text: no words, and nothing else of the model is trained."""
    drawn, ax = canvas("A prompt that no word spells", *WIDE)
    vectors = [[0.9, -0.4, 0.6, -0.8, 0.5], [-0.6, 0.7, -0.9, 0.4, 0.8], [0.5, 0.9, -0.3, 0.7, -0.6], [-0.8, 0.3, 0.8, -0.5, 0.9]]
    words = ("The", "order", "is", "late", "…")
    text = [[0.3, -0.2, 0.4, 0.1, -0.3], [-0.1, 0.4, 0.2, -0.4, 0.3], [0.2, 0.1, -0.3, 0.3, 0.2], [0.4, -0.3, 0.1, 0.2, -0.1]]
    matrix(ax, 0.9, 3.9, vectors, (0.72, 0.4), fill="tuned", below_zero="tuned")
    matrix(ax, 5.0, 3.9, text, (0.72, 0.4), fill="base", below_zero="base")
    say(ax, 2.7, 4.25, "P: p vectors, trained", size=14, bold=True, ink="tuned")
    say(ax, 6.8, 4.25, "X: the text, embedded", size=14, bold=True)
    for n, word in enumerate(words):
        say(ax, 5.36 + 0.72 * n, 2.02, word, size=13, mono=True)
        say(ax, 1.26 + 0.72 * n, 2.02, f"p{n + 1}", size=13, mono=True)
    box(ax, 4.75, 1.2, 8.0, 0.7, "the model, every weight frozen", fill="bound")
    say(ax, 9.95, 3.1, "e × p numbers:\n5 × 2,048 = 10,240", size=14, bold=True)
    say(ax, 4.75, 0.4, "read once, its keys and values stay in the cache", size=13, italic=True)
    return drawn


def where_they_sit() -> Any:
    """The way through one block, from left to right, with the place of each method: what is added, what is selected, what stays frozen."""
    drawn, ax = canvas("Where each method sits", 11.2, 4.2)
    way = (
        ("embedding", 1.45, "base"), ("norm", 0.75, "accent"), ("attention", 1.6, "base"), ("adapter", 1.05, "tuned"),
        ("norm", 0.75, "accent"), ("feed-forward", 1.6, "base"), ("adapter", 1.05, "tuned"), ("last block", 1.35, "accent"),
    )  # fmt: skip
    x, gap, centres = 0.1, 0.2, []
    for name, width, fill in way:
        box(ax, x + width / 2, 2.3, width, 0.9, name, fill=fill, outline=fill == "base")
        if centres:
            arrow(ax, (x - gap, 2.3), (x, 2.3), ink="base")
        centres.append(x + width / 2)
        x += width + gap
    embedding, _, attention, _, _, forward, *_ = centres
    box(ax, embedding, 0.95, 1.45, 0.8, "soft prompt", "in front", fill="tuned")
    arrow(ax, (embedding, 1.35), (embedding, 1.85), ink="tuned")
    for centre, matrices in ((attention, "q k v o"), (forward, "gate, up, down")):
        box(ax, centre, 0.95, 1.6, 0.8, "LoRA", matrices, fill="tuned")
        arrow(ax, (centre, 1.35), (centre, 1.85), ink="tuned")
        box(ax, centre, 3.6, 1.6, 0.6, "biases", fill="accent")
        arrow(ax, (centre, 3.3), (centre, 2.75), ink="accent")
    say(ax, 5.6, 0.2, "orange: added and trained · green: selected and trained · grey: frozen", size=13, italic=True)
    return drawn


def terms_compete() -> Any:
    """Adaptive ranks: terms of two matrices with their importance, in one line, cut where the budget ends."""
    drawn, ax = canvas("All terms compete for one budget", 6.4, 4.9)
    importance, most = {"q": (5.0, 1.0, 0.2), "v": (4.0, 3.0, 0.1)}, 3
    ranked = sorted(((value, name) for name, terms in importance.items() for value in terms), reverse=True)
    for n, (value, name) in enumerate(ranked):
        x, kept = 0.6 + 1.03 * n, n < most
        box(ax, x, 1.6 + 0.2 * value, 0.82, 0.4 * value + 0.12, "", fill={"q": "tuned", "v": "accent"}[name], outline=not kept)
        say(ax, x, 1.75 + 0.4 * value + 0.12, f"{value:g}", size=14)
        say(ax, x, 1.25, name, size=15, mono=True, bold=kept)
    cut = 0.6 + 1.03 * (most - 0.5)
    ax.plot([cut, cut], [0.95, 4.5], linestyle="--", color=colour("bound"))
    say(ax, cut + 0.12, 4.35, f"budget: {most} terms", size=13, across="left")
    kept_of = {name: sum(name == other for _, other in ranked[:most]) for name in importance}
    say(ax, 3.2, 0.45, " · ".join(f"{name}: rank {rank}" for name, rank in kept_of.items()), size=15, bold=True)
    return drawn
