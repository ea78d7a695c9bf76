"""How a transformer is put together, as pictures: query, key and value; one output by hand; order; shared heads; two stacks. Computed, none measured.

Attention's tables and heads are in `attention_concepts`, what whole models do with them in `model_concepts`.
"""

import math
from typing import Any

import torch

from llmsuite_lab.core.diagrams import WIDE, arrow, box, canvas, cells, colour, matrix, say, tint
from llmsuite_lab.core.errors import within
from llmsuite_lab.transformer.attention import attention_weights, causal_mask
from llmsuite_lab.transformer.positions import rotary_angles, rotate, sinusoidal_positions

BY_HAND = {
    "q": [2.0, 0.0, 0.0, 2.0],
    "K": [[0.0, 1.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 0.0, 1.0]],
    "V": [[3.0, 0.0], [0.0, 3.0], [3.0, 3.0]],
}
"""One query, three keys and their values, whole numbers: scores 0, 2 and 4, and √d_k = 2."""


def query_key_value() -> Any:
    """Each token's vector is read three times: by W_Q for what it asks, by W_K for what it answers to, by W_V for what it hands over."""
    drawn, ax = canvas("One vector, read three times", *WIDE)
    generator = torch.Generator().manual_seed(5)
    tokens, d_model, d_k = ("the", "cat", "sat"), 6, 4
    X = torch.randn(3, d_model, generator=generator)
    matrix(ax, 1.0, 3.25, X.tolist(), (0.36, 0.46), fill="base", below_zero="base")
    for n, token in enumerate(tokens):
        say(ax, 0.9, 3.02 - 0.46 * n, token, across="right")
    say(ax, 2.08, 3.55, "X", size=16, bold=True)
    say(ax, 2.08, 1.6, "(3, d_model = 6)\none row a token", size=12.5)
    rows = (("Q", "tuned", "what it asks for"), ("K", "baseline", "what it is found by"), ("V", "accent", "what it hands over"))
    for n, (name, fill, words) in enumerate(rows):
        y = 4.0 - 1.5 * n
        arrow(ax, (3.35, 2.56), (4.15, y), ink=fill)
        box(ax, 4.85, y, 1.3, 0.62, f"W_{name}", "(6, 4)", fill=fill)
        arrow(ax, (5.55, y), (6.2, y), ink=fill)
        W = torch.randn(d_model, d_k, generator=generator)
        matrix(ax, 6.35, y + 0.6, (X @ W).tolist(), (0.42, 0.4), fill=fill, below_zero=fill)
        say(ax, 8.25, y + 0.25, f"{name} = X W_{name}", size=14.5, bold=True, ink=fill, across="left")
        say(ax, 8.25, y - 0.14, f"(3, d_k = 4): {words}", size=12.5, across="left")
    return drawn


def three_vectors() -> Any:
    """One attention output from one query, three keys and three values, every number and every shape written."""
    q, K, V = (torch.tensor(BY_HAND[name]) for name in "qKV")
    d_k = q.shape[0]
    scores = K @ q
    weights = attention_weights(q[None], K)[0]
    drawn, ax = canvas("One output from three vectors, by hand", *WIDE)
    side = (0.52, 0.46)
    say(ax, 0.3, 4.5, "q", size=15, bold=True, ink="tuned", across="left")
    matrix(ax, 0.8, 4.73, [q.tolist()], side, fill="tuned", written=True)
    say(ax, 3.05, 4.5, "(1, 4)", size=12.5, across="left")
    for i in range(3):
        y = 3.2 - 0.85 * i
        say(ax, 0.3, y, f"k{i + 1}", size=15, bold=True, ink="baseline", across="left")
        matrix(ax, 0.8, y + 0.23, [K[i].tolist()], side, fill="baseline", written=True)
        say(ax, 3.35, y, f"{scores[i]:.0f}", size=15)
        say(ax, 4.5, y, f"{scores[i] / math.sqrt(d_k):.0f}", size=15)
        say(ax, 5.75, y, f"{math.exp(scores[i] / math.sqrt(d_k)):.2f}", size=15)
        cells(ax, 6.75, y, [f"{weights[i]:.2f}"], tint("tuned", float(weights[i] / weights.max())), width=0.74)
        say(ax, 7.85, y, "×", size=15)
        matrix(ax, 8.2, y + 0.23, [V[i].tolist()], side, fill="accent", written=True)
        say(ax, 9.6, y, f"v{i + 1}", size=15, bold=True, ink="accent", across="left")
    for x, name, size in ((3.35, "q · k", 13.5), (4.5, f"/ √{d_k}", 13.5), (5.75, "exp", 13.5), (7.1, "/ sum", 13.5), (8.7, "values", 13.5)):
        say(ax, x, 3.75, name, size=size, bold=True)
    total = f"sum {torch.exp(scores / math.sqrt(d_k)).sum():.2f}"
    for x, shape in ((1.84, "K (3, 4)"), (3.35, "(1, 3)"), (4.5, "(1, 3)"), (5.75, total), (7.1, "(1, 3)"), (8.7, "V (3, 2)")):
        say(ax, x, 0.9, shape, size=12.5)
    arrow(ax, (9.35, 1.05), (9.35, 0.72), ink="accent")
    matrix(ax, 8.78, 0.66, [(weights @ V).tolist()], (0.58, 0.46), fill="accent", written=True)
    say(ax, 8.65, 0.43, "output", size=14.5, bold=True, ink="accent", across="right")
    say(ax, 10.05, 0.43, "(1, 2)", size=12.5, across="left")
    say(ax, 0.3, 0.35, "the third key fits best, so the output lies nearest to the third value", size=13, italic=True, across="left")
    return drawn


