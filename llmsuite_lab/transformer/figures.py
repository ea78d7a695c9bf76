"""The section's pictures: what notebook and slides show, each made by one function, each with one message in its title.

Functions without required arguments draw from the equations alone and take well under a second; the others draw what a run measured.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from llmsuite_lab.core.diagrams import arrow, box, canvas, say
from llmsuite_lab.core.metrics import mean_interval
from llmsuite_lab.core.plots import COLOURS, figure, heat_map, lines_with_bands, loss_curve
from llmsuite_lab.transformer.attention import attention_weights, causal_mask
from llmsuite_lab.transformer.positions import sinusoidal_positions

if TYPE_CHECKING:
    from llmsuite_lab.transformer.experiments.pretraining import Corpus, Pretraining
    from llmsuite_lab.transformer.experiments.retrieval_task import Reach
    from llmsuite_lab.transformer.experiments.speed import Speed
    from llmsuite_lab.transformer.head_scores import NamedHead


def sinusoids(n_positions: int = 64, d_model: int = 64) -> Any:
    """PE as a heat map: one row per position, fast waves on the left, slow ones on the right."""
    drawn = heat_map(
        sinusoidal_positions(n_positions, d_model),
        title="Every position has its own pattern of waves",
        xlabel="feature",
        ylabel="position (tokens)",
        diverging=True,
        colour_label="added to the embedding",
    )
    drawn.set_size_inches(7.6, 4.6)
    return drawn


def masked_weights(seq: int = 6, d_k: int = 8, seed: int = 0) -> Any:
    """Causal attention weights of random queries and keys: rows sum to 1, nothing to the right of the diagonal."""
    generator = torch.Generator().manual_seed(seed)
    Q, K = (torch.randn(seq, d_k, generator=generator) for _ in range(2))
    weights = attention_weights(Q, K, causal_mask(seq))
    names = [str(i) for i in range(seq)]
    title = "A token looks at itself and to the left"
    return heat_map(weights, title=title, xlabel="key", ylabel="query", xticks=names, yticks=names, annotate=True, limits=(0.0, 1.0))


def why_the_root(widths: Sequence[int] = (1, 4, 16, 64, 256), n_keys: int = 16, draws: int = 400, seed: int = 0) -> Any:
    """The largest attention weight over the width d_k of random queries and keys, with and without the division by √d_k."""
    generator = torch.Generator().manual_seed(seed)
    largest: dict[str, list[float]] = {"softmax(QKᵀ)": [], "softmax(QKᵀ/√d_k)": []}
    for d_k in widths:
        Q, K = torch.randn(draws, 1, d_k, generator=generator), torch.randn(draws, n_keys, d_k, generator=generator)
        for name, scale in zip(largest, (1.0, d_k**-0.5)):
            largest[name].append(float(attention_weights(Q, K, scale=scale).amax(-1).mean()))
    colours = {"softmax(QKᵀ)": "base", "softmax(QKᵀ/√d_k)": "accent"}
    return lines_with_bands(
        widths,
        largest,
        title="Without the root, wide heads see a single token",
        xlabel="width of a head, d_k",
        ylabel=f"largest of {n_keys} weights (mean)",
        colours=colours,
        log_x=True,
        ylim=(0, 1.05),
    )


def named_patterns(n: int = 8) -> Any:
    """The three patterns as a perfect head would draw them, on a sequence of n tokens said twice."""
    seq = 2 * n
    names = list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:n]) * 2
    previous = np.eye(seq, k=-1)
    previous[0, 0] = 1
    first = np.zeros((seq, seq))
    first[:, 0] = 1
    induction = np.zeros((seq, seq))
    induction[: n + 1, 0] = 1  # nothing to repeat yet: it rests on the first token
    for i in range(n, seq):
        induction[i] = 0
        induction[i, i - n + 1] = 1
    titles = ("previous token", "first token", "induction: what came next last time?")
    return attention_panels([previous, first, induction], names, titles)


def attention_panels(maps: Sequence[Any], tokens: Sequence[str], titles: Sequence[str], columns: int = 3) -> Any:
    """Attention maps side by side: rows are queries, columns keys, darker is more. Raises ValueError when sizes do not fit together."""
    if len(maps) != len(titles):
        raise ValueError(f"{len(maps)} maps need as many titles, got {len(titles)}")
    if bad := [tuple(np.shape(m)) for m in maps if tuple(np.shape(m)) != (len(tokens), len(tokens))]:
        raise ValueError(f"a map of shape {bad[0]} does not belong to {len(tokens)} tokens")
    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    drawn, axes = figure(4.2 * columns, 4.8 * rows, nrows=rows, ncols=columns, squeeze=False)
    size = max(5.5, min(10.0, 190 / len(tokens)))
    for ax, weights, title in zip(axes.flat, maps, titles):
        ax.imshow(np.asarray(weights, dtype=float), cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(title, fontsize=12.5)
        ax.set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=size)
        ax.set_yticks(range(len(tokens)), tokens, fontsize=size)
        ax.grid(visible=False)
        ax.tick_params(length=0)
    for ax in list(axes.flat)[len(maps) :]:
        ax.axis("off")
    axes[0, 0].set_ylabel("query looks at …")
    axes[0, 0].set_xlabel("… key")
    return drawn


def named_head_maps(
    heads: Sequence["NamedHead"], maps: Sequence[Float[Tensor, "layers heads seq seq"]], tokens: Sequence[Sequence[str]]
) -> Any:
    """One panel per named head, each on its own text: `maps[i]` and `tokens[i]` belong to `heads[i]`."""
    drawn, axes = figure(4.9 * len(heads), 5.3, ncols=len(heads), squeeze=False)
    for ax, head, weights, names in zip(axes[0], heads, maps, tokens):
        ax.imshow(weights[head.layer, head.head].float().cpu(), cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(f"{head.pattern}\nhead {head.layer}.{head.head}: {head.score:.0%}", fontsize=13)
        size = max(6.0, min(10.0, 200 / len(names)))
        ax.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
        ax.set_yticks(range(len(names)), names, fontsize=size)
        ax.grid(visible=False)
        ax.tick_params(length=0)
    axes[0, 0].set_ylabel("query looks at … (key, below)")
    return drawn


def score_table(scores: Float[Tensor, "layers heads"], pattern: str) -> Any:
    """All heads of a model scored for one pattern: which blocks do it?"""
    title = f"Where the {pattern} heads sit"
    drawn = heat_map(scores, title=title, xlabel="head", ylabel="block", colour_label="share of attention", limits=(0.0, 1.0))
    drawn.set_size_inches(6.4, 5.6)
    return drawn


def pretraining_curve(run: "Pretraining", text: "Corpus") -> Any:
    """Training and held-out loss over tokens read, against the unigram and bigram models' loss on the same held-out text."""
    below = run.held_out[-1][1] < text.bigram
    title = "Below the bigram line: it looks further back" if below else "Not below the bigram line yet"
    references = {"unigram model": text.unigram, "bigram model": text.bigram}
    drawn = loss_curve(run.history, title=title, references=references)
    ax = drawn.axes[0]
    tokens, losses = zip(*run.held_out)
    ax.plot(tokens, losses, "o-", color=COLOURS["baseline"], label="held out")
    ax.lines[1].set_label("training")
    ax.legend(loc="upper right", fontsize=12)
    return drawn


