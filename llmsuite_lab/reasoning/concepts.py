"""The ideas of the section as pictures, from the bakery of the paper and the package's own problems; the numbers in them are worked out, none measured."""

import re
from typing import Any

from llmsuite_lab.core.diagrams import arrow, box, canvas, cells, colour, say
from llmsuite_lab.reasoning.prompting import COT, DIRECT, METHODS, PAL, completion, prompt
from llmsuite_lab.world.word_problems import Problem, load

_SIGNS = (1, -1, -1, 1)  # baked, sold, sold, returned
_NAMES = {DIRECT: ("direct", "base"), COT: ("chain of thought", "baseline"), PAL: ("program", "tuned")}


def _amounts() -> list[int]:
    from llmsuite_lab.reasoning.pal import BAKERY

    return [sign * int(number) for sign, number in zip(_SIGNS, re.findall(r"\d+", BAKERY))]


def the_bakery() -> Any:
    """The story as what it does to the loaves: baked, sold, sold, returned, left."""
    drawn, ax = canvas("Reading the story is one thing, the sum another", 6.4, 5.0)
    amounts = _amounts()
    labels, level, scale = ("baked", "sold before\nnoon", "sold after\nnoon", "returned", "left"), 0, 3.4 / amounts[0]
    ax.plot([0.2, 6.2], [0.85, 0.85], color=colour("text"), linewidth=1.5)
    for n, (amount, label) in enumerate(zip([*amounts, sum(amounts)], labels)):
        x, last = 0.8 + 1.2 * n, n == len(amounts)
        low, high = (0, amount) if last else sorted((level, level + amount))
        fill = "accent" if last else "baseline" if amount > 0 else "tuned"
        box(ax, x, 0.85 + scale * (low + high) / 2, 0.86, max(scale * (high - low), 0.06), fill=fill)
        say(ax, x, 0.85 + scale * high + 0.2, "= ?" if last else f"{amount:+}".replace("-", "−"), size=15, bold=True)
        say(ax, x, 0.42, label, size=12.5)
        if not last:
            level += amount
            ax.plot([x + 0.43, x + 0.77], [0.85 + scale * level] * 2, color=colour("base"), linewidth=1.4, linestyle="--")
    return drawn


def a_wrong_step(error: int = 10) -> Any:
    """The bakery's chain twice: worked out, and with one slip, which every later step believes."""
    drawn, ax = canvas("A wrong step is believed by every later one", 6.4, 4.9)
    amounts = _amounts()
    for column, (x, name, slip) in enumerate(((1.6, "every step true", 0), (4.8, "one slip", error))):
        say(ax, x, 4.55, name, size=14, bold=True, ink="accent" if not slip else "tuned")
        level = amounts[0]
        box(ax, x, 3.95, 2.5, 0.56, f"So {level}.", fill="accent", outline=True)
        for n, amount in enumerate(amounts[1:], 1):
            found = level + amount + (slip if n == 1 else 0)
            wrong, late = bool(slip) and n == 1, bool(slip) and n > 1
            y = 3.95 - 0.95 * n
            arrow(ax, (x, y + 0.66), (x, y + 0.3))
            fill = "tuned" if wrong else "third" if late else "accent"
            box(ax, x, y, 2.5, 0.56, f"{level} {'−' if amount < 0 else '+'} {abs(amount)} = {found}", fill=fill, outline=not wrong)
            level = found
        say(ax, x, 0.42, f"The answer is {level}.", size=14, bold=True, ink="tuned" if slip else "accent")
        if column:
            say(ax, 4.8, 0.1, "orange: not true · yellow: true, of a wrong number", size=12, italic=True)
    return drawn


def _short_problem() -> Problem:
    return min((p for p in load("test") if p.digits == 2 and p.steps == 3 and not p.distractors), key=lambda p: len(p.text))