def where_order_comes_from() -> Any:
    """Two sentences of the same words: one set without positions, two with them; and a causal mask that lets each token see another set."""
    drawn, ax = canvas("Two ways for order to get in", 11.2, 4.2)
    words, other = ["dog", "bites", "man"], ["man", "bites", "dog"]
    inks = {"dog": "tuned", "bites": "base", "man": "baseline"}
    for x, name, note in (
        (0.2, "nothing", "the same set: each word's\noutput stays the same"),
        (3.95, "positions added", "dog at 0 is another\nvector than dog at 2"),
        (7.7, "a causal mask alone", "all but the last token\nsee another set"),
    ):
        say(ax, x, 3.95, name, size=14.5, bold=True, across="left")
        for n, sentence in enumerate((words, other)):
            y = 3.2 - 1.4 * n
            centres = cells(ax, x, y, sentence, [inks[w] for w in sentence], width=0.95, size=13)
            for i, at in enumerate(centres):
                if name.startswith("positions"):
                    waves = sinusoidal_positions(3, 4)[i].tolist()
                    matrix(ax, at - 0.34, y - 0.34, [waves], (0.17, 0.24), fill="accent", below_zero="second")
                elif name.startswith("a causal"):
                    say(ax, at, y - 0.45, "{" + ",".join(w[0] for w in sorted(sentence[: i + 1])) + "}", size=12.5, mono=True)
                else:
                    say(ax, at, y - 0.45, "{b,d,m}", size=12.5, mono=True)
        say(ax, x, 0.55, note, size=13, italic=True, across="left")
    return drawn


def turned_by_position(distance: int = 2) -> Any:
    """Rotary positions: query and key are turned by their position, so the angle between them tells the distance and nothing else."""
    within("distance", distance, 0, 12)
    drawn, ax = canvas("Turned by position: only the distance is left", 8.6, 4.6)
    ax.set_aspect("equal")  # a turned vector keeps its length
    q, k = torch.tensor([[1.25, 0.25]]), torch.tensor([[1.05, 0.7]])
    for x, m in ((2.0, 0), (6.2, 3)):
        n = m + distance
        cos, sin = rotary_angles(torch.tensor([m, n]), 2, base=1.0)
        turned_k, turned_q = (rotate(v[None], cos[i : i + 1], sin[i : i + 1])[0, 0] for i, v in ((0, k), (1, q)))
        ring = torch.linspace(0, 2 * math.pi, 97)
        ax.plot(x + 1.3 * ring.cos(), 2.35 + 1.3 * ring.sin(), color=colour("grid"), linewidth=1.2, zorder=0)
        for vector, fill, name in ((turned_q, "tuned", f"q at {n}"), (turned_k, "baseline", f"k at {m}")):
            tip = (x + float(vector[0]), 2.35 + float(vector[1]))
            arrow(ax, (x, 2.35), tip, ink=fill, width=3)
            out = vector / vector.norm()  # the name stands beyond the tip, further out to the sides, for it is wider than high
            say(ax, tip[0] + 0.5 * float(out[0]), tip[1] + 0.24 * float(out[1]), name, ink=fill, bold=True)
        say(ax, x, 0.55, f"q · k = {float(turned_q @ turned_k):.2f}", size=15, bold=True)
    say(ax, 4.3, 0.12, f"three places further on, the same distance of {distance}: the same score", size=12.5, italic=True)
    return drawn


