"""Recorded runs: what takes minutes to hours is measured once, written with how it was made, and read here, whole or not at all.

    data/runs/<name>_seed<seed>.json        one run of the recipe `name`: one file, one line of JSON, the fields of `Record` and their checksum
    x̄_i = (1/S) Σ_s x_is                    an item's score is its mean over the S seeds; intervals are over the items
    d_i = x̄_i(ours) − x̄_i(theirs)           paired differences: the same items, asked of two methods

`llmsuite train <name> --seed <seed>` makes a record again. Its `command` and `commit` say how it was made then. A run that draws nothing is seed 0; a
sweep over settings is one record whose results are rows, a sweep over seeds is one record a seed. What an older record does not say is "not recorded".
"""

import hashlib
import json
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import write_output, write_text
from llmsuite_lab.core.history import History
from llmsuite_lab.core.paths import data_dir

NOT_RECORDED = "not recorded"
NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_FILE = re.compile(rf"({NAME.pattern})_seed(0|[1-9][0-9]*)\.json")
Scores: TypeAlias = Mapping[Any, float] | Sequence[float]
Marks: TypeAlias = Mapping[Any, float | None] | Sequence[float | None]  # None: undefined there, as the precision of a text that states nothing
T = TypeVar("T")


@dataclass(frozen=True)
class Record:
    """One recorded run: `name` of its recipe and `seed`; how it was made: `command`, `versions` by package, `machine` in words, `date`, `commit`,
    and `wall_s` (for a training the seconds of its steps, in however many sittings); then its `settings`, its `results` as plain data, and for a
    training the `tokens` it read and its `history`. Each field of how it was made may be "not recorded"."""

    name: str
    seed: int
    command: str
    versions: dict[str, str] | str
    machine: str
    date: str
    wall_s: float | str
    commit: str
    settings: dict[str, Any]
    results: Any
    tokens: int | None = None
    history: History | None = None

    @property
    def minutes(self) -> float | None:
        """`wall_s` in minutes, one decimal; None where it was not recorded."""
        return None if isinstance(self.wall_s, str) else round(self.wall_s / 60, 1)


_FIELDS = {field.name for field in fields(Record)}
_TRAINED = {"tokens", "history"}  # the fields that only a training has


def runs_dir() -> Path:
    """Where the course's records stand."""
    return data_dir() / "runs"


def file_name(name: str, seed: int) -> str:
    """<name>_seed<seed>.json. Raises ValueError for a name that is not lower-case words joined by "_", and for a negative seed."""
    if not isinstance(name, str) or not NAME.fullmatch(name) or re.search(r"_seed\d+$", name):
        raise ValueError(f"{name!r} cannot name a record: take lower-case words and digits joined by '_', without a seed at the end")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed={seed!r}, but a seed is a whole number, zero or above")
    return f"{name}_seed{seed}.json"


def command(name: str, seed: int = 0) -> str:
    """The command that makes this record."""
    return f"llmsuite train {name} --seed {seed}"


def seeds(name: str, folder: Path | None = None) -> list[int]:
    """The seeds of which a record of `name` stands in `folder` (None: data/runs), in order; [] when there is none."""
    found = (_FILE.fullmatch(file.name) for file in (folder or runs_dir()).glob("*.json"))
    return sorted(int(match[2]) for match in found if match and match[1] == name)


def read_all(name: str, folder: Path | None = None) -> list[Record]:
    """All recorded runs of `name`, by seed. Raises LabError when there is none, or as `read`."""
    return [read(name, seed, folder) for seed in seeds(name, folder) or [0]]


