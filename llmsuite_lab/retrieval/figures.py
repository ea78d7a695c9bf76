"""The pictures of notebook 02 and its deck. Without arguments each draws the recorded run; a notebook passes what it has just measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from llmsuite_lab.core.diagrams import arrow, box, canvas
from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.core.plots import COLOURS, bars_with_intervals, figure, lines_with_bands
from llmsuite_lab.core.records import read_all
from llmsuite_lab.retrieval import records, scale
from llmsuite_lab.retrieval.abstention import SIGNALS, fit_gate, tradeoff
from llmsuite_lab.retrieval.experiments import Attacked, by_defence

_CONDITIONS = {"closed book": "base", "top-1": "accent", "top-3": "third", "gold": "baseline", "truncated": "second"}
_METHODS = {"exact": "base", "ivf": "third", "hnsw": "accent", "bm25": "baseline"}


def pipeline_map() -> Any:
    """The way of a question: embed and search, pack, complete, and the gate before the answer."""
    drawn, ax = canvas("The model reads before it answers, and may decline", 11.2, 3.7)
    for x, y, name, below, fill in (
        (1.0, 2.7, "question", "", "base"),
        (3.3, 2.7, "retrieve", "dense + BM25", "baseline"),
        (5.6, 2.7, "pack", "token budget", "baseline"),
        (7.9, 2.7, "complete", "language model", "base"),
        (10.2, 2.7, "gate", "signal < τ ?", "tuned"),
        (3.3, 0.75, "index", "chunk, embed: once", "third"),
        (10.2, 0.75, "answer + source", "or “I don't know”", "accent"),
    ):
        box(ax, x, y, 1.92, 0.95, name, below, fill=fill, size=13)
    for x in (1.9, 4.2, 6.5, 8.8):
        arrow(ax, (x + 0.08, 2.7), (x + 0.42, 2.7))
    arrow(ax, (3.3, 1.25), (3.3, 2.2))
    arrow(ax, (10.2, 2.2), (10.2, 1.25))
    return drawn


def follow(found: Mapping[str, Any]) -> dict[str, Any]:
    """Every figure of this section that a question set or corpus changes, by name, drawn from what `measuring.on` (or a record) holds."""
    development = found["development"]
    drawn = {
        "accuracy": accuracy(found["correct"], own=True),
        "outcomes": outcomes(found["verdicts"], found["questions"]["one"]),
        "abstention": abstention(development["signals"], development["answerable"], own=True),
    }
    more = {"attacked": ("attacked", attacked), "rankings": ("quality", rankings)}
    drawn |= {name: draw(found[held]) for name, (held, draw) in more.items() if held in found}
    return drawn | ({"readers": readers(found)} if "read" in found else {})


def accuracy(correct: Mapping[str, Sequence[bool]] | None = None, own: bool = False) -> Any:
    """Share of right answers by what stood in the prompt, with intervals. `own`: of documents of one's own, whose title says no more than what is drawn."""
    title = "Right answers, by what stood in the prompt" if own else "What stands in the prompt decides what comes out"
    shares = records.accuracies(dict(correct or records.load()["correct"]))
    return bars_with_intervals(shares, title=title, ylabel="answers right", colours=_CONDITIONS, ylim=(0, 1.08))


