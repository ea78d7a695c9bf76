"""A soft prompt in pictures: words are places and vectors go anywhere, where padding stands, what the cache holds, one model for many tasks."""

from random import Random
from typing import Any

from llmsuite_lab.core.diagrams import BESIDE, WIDE, arrow, box, canvas, cells, colour, say

STEP = 0.62  # inches from one column to the next


def words_are_places() -> Any:
    """A written prompt chooses among the points of the vocabulary; a learned one starts at such points and leaves them."""
    drawn, ax = canvas("Words are places; vectors go anywhere", *BESIDE)
    draw = Random(4)
    places = [(0.4 + 5.6 * draw.random(), 0.9 + 3.7 * draw.random()) for _ in range(70)]
    ax.scatter(*zip(*places), s=26, color=colour("base"), zorder=2)
    for (x, y), (to_x, to_y), word in (((1.2, 3.9), (2.3, 4.5), "Summarise"), ((2.0, 2.3), (3.5, 1.9), "the"), ((4.4, 3.1), (5.6, 3.9), "dialogue")):
        ax.scatter([x], [y], s=110, color=colour("baseline"), zorder=3)
        ax.scatter([to_x], [to_y], s=110, color=colour("tuned"), zorder=3)
        arrow(ax, (x + 0.1, y + 0.03), (to_x - 0.12, to_y - 0.03), ink="tuned")
        ax.text(x, y - 0.28, word, fontsize=13, ha="center", zorder=5, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0})
    say(ax, 0.3, 0.42, "grey: the vocabulary's embeddings · blue: a written prompt", size=12.5, across="left")
    say(ax, 0.3, 0.12, "orange: the same prompt after training, between the words", size=12.5, across="left", ink="tuned")
    return drawn


def where_padding_stands() -> Any:
    """Two rows of unequal length, padded on the left and on the right: the prompt stands first, padding takes no position."""
    drawn, ax = canvas("The prompt first, padding nowhere", *WIDE)
    fills = {"p": "tuned", "x": "base", "": "grid"}
    for top, side, short in ((4.05, "padded on the left", ["", "", "x1", "x2"]), (1.95, "padded on the right", ["x1", "x2", "", ""])):
        say(ax, 0.2, top + 0.45, side, size=14, bold=True, across="left")
        for line, row in enumerate((["x1", "x2", "x3", "x4"], short)):
            y = top - 0.85 * line
            texts = ["p1", "p2", "p3", *row]
            centres = cells(ax, 0.3, y, texts, [fills[text[:1]] for text in texts], width=STEP + 0.2, mono=True)
            position = 0
            for x, text in zip(centres, texts):
                say(ax, x, y - 0.38, str(position) if text else "–", size=12.5, mono=True)
                position += bool(text)
    say(ax, 6.9, 3.9, "P is prepended once, to every row.", size=14, across="left", bold=True, ink="tuned")
    say(ax, 6.9, 3.35, "Below each cell: its position.", size=14, across="left")
    say(ax, 6.9, 2.8, "Padding has none, is seen by none,", size=14, across="left")
    say(ax, 6.9, 2.45, "and is asked for nothing.", size=14, across="left")
    say(ax, 6.9, 1.75, "So x2 stands at the same distance from P", size=14, across="left")
    say(ax, 6.9, 1.4, "on either side, and in a batch of one.", size=14, across="left")
    return drawn


def read_once() -> Any:
    """What goes through the model at each step of writing: the prompt and the text once, then one token at a time beside the cache."""
    drawn, ax = canvas("Read once, then it lies in the cache", *WIDE)
    p, n = 4, 4
    for step in range(4):
        y = 4.1 - 0.95 * step
        texts = [f"p{i + 1}" for i in range(p)] + [f"x{i + 1}" for i in range(n)] + [f"y{i + 1}" for i in range(step)]
        fresh = len(texts) if step == 0 else 1
        kinds = ["tuned"] * p + ["base"] * n + ["accent"] * step
        fills = ["grid"] * (len(texts) - fresh) + kinds[len(texts) - fresh :]
        say(ax, 0.2, y, f"step {step + 1}", size=14, bold=True, across="left")
        cells(ax, 1.25, y, texts, fills, width=STEP, mono=True, size=12.5)
        say(ax, 9.0, y, f"{fresh} column{'s' if fresh > 1 else ''} computed", size=14, across="left", bold=step > 0)
    say(ax, 1.25, 0.45, "coloured: computed in this step · pale: keys and values from the cache", size=13.5, italic=True, across="left")
    return drawn


def one_model_many_tasks() -> Any:
    """One frozen model serves different tasks, one after the other: each brings its own few vectors."""
    drawn, ax = canvas("One frozen model, a small file for each task", *WIDE)
    rows = (("tuned", "summary", "My kettle hums …"), ("accent", "intent", "I paid twice …"), ("second", "mood", "Third time I write …"))
    for n, (fill, task, text) in enumerate(rows):
        y = 3.95 - 1.15 * n
        cells(ax, 0.3, y, ["p1", "p2", "p3"], fill, width=STEP, mono=True)
        box(ax, 3.75, y, 2.5, 0.5, text, fill="base", outline=True, size=13)
        arrow(ax, (5.05, y), (6.2, 2.8 + 0.35 * (1 - n)))
        box(ax, 10.2, y, 1.5, 0.55, task, fill=fill)
        arrow(ax, (8.5, 2.8 + 0.35 * (1 - n)), (9.4, y))
    box(ax, 7.35, 2.8, 2.2, 1.7, "the model", "one copy, frozen", fill="bound")
    say(ax, 0.3, 0.55, "20 vectors of 576 numbers: 46 kB a task; a tuned copy of the model: 538 MB", size=13.5, across="left", bold=True)
    return drawn
