"""The ideas of the section as pictures, from the frozen almanac, a demonstration and the shipped run's own trajectory."""

import textwrap
from typing import Any

from llmsuite_lab.agents.demonstrations import demonstrate, opening_text
from llmsuite_lab.agents.figures import showcase
from llmsuite_lab.agents.trace import COLOURS as ROLES
from llmsuite_lab.core.diagrams import arrow, box, canvas, cells, say, tint
from llmsuite_lab.core.errors import within
from llmsuite_lab.core.plots import COLOURS, figure
from llmsuite_lab.world.almanac_frozen import load_almanac, load_questions


def missing_facts() -> Any:
    """A question of three relations from the frozen almanac: each page holds the title of the next, and thought alone holds none of them."""
    question = load_questions(("founder_birthplace_river",), per_kind=1)[0]
    drawn, ax = canvas("Steps can be thought, facts must be found", 6.6, 5.2)
    say(ax, 0.05, 4.85, textwrap.fill(question.text, 62), size=13, italic=True, across="left")
    for x, name, fill in ((1.6, "thinking alone", "base"), (4.95, "looking it up", "accent")):
        say(ax, x, 4.25, name, size=14.5, bold=True, ink=fill)
    for n, (subject, relation, value) in enumerate(question.hops):
        y = 3.7 - 1.12 * n
        for x, fill, text in ((1.6, "base", subject if n == 0 else "? ? ?"), (4.95, "accent", subject)):
            box(ax, x, y, 2.7, 0.5, text, fill=fill, outline=n > 0 and fill == "base", size=13)
            arrow(ax, (x, y - 0.27), (x, y - 0.85), ink=fill)
            say(ax, x + 0.12, y - 0.56, relation, size=12.5, across="left")
        if n == len(question.hops) - 1:
            box(ax, 1.6, y - 1.12, 2.7, 0.5, "a fluent guess", fill="tuned", size=13)
            box(ax, 4.95, y - 1.12, 2.7, 0.5, value, fill="accent", size=13)
    return drawn


def _demonstration() -> tuple[str, list[tuple[str, str]]]:
    """A demonstration's opening and its (role, text) pieces in order."""
    question = load_questions(("compare_magazines",), per_kind=1)[0]
    pieces = []
    for turn in demonstrate(question, load_almanac()):
        pieces += [("thought", turn.thought), ("action", f"{turn.action}[{turn.argument}]")]
        pieces += [("observation", turn.observation)] if turn.observation else []
    return opening_text(question).removesuffix("\nThought:"), pieces


def context_grows() -> Any:
    """The agent's state after each turn of a demonstration, as a bar of its words: nothing is ever taken away."""
    opening, pieces = _demonstration()
    drawn, ax = canvas("The state is a text, and it only grows", 6.6, 4.6)
    count = len(opening.split())
    parts, states = [("question", count)], []
    for role, text in pieces:
        parts = [*parts, (role, len(text.split()))]
        if role == "observation" or text.startswith("Finish"):
            states.append(parts)
    scale = 5.5 / sum(words for _, words in states[-1])
    for n, state in enumerate([[("question", count)], *states]):
        x, y = 0.75, 3.75 - 0.85 * n
        say(ax, 0.35, y, f"$c_{n}$", size=17, math=True)
        for role, words in state:
            box(ax, x + scale * words / 2, y, scale * words - 0.03, 0.5, fill="base" if role == "question" else ROLES[role])
            x += scale * words
    for n, role in enumerate(("question", "thought", "action", "observation")):
        box(ax, 0.9 + 1.5 * n, 0.35, 0.3, 0.26, fill=ROLES.get(role, "base"))
        say(ax, 1.12 + 1.5 * n, 0.35, role, size=12.5, across="left")
    return drawn


