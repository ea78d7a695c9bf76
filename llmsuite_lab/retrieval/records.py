"""What this section reads off its recorded runs: the gate and every condition on held-out questions, the tuned reader by seed, search by size.

    retrieval          results: "gate", its "development", then by condition "correct", "exact", "verdicts", … of every question
    retrieval_attacks  results: rows of `experiments.Attacked`
    retrieval_formats  results: exact match by passages in each worked example ("one", "three"), then by passages in the prompt
    retrieval_own_gate results: by corpus its "form", how many were "asked", and by gate who was "declined": "answerable", "unanswerable", "elsewhere"
    reader             results: "answerable", "verdicts" and "exact" by number of passages
    reader_varied      results: such at "home", and by corpus of another author, there with whom the "gate declines"; reader_elsewhere: the latter
    retrieval_scale    results: rows of `scale.Measured`
"""

from collections.abc import Sequence

from llmsuite_lab.core import records
from llmsuite_lab.core.metrics import Interval, mean_interval
from llmsuite_lab.core.records import Record, mean_over_seeds
from llmsuite_lab.retrieval.abstention import Gate
from llmsuite_lab.retrieval.experiments import Attacked
from llmsuite_lab.retrieval.scale import Measured
from llmsuite_lab.world.elsewhere import corpora


def load() -> dict:
    """The results of the recorded run on the held-out company. Raises LabError when it is missing or damaged."""
    return records.read("retrieval").results


def gate(found: dict | None = None) -> Gate:
    """The shipped gate: weights and threshold chosen on the development companies. Raises LabError as `load`."""
    row = (load() if found is None else found)["gate"]
    return Gate(tuple(row["names"]), tuple(row["mean"]), tuple(row["scale"]), tuple(row["weights"]), row["threshold"])


def attacks() -> list[Attacked]:
    """The recorded answers to clean and to attacked passages. Raises LabError when the record is missing or damaged."""
    return [Attacked(row["defence"], row["attack"], tuple(row["obeyed"]), tuple(row["correct"])) for row in records.read("retrieval_attacks").results]


def obeyed_by_attack() -> dict[str, dict[str, int]]:
    """For every planted order of the recorded run, how many of its questions obeyed it under each defence. Raises LabError as `attacks`."""
    counts: dict[str, dict[str, int]] = {}
    for row in attacks():
        if row.attack:
            counts.setdefault(row.attack, {})[row.defence] = sum(row.obeyed)
    return counts


def right_by_passages(examples: str) -> dict[str, Interval]:
    """Exact match by the number of passages in the prompt, gold among them, worked examples holding "one" passage each or "three"."""
    return accuracies(_formats(examples))


def loss_by_passages(examples: str) -> Interval:
    """Exact match with the gold passage alone minus with it among three, paired, worked examples holding "one" passage each or "three"."""
    found = _formats(examples)
    return mean_interval([float(a) - float(b) for a, b in zip(found["1"], found["3"], strict=True)], differences=True)


def _formats(examples: str) -> dict[str, list[bool]]:
    found = records.read("retrieval_formats").results
    if not isinstance(examples, str) or examples not in found:
        raise ValueError(f"examples={examples!r} was not measured; the recorded run has {', '.join(found)}")
    return found[examples]


def own_gate() -> dict[str, dict[str, dict[str, Interval]]]:
    """corpus → gate → the share of its questions that were declined: "answerable", "unanswerable" and, where asked, "elsewhere". Corpora of one form are
    one: "another author" is all of `world.elsewhere.corpora`. Raises LabError when the record is missing or damaged."""
    pooled: dict[str, dict[str, dict[str, list[float]]]] = {}
    for found in records.read("retrieval_own_gate").results.values():
        gates = pooled.setdefault(found["form"], {})
        for name, sorts in found["declined"].items():
            for sort, shares in sorts.items():
                gates.setdefault(name, {}).setdefault(sort, []).extend(shares)

    def intervals(sorts: dict[str, list[float]]) -> dict[str, Interval]:
        return {sort: mean_interval(shares) for sort, shares in sorts.items() if shares}

    return {form: {name: intervals(sorts) for name, sorts in gates.items()} for form, gates in pooled.items()}


def search_by_size() -> tuple[list[Measured], dict]:
    """The recorded rows of search against size, and their settings with the seed. Raises LabError when the record is missing or damaged."""
    found = records.read("retrieval_scale")
    rows = [{**row, "recall": float("nan") if row["recall"] is None else row["recall"]} for row in found.results]
    return [Measured(**{**row, "runs_ms": tuple(row["runs_ms"])}) for row in rows], {"seed": found.seed} | found.settings


def readers() -> list[Record]:
    """The recorded trainings of the reader, by seed. Raises LabError when there is none."""
    return records.read_all("reader")


def reader_shares(found: Sequence[Record | dict], run: str = "top-1") -> dict[str, Interval]:
    """Share of answerable questions right and refused, of unanswerable ones declined, of records or their results: a score is its mean over the seeds."""

    def marks(made: Record | dict, verdict: str) -> dict[tuple[int, bool], float]:
        told = made if isinstance(made, dict) else made.results
        if isinstance(made, dict) and not made.keys() >= {"answerable", "verdicts"}:
            raise ValueError(f"results that hold {', '.join(map(str, made)) or 'nothing'} are no reader's: give those of a run of the recipe reader")
        return _marks(told["answerable"], told["verdicts"][run], verdict)

    def share(verdict: str, known: bool) -> Interval:
        means = mean_over_seeds(found, lambda made: marks(made, verdict))
        return mean_interval([mean for (_, has), mean in means.items() if has == known])

    return {"right": share("correct", True), "refused": share("declined", True), "declined": share("declined", False)}


def elsewhere(found: Sequence[Record], run: str = "top-3", gate: bool = True) -> dict[str, Interval]:
    """Reader and gate together in the corpora of another author: "right", the share of answerable questions answered right, and "declined", that of the
    others declined by the gate or by the reader; without the `gate`, the reader alone. found: runs of `reader_varied` or `reader_elsewhere`; a
    question's score is its mean over them."""

    def score(made: Record) -> dict[tuple[str, int, bool], float]:
        marks = {}
        for name in corpora.names():
            book = made.results[name]
            for i, (known, verdict, gated) in enumerate(zip(book["answerable"], book["verdicts"][run], book["gate declines"], strict=True)):
                stopped = gate and gated
                marks[name, i, known] = float(not stopped and verdict == "correct") if known else float(stopped or verdict == "declined")
        return marks

    means = mean_over_seeds(found, score)
    return {name: mean_interval([mean for (_, _, has), mean in means.items() if has == known]) for name, known in (("right", True), ("declined", False))}


def _marks(answerable: Sequence[bool], given: Sequence[str], verdict: str) -> dict[tuple[int, bool], float]:
    return {(i, known): float(one == verdict) for i, (known, one) in enumerate(zip(answerable, given, strict=True))}


def accuracies(correct: dict[str, Sequence[bool]]) -> dict[str, Interval]:
    """Share of right answers per condition, with intervals."""
    return {name: mean_interval([float(c) for c in values]) for name, values in correct.items() if values}


def declined_shares(found: dict, run: str = "top-1 with gate") -> tuple[Interval, Interval]:
    """(share of unanswerable questions declined, share of answerable ones declined) of a recorded run."""
    verdicts, answerable = found["verdicts"][run], found["questions"]["one"]
    declined = [float(v == "declined") for v in verdicts]
    return mean_interval(declined[answerable:]), mean_interval(declined[:answerable])
