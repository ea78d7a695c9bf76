"""The figures of notebook 03 and its deck, from the recorded runs; one message each, said in the title.

A figure whose record does not exist yet says so, with the command that makes it: no picture of numbers that nobody measured.
"""

from typing import Any

from llmsuite_lab.core.diagrams import arrow, box, canvas, from_records, say
from llmsuite_lab.core.metrics import mean_interval
from llmsuite_lab.core.plots import bars_with_intervals, lines_with_bands, loss_curve
from llmsuite_lab.reasoning import records
from llmsuite_lab.reasoning.evaluation import Result, accuracy, accuracy_by

SERIES = {"direct": "base", "chain of thought": "baseline", "program-aided": "tuned"}


@from_records
def by_size(results: dict[str, list[Result]] | None = None) -> Any:
    """Accuracy over the operands' digits for the three methods; `results` by series name, else the recorded runs."""
    return _lines(lambda r: r.digits, "With programs, no fall with longer numbers is seen", "digits of the operands", results)


@from_records
def by_steps(results: dict[str, list[Result]] | None = None) -> Any:
    """Accuracy over the number of arithmetic steps for the three methods; `results` by series name, else the recorded runs."""
    return _lines(lambda r: r.steps, "The method matters more than the number of steps", "arithmetic steps", results)


def _lines(key: Any, title: str, xlabel: str, results: dict[str, list[Result]] | None) -> Any:
    if results is None:
        series = {"direct": accuracy_by(records.base("direct"), key)}
        series |= {name: records.by(records.runs(kind), key) for name, kind in (("chain of thought", "cot"), ("program-aided", "pal"))}
    else:
        series = {name: accuracy_by(rows, key) for name, rows in results.items()}
    x = sorted(next(iter(series.values())))
    lines = {name: [found[value] for value in x] for name, found in series.items()}
    return lines_with_bands(x, lines, title=title, xlabel=xlabel, ylabel="right answers", colours=SERIES, ylim=(-0.03, 1.03))


@from_records
def equation_truth() -> Any:
    """Of the equations the recorded chains of thought state, how many are true, by operand size; a problem counts once, with its mean over the seeds."""
    found = records.runs("cot")
    sizes = sorted({r.digits for r in found[0].results["test"]})
    values = {f"{d}": mean_interval(shares) for d in sizes if (shares := records.equation_truth(found, (d,)))}
    return bars_with_intervals(
        values, title="The longer the numbers, the fewer equations are true", xlabel="digits of the operands", ylabel="true equations",
        colours=dict.fromkeys(values, "baseline"), ylim=(0, 1.1),
    )  # fmt: skip


@from_records
def seen_and_unseen() -> Any:
    """Sentences from training against sentences never seen, both adapters, averaged over seeds."""
    values: dict[str, Any] = {}
    for which, label in (("seen", "sentences seen in training"), ("test", "sentences never seen")):
        values[label] = {
            name: mean_interval(records.mean_over_seeds(records.runs(kind), which))
            for name, kind in (("chain of thought", "cot"), ("program-aided", "pal"))
        }
    return bars_with_intervals(
        values, title="The method carries over to sentences never seen", ylabel="right answers", colours=SERIES, ylim=(0, 1.1)
    )


@from_records
def tuned_or_not() -> Any:
    """The untuned model with four solved examples in the prompt, against the tuned one without any."""
    untuned = {"direct": "direct", "chain of thought": "cot", "program-aided": "pal"}
    values: dict[str, Any] = {"untuned": {name: accuracy(records.base(method)) for name, method in untuned.items()}}
    tuned = {
        name: mean_interval(records.mean_over_seeds(records.runs(kind)))
        for name, kind in (("chain of thought", "cot"), ("program-aided", "pal"))
    }
    return bars_with_intervals(
        values | {"tuned": tuned},
        title="A model this small has to be shown how, by training",
        ylabel="right answers",
        colours=SERIES,
        ylim=(0, 1.1),
    )


@from_records
def losses() -> Any:
    """Training loss of both adapters, shipped seed."""
    chosen = {name: records.runs(kind)[0].history for name, kind in (("chain of thought", "cot"), ("program-aided", "pal"))}
    return loss_curve(chosen, title="Same problems, same steps: only the completion differs")


@from_records
def public_sets() -> Any:
    """Real school problems (samples of SVAMP, GSM8K, GSM-Hard): the floor, recorded."""
    sets = records.public()
    names = {"cot": "chain of thought", "pal": "program-aided"}
    values = {
        which: {names[method]: mean_interval([bool(x) for x in found]) for method, found in methods.items()}
        for which, methods in sets.items()
    }
    return bars_with_intervals(
        values, title="Real school problems are another matter", ylabel="right answers", colours=SERIES, ylim=(0, 1.0)
    )


def loop() -> Any:
    """PAL's orchestrator as a diagram: who hands what to whom (the paper's Fig. 3)."""
    drawn, ax = canvas("The model reasons, the interpreter computes", 10.4, 3.9)
    for x, y, name, below, fill in (
        (1.2, 2.9, "question", "", "base"),
        (5.0, 2.9, "language model", "", "baseline"),
        (9.0, 2.9, "Python interpreter", "in the sandbox", "accent"),
        (5.0, 0.65, "final completion", "“The answer is 74.”", "tuned"),
    ):
        box(ax, x, y, 2.3, 0.95, name, below, fill=fill, outline=True, size=14)
    arrow(ax, (2.4, 2.9), (3.8, 2.9), "prompt")
    arrow(ax, (6.2, 3.1), (7.8, 3.1), "program")
    arrow(ax, (7.8, 2.7), (6.2, 2.7), "value: 74", above=-0.2)
    arrow(ax, (5.0, 2.38), (5.0, 1.17))
    say(ax, 5.15, 1.78, "prompt + program + value", across="left")
    return drawn