def read(name: str, seed: int = 0, folder: Path | None = None) -> Record:
    """The record of one run, from `folder` (None: data/runs).

    Raises LabError, naming the file and the command that makes it again, when it is missing, damaged, cut, or something else.
    """
    file = (folder or runs_dir()) / file_name(name, seed)
    remedy = f"restore it with git, or make it again with `{command(name, seed)}`"
    if not file.is_file():
        raise LabError(f"the record {file.name} is not in {_shown(file.parent)}: {remedy}")
    try:
        record = _parsed(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise LabError(f"the record {file.name} in {_shown(file.parent)} cannot be used ({error}): {remedy}") from error
    if (record.name, record.seed) != (name, seed):
        raise LabError(f"the record {file.name} in {_shown(file.parent)} is one of {record.name}, seed {record.seed}: {remedy}")
    return record


def write(record: Record, folder: Path | None = None) -> Path:
    """Write `record` as one line of JSON to `folder` (None: data/runs), whole or not at all; an older record of the same run is replaced.

    Raises ValueError for a name or seed that is none and for what JSON cannot hold (nan included), LabError when somebody else's file has its
    place in `folder` (`core.files.write_output`).
    """
    if not isinstance(record, Record):
        raise TypeError(f"{record!r:.60} is no Record: make one, or let `core.runs.make` do it")
    file = (folder or runs_dir()) / file_name(record.name, record.seed)
    value = {field.name: getattr(record, field.name) for field in fields(Record)}
    value["history"] = None if record.history is None else record.history.as_dict()
    value = {key: item for key, item in value.items() if key not in _TRAINED or item is not None}
    line = _line(value | {"sha256": _digest(value)})
    _parsed((line + "\n").encode())
    (write_text if folder is None else write_output)(file, line + "\n")
    return file


def _parsed(data: bytes) -> Record:
    """The record in `data`. Raises ValueError that says what is wrong."""
    if not data.endswith(b"\n") or data.count(b"\n") != 1:
        raise ValueError("it is cut or not one line")
    value = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    told = value.pop("sha256", None) if isinstance(value, dict) else None
    if not isinstance(value, dict) or not _FIELDS - _TRAINED <= value.keys() <= _FIELDS:
        raise ValueError("it is JSON of another kind, not a record")
    kinds = {"name": str, "seed": int, "settings": dict, "command": str, "versions": (dict, str), "machine": str, "date": str, "commit": str}
    for key, kind in (kinds | {"wall_s": (int, float, str)}).items():
        if not isinstance(value[key], kind) or (key in ("versions", "wall_s") and isinstance(value[key], str) and value[key] != NOT_RECORDED):
            raise ValueError(f"its {key} is {str(value[key])[:40]!r}, which is none")
    right = told == _digest(value)
    if _TRAINED & value.keys():
        value["history"] = _history(value.get("history"), value.get("tokens"))
    if not right:
        raise ValueError("its checksum does not match: something in it was changed")
    return Record(**value)


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _digest(value: dict[str, Any]) -> str:
    """SHA-256 of all other fields as they stand in the file: JSON keeps their order, and every float reads back as it was written."""
    return hashlib.sha256(_line(value).encode()).hexdigest()


def _history(value: Any, tokens: Any) -> History:
    try:
        history = History.from_dict(value)
        lengths = {len(getattr(history, name)) for name in ("losses", "lrs", "grad_norms", "tokens", "supervised", "seconds")}
    except TypeError as error:
        raise ValueError(f"its history is of another kind ({error})") from error
    if lengths != {history.planned_steps}:
        raise ValueError(f"its history holds {sorted(lengths)} entries for {history.planned_steps} steps")
    if sum(history.tokens) != tokens:
        raise ValueError(f"it says {tokens} tokens, but its steps read {sum(history.tokens)}")
    return history


def _no_constant(text: str) -> Any:
    raise ValueError(f"it holds {text}, which no measurement is")


def _shown(folder: Path) -> str:
    return "data/runs" if folder == runs_dir() else str(folder)


def mean_over_seeds(runs: Sequence[T], key: Callable[[T], Marks]) -> Any:
    """x̄: each item's score averaged over `runs`, in the order of the first run.

    `key` gives a run's scores: a sequence (a list comes back), or a mapping from item to score (a dict comes back). A score of None is left out of its
    item's mean, and an item of a mapping that has no other out of what comes back.
    Raises ValueError when there is no run, when one does not hold what `key` looks for, when the runs were asked different items, and when an item of a
    sequence has no score in any run: those after it would move up.
    """
    if not runs:
        raise ValueError("there is no run to average over")
    columns = [held(run, key) for run in runs]
    items = _same_items(columns, "the runs")
    found = {item: [score for column in columns if (score := column[item]) is not None] for item in items}
    means = {item: sum(scores) / len(scores) for item, scores in found.items() if scores}
    if isinstance(columns[0], Mapping):
        return means
    if empty := [item for item, scores in found.items() if not scores]:
        raise ValueError(f"item {empty[0]} has no score in any run: give scores by item (a mapping), so that it can be left out")
    return list(means.values())


def paired_differences(ours: Scores, theirs: Scores) -> list[float]:
    """d: our score minus theirs, item by item. Raises ValueError when the two were not asked the same items."""
    return [float(ours[item]) - float(theirs[item]) for item in _same_items([ours, theirs], "the two methods")]


def per_seed(runs: Sequence[Record], key: Callable[[Record], Scores]) -> dict[int, float]:
    """Each seed's own mean over the items: the spread that training adds. Raises ValueError for a run that does not hold what `key` looks for."""
    return {run.seed: sum(scores.values() if isinstance(scores := held(run, key), Mapping) else scores) / len(scores) for run in runs}


def held(run: T, key: Callable[[T], Any]) -> Any:
    """What `key` reads off a run. Raises ValueError for a `Record` of another recipe, which does not hold it."""
    try:
        return key(run)
    except (KeyError, TypeError, AttributeError) as error:
        if not isinstance(run, Record):
            raise
        held = f"holds {', '.join(map(str, run.results))}" if isinstance(run.results, Mapping) else f"is a {type(run.results).__name__}"
        wanted = f"has no {error.args[0]!r}" if isinstance(error, KeyError) and error.args else "has results of another form"
        raise ValueError(f"the run {run.name}, seed {run.seed}, {wanted} (it {held}): give runs of a recipe that measured it") from error


def _same_items(columns: Sequence[Marks], what: str) -> list[Hashable]:
    """The items that all columns score: a mapping's keys, a sequence's positions. Raises ValueError when they differ."""
    if len({isinstance(column, Mapping) for column in columns}) != 1:
        raise ValueError(f"{what} give scores by item and scores by position: they cannot be paired")
    items = [list(column) if isinstance(column, Mapping) else range(len(column)) for column in columns]
    if len({len(found) for found in items}) != 1:
        raise ValueError(f"{what} were asked {', '.join(str(len(found)) for found in items)} items: they cannot be paired")
    for found in items[1:]:
        if differing := set(items[0]) ^ set(found):
            raise ValueError(f"{what} were asked different items, such as {min(map(str, differing))!r}: they cannot be paired")
    return list(items[0])
