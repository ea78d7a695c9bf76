"""The ideas of the section as pictures, for the deck and whoever explains at a board: each computed from the package's own parts, none measured."""

from typing import Any

import torch

from llmsuite_lab.core.diagrams import BESIDE, arrow, box, canvas, cells, matrix, say
from llmsuite_lab.core.errors import within
from llmsuite_lab.transformer.attention import attention_weights, causal_mask
from llmsuite_lab.transformer.bpe_training import join_pair, train_bpe


def recall_task() -> Any:
    """The task of the first experiment: pairs are read, then keys are asked for; attention looks back, the LSTM has one vector."""
    drawn, ax = canvas("The question can look back, or hope it was remembered")
    pairs = ["k7 v2", "k12 v0", "k3 v3", "k5 v1"]
    for y, name in ((3.55, "attention"), (1.25, "LSTM")):
        say(ax, 0.1, y + 0.95, name, size=15, bold=True, ink="tuned" if name == "attention" else "baseline", across="left")
        centres = cells(ax, 0.1, y, pairs, "grid", width=0.98)
        cells(ax, 4.4, y, ["k12 ?"], "third", width=0.85)
        say(ax, 5.75, y, "→ v0" if name == "attention" else "→ v ?", size=15, bold=True)
        if name == "attention":
            for x in centres:
                best = x == centres[1]
                arrow(
                    ax,
                    (4.8, y + 0.25),
                    (x, y + 0.27),
                    bend=0.32,
                    ink="tuned" if best else "base",
                    width=3.2 if best else 1.2,
                    dashed=not best,
                )
        else:
            for x, after in zip(centres, [*centres[1:], 4.8]):
                arrow(ax, (x, y - 0.55), (after - 0.12, y - 0.55), ink="baseline", width=2.4)
                arrow(ax, (x, y - 0.25), (x, y - 0.5), ink="base")
            say(ax, 2.6, y - 0.9, "everything passes through one vector, step by step", size=12.5, italic=True)
    return drawn


def attention_by_hand(d_k: int = 4, seed: int = 11) -> Any:
    """Attention of four tokens in numbers: the table of scores, the softmax of each row, the mix of values. Computed, and it can be checked by hand."""
    generator = torch.Generator().manual_seed(seed)
    tokens = ["the", "cat", "sat", "down"]
    Q, K, V = (torch.randint(-2, 3, (4, d_k), generator=generator).float() for _ in range(3))
    weights = attention_weights(Q, K)
    drawn, ax = canvas("Who fits whom, who gets how much, what arrives", 6.6, 5.5)
    panels = (
        (0.6, 5.2, "1  scores  QKᵀ", Q @ K.T, tokens),
        (4.0, 5.2, "2  softmax(QKᵀ/√4)", weights, tokens),
        (0.6, 2.35, "3  values  V", V, "1234"),
        (4.0, 2.35, "4  weights × V", weights @ V, "1234"),
    )
    for x, y, title, values, names in panels:
        say(ax, x, y, title, size=13, bold=True, across="left")
        matrix(ax, x, y - 0.2, values.tolist(), (0.62, 0.46), fill="tuned", written=True, size=12.5)
        for i, name in enumerate(names):
            say(ax, x + 0.31 + 0.62 * i, y - 2.2, name, size=12)
        for i, name in enumerate(tokens):
            say(ax, x - 0.06, y - 0.43 - 0.46 * i, name, size=12, across="right")
    return drawn


def heads_side_by_side(n_heads: int = 3, seed: int = 2) -> Any:
    """One width, divided: each head attends with its slice in its own way, the slices are joined and mixed by W_O."""
    drawn, ax = canvas("The width is divided: every head looks its own way")
    fills = ("baseline", "tuned", "accent")[:n_heads]
    generator = torch.Generator().manual_seed(seed)
    say(ax, 0.05, 4.75, "one token's vector", across="left", size=12.5)
    cells(ax, 2.0, 4.75, [""] * 12, [f for f in fills for _ in range(4)], width=0.28, gap=0.04, height=0.36)
    for n, fill in enumerate(fills):
        x = 0.2 + 2.1 * n
        weights = attention_weights(*(1.6 * torch.randn(5, 4, generator=generator) for _ in range(2)), causal_mask(5))
        matrix(ax, x, 3.55, weights.tolist(), fill=fill)
        say(ax, x + 0.85, 3.85, f"head {n + 1}", size=13.5, bold=True, ink=fill)
        arrow(ax, (2.6 + 1.28 * n, 4.52), (x + 0.85, 4.05), ink=fill)
        arrow(ax, (x + 0.85, 1.78), (2.6 + 1.28 * n, 1.32), ink=fill)
    say(ax, 0.05, 1.1, "joined again", across="left", size=12.5)
    cells(ax, 2.0, 1.1, [""] * 12, [f for f in fills for _ in range(4)], width=0.28, gap=0.04, height=0.36)
    arrow(ax, (3.88, 0.88), (3.88, 0.56))
    box(ax, 3.88, 0.3, 3.6, 0.46, "W_O mixes the heads", fill="text")
    return drawn