def reach_over_distance(runs: Sequence["Reach"], chance: float) -> Any:
    """Accuracy over distance, mean over seeds with its interval, one line per model."""
    from llmsuite_lab.transformer.experiments.retrieval_task import gain

    names = list(dict.fromkeys(run.name for run in runs))
    near, far = (gain(runs, quarter).mean for quarter in ("near", "far"))
    distances = range(1, len(runs[0].accuracy) + 1)
    series = {name: [mean_interval([run.accuracy[d - 1] for run in runs if run.name == name]) for d in distances] for name in names}
    return lines_with_bands(
        list(distances),
        series,
        title=f"Attention is ahead by {near:.2f} next door, by {far:.2f} far away",
        xlabel="distance from the question back to its entry (tokens)",
        ylabel="right answers (share)",
        colours={"attention": "tuned", "LSTM": "baseline"},
        bound=("guessing", chance),
        markers=False,
        ylim=(0, 1.05),
    )


def speed_over_length(speeds: Sequence["Speed"]) -> Any:
    """Training tokens per second over sequence length, tokens per batch fixed; intervals over repetitions."""
    longest = speeds[-1]
    ratio = mean_interval(longest.ratio).mean  # of paired repetitions, as the claim's
    series = {"attention": [mean_interval(s.attention) for s in speeds], "LSTM": [mean_interval(s.lstm) for s in speeds]}
    return lines_with_bands(
        [s.length for s in speeds],
        series,
        title=f"At {longest.length:,} tokens attention trains at {ratio:.2f}× the LSTM's speed",
        xlabel="sequence length (tokens; the batch always holds the same number)",
        ylabel="training speed (tokens/s)",
        colours={"attention": "tuned", "LSTM": "baseline"},
        log_x=True,
        ylim=(0, None),
    )


def residual_stream(n_blocks: int = 2) -> Any:
    """The path of one token's vector through a pre-norm decoder: a straight line that every layer reads from and adds to."""
    parts = [("attention", "baseline"), ("feed-\nforward", "third")] * n_blocks
    right = 2.2 * len(parts) + 1.2
    drawn, ax = canvas("Layers read from one straight path and add to it", right + 2.3, 4.2)
    ax.plot([1.7, right + 0.7], [1.1, 1.1], color=COLOURS["tuned"], linewidth=5, solid_capstyle="round", zorder=0)
    box(ax, 0.85, 1.1, 1.6, 0.8, "embedding\n+ position", fill="text", size=12.5)
    for n, (name, fill) in enumerate(parts):
        x = 2.75 + 2.2 * n
        arrow(ax, (x - 0.55, 1.1), (x - 0.45, 2.28), ink=fill)
        box(ax, x, 2.7, 1.35, 0.8, name, fill=fill, size=13)
        say(ax, x - 0.62, 1.65, "norm", size=12, across="right")
        arrow(ax, (x + 0.45, 2.28), (x + 0.6, 1.28), ink=fill)
        box(ax, x + 0.6, 1.1, 0.34, 0.34, "+", fill="text", size=15)
    for n in range(n_blocks):
        say(ax, 3.85 + 4.4 * n, 3.55, f"block {n + 1}", size=13.5, bold=True)
    box(ax, right + 1.4, 1.1, 1.6, 0.8, "norm, then\nlogits", fill="text", size=12.5)
    say(ax, right / 2 + 1.0, 0.35, "the residual stream: x ← x + f(norm(x))", ink="tuned", size=14)
    return drawn