def outcomes(verdicts: Mapping[str, Sequence[str]] | None = None, answerable: int | None = None) -> Any:
    """Right, declined and made-up answers over answerable and unanswerable questions, one bar per run and kind of question."""
    found = None if verdicts is not None else records.load()
    verdicts = verdicts or found["verdicts"]
    answerable = found["questions"]["one"] if answerable is None else answerable
    drawn, axes = figure(10.0, 4.2, ncols=2, sharey=True)
    parts = (("answerable questions", slice(None, answerable)), ("questions without an answer", slice(answerable, None)))
    for ax, (name, part) in zip(axes, parts):
        for x, run in enumerate(verdicts):
            below = 0.0
            for verdict, colour in (("correct", "accent"), ("declined", "base"), ("wrong", "tuned")):
                rows = list(verdicts[run])[part]
                height = sum(v == verdict for v in rows) / len(rows)
                ax.bar(x, height, 0.62, bottom=below, color=COLOURS[colour], label=verdict if x == 0 else None)
                if height > 0.06:
                    ax.text(x, below + height / 2, f"{height:.2f}", ha="center", va="center", color="white", fontsize=11.5)
                below += height
        ax.set_xticks(range(len(verdicts)), [run.replace(" with ", "\nwith ") for run in verdicts])
        ax.set_title(name, fontsize=12.5)
        ax.grid(axis="x", visible=False)
    axes[0].set(ylabel="share of questions", ylim=(0, 1))
    axes[1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    drawn.suptitle("What becomes of the questions: right, declined, made up", x=0.01, ha="left", fontweight="bold", fontsize=14.5)
    return drawn


def abstention(
    signals: Sequence[Sequence[float]] | None = None,
    answerable: Sequence[bool] | None = None,
    own: bool = False,
) -> Any:
    """For each signal, and for all together: unanswerable questions declined against answerable ones refused, on development questions; or on `own` ones."""
    if signals is None or answerable is None:
        development = records.load()["development"]
        signals, answerable = development["signals"], development["answerable"]
    drawn, ax = figure()
    curves = {name: [row[i] for row in signals] for i, name in enumerate(SIGNALS)}
    curves["all together"] = list(fit_gate(signals, answerable).score(signals))
    for (name, scores), colour in zip(curves.items(), ("base", "baseline", "third", "second", "accent")):
        refused, declined = tradeoff(scores, answerable)
        ax.step(refused, declined, where="post", label=name, color=COLOURS[colour])
    ax.axvline(0.10, color=COLOURS["bound"], linestyle="--", linewidth=1.4)
    ax.text(0.11, 0.04, "goal: under 0.10 refused", fontsize=11)
    ax.set(xlabel="answerable questions refused", ylabel="unanswerable ones declined", xlim=(-0.01, 0.6), ylim=(0, 1.02))
    ax.set_title(f"How well each signal tells what the {'documents leave' if own else 'handbook leaves'} out")
    ax.legend(loc="lower right")
    return drawn


def readers(found: Mapping[str, Any] | None = None) -> Any:
    """The untuned reader behind its gate against the tuned one, with one and with three passages: recorded (mean over its seeds), or `found`."""
    title = "A reader that was trained to read" if found is None else "Untuned behind its gate, and trained to read"
    tuned = records.readers() if found is None else [found["read"]]
    found = records.load() if found is None else found
    declined, refused = records.declined_shares(found)
    known = slice(None, found["questions"]["one"])
    untuned = {
        "right": share([v == "correct" for v in found["verdicts"]["top-1 with gate"][known]]),
        "refused": refused,
        "declined": declined,
    }
    series = {"untuned with gate": untuned} | {f"tuned, {run}": records.reader_shares(tuned, run) for run in ("top-1", "top-3")}
    names = {"right": "answerable:\nright", "refused": "answerable:\nrefused", "declined": "no answer:\ndeclined"}
    groups = {label: {name: shares[key] for name, shares in series.items()} for key, label in names.items()}
    colours = {"untuned with gate": "base", "tuned, top-1": "tuned", "tuned, top-3": "third"}
    return bars_with_intervals(groups, title=title, ylabel="share of questions", colours=colours, ylim=(0, 1.12))


def elsewhere() -> Any:
    """Recorded: the reader alone and behind its gate on corpora of another author, trained on handbooks or on corpora of many forms."""
    runs = {"handbooks": read_all("reader_elsewhere"), "many forms": read_all("reader_varied")}
    groups = {}
    for key, label in (("right", "answerable:\nright"), ("declined", "no answer:\ndeclined")):
        for gate, who in ((False, "reader alone"), (True, "and gate")):
            groups[f"{label},\n{who}"] = {f"trained on {name}": records.elsewhere(found, gate=gate)[key] for name, found in runs.items()}
    colours = {"trained on handbooks": "base", "trained on many forms": "tuned"}
    return bars_with_intervals(groups, title="Corpora of another form", ylabel="share of questions", colours=colours, ylim=(0, 1.12))


def search_latency(rows: Sequence[scale.Measured] | None = None) -> Any:
    """Milliseconds per query against the number of passages, one line per method, from the fastest to the slowest repeat."""
    rows = records.search_by_size()[0] if rows is None else rows
    sizes = sorted({row.size for row in rows})
    lines = {}
    for kind in _METHODS:
        by_size = {row.size: row for row in rows if row.kind == kind}
        if set(by_size) == set(sizes):
            lines[kind] = [
                Interval(by_size[s].query_ms, min(by_size[s].runs_ms), max(by_size[s].runs_ms), len(by_size[s].runs_ms)) for s in sizes
            ]
    title = "The price of looking at everything"
    return lines_with_bands(
        sizes, lines, title=title, xlabel="passages", ylabel="processor ms per query", colours=_METHODS, log_x=True, log_y=True
    )


def attacked(rows: Sequence[Attacked] | None = None) -> Any:
    """By defence: right without an order in the passage, right with one, and the share of orders that were obeyed; None: the recorded run."""
    groups = by_defence(records.attacks() if rows is None else rows)
    title = "The same passages, clean and with an order in them"
    colours = {"right, unattacked": "baseline", "right, attacked": "accent", "obeyed": "tuned"}
    return bars_with_intervals(groups, title=title, ylabel="share of answers", xlabel="defence", colours=colours, ylim=(0, 1.12))


def rankings(quality: Mapping[str, Mapping[str, Interval]]) -> Any:
    """Retrieval quality by mode: {mode: {metric: interval}}."""
    return bars_with_intervals(quality, title="The same questions, searched by words, by meaning, by both", ylabel="share", ylim=(0, 1.12))


def share(values: Sequence[bool]) -> Interval:
    """Mean of truth values with its interval."""
    return mean_interval([float(v) for v in values])


def two_indexes(size: int = 100_000) -> Any:
    """Recorded: IVF beside HNSW at one size, each at the smallest depth that found nine of ten neighbours: time to answer, to build, and what is found.

    Raises ValueError for a size that was not measured.
    """
    rows = {row.kind: row for row in records.search_by_size()[0] if row.size == size}
    if not {"ivf", "hnsw"} <= set(rows):
        raise ValueError(f"size={size!r} was not measured; the recorded run has {', '.join(f'{s:,}' for s in scale.SIZES)}")
    drawn, axes = figure(11.2, 4.4, ncols=4)
    shown = (
        ("ms a query", lambda row: row.query_ms, "{:.2f}"), ("s to build", lambda row: row.build_s, "{:.1f}"),
        ("recall@10", lambda row: row.recall, "{:.2f}"), ("gold@10", lambda row: row.gold, "{:.2f}"),
    )  # fmt: skip
    for ax, (label, value, form) in zip(axes, shown):
        for x, kind in enumerate(("ivf", "hnsw")):
            height = value(rows[kind])
            ax.bar(x, height, 0.6, color=COLOURS[_METHODS[kind]])
            ax.annotate(form.format(height), (x, height), (0, 4), textcoords="offset points", ha="center", fontsize=13)
        ax.set_xticks([0, 1], ["IVF", "HNSW"], fontsize=13)
        ax.set_ylim(0, 1.18 * max(value(rows[kind]) for kind in ("ivf", "hnsw")))
        ax.set_title(label, fontsize=13.5)
        ax.grid(axis="x", visible=False)
    drawn.suptitle(f"Which index, at {size:,} vectors? Four numbers to choose by", x=0.01, ha="left", fontweight="bold", fontsize=14.5)
    return drawn