def three_masks() -> Any:
    """Who may look at whom in the three families: coloured is allowed."""
    drawn, ax = canvas("The families differ in who may look at whom", 10.8, 3.1)
    n, side = 5, 0.34
    full, left = torch.ones(n, n), causal_mask(n).float()
    panels = (
        (0.9, "encoder", [(full, "baseline", 0)]),
        (4.0, "decoder", [(left, "tuned", 0)]),
        (7.1, "encoder–decoder", [(full, "baseline", 0), (left, "tuned", n * side + 0.12)]),
    )
    for x, name, maps in panels:
        say(ax, x, 2.75, name, size=14, bold=True, across="left")
        for allowed, fill, shift in maps:
            matrix(ax, x + shift, 2.4, allowed.tolist(), side, fill=fill)
    say(ax, 0.75, 1.4, "query", size=12, across="right")
    for x, below in ((1.75, "all see all"), (4.85, "only the left"), (7.95, "source"), (9.78, "target: the left,\nand all the source")):
        say(ax, x, 0.5, below, size=12, down="top")
    return drawn


def steps_in_time(n: int = 6) -> Any:
    """When what can be computed: a recurrent network one token after the other, attention all of them in one step."""
    within("n", n, 1, 12)
    drawn, ax = canvas("A chain waits for itself; a table does not", 10.8, 3.0)
    halves = ((0.4, "LSTM: n steps, one after the other", "baseline", True), (6.0, "attention: one step, a table of n × n", "tuned", False))
    for x0, name, fill, waits in halves:
        say(ax, x0, 2.72, name, size=13.5, bold=True, ink=fill, across="left")
        for i in range(n):
            x, y = x0 + 0.35 + 0.72 * i, 0.75 + (0.28 * i if waits else 0)
            box(ax, x, y, 0.52, 0.26, fill=fill)
            if waits and i:
                arrow(ax, (x - 0.72, y - 0.12), (x - 0.28, y), ink="text", width=1.4)
        arrow(ax, (x0, 0.35), (x0 + 4.5, 0.35), ink="base")
        say(ax, x0 + 4.6, 0.33, "token", size=12, across="left")
    arrow(ax, (0.15, 0.4), (0.15, 2.45), ink="base")
    say(ax, 0.3, 2.3, "time", size=12, across="left")
    return drawn


def bpe_merges(text: str = "low lower lowest slow slower", shown: int = 6) -> Any:
    """The merges that the package's own training learns on a line of text, and that line after each of them."""
    tokenizer = train_bpe([text], 256 + shown)
    merges = [(left.decode(), right.decode()) for left, right in tokenizer.merges][:shown]
    words = [[" " + c if i and not j else c for j, c in enumerate(word)] for i, word in enumerate(text.split())]
    words = [[piece for cell in word for piece in ([" ", cell[1]] if cell[0] == " " else [cell])] for word in words]
    wide = max(BESIDE[0], 1.4 + 0.185 * len(text))  # 0.185: a byte's cell and the gap behind it
    drawn, ax = canvas("The most frequent neighbours become one token", wide, 0.9 + 0.62 * (len(merges) + 1))
    shades = ("baseline", "tuned", "accent", "second", "third", "fourth")
    made: dict[str, str] = {}
    for row in range(len(merges) + 1):
        y = 0.62 * (len(merges) - row) + 0.5
        if row:
            pair = merges[row - 1]
            made["".join(pair)] = shades[(row - 1) % len(shades)]
            words = [join_pair(word, pair) for word in words]
            say(ax, 0.02, y, f"{_seen(pair[0])} + {_seen(pair[1])}", size=13, mono=True, across="left", bold=True)
        else:
            say(ax, 0.02, y, "bytes", size=13, across="left", italic=True)
        x = 1.35
        for word in words:
            for token in word:
                width = 0.155 * len(token)
                cells(ax, x, y, [_seen(token)], made.get(token, "grid"), width=width, height=0.36, size=12.5, mono=True)
                x += width + 0.03
    return drawn


def _seen(token: str) -> str:
    return token.replace(" ", "␣")