def three_forms() -> Any:
    """One problem in the three forms of prompt, each with its true completion; taken from the package's own functions."""
    import textwrap

    problem = _short_problem()
    drawn, ax = canvas("One question, three ways to ask: only the ending differs", 11.0, 4.6)
    say(ax, 0.1, 4.45, textwrap.fill("Q: " + problem.text, 112), size=13, across="left", down="top")
    for n, method in enumerate(METHODS):
        name, fill = _NAMES[method]
        x, width = ((1.4, 2.6), (4.75, 3.8), (8.85, 4.1))[n]
        box(ax, x, 1.75, width, 3.4, fill=fill, outline=True)
        left = x - width / 2 + 0.15
        say(ax, left, 3.22, name, size=14, bold=True, across="left", ink=fill)
        ending = prompt(method, problem.text).split("\n", 1)[1].rstrip("\n")
        say(ax, left, 2.92, ending, size=12, across="left", down="top", mono=True)
        wrapped = "\n".join(
            textwrap.fill(line, int(width / 0.12), subsequent_indent="  ") for line in completion(method, problem).strip().splitlines()
        )
        say(ax, left, 2.6, wrapped, size=12, across="left", down="top", mono=True, ink=fill)
    return drawn


def one_difference() -> Any:
    """The same steps written twice: as worked-out text, where the model computes, and as a program, where the interpreter does."""
    problem = _short_problem()
    drawn, ax = canvas("The same steps: who does the arithmetic?", 6.4, 4.8)
    lines = [line for line in problem.lines if re.search(r"[-+*/]", line.expression)][:3]
    for x, name, fill, who in (
        (1.6, "chain of thought", "baseline", "the model computes"),
        (4.8, "program", "tuned", "the interpreter computes"),
    ):
        say(ax, x, 4.4, name, size=15, bold=True, ink=fill)
        box(ax, x, 0.62, 2.9, 0.6, who, fill=fill, size=13)
    level = {line.target: line.value for line in problem.lines[:1]}
    for n, line in enumerate(lines):
        y = 3.7 - 0.85 * n
        worked = re.sub(r"[a-z_]+", lambda m: str(level.get(m[0], m[0])), line.expression)
        level[line.target] = line.value
        cells(ax, 0.15, y, [f"{worked} ="], "grid", width=2.0, size=12.5, mono=True)
        cells(ax, 2.2, y, [str(line.value)], "baseline", width=0.85, size=12.5, mono=True)
        cells(ax, 3.4, y, [f"{line.target} = {line.expression}"], "grid", width=2.85, size=12.5, mono=True)
    say(ax, 2.62, 4.03, "digits", size=12, italic=True, ink="baseline")
    say(ax, 3.2, 0.12, "same problems, same order, same steps, same LoRA", size=12.5, italic=True)
    return drawn


def the_sandbox() -> Any:
    """What a model's program meets on its way: it is read, run in a worker that has nothing, and ends as an outcome with a name."""
    drawn, ax = canvas("Nothing in reach, and an end to everything", 6.4, 5.2)
    box(ax, 1.2, 4.3, 2.0, 0.8, "program", "a model wrote it", fill="tuned")
    box(ax, 4.5, 4.3, 3.2, 0.8, "read, not run", "too long? not Python? an import?", fill="baseline")
    box(ax, 4.5, 2.4, 3.6, 1.9, fill="bound", outline=True)
    say(ax, 4.5, 3.12, "a worker process", size=13.5, bold=True)
    cells(ax, 2.85, 2.66, ["time", "memory", "depth", "output"], "accent", width=0.78, size=12, height=0.4)
    say(ax, 4.5, 2.2, "each has its limit", size=12, italic=True)
    say(ax, 4.5, 1.8, "dead or hanging: replaced", size=12.5)
    for n, word in enumerate(("your files", "the network", "the environment")):
        y = 3.0 - 0.55 * n
        cells(ax, 0.1, y, [word], "grid", width=1.7, size=12.5, height=0.42)
        ax.plot([1.95, 2.45], [y, y], color=colour("tuned"), linewidth=2, linestyle=":")
        say(ax, 2.2, y, "×", size=20, bold=True, ink="tuned")
    box(ax, 4.5, 0.62, 3.2, 0.7, "an outcome with a name", "a value, or what went wrong", fill="accent", size=13)
    arrow(ax, (2.22, 4.3), (2.86, 4.3))
    arrow(ax, (4.5, 3.88), (4.5, 3.38))
    arrow(ax, (4.5, 1.43), (4.5, 1.0))
    return drawn
