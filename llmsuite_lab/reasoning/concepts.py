"""The ideas of the section as pictures, from the bakery of the paper and the package's own problems; the numbers in them are worked out, none measured."""

import re
from typing import Any

from llmsuite_lab.core.diagrams import arrow, box, canvas, cells, colour, say
from llmsuite_lab.core.errors import within
from llmsuite_lab.core.plots import figure
from llmsuite_lab.reasoning.prompting import COT, DIRECT, METHODS, PAL, completion, final_prompt, prompt
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


def two_calls() -> Any:
    """PAL's loop with its texts whole: the first prompt, the program that continues it, the value, the second prompt, the sentence that ends it."""
    import textwrap

    problem = _short_problem()
    first, program, value = prompt(PAL, problem.text), completion(PAL, problem), str(problem.answer)
    second = final_prompt(problem.text, program, value)
    drawn, ax = canvas("Two calls of the model, and between them a machine that computes", 11.2, 4.9)
    for x, width, name, fill in ((2.05, 3.9, "1  prompt", "base"), (6.35, 3.9, "2  the model writes", "tuned"), (9.8, 2.5, "3  the interpreter", "accent")):
        say(ax, x - width / 2, 4.7, name, size=14, bold=True, ink=fill, across="left")
        box(ax, x, 3.35, width, 2.3, fill=fill, outline=True)
    for x, text, wide in ((0.25, first, 36), (4.55, program, 36)):
        wrapped = "\n".join(textwrap.fill(line, wide, subsequent_indent="  ") for line in text.strip().splitlines())
        say(ax, x, 3.35, wrapped, size=12, across="left", mono=True)
    say(ax, 9.8, 3.5, value, size=30, bold=True, ink="accent")
    say(ax, 9.8, 2.75, "computed, not predicted", size=12.5, italic=True)
    arrow(ax, (4.02, 3.3), (4.38, 3.3))
    arrow(ax, (8.32, 3.3), (8.53, 3.3))
    arrow(ax, (9.8, 2.12), (9.8, 1.72))
    box(ax, 5.6, 1.05, 10.95, 1.25, fill="base", outline=True)
    say(ax, 0.1, 1.9, "4  back into the prompt, and what the model writes last", size=14, bold=True, across="left")
    ending = second[second.index("# output") :]
    say(ax, 0.25, 1.36, "… question and program as above …", size=12, across="left", italic=True)
    say(ax, 0.25, 0.86, ending, size=12.5, across="left", mono=True)
    cells(ax, 0.25 + 0.11 * len(ending.splitlines()[-1]) + 0.2, 0.75, [f"{value}."], "tuned", width=0.9, size=13, mono=True, height=0.36)
    return drawn


def lines_in_a_row(q: float = 0.9) -> Any:
    """If each line of a chain is true with the same probability `q`, all n are with qⁿ: worked out, not measured.

    Raises ValueError for q outside 0 to 1.
    """
    within("q", q, 0, 1)
    drawn, ax = figure(6.6, 4.6)
    n = range(1, 11)
    ax.bar(n, [q**k for k in n], 0.66, color=[colour("accent" if q**k >= 0.5 else "tuned") for k in n])
    ax.axhline(0.5, color=colour("bound"), linestyle="--", linewidth=1.6)
    for k in (1, 3, 6, 10):
        ax.annotate(f"{q**k:.2f}", (k, q**k), (0, 4), textcoords="offset points", ha="center", fontsize=13)
    ax.set(xlabel="lines n that must all be true", ylabel=r"probability $q^n$", ylim=(0, 1.12), xticks=list(n))
    ax.grid(axis="x", visible=False)
    ax.set_title(f"Lines true with {q:g} each: six in a row with {q**6:.2f}")
    return drawn


def what_a_vote_repairs(right: float = 0.4, draws: int = 1_000, seed: int = 0) -> Any:
    """How often the majority of n chains is right when one is right with probability `right`: wrong answers that scatter, or all the same. Simulated.

    Raises ValueError for a share outside 0 to 1, or draws outside 1 to 100,000.
    """
    from random import Random

    from llmsuite_lab.reasoning.self_consistency import majority

    within("right", right, 0, 1)
    within("draws", draws, 1, 100_000)
    rng, sizes = Random(seed), (1, 3, 5, 9, 15, 25)
    drawn, ax = figure(6.6, 4.6)
    for wrong, name, fill in ((20, "wrong answers scatter over 20", "accent"), (1, "every wrong answer is the same", "tuned")):
        won = []
        for n in sizes:
            votes = [[("right" if rng.random() < right else f"wrong {rng.randrange(wrong)}") for _ in range(n)] for _ in range(draws)]
            won.append(sum(majority(vote)[0] == "right" for vote in votes) / draws)
        ax.plot(sizes, won, "o-", color=colour(fill), label=name)
    ax.axhline(right, color=colour("bound"), linestyle="--", linewidth=1.6, label="one chain alone")
    ax.set(xlabel="chains that vote", ylabel="share of votes right", ylim=(0, 1.05), xticks=sizes)
    ax.legend(fontsize=12.5)  # in the free corner, which moves with `right`
    ax.set_title("The commonest answer wins where errors scatter")
    return drawn