def what_it_reads(turn: int = 2) -> Any:
    """The whole text that the model is given in its `turn`-th turn (from 1), and in outline what it writes there. Raises ValueError outside the turns."""
    opening, pieces = _demonstration()
    ends = [n for n, (role, _) in enumerate(pieces) if role == "action"]
    within("turn", turn, 1, len(ends))
    past, now = pieces[: ends[turn - 1] - 1], pieces[ends[turn - 1] - 1 : ends[turn - 1] + 1]
    drawn, ax = canvas(f"Turn {turn}: all that the model is given, and what it adds", 11.2, 4.9)
    y = 4.75
    for n, (role, text) in enumerate([("question", opening), *past, *now]):
        label = "" if role == "question" else {"thought": "Thought: ", "action": "Action: ", "observation": "Observation: "}[role]
        wrapped, new = textwrap.wrap(label + text, 76), n > len(past)
        tall = 0.22 * len(wrapped) + 0.14
        box(ax, 4.35, y - tall / 2, 8.6, tall - 0.05, fill="tuned" if new else tint(ROLES.get(role, "base"), 0.18), outline=new)
        say(ax, 0.2, y - tall / 2, "\n".join(wrapped), size=12, across="left", mono=True)
        who = {"question": "the reader wrote", "observation": "the tool wrote"}.get(role, "it wrote before")
        who = {"thought": "after the colon, it", "action": "writes this, and stops"}[role] if new else who
        say(ax, 8.8, y - tall / 2, who, size=12.5, across="left", bold=new, ink="tuned" if new else "text")
        y -= tall + 0.03
    return drawn


def what_the_loss_sees() -> Any:
    """A demonstration line by line: the model's own turns are in the loss, what a tool answered is read and not learned."""
    _, pieces = _demonstration()
    drawn, ax = canvas("Learned: what the model says. Only read: what tools say", 6.6, 5.4)
    y = 5.1
    for role, text in pieces:
        wrapped = textwrap.wrap(text, 46)
        height, learned = 0.24 * len(wrapped) + 0.14, role != "observation"
        box(ax, 2.72, y - height / 2, 5.4, height - 0.05, fill=tint("tuned" if learned else "base", 0.16))
        say(ax, 0.15, y - height / 2, "\n".join(wrapped), size=12, across="left", mono=role == "action")
        word, ink = ("in the loss", "tuned") if learned else ("masked", "base")
        say(ax, 5.55, y - height / 2, word, size=12.5, bold=learned, ink=ink, across="left")
        y -= height + 0.06
    return drawn


def tokens_by_turn() -> Any:
    """Recorded: what the shipped adapter read and wrote in each turn of its trajectory on two magazines."""
    steps = showcase().steps
    drawn, ax = figure(6.6, 4.6)
    for n, step in enumerate(steps):
        ax.bar(n, step.prompt_tokens, 0.6, color=COLOURS["baseline"], label="read" if n == 0 else None)
        ax.bar(n, step.completion_tokens, 0.6, bottom=step.prompt_tokens, color=COLOURS["tuned"], label="written" if n == 0 else None)
        text, total = f"{step.prompt_tokens} + {step.completion_tokens}", step.prompt_tokens + step.completion_tokens
        ax.annotate(text, (n, total), (0, 4), textcoords="offset points", ha="center", fontsize=13)
    ax.set_xticks(range(len(steps)), [f"turn {n + 1}\n{step.action}" for n, step in enumerate(steps)], fontsize=13)
    ax.set_ylabel("tokens")
    ax.grid(axis="x", visible=False)
    ax.legend(loc="upper left", fontsize=13)
    ax.set_title("Every turn reads all that came before it")
    return drawn


def the_gatekeeper() -> Any:
    """What the parser lets through and what it answers to the rest."""
    drawn, ax = canvas("One door: what does not fit the grammar is answered, not run", 10.8, 4.1)
    rows = (
        ("Search[Wiovra Courier]", "the tool runs, within its limits", True), ("Delete[everything]", "refused, with the actions there are", False),
        ("Search[Wiovra Courier] again", "refused: it was done already", False), ("Let me think about it.", "refused, with the grammar", False),
        ("Search[a page that hangs]", "stopped at the limit, and told so", False),
    )  # fmt: skip
    box(ax, 5.0, 1.86, 1.5, 3.4, "parser\nand rules", fill="bound", size=14)
    for n, (text, answer, runs) in enumerate(rows):
        y = 3.3 - 0.72 * n
        cells(ax, 0.1, y, [text], tint("tuned", 0.2), width=3.5, size=12.5, mono=True)
        arrow(ax, (3.65, y), (4.22, y), ink="text")
        arrow(ax, (5.78, y), (6.4, y), ink="accent" if runs else "tuned", dashed=not runs)
        fill = "accent" if runs else ROLES["refused"]
        box(ax, 8.55, y, 4.2, 0.5, answer, fill=fill, outline=not runs, size=12.5)
    say(ax, 1.85, 3.85, "the model writes", size=13, bold=True, ink="tuned")
    say(ax, 8.55, 3.85, "the loop does", size=13, bold=True, ink="text")
    return drawn
