"""The pictures of the ReAct section, the same for notebook and slides. Functions without arguments read the recorded runs in data/runs/."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from llmsuite_lab.agents.evaluation import Answer, by_kind, cost
from llmsuite_lab.agents.react import Step, Trajectory
from llmsuite_lab.agents.records import elsewhere as in_other_worlds
from llmsuite_lab.agents.records import right_in, runs, tuned_by_kind, tuned_scores
from llmsuite_lab.agents.trace import COLOURS as ROLES
from llmsuite_lab.agents.trace import lines
from llmsuite_lab.core import records
from llmsuite_lab.core.diagrams import arrow, box, canvas, say
from llmsuite_lab.core.errors import within
from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.core.plots import COLOURS, bars_with_intervals, figure, heat_map, loss_curve
from llmsuite_lab.world.almanac_claims import LABELS
from llmsuite_lab.world.almanac_questions import TRAINED_KINDS, UNTRAINED_KINDS

METHOD_COLOURS = {
    "no tool": "base", "chain of thought": "baseline", "few-shot ReAct": "third", "tuned ReAct": "tuned",
    "no page": "base", "one retrieval, then answer": "third",
}  # fmt: skip
KIND_NAMES = {
    "compare_magazines": "which magazine was first?", "compare_rivers": "which river is longer?", "same_birthplace": "born in the same city?",
    "publisher_product": "product of the publisher", "editor_birth_year": "birth year of the editor", "founder_birthplace": "birthplace of the founder",
    "headquarters_mayor": "mayor of the headquarters", "birthplace_river": "river of the birthplace",
    "founder_birthplace_river": "river of the founder's birthplace", "publisher_headquarters_mayor": "mayor of the publisher's headquarters",
    "compare_publishers": "which publisher is older?",
}  # fmt: skip
MIXTURE_NAMES = {"two_hop": "eight kinds of two hops", "one_three_hop": "and one kind of three", "varied": "varied plans"}


def trajectory_from(data: Mapping[str, Any]) -> Trajectory:
    """A trajectory from its plain data (`Trajectory.as_dict`)."""
    return Trajectory(**{**data, "steps": [Step(**step) for step in data["steps"]]})


def draw_trace(trajectory: Trajectory, title: str = "Think, act, read, think again", width: int = 76) -> Any:
    """One trajectory as a picture: thoughts, actions and observations each in its own colour and lane."""
    within("width", width, 10, 1000)
    rows = [(role, wrapped) for role, text in lines(trajectory) for wrapped in [textwrap.wrap(text, width) or [""]]]
    height = sum(len(text) + 0.55 for _, text in rows)
    drawn, ax = figure(10.0, 1.0 + 0.29 * height)
    ax.axis("off")
    ax.set_xlim(0, 100)
    ax.set_ylim(height + 0.2, -0.4)
    ax.set_title(title)
    y = 0.0
    for role, text in rows:
        tall = len(text)
        if role in ("question", "end"):
            ax.text(0, y + tall / 2, "\n".join(text), va="center", fontsize=14, fontweight="bold")
        else:
            colour = ROLES[role]
            inset = 6 if role in ("observation", "refused") else 0
            ax.text(inset, y + tall / 2, role, va="center", color=colour, fontsize=12.5, fontweight="bold")
            ax.plot([inset + 15.5] * 2, [y + 0.02, y + tall - 0.02], color=colour, linewidth=4, solid_capstyle="butt")
            family = "monospace" if role == "action" else None
            ax.text(inset + 17, y + tall / 2, "\n".join(text), va="center", fontsize=13, family=family, color=COLOURS["text"])
        y += tall + 0.55
    return drawn


def showcase() -> Trajectory:
    """Recorded: the shipped adapter's trajectory on a question about two magazines."""
    return trajectory_from(records.read("react").results["showcase"])


def trace() -> Any:
    """The recorded trajectory of the shipped adapter on a question about two magazines."""
    return draw_trace(
        trajectory_from(records.read("react").results["showcase"]), "Which of two magazines was first? The tuned model looks it up"
    )


def gold_trace() -> Any:
    """A demonstration, written by the package from the almanac's facts: what training shows the model. No model wrote it."""
    from llmsuite_lab.agents.demonstrations import demonstrate, opening_text
    from llmsuite_lab.world.almanac_frozen import load_almanac, load_questions

    question = load_questions(("compare_magazines",), per_kind=1)[0]
    turns = demonstrate(question, load_almanac())
    steps = [
        Step(t.thought, t.action, t.argument, t.observation, "ok" if t.observation else "finish", "", bool(t.observation), 0, 0)
        for t in turns
    ]
    return draw_trace(
        Trajectory(opening_text(question), steps, question.answer, "finished"), "A demonstration: what the model is shown in training"
    )


