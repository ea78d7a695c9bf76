"""The pictures of what the whole course shares: where one is, how a verdict falls, how an exercise answers, and why sums go wrong from the left."""

from typing import Any

from llmsuite_lab.core.diagrams import arrow, box, canvas, cells, colour, say
from llmsuite_lab.core.errors import LabError, within
from llmsuite_lab.core.metrics import proportion_interval
from llmsuite_lab.core.plots import figure
from llmsuite_lab.course.figures import COMPOSED, ENGINE, REMEDIES

_STOPS = (("00", "a plain language model", "three limits, measured"), (*ENGINE[:2], "every line of it"), *REMEDIES, COMPOSED)
_TUNING = (
    ("08", "fine-tuning", "five tasks, and what is forgotten"),
    ("09", "LoRA", "two thin matrices for one"),
    ("10", "prompt tuning", "vectors in front of the text"),
    ("11", "PEFT compared", "quality, bytes, forgetting"),
)
_SCALING = (
    ("06", "distributed training", "replicas, or parts of one"),
    ("07", "one-bit models", "weights of three values"),
    ("08", "fine-tuning", "a model of your own"),
)
_ALIGNING = (
    ("08", "fine-tuning", "shown what to write"),
    ("12", "RLHF and PPO", "told how good it was"),
    ("13", "ReST, DPO and others", "the same with less"),
    ("14", "the paper, measured", "every claim in one table"),
)


def here(number: str) -> Any:
    """The notebooks of a part in order, with the one called `number` standing out. Raises LabError for a number that is not on the map."""
    part = next((stops for stops in (_STOPS, _TUNING, _SCALING, _ALIGNING) if number in [stop[0] for stop in stops]), None)
    if part is None:
        known = dict.fromkeys(stop[0] for stop in (*_STOPS, *_SCALING, *_TUNING, *_ALIGNING))
        raise LabError(f"there is no notebook {number!r} on the course's map; it holds {', '.join(known)}")
    drawn, ax = canvas("You are here", 6.2, 5.4)
    for n, (stop, name, text) in enumerate(part):
        y, current = 4.85 - 0.9 * n, stop == number
        if n:
            arrow(ax, (0.62, y + 0.54), (0.62, y + 0.36), ink="base")
        box(ax, 0.62, y, 0.86, 0.66, stop, fill="tuned" if current else "base", outline=not current, size=17)
        say(ax, 1.3, y + 0.14, name, size=15, bold=current, across="left", ink="tuned" if current else "text")
        say(ax, 1.3, y - 0.17, text.replace("\n", " "), size=12, across="left", italic=True, ink="text")
    return drawn


def how_a_verdict_falls() -> Any:
    """Three intervals of a difference against a threshold: the pessimistic end decides, not the mean."""
    drawn, ax = canvas("The pessimistic end of the interval decides", 6.4, 4.6)
    threshold = 2.6
    ax.plot([threshold, threshold], [0.75, 3.9], color=colour("bound"), linestyle="--", linewidth=2)
    say(ax, threshold, 4.1, "threshold, fixed at a date that is told", size=12.5)
    for y, low, mean, high, verdict, ink in (
        (3.3, 3.3, 4.4, 5.5, "holds", "accent"),
        (2.3, 1.9, 3.2, 4.6, "not shown: the lower\nend is too low", "third"),
        (1.3, 0.5, 1.3, 2.2, "does not hold", "tuned"),
    ):
        ax.plot([low, high], [y, y], color=colour(ink), linewidth=4, solid_capstyle="round")
        ax.plot(mean, y, "o", color=colour(ink), markersize=12)
        ax.plot(low, y, "|", color=colour(ink), markersize=22, markeredgewidth=4)
        say(ax, 0.4 if ink == "tuned" else 2.85, y - 0.42, verdict, size=12.5, bold=True, across="left")
    arrow(ax, (0.2, 0.4), (6.2, 0.4), ink="base")
    say(ax, 3.2, 0.16, "difference →", size=12.5)
    return drawn


