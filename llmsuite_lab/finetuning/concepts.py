"""The ideas of the section as pictures; the dialogues in them are the support desk's, the prompts the package's own."""

import textwrap
from typing import Any

from llmsuite_lab.core.diagrams import WIDE, arrow, box, canvas, cells, colour, say
from llmsuite_lab.finetuning import templates
from llmsuite_lab.finetuning.templates import TASKS
from llmsuite_lab.world import support_desk


def what_the_loss_reads() -> Any:
    """A prompt and its completion as tokens: the loss is taken where the next token belongs to the completion, and nowhere else."""
    drawn, ax = canvas("The loss reads the completion only", *WIDE)
    prompt, completion = ("What", "is", "the", "mood", "?", "Mood", ":"), ("angry", "end")
    tokens = [*prompt, *completion]
    reads, step = tokens[:-1], 1.16
    say(ax, 0.1, 4.35, "the model reads", size=14, bold=True, across="left")
    cells(ax, 0.1, 3.75, reads, ["grid"] * len(prompt) + ["tuned"], width=step - 0.06, mono=True, size=14)
    say(ax, 0.1, 2.65, "it is asked for the next token", size=14, bold=True, across="left")
    for i, token in enumerate(tokens[1:]):
        supervised = i >= len(prompt) - 1
        x = 0.1 + step * i + (step - 0.06) / 2
        arrow(ax, (x, 3.46), (x, 2.34 if supervised else 2.9), ink="tuned" if supervised else "grid", dashed=not supervised)
        if supervised:
            cells(ax, x - (step - 0.06) / 2, 2.05, [token], "tuned", width=step - 0.06, mono=True, size=14)
    say(ax, 0.1, 2.05, "not asked: the prompt is given, nobody will write it", size=13, italic=True, across="left")
    loss = "L = − ( log P(angry | prompt) + log P(end | prompt, angry) ) / 2"
    box(ax, 5.5, 0.75, 9.8, 0.95, loss, "N = 2 supervised tokens: padding and prompt count nowhere", fill="bound", size=15)
    return drawn


def one_dialogue_five_tasks() -> Any:
    """One dialogue of the support desk and what the five tasks want of it: text, class, mood, fields, answer."""
    drawn, ax = canvas("One dialogue, five tasks", *WIDE)
    wrapped = {d.id: [row for line in d.text.splitlines() for row in textwrap.wrap(line, 50, subsequent_indent="   ")] for d in _some()}
    dialogue = min(_some(), key=lambda d: abs(len(wrapped[d.id]) - 17))  # fills the box
    text = "\n".join(wrapped[dialogue.id][:19])
    box(ax, 2.75, 2.4, 5.3, 4.5, fill="base", outline=True)
    say(ax, 0.25, 4.5, text, size=12, across="left", down="top")
    for n, task in enumerate(TASKS):
        y = 4.25 - 0.93 * n
        arrow(ax, (5.42, 2.4 + 0.35 * (2 - n)), (6.3, y), ink="base")
        cells(ax, 6.35, y, [task], "tuned", width=1.25, size=13.5)
        completion = templates.render([dialogue], task, templates.training(task)[:1], 0)[0].completion.strip()
        say(ax, 7.75, y, "\n".join(textwrap.wrap(completion, 40)[:3]), size=12, across="left")
    return drawn


def _some() -> list[support_desk.Dialogue]:
    return support_desk.dialogues(40, "train", 0)


def split_by_item() -> Any:
    """Split first, render afterwards: all phrasings of a dialogue lie on one side; the other order lets the same dialogue into both."""
    drawn, ax = canvas("Split the dialogues, then render them", 6.4, 5.0)
    for top, title, good in ((4.45, "first split, then render", True), (2.1, "first render, then split", False)):
        say(ax, 0.1, top, title, size=14, bold=True, across="left", ink="accent" if good else "tuned")
        for d in range(4):
            x = 0.1 + 1.6 * d
            test = d == 3
            fills = ["third" if test else "baseline"] * 3 if good else ["baseline", "third" if d % 2 else "baseline", "baseline"]
            cells(ax, x, top - 0.65, [f"{'abcd'[d]}{i}" for i in (1, 2, 3)], fills, width=0.44, size=13, mono=True)
        say(ax, 0.1, top - 1.2, "no dialogue on both sides" if good else "b and d: asked in training, asked in the test", size=13, italic=True, across="left")
    say(ax, 0.1, 0.25, "letter: a dialogue · number: a phrasing · yellow: test", size=12.5, across="left")
    return drawn


def going_on() -> Any:
    """A model tuned on four tasks goes on with a fifth: alone, or mixed with the old ones."""
    drawn, ax = canvas("What happens to what it could do?", 6.4, 5.0)
    box(ax, 3.2, 4.25, 3.6, 0.8, "tuned on four tasks", "mood, intent, fields, answers", fill="baseline")
    box(ax, 1.55, 2.4, 2.7, 0.9, "summaries alone", "full, or LoRA", fill="tuned")
    box(ax, 4.85, 2.4, 2.7, 0.9, "a mixture", "half of it the old tasks", fill="accent")
    arrow(ax, (2.6, 3.84), (1.7, 2.88))
    arrow(ax, (3.8, 3.84), (4.7, 2.88))
    for x, fill in ((1.55, "tuned"), (4.85, "accent")):
        arrow(ax, (x, 1.93), (x, 1.33), ink=fill)
    box(ax, 3.2, 0.85, 5.9, 0.9, "learnt: the summaries' facts  ·  kept: the four tasks", "and what everybody knows, beside them", fill="bound", outline=True)
    return drawn


def facts_on_scales() -> Any:
    """Recall and precision of a summary's facts: what is missing, what is invented."""
    drawn, ax = canvas("Essential details kept, none invented", 6.4, 4.8)
    for x, title, words, fills in (
        (0.2, "in the dialogue", ("customer", "order", "amount", "date", "outcome"), "baseline"),
        (3.5, "in the summary", ("customer", "order", "another amount", "", "outcome"), ("accent", "accent", "tuned", "grid", "accent")),
    ):
        say(ax, x, 4.4, title, size=14, bold=True, across="left")
        for n, word in enumerate(words):
            fill = fills if isinstance(fills, str) else fills[n]
            cells(ax, x, 3.85 - 0.58 * n, [word], fill, width=2.6, size=13.5)
    for n in (0, 1, 4):
        ax.plot([2.85, 3.45], [3.85 - 0.58 * n] * 2, color=colour("accent"), linewidth=2.5)
    say(ax, 0.2, 0.75, "recall 3 of 5: the date is missing", size=14, across="left", bold=True)
    say(ax, 0.2, 0.3, "precision 3 of 4: one amount is invented", size=14, across="left", bold=True, ink="tuned")
    return drawn