def shared_keys_and_values(n_heads: int = 6) -> Any:
    """Multi-head, grouped-query and multi-query attention: how many query heads share one head of keys and values, and what the cache holds."""
    if n_heads < 2 or n_heads % 2:
        raise ValueError(f"n_heads={n_heads} must be even, and 2 or more: half of them share in the middle")
    drawn, ax = canvas("Many questions, fewer copies of the answers", 11.2, 4.1)
    for x, name, kv in ((0.35, "multi-head", n_heads), (4.15, "grouped-query", n_heads // 2), (7.95, "multi-query", 1)):
        say(ax, x, 3.75, name, size=14.5, bold=True, across="left")
        wide = 2.9 / n_heads
        queries = cells(ax, x, 3.05, ["q"] * n_heads, "tuned", width=wide - 0.06)
        span = 2.9 / kv
        keys = [x + span * (g + 0.5) - 0.03 for g in range(kv)]
        for g, at in enumerate(keys):
            box(ax, at, 1.5, min(span - 0.06, 0.72), 0.62, "k v", fill="baseline", size=12.5)
            for i in range(g * n_heads // kv, (g + 1) * n_heads // kv):
                arrow(ax, (queries[i], 2.8), (at, 1.84), ink="base", width=1.4)
        say(ax, x + 1.42, 0.8, f"{kv} in the cache" + (f", 1/{n_heads // kv} of the bytes" if kv < n_heads else ""), size=13)
    say(ax, 5.6, 0.25, "SmolLM2-135M: 9 query heads share 3; Llama 2 70B: 64 share 8", size=12.5, italic=True)
    return drawn


def two_stacks() -> Any:
    """Encoder and decoder block by block: self-attention both ways, causal self-attention, and the queries that cross."""
    drawn, ax = canvas("The decoder asks, the encoder's output answers", *WIDE)
    for x, name, parts, fill in (
        (2.0, "encoder", ("self-attention", "feed-forward"), "baseline"),
        (7.6, "decoder", ("causal self-attention", "cross-attention", "feed-forward"), "tuned"),
    ):
        say(ax, x, 4.62, name, size=15, bold=True, ink=fill)
        step = 2.9 / (len(parts) - 1 or 1)
        heights = [0.95 + step * i for i in range(len(parts))]
        for y, part in zip(heights, parts):
            box(ax, x, y, 2.6, 0.62, part, fill="accent" if part.startswith("cross") else fill)
        for low, high in zip([0.25, *heights], heights):
            if high - low > 0.5:
                arrow(ax, (x, low + (0.34 if low > 0.5 else 0.1)), (x, high - 0.34), ink="base")
        arrow(ax, (x, heights[-1] + 0.34), (x, 4.42), ink="base")
    say(ax, 3.45, 0.25, "source (7 tokens)", size=12.5, across="left")
    say(ax, 9.0, 0.25, "target so far (4)", size=12.5, across="left")
    arrow(ax, (3.36, 3.85), (6.26, 2.56), ink="baseline", width=2.6)
    say(ax, 3.4, 2.6, "memory (7, d):\nK and V", size=13, bold=True, ink="baseline", across="left")
    say(ax, 5.0, 1.45, "Q from the target (4, d)", size=13, bold=True, ink="tuned")
    arrow(ax, (5.75, 1.68), (6.26, 2.2), ink="tuned", width=2.6)
    generator = torch.Generator().manual_seed(4)
    weights = attention_weights(2 * torch.randn(4, 4, generator=generator), torch.randn(7, 4, generator=generator))
    matrix(ax, 9.1, 2.9, weights.tolist(), 0.26, fill="accent")
    say(ax, 10.0, 3.1, "weights (4, 7)", size=12.5, bold=True, ink="accent")
    matrix(ax, 9.1, 1.55, causal_mask(4).float().tolist(), 0.2, fill="tuned")
    say(ax, 10.0, 1.15, "mask (4, 4)", size=12.5, across="left", ink="tuned")
    return drawn