def carries(a: int = 4876, b: int = 5367) -> Any:
    """A sum as arithmetic does it and as a model writes it: the carries run from right to left, the tokens from left to right."""
    total = str(a + b)
    top, bottom = str(a).rjust(len(total)), str(b).rjust(len(total))
    carried, digits = 0, []
    for x, y in zip(reversed(top), reversed(bottom)):
        carried = (int(x.strip() or 0) + int(y.strip() or 0) + carried) // 10
        digits.append(carried)
    drawn, ax = canvas("The first digit needs the last carry", 6.4, 5.0)
    left, step = 1.3, 0.92
    for row, text, fill in ((3.45, top, "grid"), (2.75, bottom, "grid"), (1.75, total, "tuned")):
        for i, digit in enumerate(text):
            if digit.strip():
                cells(ax, left + step * i, row, [digit], fill, width=0.7, height=0.56, size=18)
    say(ax, 0.85, 2.75, "+", size=20, bold=True)
    ax.plot([1.1, left + step * len(total)], [2.26, 2.26], color=colour("text"), linewidth=2)
    for i, value in enumerate(digits[:-1]):
        if value:
            column = len(total) - 1 - i
            at = left + step * column + 0.35
            arrow(ax, (at, 3.85), (at - step + 0.06, 3.85), bend=0.5, ink="baseline", width=2.2)
            say(ax, at - step / 2, 4.28, str(value), size=13, ink="baseline", bold=True)
    say(ax, 6.35, 4.55, "arithmetic: carries run this way ←", size=13, ink="baseline", bold=True, across="right")
    arrow(ax, (left, 1.1), (left + step * len(total) - 0.2, 1.1), ink="tuned", width=3)
    say(ax, left, 0.75, "the model: digits are written this way →", size=13, ink="tuned", bold=True, across="left")
    return drawn


def exercise_loop() -> Any:
    """How an exercise answers: an attempt is checked on one's own machine, and a mistake comes back with its name or the case that shows it."""
    drawn, ax = canvas("The check says what was wrong", 6.4, 4.9)
    box(ax, 1.35, 4.1, 2.4, 0.8, "statement", "and a stub", fill="base")
    box(ax, 1.35, 2.4, 2.4, 0.8, "your code", fill="baseline")
    box(ax, 4.9, 2.4, 2.4, 0.8, "check", "on this machine", fill="bound")
    box(ax, 4.9, 4.1, 2.4, 0.8, "passed", fill="accent")
    box(ax, 3.15, 0.62, 5.6, 0.96, "by name, or by a case", "input, expected, got · or: “the mask comes after softmax”", fill="tuned")
    arrow(ax, (1.35, 3.68), (1.35, 2.84))
    arrow(ax, (2.58, 2.4), (3.67, 2.4))
    arrow(ax, (4.9, 2.83), (4.9, 3.67), ink="accent")
    arrow(ax, (4.9, 1.97), (4.9, 1.13), ink="tuned")
    arrow(ax, (1.35, 1.13), (1.35, 1.97), ink="tuned")
    say(ax, 3.12, 1.5, ".hint()  a little more each time", size=12.5, italic=True)
    return drawn


def nothing_seen(n: int = 60) -> Any:
    """What 0 right answers of `n` allow: the upper end of Wilson's interval and the rule of three, over the number of questions.

    Raises ValueError for n outside 5 to 1,000.
    """
    within("n", n, 5, 1_000)
    drawn, ax = figure(6.4, 4.6)
    sizes = [5, 8, 12, 20, 30, 60, 100, 200, 500, 1000]
    ax.plot(sizes, [proportion_interval(0, k).high for k in sizes], "o-", color=colour("baseline"), label="upper end of the interval")
    ax.plot(sizes, [3 / k for k in sizes], "--", color=colour("bound"), label="rule of three, 3 / n")
    high = proportion_interval(0, n).high
    ax.plot(n, high, "*", color=colour("tuned"), markersize=22, zorder=5)
    ax.annotate(f"0 of {n}: up to {high:.1%}", (n, high), (12, 12), textcoords="offset points", fontsize=14, fontweight="bold", color=colour("tuned"))
    ax.set(xscale="log", xlabel="questions asked, none answered right", ylabel="share that may be right", ylim=(-0.02, 0.64))
    ax.set_xticks([5, 20, 60, 200, 1000], ["5", "20", "60", "200", "1,000"])
    ax.minorticks_off()
    ax.legend(loc="upper right")
    ax.set_title(f"None of {n} is not zero")
    return drawn


