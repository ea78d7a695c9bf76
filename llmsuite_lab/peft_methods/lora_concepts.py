"""LoRA as pictures: what is thin, what is counted, how it begins, what a rank does to the scale, what is held in memory, and what merging is."""

from typing import Any

from llmsuite_lab.core.diagrams import WIDE, arrow, box, canvas, matrix, say
from llmsuite_lab.core.plots import COLOURS, figure

D_OUT, D_IN, RANK = 512, 64, 8  # the paper's example


def the_change_not_the_weight() -> Any:
    """What is thin in a LoRA: the change beside a weight that stays whole, not the weight itself."""
    drawn, ax = canvas("Thin is the change, not the weight", 6.4, 4.9)
    for y, words, good in ((4.35, "the weight itself as a product", False), (1.85, "the weight, and a change that is a product", True)):
        say(ax, 0.25, y, words, size=14, across="left", bold=True)
        box(ax, 1.0, y - 1.1, 1.3, 1.3, "W₀", "trained long" if good else "", fill="base", size=16)
        say(ax, 1.98, y - 1.1, "+" if good else "≈", size=24, bold=True)
        box(ax, 2.5, y - 1.1, 0.34, 1.3, "B", fill="tuned", size=15)
        box(ax, 3.4, y - 1.1, 1.3, 0.34, "A", fill="accent", size=15)
        box(ax, 5.25, y - 1.1, 1.85, 0.8, "a model, tuned" if good else "no model left", fill="accent" if good else "bound", outline=True)
    return drawn


def two_thin_matrices() -> Any:
    """W₀ frozen, B A beside it, drawn to scale for the paper's 512 × 64 at rank 8, with what is counted."""
    drawn, ax = canvas("Two thin matrices beside a large one", *WIDE)
    unit, top = 4.1 / D_OUT, 4.55
    x = 0.35
    for fill, rows, columns, name in (("base", D_OUT, D_IN, "W₀"), ("tuned", D_OUT, RANK, "B"), ("accent", RANK, D_IN, "A")):
        matrix(ax, x, top, [[1]], (columns * unit + 0.02, rows * unit + 0.02), fill=fill)
        right, middle = x + columns * unit + 0.18, top - (0.35 if rows == RANK else 1.3)
        across = x if rows == RANK else right
        say(ax, across, middle, name, size=22, bold=True, ink=fill, across="left")
        say(ax, across, middle - 0.45, f"{rows} × {columns}", size=14, across="left")
        say(ax, across, middle - 0.8, "frozen" if name == "W₀" else "trained", size=14, across="left", italic=True)
        x += 3.3 if name == "W₀" else 1.75
    say(ax, 2.35, 3.0, "+", size=26, bold=True)
    say(ax, 2.98, 3.0, "α / r", size=18)
    say(ax, 4.75, 0.75, "all three to one scale", size=13, italic=True, across="left")
    trained = RANK * (D_OUT + D_IN)
    say(ax, 9.2, 4.35, "h = W₀ x + (α / r) B A x", size=15, mono=True)
    say(ax, 9.2, 3.5, f"{D_OUT} × {D_IN} = {D_OUT * D_IN:,}", size=15)
    box(ax, 9.2, 2.65, 3.7, 1.0, f"{RANK} · ({D_OUT} + {D_IN}) = {trained:,}", "numbers are trained", fill="bound", size=15)
    say(ax, 9.2, 1.8, f"{trained / (D_OUT * D_IN):.0%} of the matrix", size=15, bold=True)
    return drawn


def a_start_that_changes_nothing() -> Any:
    """B zero and A drawn: the product is zero, the gradient of B is not. Both zero never move, both drawn begin somewhere else."""
    drawn, ax = canvas("How it begins decides whether it begins", 6.4, 5.0)
    noise, zero = [[0.7, -0.4, 0.9, -0.8], [-0.5, 0.8, -0.3, 0.6]], [[0, 0], [0, 0], [0, 0]]
    other = [[0.6, -0.5], [-0.9, 0.4], [0.3, 0.8]]
    for x, name in ((0.6, "B"), (1.9, "A"), (3.7, "ΔW")):
        say(ax, x, 4.8, name, size=15, bold=True)
    for n, (B, A, words, verdict, fill) in enumerate(
        (
            (zero, noise, "the base model, and B has a gradient", "learns", "accent"),
            (zero, [[0] * 4] * 2, "each one's gradient holds the other", "never moves", "bound"),
            (other, noise, "another model, before the first step", "damaged", "bound"),
        )
    ):
        y = 4.55 - 1.55 * n
        product = [[sum(b * A[k][j] for k, b in enumerate(row)) for j in range(4)] for row in B]
        matrix(ax, 0.3, y, B, 0.3, fill="tuned", below_zero="tuned")
        say(ax, 1.1, y - 0.45, "·", size=20, bold=True)
        matrix(ax, 1.3, y - 0.15, A, 0.3, fill="accent", below_zero="accent")
        say(ax, 2.8, y - 0.45, "=", size=18, bold=True)
        matrix(ax, 3.1, y, product, 0.3, fill="bound", below_zero="bound")
        box(ax, 5.4, y - 0.45, 1.6, 0.56, verdict, fill=fill)
        say(ax, 0.3, y - 1.14, words, size=13, across="left", italic=True)
    return drawn


