"""What whole models do, as pictures: how far back one looks, reading and writing in turns, induction, the key–value cache. Drawn, not measured."""

from typing import Any

from llmsuite_lab.core.diagrams import arrow, box, canvas, cells, matrix, say


def how_far_back() -> Any:
    """What each of three models may look at before it says the next token."""
    drawn, ax = canvas("No token, one token, all: how far back each looks", 6.6, 4.6)
    tokens = ["the", "list", "is", "sorted", "in", "place"]
    rows = (
        ("unigram", 0, "how frequent is each token?"),
        ("bigram", 1, "what follows the token before?"),
        ("transformer", len(tokens), "all of it, weighed anew each time"),
    )
    for n, (name, back, question) in enumerate(rows):
        y = 3.75 - 1.45 * n
        say(ax, 0.05, y + 0.5, name, size=14, bold=True, across="left", ink="tuned" if n == 2 else "text")
        say(ax, 1.75, y + 0.5, question, size=12.5, italic=True, across="left")
        fills = ["grid"] * (len(tokens) - back) + ["tuned" if n == 2 else "baseline"] * back
        centres = cells(ax, 0.05, y, tokens, fills, width=0.86)
        say(ax, 5.75, y, "→", size=16)
        cells(ax, 5.95, y, ["?"], "third", width=0.5)
        if not back:
            say(ax, sum(centres) / len(centres), y - 0.42, "sees nothing", size=12, ink="base")
    return drawn


def read_then_write() -> Any:
    """Encoder and decoder at the task of the notebook: the source is read both ways, the target written from the left, looking across."""
    drawn, ax = canvas("One reads both ways, one writes and looks across", 6.6, 5.2)
    source, target = list("5 March 2021"), list("2021-")
    say(ax, 0.05, 4.85, "encoder", size=14.5, bold=True, ink="baseline", across="left")
    read = cells(ax, 0.05, 3.1, source, "baseline", width=0.48, mono=True)
    for a, b in ((read[0], read[6]), (read[7], read[2]), (read[3], read[10]), (read[11], read[8])):
        arrow(ax, (a, 3.36), (b, 3.36), bend=-0.4 if b > a else 0.4, ink="base", width=1.4)
    say(ax, 0.05, 1.95, "decoder", size=14.5, bold=True, ink="tuned", across="left")
    written = cells(ax, 1.6, 0.95, [*target, "?"], ["tuned"] * len(target) + ["third"], width=0.48, mono=True)
    for n in range(len(target)):
        arrow(ax, (written[n] + 0.02, 0.7), (written[n + 1] - 0.04, 0.7), bend=0.5, ink="tuned", width=1.2)
    arrow(ax, (written[-1], 1.2), (read[3], 2.84), ink="accent", width=3)
    arrow(ax, (written[-1], 1.2), (read[2], 2.84), ink="accent", width=1.6)
    say(ax, 4.75, 2.05, "cross-attention:\nwhich month was it?", size=13, ink="accent", bold=True, across="left")
    say(ax, 0.05, 0.25, "each character from those before it and from all of the source", size=12.5, italic=True, across="left")
    return drawn


def induction_in_two_steps() -> Any:
    """How two layers copy: one marks what stood before, the next looks for that mark and reads on."""
    drawn, ax = canvas("Two layers copy what came next last time", 6.6, 4.9)
    tokens = list("BADCBA")
    say(ax, 0.05, 4.6, "layer 1:  every token notes what stood before it", size=13, bold=True, ink="baseline", across="left")
    below = cells(ax, 0.3, 3.35, tokens, "grid", width=0.8, size=15)
    for n in range(1, len(tokens)):
        arrow(ax, (below[n], 3.62), (below[n - 1] + 0.1, 3.62), bend=0.55, ink="baseline")
        say(ax, below[n], 2.9, f"after {tokens[n - 1]}", size=12, ink="baseline")
    say(ax, 0.05, 2.3, "layer 2:  “I am A. Who stands after an A?”", size=13, bold=True, ink="tuned", across="left")
    above = cells(ax, 0.3, 0.95, tokens, ["grid", "grid", "tuned", "grid", "grid", "third"], width=0.8, size=15)
    arrow(ax, (above[5], 1.22), (above[2] + 0.05, 1.22), bend=0.35, ink="tuned", width=3)
    say(ax, above[2], 0.5, "after A", size=12, ink="baseline")
    say(ax, 5.62, 0.95, "→", size=18)
    cells(ax, 5.85, 0.95, ["D"], "tuned", width=0.6, size=15)
    return drawn


def key_value_cache(n: int = 6) -> Any:
    """Writing token by token: without a cache every key and value is computed again, with one a single new one."""
    drawn, ax = canvas("Keys and values kept: one new column a token", 6.6, 4.4)
    for x, name, cached in ((0.4, "computed again each time", False), (3.75, "with a cache", True)):
        say(ax, x, 3.95, name, size=13.5, bold=True, across="left", ink="accent" if cached else "tuned")
        for step in range(1, n + 1):
            work = [1.0 if (position == step or not cached) else 0.22 for position in range(1, step + 1)]
            matrix(ax, x, 3.6 - 0.42 * (step - 1), [work + [0.0] * (n - step)], (0.42, 0.36), fill="accent" if cached else "tuned")
        say(ax, x + 1.26, 0.68, "tokens →", size=12)
    say(ax, 0.22, 2.3, "steps", size=12, across="right")
    say(ax, 3.3, 0.25, "dark: computed in this step · pale: read from memory", size=12.5, italic=True)
    return drawn


def one_token_at_a_time() -> Any:
    """The only thing that a language model does: the text so far goes in, one token comes out and is appended."""
    drawn, ax = canvas("Text in, one token out, again", 6.6, 5.0)
    text, written = ["The", "capital", "of", "France", "is"], ["Paris", ".", "⏎"]  # as SmolLM2 goes on: a line break
    for step, token in enumerate(written):
        y = 4.35 - 1.5 * step
        shown = [*text, *written[:step]][-7:]
        fills = ["grid"] * (len(shown) - step) + ["tuned"] * step
        cells(ax, 0.05, y, shown, fills, width=[0.14 + 0.115 * len(t) for t in shown], size=13)
        arrow(ax, (2.0, y - 0.27), (2.0, y - 0.5))
        box(ax, 2.0, y - 0.74, 3.0, 0.42, "the model", fill="bound")
        arrow(ax, (3.55, y - 0.74), (4.4, y - 0.74))
        cells(ax, 4.5, y - 0.74, [token], "tuned", width=0.85, size=13.5)
        if step < len(written) - 1:
            arrow(ax, (4.95, y - 1.0), (4.2, y - 1.38), ink="tuned", bend=-0.2, dashed=True)
    say(ax, 5.45, 2.1, "appended,\nthen read\nagain", size=12.5, italic=True, across="left")
    return drawn
