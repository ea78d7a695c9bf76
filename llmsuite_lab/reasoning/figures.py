"""The figures of notebook 03 and its deck, from the recorded runs; one message each, said in the title.

A figure whose record does not exist yet says so, with the command that makes it: no picture of numbers that nobody measured. Those that a problem set changes
take what `measuring.on` found on another one; their titles then say what is drawn, since what it shows is not known beforehand.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from llmsuite_lab.core.diagrams import arrow, box, canvas, from_records, say
from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.metrics import mean_interval
from llmsuite_lab.core.plots import bars_with_intervals, lines_with_bands, loss_curve
from llmsuite_lab.reasoning import evaluation, records
from llmsuite_lab.reasoning.evaluation import Result, accuracy, accuracy_by

SERIES = {"direct": "base", "direct, untuned": "base", "direct, tuned": "third", "chain of thought": "baseline", "program-aided": "tuned"}
TUNED = {"chain of thought": "cot", "program-aided": "pal"}  # the adapter of each


Found = Mapping[str, Mapping[str, Sequence[Result]]]  # what `measuring.on` returns: results by "untuned" and "tuned", then by method


def follow(found: Found) -> dict[str, Any]:
    """Every figure of this section that a problem set changes, by name, drawn from what `measuring.on` found; what it does not tell is left out."""
    told = {by_steps: all(r.steps for r in found["tuned"]["pal"]), equation_truth: any(r.equations for r in found["tuned"]["cot"])}
    return {draw.__name__: draw(found) for draw in (tuned_or_not, by_size, by_steps, equation_truth, seen_and_unseen) if told.get(draw, True)}


@from_records
def by_size(found: Found | None = None) -> Any:
    """Accuracy over the operands' digits for each method, the direct answer untuned and tuned: the recorded runs, or `found`."""
    title = "With programs, no fall with longer numbers is seen" if found is None else "Right answers by the length of the numbers"
    return _lines(lambda r: r.digits, title, "digits of the operands", found)


@from_records
def by_steps(found: Found | None = None) -> Any:
    """Accuracy over the number of arithmetic steps for each method, as `by_size`: the recorded runs, or `found`."""
    if found is not None and not all(r.steps for r in found["tuned"]["pal"]):
        raise LabError('the problems do not say how many steps they take: give each row its "steps"')
    title = "The method matters more than the number of steps" if found is None else "Right answers by the number of steps"
    return _lines(lambda r: r.steps, title, "arithmetic steps", found)


def _lines(key: Any, title: str, xlabel: str, found: Found | None) -> Any:
    if found is None:
        series = {"direct, untuned": accuracy_by(records.base("direct"), key), "direct, tuned": records.by(records.runs("direct"), key)}
        series |= {name: records.by(records.runs(kind), key) for name, kind in TUNED.items()}
    else:
        series = {"direct, untuned": accuracy_by(found["untuned"]["direct"], key)}
        series |= {name: accuracy_by(found["tuned"][kind], key) for name, kind in TUNED.items()}
    x = sorted(set.intersection(*(set(shares) for shares in series.values())))
    lines = {name: [shares[value] for value in x] for name, shares in series.items()}
    drawn = lines_with_bands(x, lines, title=title, xlabel=xlabel, ylabel="right answers", colours=SERIES, ylim=(-0.03, 1.03))
    if found is None:  # between the program's line and the others, which is free in the recorded runs
        drawn.axes[0].legend(loc="center", bbox_to_anchor=(0.6, 0.3), ncols=2, fontsize=12)
    return drawn


@from_records
def equation_truth(found: Found | None = None) -> Any:
    """Of the equations the chains of thought state, how many are true, by operand size; a problem counts once, recorded ones with their mean over the seeds."""
    if found is None:
        runs = records.runs("cot")
        sizes = sorted({r.digits for r in runs[0].results["test"]})
        shares = {f"{d}": records.equation_truth(runs, (d,)) for d in sizes}
    else:
        chains = found["tuned"]["cot"]
        shares = {f"{d}": evaluation.equation_truth(evaluation.of_size(chains, (d,))) for d in sorted({r.digits for r in chains})}
    values = {size: mean_interval(rows) for size, rows in shares.items() if rows}
    if not values:
        raise LabError("no chain of thought stated an equation")
    title = "The longer the numbers, the fewer equations are true" if found is None else "Stated equations that are true, by the length of the numbers"
    return bars_with_intervals(
        values, title=title, xlabel="digits of the operands", ylabel="true equations", colours=dict.fromkeys(values, "baseline"), ylim=(0, 1.1)
    )


@from_records
def seen_and_unseen(found: Found | None = None) -> Any:
    """Sentences from training against sentences never seen, both adapters, averaged over seeds; or against the problems of `found`."""
    title = "The method carries over to sentences never seen" if found is None else "From the sentences of the training to yours"
    seen = {name: mean_interval(records.mean_over_seeds(records.runs(kind), "seen")) for name, kind in TUNED.items()}
    values: dict[str, Any] = {"sentences seen in training": seen}
    if found is None:
        values["sentences never seen"] = {name: mean_interval(records.mean_over_seeds(records.runs(kind))) for name, kind in TUNED.items()}
    else:
        values["your problems"] = {name: accuracy(found["tuned"][kind]) for name, kind in TUNED.items()}
    return bars_with_intervals(values, title=title, ylabel="right answers", colours=SERIES, ylim=(0, 1.1))


@from_records
def tuned_or_not(found: Found | None = None) -> Any:
    """The untuned model with four solved examples in the prompt, against the tuned one without any: the recorded runs, or `found`."""
    names = {"direct": "direct", **TUNED}
    if found is None:
        title = "A model this small has to be shown how, by training"
        untuned = {name: accuracy(records.base(method)) for name, method in names.items()}
        tuned = {name: mean_interval(records.mean_over_seeds(records.runs(kind))) for name, kind in {"direct": "direct", **TUNED}.items()}
    else:
        title = "Untuned, with four solved examples, and tuned"
        untuned = {name: accuracy(found["untuned"][method]) for name, method in names.items()}
        tuned = {name: accuracy(found["tuned"][kind]) for name, kind in TUNED.items()}
    return bars_with_intervals({"untuned": untuned, "tuned": tuned}, title=title, ylabel="right answers", colours=SERIES, ylim=(0, 1.1))


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


@from_records
def elsewhere() -> Any:
    """Problems of other authors: the shipped PAL against the one trained on varied stories, averaged over its seeds; intervals over stories."""
    trained = {"as shipped": records.runs("pal_elsewhere"), "varied training": records.runs("pal_varied")}
    values = {
        label: {name: mean_interval(records.by_told_story(runs, [which])) for name, runs in trained.items()}
        for which, label in (("single", "another author,\none operation"), ("several", "another author,\nseveral"))
    }
    values["SVAMP"] = {name: mean_interval(records.mean_over_seeds(runs, "svamp")) for name, runs in trained.items()}
    again = trained | {"varied training": records.runs("pal_mawps")}
    values["MAWPS,\none operation"] = {name: mean_interval(records.mean_over_seeds(runs, "mawps")) for name, runs in again.items()}
    colours = {"as shipped": "base", "varied training": "tuned"}
    title = "PAL as shipped, and trained longer on more varied stories"
    return bars_with_intervals(values, title=title, ylabel="right answers", colours=colours, ylim=(0, 1.1))


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