def scales() -> Any:
    """The factor before B A by rank, at one α: α / r falls faster than α / √r."""
    drawn, ax = figure(7.0, 4.6)
    ranks, alpha = (1, 2, 4, 8, 16, 32, 64), 16
    ax.plot(ranks, [alpha / r**0.5 for r in ranks], marker="o", color=COLOURS["accent"], label="α / √r, rank-stabilised")
    ax.plot(ranks, [alpha / r for r in ranks], marker="o", color=COLOURS["tuned"], label="α / r")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log", base=2)
    for axis, ticks in ((ax.xaxis, ranks), (ax.yaxis, (0.25, 0.5, 1, 2, 4, 8, 16))):
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set(xlabel="rank r", ylabel="factor before B A")
    ax.set_title(f"Another rank is another factor (α = {alpha})")
    ax.legend()
    return drawn


def bytes_held(d_out: int = 1536, d_in: int = 576, r: int = 8) -> Any:
    """Bytes of one matrix in training, in 16 bits: the whole of it trained, or frozen with a LoRA beside it. Activations are not in it."""
    drawn, ax = figure(9.6, 3.9)
    matrix_of, thin = d_out * d_in, r * (d_out + d_in)
    kinds = {"weights": (2, "base"), "masters": (4, "fourth"), "gradients": (2, "second"), "moments": (8, "third")}
    bars = {
        "full": {name: n * matrix_of for name, (n, _) in kinds.items()},
        f"LoRA, r = {r}": {"weights": 2 * matrix_of + 4 * thin, "masters": 0, "gradients": 4 * thin, "moments": 8 * thin},
    }
    for y, held in enumerate(bars.values()):
        left = 0.0
        for name, (_, fill) in kinds.items():
            ax.barh(y, held[name] / 1e6, 0.55, left=left, color=COLOURS[fill], label=name if y == 0 else None)
            left += held[name] / 1e6
        ax.text(left + 0.15, y, f"{left:.1f} MB", va="center", fontsize=13, fontweight="bold")
    ax.set_yticks(range(len(bars)), list(bars))
    ax.invert_yaxis()
    ax.set(xlabel=f"megabytes of one {d_out:,} × {d_in} matrix", xlim=(0, 16 * matrix_of / 1e6 * 1.14))
    ax.set_title("What is frozen needs no gradient and no moments")
    ax.grid(axis="y", visible=False)
    ax.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.24))
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
    arrow(ax, (2.35, 1.64), (1.75, 1.02))
    say(ax, 1.6, 1.35, "+", size=18, bold=True)
    say(ax, 2.62, 1.32, "· α/r", size=14, across="left")
    box(ax, 4.9, 2.3, 2.3, 1.1, "W₀ + (α/r) B A", "one matrix", fill="bound")
    arrow(ax, (4.9, 3.5), (4.9, 2.87))
    arrow(ax, (4.9, 1.74), (4.9, 1.02))
    say(ax, 3.2, 0.2, "twice merged is twice added: keep count", size=13, italic=True, ink="tuned")
    return drawn


def a_tied_output() -> Any:
    """One table at both ends of the model: a LoRA of the output layer that is merged into it changes the input as well."""
    drawn, ax = canvas("One table at both ends", 6.4, 4.9)
    for x, title, ends in ((1.55, "merged, and shared", "W + s B A"), (4.9, "merged, and apart", "W")):
        say(ax, x, 4.55, title, size=13.5, bold=True)
        box(ax, x, 3.75, 2.4, 0.6, "W + s B A", fill="tuned", size=14)
        say(ax, x, 4.2, "output", size=13)
        box(ax, x, 2.45, 1.7, 0.8, "the model", fill="base")
        box(ax, x, 1.15, 2.4, 0.6, ends, fill="tuned" if ends != "W" else "base", size=14)
        say(ax, x, 0.68, "embedding", size=13)
        arrow(ax, (x, 1.47), (x, 2.03))
        arrow(ax, (x, 2.87), (x, 3.43))
    say(ax, 1.55, 0.2, "every word reads otherwise", size=13, italic=True, ink="tuned")
    say(ax, 4.9, 0.2, "what was trained is what you get", size=13, italic=True)
    return drawn


def one_base_many_adapters() -> Any:
    """One frozen model in memory and small adapters by name: one active, several, or none."""
    drawn, ax = canvas("One base, many adapters", 6.4, 4.9)
    box(ax, 1.5, 2.4, 2.1, 3.6, "the base", "frozen, loaded once", fill="base", size=16)
    for y, name, words, fill, on in (
        (3.9, "summaries", "active", "tuned", True),
        (2.7, "forms", "active, too: the updates add up", "accent", True),
        (1.5, "answers", "idle", "baseline", False),
    ):
        box(ax, 4.5, y, 1.9, 0.66, name, fill=fill, outline=not on)
        arrow(ax, (3.5, y), (2.6, y), ink=fill if on else "base", dashed=not on)
        say(ax, 4.5, y - 0.53, words, size=13, italic=True)
    say(ax, 3.2, 0.22, "all off: the model as it came, without a second copy", size=13, italic=True)
    return drawn
