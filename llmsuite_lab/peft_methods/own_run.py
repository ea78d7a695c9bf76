"""What every run on a person's own file does alike: options are judged before anything runs, rows divided by item, and a card tells what was done.

    file → rows that can be used → by item: train | held out → score, train, score → a folder others can load, with provenance.json and README.md

`peft_methods.tune` (prompts with completions) and `alignment.align` (pairs of replies) stand on this. In production: a training script's own care.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from llmsuite_lab.core import zoo
from llmsuite_lab.core.errors import LabError, whole, within
from llmsuite_lab.core.provenance import commit_now, provenance
from llmsuite_lab.finetuning import splits
from llmsuite_lab.lm.training import MOST

T = TypeVar("T")
CARD = "README.md"


def refuse_foreign(method: str, given: Sequence[str], known: Sequence[str]) -> None:
    """Raise ValueError, naming the method's own options, for one that it does not have."""
    if foreign := [name for name in given if name not in known]:
        told = f"its options are {', '.join(known)}" if known else "it has no options of its own"
        raise ValueError(f"{method} takes no {foreign[0]}: {told}")


def check_amounts(
    *, hold_out: float, steps: int | None = None, epochs: float | None = None, batch_size: int | None = None, lr: float | None = None, otherwise: str
) -> None:
    """Raise ValueError for a share, a count or a rate that cannot work, and for steps and epochs both; `otherwise`: what neither of them means."""
    within("hold_out", hold_out, 0.001, 0.9)
    if steps is not None and epochs is not None:
        raise ValueError(f"steps={steps} and {epochs=}: give one of them, or neither for {otherwise}")
    if epochs is not None:
        within("epochs", epochs, 1e-3, 1e6)
    for what, value in {"steps": steps, "batch_size": batch_size}.items():
        if value is not None:
            whole(what, value, 1, MOST)
    if lr is not None:
        within("lr", lr, 1e-12, 10)


def tell_bad(bad: Sequence[tuple[str, str]], say: Callable[[str], None]) -> None:
    """Say how many rows were left out, and the first of them with its reason."""
    if bad:
        say(f"{len(bad)} bad rows left out, first {bad[0][0]}: {bad[0][1]}")


def divide(rows: Sequence[T], hold_out: float, seed: int, file: Path | str) -> tuple[list[T], list[T]]:
    """(rows to train on, rows held out), all rows of an item on one side. Raises LabError where a side gets none."""
    try:
        parts = splits.split(rows, {"train": 1 - hold_out, "held out": hold_out}, seed)
    except ValueError as error:
        raise LabError(f"{Path(file).name} cannot be split into rows to train on and rows to hold out ({error}): give more rows or another hold_out") from None
    return parts["train"], parts["held out"]


def unfinished(done: int, planned: int, what: str, state: Path | None) -> LabError:
    """The error to raise for a run that the stop button ended, whose state stands in `state` (None: nowhere)."""
    return LabError(f"stopped after {done} of {planned} {what}; " + (f"the same command goes on from there ({state})" if state else "nothing was kept"))


def made_by(
    command: str, file: Path | str, sha256: str, rows: Mapping[str, int], settings: Mapping[str, Any], seed: int, wall_s: float
) -> dict[str, Any]:
    """Provenance with the run's settings, and its data: the file's name, its SHA-256 and the rows by use."""
    made = provenance(f"llmsuite {command} {Path(file).name} --method {settings['method']}", seed, wall_s, commit_now())
    return made | {"settings": dict(settings), "data": {"file": Path(file).name, "sha256": sha256, "rows": dict(rows)}}


def hub_name(model: str) -> str:
    """What a base is called elsewhere: the hub's name of a zoo model, else the folder's own."""
    known = zoo.ENTRIES.get(model)
    return known.hub if known else Path(model).name


def peft_loading(auto: str, model: str, folder: Path) -> str:
    """The line of Python that loads an adapter."""
    return f'PeftModel.from_pretrained({auto}.from_pretrained("{hub_name(model)}"), "{folder.name}")'


def card(
    folder: Path, model: str, library: str, opening: str, data: Sequence[str], sections: Mapping[str, Sequence[str]], made: Mapping[str, Any], effort: str,
    loading: str,
) -> str:  # fmt: skip
    """The model card: what was done and measured, and nothing else.

    opening: a sentence; data: lines on how the rows were used; sections: {heading: lines} of what was measured; effort: "40 updates in 31 s".
    """
    known, told = zoo.ENTRIES.get(model), made["data"]
    front = ["---", f"base_model: {hub_name(model)}", *([f"license: {known.licence.lower()}"] if known else []), f"library_name: {library}", "---"]
    measured = [line for heading, lines in sections.items() for line in (f"## {heading}", "", *lines, "")]
    return "\n".join(
        [
            *front, "", f"# {folder.name}", "", opening, "",
            "## Data", "", f"`{told['file']}`, SHA-256 `{told['sha256']}`: " + ", ".join(f"{n} rows {what}" for what, n in told["rows"].items()) + ".",
            *data, "", *measured,
            "## Settings", "", "```json", json.dumps(made["settings"], indent=1), "```", "", f"{effort} on {made['machine']}, {made['date']}.", "",
            f"Licence of the base: {known.licence if known else 'not recorded here, look at its own card'}.", "",
            "## Use", "", "```python", loading, "```", "",
        ]
    )  # fmt: skip