def loop() -> Any:
    """The cycle as a diagram: the model writes, the loop decides, the tools answer."""
    drawn, ax = canvas("The model only writes text; the loop decides what happens", 10.8, 4.0)
    for x, name, text, role in (
        (1.5, "language model", "writes a thought\nand one action", "action"),
        (5.4, "the loop", "strict parser,\nclosed action set", "thought"),
        (9.3, "tools", "Search, Lookup", "observation"),
    ):
        box(ax, x, 2.2, 2.6, 1.3, name, text, fill=ROLES[role], outline=True, size=14.5)
    arrow(ax, (2.85, 2.45), (4.05, 2.45), "Action: …")
    arrow(ax, (6.75, 2.45), (7.95, 2.45), "runs it")
    arrow(ax, (7.95, 1.95), (6.75, 1.95), "text", above=-0.2)
    arrow(ax, (4.05, 1.95), (2.85, 1.95), "Observation", above=-0.2)
    arrow(ax, (5.4, 1.5), (5.4, 0.75))
    say(ax, 5.4, 0.45, "Finish[answer], or a limit on steps and tokens")
    say(ax, 5.4, 3.35, "unknown, repeated or unreadable action: refused, counted, answered", ink=ROLES["refused"])
    return drawn


def follow(found: Mapping[str, Any]) -> dict[str, Any]:
    """Every figure of this section that questions, pages and claims change, by name, from what `measuring.on` found; "claims" where there are any."""
    drawn = {"by_kind": dots_by_kind(found["answers"]), "cost": draw_cost(found["answers"])}
    return drawn | ({"claims": draw_confusion(found["confusion"])} if any(sum(row.values()) for row in found["confusion"].values()) else {})


def dots_by_kind(methods: Mapping[str, Sequence[Answer]], title: str = "What looking things up is worth, by kind of question") -> Any:
    """Exact match by kind of question, one dot with its 95 % interval per method. Raises ValueError for no methods."""
    if not methods:
        raise ValueError("there is nothing to draw: give at least one method's answers")
    return _dots({name: by_kind(answers) for name, answers in methods.items()}, title)


def _dots(methods: Mapping[str, Mapping[str, Interval]], title: str) -> Any:
    there = {kind: None for table in methods.values() for kind in table}
    known = [kind for kind in (*TRAINED_KINDS, *UNTRAINED_KINDS) if kind in there]
    kinds = [*known, *(kind for kind in there if kind not in known)]
    drawn, ax = figure(10.0, 1.6 + 0.46 * len(kinds))
    step = 0.62 / max(1, len(methods) - 1)
    for m, (name, table) in enumerate(methods.items()):
        for row, kind in enumerate(kinds):
            if kind in table:
                i, y, colour = table[kind], row - 0.31 + m * step, COLOURS[METHOD_COLOURS.get(name, "accent")]
                ax.plot([i.low, i.high], [y, y], color=colour, linewidth=2, alpha=0.45)
                ax.plot(i.mean, y, "o", color=colour, markersize=8, label=name if row == 0 else None)
    trained = sum(kind in TRAINED_KINDS for kind in kinds)
    if 0 < trained < len(known) == len(kinds):
        ax.axhline(trained - 0.5, color=COLOURS["bound"], linestyle="--", linewidth=1.4)
        ax.text(1.03, trained - 0.42, "never trained", va="top", fontsize=12, style="italic")
        ax.text(1.03, trained - 0.58, "trained kinds", va="bottom", fontsize=12, style="italic")
    names = [KIND_NAMES.get(kind, kind if len(kind) <= 40 else f"{kind[:39]}…") for kind in kinds]
    ax.set_yticks(range(len(kinds)), names, parse_math=False)  # a kind of one's own may hold a dollar sign
    ax.set_ylim(len(kinds) - 0.45, -0.55)
    ax.set_xlim(-0.02, 1.02)
    ax.set_xlabel("exact match (dot) with 95 % interval")
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower left", bbox_to_anchor=(-0.35, 1.0), ncols=len(methods), fontsize=12.5, handletextpad=0.2, columnspacing=1.2)
    ax.set_title(title, pad=36, x=-0.35)
    return drawn


def recorded_by_kind() -> Any:
    """Recorded: no tool, chain of thought and few-shot ReAct (untuned model) against the tuned model, averaged over its seeds."""
    results = records.read("react_baselines").results["answers"]
    methods = {name: by_kind([Answer(**row) for row in rows]) for name, rows in results.items()}
    return _dots({**methods, "tuned ReAct": tuned_by_kind()}, "What looking things up is worth, by kind of question")


def in_one_turn() -> Any:
    """Recorded: two adapters that answer in one turn, without a page and after one retrieval, against ReAct averaged over its seeds; all three are tuned."""
    single = {"no page": "react_closed_book", "one retrieval, then answer": "react_one_retrieval"}
    methods = {name: by_kind([Answer(**row) for row in records.read(recipe).results["questions"]]) for name, recipe in single.items()}
    return _dots({**methods, "tuned ReAct": tuned_by_kind()}, "Search before the answer, or between the thoughts?")


