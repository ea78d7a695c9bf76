"""The ideas of the section as pictures: two thin matrices beside a large one, a prompt of vectors, and where each method sits in a block."""

from typing import Any

from llmsuite_lab.core.diagrams import WIDE, arrow, box, canvas, cells, matrix, say

D_OUT, D_IN, RANK = 512, 64, 8  # the paper's example


def two_thin_matrices() -> Any:
    """W₀ frozen, B A beside it, drawn to scale for the paper's 512 × 64 at rank 8, with what is counted."""
    drawn, ax = canvas("Two thin matrices beside a large one", *WIDE)
    unit = 3.9 / D_OUT
    tall, wide, thin = D_OUT * unit, D_IN * unit * 2.6, RANK * unit * 5  # widths are stretched, or they could not be seen
    x, y = 1.5, 2.35
    box(ax, x, y, wide, tall, "", fill="base")
    say(ax, x, y, "W₀", size=20, bold=True, ink="white")
    say(ax, x, 0.16, f"{D_OUT} × {D_IN} = {D_OUT * D_IN:,}, frozen", size=13)
    say(ax, 3.1, y, "+", size=26, bold=True)
    say(ax, 3.85, y, "α / r", size=18)
    box(ax, 5.0, y, thin, tall, "", fill="tuned")
    say(ax, 5.0, y, "B", size=18, bold=True, ink="white")
    say(ax, 5.0, 0.16, f"{D_OUT} × {RANK}", size=13)
    box(ax, 6.35, y, wide, thin, "", fill="accent")
    say(ax, 6.35, y, "A", size=18, bold=True, ink="white")
    say(ax, 6.35, y - 0.42, f"{RANK} × {D_IN}", size=13)
    trained = RANK * (D_OUT + D_IN)
    box(ax, 9.2, 3.4, 3.7, 1.0, f"{RANK} · ({D_OUT} + {D_IN}) = {trained:,}", "numbers are trained", fill="bound", size=15)
    say(ax, 9.2, 2.35, f"{trained / (D_OUT * D_IN):.0%} of the matrix", size=15, bold=True)
    say(ax, 9.2, 1.75, "h = W₀ x + (α / r) B A x", size=15, mono=True)
    return drawn


def a_start_that_changes_nothing() -> Any:
    """B zero and A drawn: the product is zero, the gradient of B is not. Both zero never move, both drawn begin somewhere else."""
    drawn, ax = canvas("How it begins decides whether it begins", 6.4, 5.0)
    noise = [[0.7, -0.4, 0.9, -0.8], [-0.5, 0.8, -0.3, 0.6]]
    zero = [[0, 0], [0, 0], [0, 0]]
    other = [[0.6, -0.5], [-0.9, 0.4], [0.3, 0.8]]
    for n, (B, A, words, good) in enumerate(
        (
            (zero, noise, "B zero, A drawn: ΔW = 0, and B moves", True),
            (zero, [[0] * 4] * 2, "both zero: each one's gradient holds the other", False),
            (other, noise, "both drawn: the model is another at once", False),
        )
    ):
        y = 4.65 - 1.55 * n
        matrix(ax, 0.3, y, B, 0.3, fill="tuned", below_zero="tuned")
        say(ax, 1.2, y - 0.45, "·", size=20, bold=True)
        matrix(ax, 1.5, y - 0.15, A, 0.3, fill="accent", below_zero="accent")
        cells(ax, 2.95, y - 0.45, ["yes" if good else "no"], "accent" if good else "tuned", width=0.6, size=13)
        say(ax, 0.3, y - 1.15, words, size=13, across="left", italic=True)
    say(ax, 3.75, 4.2, "coloured: drawn", size=12.5, across="left")
    say(ax, 3.75, 3.9, "white: zero", size=12.5, across="left")
    return drawn


def merged() -> Any:
    """Before and after merging: two paths become one matrix, and inference costs what the base costs."""
    drawn, ax = canvas("Merged once, it costs nothing", 6.4, 4.8)
    for x, title in ((1.6, "while it is trained"), (4.9, "merged")):
        say(ax, x, 4.45, title, size=14, bold=True)
        box(ax, x, 3.75, 1.0, 0.5, "x", fill="base")
        box(ax, x, 0.75, 1.0, 0.5, "h", fill="base")
    box(ax, 0.95, 2.3, 1.0, 1.1, "W₀", "frozen", fill="base")
    box(ax, 2.4, 2.75, 0.9, 0.5, "A", fill="accent")
    box(ax, 2.4, 1.9, 0.9, 0.5, "B", fill="tuned")
    arrow(ax, (1.45, 3.5), (1.0, 2.87))
    arrow(ax, (1.75, 3.5), (2.35, 3.02))
    arrow(ax, (2.4, 2.5), (2.4, 2.16))
    arrow(ax, (1.0, 1.74), (1.45, 1.02))
    arrow(ax, (2.35, 1.64), (1.75, 1.02), "+", above=0.05, size=15)
    box(ax, 4.9, 2.3, 2.3, 1.1, "W₀ + (α/r) B A", "one matrix", fill="bound")
    arrow(ax, (4.9, 3.5), (4.9, 2.87))
    arrow(ax, (4.9, 1.74), (4.9, 1.02))
    say(ax, 3.2, 0.2, "twice merged is twice added: keep count", size=13, italic=True, ink="tuned")
    return drawn


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
    """A block of the transformer and the place of each method: what is added, what is selected, what stays frozen."""
    drawn, ax = canvas("Where each method sits", *WIDE)
    for y, name, words in ((0.75, "embedding", ""), (2.0, "attention", "q k v o"), (3.3, "feed-forward", "up, down"), (4.35, "next block", "")):
        box(ax, 3.0, y, 2.6, 0.72 if words else 0.5, name, words, fill="base", outline=True)
    for low, high in ((1.0, 1.64), (2.36, 2.94), (3.66, 4.1)):
        arrow(ax, (3.0, low), (3.0, high), ink="base")
    for x, y, name, words, fill, end in (
        (7.2, 0.75, "soft prompt", "vectors in front", "tuned", (4.35, 0.75)),
        (7.2, 2.0, "LoRA", "beside a matrix", "tuned", (4.35, 2.0)),
        (7.2, 3.3, "bottleneck adapter", "behind a sublayer", "tuned", (4.35, 3.1)),
        (10.0, 2.65, "norms, biases", "selected, not added", "accent", (4.35, 2.65)),
        (10.0, 4.35, "last layers", "selected", "accent", (4.35, 4.35)),
    ):
        box(ax, x, y, 2.3, 0.8, name, words, fill=fill)
        arrow(ax, (x - 1.18, y), end, ink=fill)
    say(ax, 8.6, 0.1, "orange: added · green: selected · grey: frozen", size=13, italic=True)
    return drawn