def belief_and_surprise() -> Any:
    """What a fluent invention is: the form is learned and certain, the fact is drawn from what would fit."""
    drawn, ax = canvas("The form is learned, the fact is invented", 6.4, 4.6)
    say(ax, 0.05, 4.25, "“Which year was the Huxum kettle first sold?”", size=13.5, italic=True, across="left")
    cells(ax, 0.05, 3.4, ["The", "kettle", "was", "first", "sold", "in"], "baseline", width=[0.6, 0.85, 0.62, 0.7, 0.68, 0.5], size=13)
    cells(ax, 4.4, 3.4, ["? ? ? ?"], "tuned", width=1.3, size=14)
    say(ax, 2.1, 2.85, "form: often seen", size=13, ink="baseline", bold=True)
    say(ax, 5.05, 2.85, "fact: never seen", size=13, ink="tuned", bold=True)
    say(ax, 3.2, 2.1, "whatever fits the form is at hand, at every question", size=12.5, italic=True)
    for n, fits in enumerate(("1987", "1995", "2001", "2010")):
        cells(ax, 0.05 + 0.98 * n, 1.4, [fits], "tuned", width=0.9, size=14)
    cells(ax, 4.15, 1.4, ["I do not know"], "accent", width=1.75, size=13.5)
    say(ax, 5.02, 0.92, "fits too, and is rarely written", size=12, italic=True)
    return drawn


def verdicts(section: str) -> Any:
    """The claims of a section, or of one notebook, with their verdicts, as the stored notebooks measured them: held, failed, or not measured yet.

    Raises LabError for a section or notebook without a claim.
    """
    from llmsuite_lab.course import ledger, notebooks
    from llmsuite_lab.course.claims import FAILED, OPEN, number

    rows = [entry for entry in ledger.collect(notebooks.folder()).entries if section in (entry["section"], entry["notebook"])]
    if not rows:
        raise LabError(f"no claim belongs to the section or notebook {section!r}")
    held = sum(row["verdict"] not in (FAILED, OPEN) for row in rows)
    unsure = [row["id"] for row in rows if row["verdict"] == FAILED and row["control"]["holds"] is False]
    foot = 0.5 if unsure else 0.0
    waiting = sum(row["verdict"] == OPEN for row in rows)
    title = f"{held} of {len(rows) - waiting} claims held, on the machine that ran the notebook" + (f"; {waiting} not measured yet" if waiting else "")
    drawn, ax = canvas(title, 11.0, 0.5 + foot + 0.52 * len(rows))
    if unsure:
        say(ax, 0.2, 0.35, "control: it did not hold, so that the measure cannot tell", size=13, italic=True, across="left")
    for n, row in enumerate(rows):
        y = foot + 0.52 * (len(rows) - n) - 0.05
        ink = {FAILED: "tuned", OPEN: "base"}.get(row["verdict"], "accent")
        box(ax, 0.35, y, 0.32, 0.32, {FAILED: "✗", OPEN: "·"}.get(row["verdict"], "✓"), fill=ink)
        say(ax, 0.7, y, row["id"], size=13.5, mono=True, bold=True, across="left")
        say(ax, 4.2, y, row["verdict"] + (": control" if row["id"] in unsure else ""), size=13.5, ink=ink, bold=True, across="left")
        spread = f"  [{row['spread'][0]:.3g}, {row['spread'][1]:.3g}]" if row.get("spread") else ""
        if row["value"] is not None:
            say(ax, 7.5, y, f"{number(row['value'], '')}{spread}   n = {row['n']}", size=13, across="left")
    return drawn


def claims_of(section: str, *ids: str) -> Any:
    """A section's rows of the ledger as cards: what is claimed, the criterion, and the control that a broken measure would fail. With `ids`: these alone.

    Raises LabError for a section without a claim, or an id that is none of its claims.
    """
    import textwrap

    from llmsuite_lab.course.claims import claims

    rows = {row.id: row for row in claims().values() if row.section == section}
    if not rows:
        raise LabError(f"no claim belongs to the section {section!r}")
    if strange := [one for one in ids if one not in rows]:
        raise LabError(f"{strange[0]!r} is no claim of the section {section!r}: choose from {', '.join(rows)}")
    rows = [rows[one] for one in ids or rows]
    drawn, ax = canvas("Claimed, what would convince us, and what must not happen", 11.6, 0.3 + 1.62 * len(rows))
    for n, row in enumerate(rows):
        y = 1.62 * (len(rows) - n) - 0.7
        box(ax, 5.8, y, 11.4, 1.5, fill="baseline", outline=True)
        say(ax, 0.3, y + 0.5, row.id, size=14, bold=True, mono=True, across="left", ink="baseline")
        say(ax, 3.4, y + 0.62, textwrap.fill(row.claim, 80), size=12, across="left", down="top")
        say(ax, 0.3, y - 0.12, "criterion", size=12.5, bold=True, across="left", ink="accent")
        say(ax, 1.5, y - 0.12, row.criterion, size=12.5, across="left")
        say(ax, 0.3, y - 0.5, "control", size=12.5, bold=True, across="left", ink="tuned")
        say(ax, 1.5, y - 0.5, row.control_criterion, size=12.5, across="left")
    return drawn