def transfer() -> Any:
    """Recorded: the kinds never trained, by how varied the plans in training were. Narrower mixtures stand beside the shipped one once recorded."""
    rows = {"varied": tuned_scores()}
    for mixture in ("two_hop", "one_three_hop"):  # not "varied": `react_varied` is another recipe, on other pages
        if records.seeds(f"react_{mixture}"):
            asked = records.read(f"react_{mixture}").results["questions"]
            rows[mixture] = [(row["kind"], float(row["correct"])) for row in asked]
    groups = {}
    for kind in UNTRAINED_KINDS:
        of_kind = {MIXTURE_NAMES[m]: [score for k, score in rows[m] if k == kind] for m in MIXTURE_NAMES if m in rows}
        groups[KIND_NAMES[kind]] = {name: mean_interval(hits) for name, hits in of_kind.items()}
    colours = dict(zip(MIXTURE_NAMES.values(), ("base", "third", "tuned"), strict=True))
    title = "Kinds never trained, by the plans in training"
    return bars_with_intervals(groups, title=title, ylabel="exact match", colours=colours, ylim=(0, 1.15))


def elsewhere() -> Any:
    """Recorded: the adapters `react` and `react_varied`, at home, over reworded pages and in the worlds of another author."""
    first, second = "trained on the course's pages", "trained on varied pages"
    varied = records.read_all("react_varied")
    away = {first: in_other_worlds(records.read_all("react_elsewhere")), second: in_other_worlds(varied)}
    reworded = [row["correct"] for row in records.read("react_wordings").results["own"]]
    at_home = mean_interval([score for _, score in tuned_scores()])
    groups = {
        "at home": {first: at_home, second: right_in(varied, "questions")},
        "reworded\npages": {first: mean_interval(reworded), second: right_in(varied, "reworded")},
        "other worlds:\non the pages": {name: found["answered"] for name, found in away.items()},
        "other worlds:\nnot there": {name: found["not there"] for name, found in away.items()},
    }
    colours = {first: "base", second: "tuned"}
    return bars_with_intervals(groups, title="The same loop, learnt on more varied pages", ylabel="exact match", colours=colours, ylim=(0, 1.15))


def draw_confusion(table: Mapping[str, Mapping[str, int]], title: str = "What the loop says, and what is true") -> Any:
    """A confusion matrix of fact checking: rows are the truth, columns what was said."""
    given = [name for name in next(iter(table.values())) if name in LABELS or any(row[name] for row in table.values())]
    matrix = [[row[name] for name in given] for row in table.values()]
    drawn = heat_map(
        matrix,
        title=title,
        xlabel="said",
        ylabel="true",
        xticks=[textwrap.fill(name, 10) for name in given],
        yticks=list(table),
        annotate=True,
        colour_label="claims",
    )
    drawn.set_size_inches(7.4, 4.2)  # room for the names side by side
    return drawn


def fact_checking() -> Any:
    """Recorded: the confusion matrix, all recorded seeds together."""
    tables = [run.results["confusion"] for run in runs()]
    return draw_confusion({label: {said: sum(t[label][said] for t in tables) for said in tables[0][label]} for label in LABELS})


def draw_cost(
    methods: Mapping[str, Sequence[Answer]], title: str = "What an answer costs: the loop reads its context again in every turn"
) -> Any:
    """Tokens read and written per answer, by method, with tool calls beside the bars. Raises ValueError for no methods."""
    if not methods:
        raise ValueError("there is nothing to draw: give at least one method's answers")
    drawn, ax = figure(9.5, 1.6 + 0.62 * len(methods))
    for row, (_, answers) in enumerate(methods.items()):
        one = cost(answers)
        ax.barh(row, one["prompt_tokens"], 0.6, color=COLOURS["baseline"], label="tokens read" if row == 0 else None)
        left = one["prompt_tokens"]
        ax.barh(row, one["completion_tokens"], 0.6, left=left, color=COLOURS["tuned"], label="tokens written" if row == 0 else None)
        text = f" {one['prompt_tokens']:,.0f} + {one['completion_tokens']:,.0f}, {one['tool_calls']:.1f} tool calls"
        ax.text(left + one["completion_tokens"], row, text, va="center", fontsize=12)
    ax.set_yticks(range(len(methods)), list(methods))
    ax.set_ylim(len(methods) - 0.5, -0.5)
    ax.set_xlim(0, 1.45 * max(sum(list(cost(answers).values())[:2]) for answers in methods.values()))
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("tokens per answer")
    ax.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=2, fontsize=12)
    ax.set_title(title, pad=36)
    return drawn


def loss() -> Any:
    """Recorded: training loss on the model's own turns, one line per recorded seed."""
    recorded = runs()
    histories = {f"seed {run.seed}": run.history for run in recorded}
    return loss_curve(histories, title=f"The loop is learned from {recorded[0].settings['examples']:,} demonstrations")
