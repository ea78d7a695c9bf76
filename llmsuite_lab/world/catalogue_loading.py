"""Loading what the catalogue lists, through `datasets`: from the hub by its id, or from a file or folder without a network.

    load("rte")                                     the hub's split
    load("rte", "rte/validation.jsonl")             JSON Lines, JSON, CSV, TSV or Parquet with the hub's columns
    load("mgsm", "mgsm_de.tsv")                     or in the set's own form: MGSM and MMLU without a header, the JSON files of
                                                    BIG-Bench, BBH, HELM and Natural Instructions

Every row is checked against the entry's columns: a missing column is named beside those found, a value of another type with its line. No code of a data
set is run: only tables are read, and sets that the hub keeps as a script are taken from its own conversion. SAMSum, DialogSum, GSM8K and others:
`world.readers.read`. In production: `datasets.load_dataset`.
"""

import csv
import glob
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.world.catalogue import Entry, entry
from llmsuite_lab.world.catalogue_rows import REWRITTEN, UNWRAPPED, Cell, fitted
from llmsuite_lab.world.readers import file_rows, from_hub
from llmsuite_lab.world.rows import json_kind

if TYPE_CHECKING:
    from datasets import Dataset

FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
_SPLITS = ("train", "validation", "test", "dev")


def load(name: str, path: str | Path | None = None, *, part: str | None = None, split: str | None = None, limit: int | None = None) -> "Dataset":
    """Rows of one entry as a `datasets.Dataset` with the entry's columns in their order, None where an optional one is missing.

    path: a file, or a folder of files; None loads from the hub. part: a task of a benchmark, a language of MGSM, a subject of MMLU (default: the entry's).
    split: of the hub or of a folder's files, by their names (default: the entry's). limit: at most so many rows.
    Raises ValueError for an unknown name or part, limit < 1, or an entry that is no data; LabError for a file or row that does not fit, an unreachable hub.
    """
    known = entry(name)
    if not known.readable:
        raise ValueError(f"{known.title} cannot be loaded: {known.task}. {known.slip}".strip())
    if limit is not None and limit < 1:
        raise ValueError(f"limit={limit}, but at least one row must be read")
    columns, labels = known.part(part).columns, known.part(part).labels
    rows = _from_files(known, Path(path), split) if path is not None else _from_hub(known, part, split)
    return _checked(islice(rows, limit), columns, labels, known)


def _checked(rows: Iterator[tuple[str, Any]], columns: Mapping[str, str], labels: Sequence[str], known: Entry) -> "Dataset":
    """The (where, row) pairs as a table of these columns; of rows that do not fit, the error names the first and counts the others."""
    from datasets import Dataset, Features

    kept: list[dict[str, Any]] = []
    wrong: list[str] = []
    for where, row in rows:
        if not isinstance(row, dict):
            wrong.append(f"{where}: a row of {known.title} is an object with columns, not {json_kind(row)}")
            continue
        try:
            kept.append(fitted(REWRITTEN.get(known.name, dict)(row), columns, labels))
        except LookupError as error:
            needed = ", ".join(column for column, kind in columns.items() if not kind.endswith("?"))
            raise LabError(f"{where}: {known.title} needs the columns {needed}, found {', '.join(row) or 'none'}: {error.args[0]} is missing.") from None
        except (ValueError, TypeError) as error:
            wrong.append(f"{where}: {error}")
    if wrong:
        raise LabError(f"{wrong[0]}." + (f" It is the first of {len(wrong)} rows that do not fit." if len(wrong) > 1 else ""))
    if not kept:
        raise LabError(f"there is no row of {known.title} to read: the file is empty.")
    return Dataset.from_list(kept, features=Features({column: _feature(kind.removesuffix("?")) for column, kind in columns.items()}))


def _feature(kind: str) -> Any:
    from datasets import Value

    one = Value({"text": "string", "number": "float64"}.get(kind.removesuffix("s"), "int64"))
    return [one] if kind in ("texts", "numbers") else one


def _from_hub(known: Entry, part: str | None, split: str | None) -> Iterator[tuple[str, Any]]:
    if not known.hub:
        raise LabError(f"{known.title} is no data set on the hub: pass the path of a file of it, such as HELM's instances.json.")
    rows = from_hub(known.hub, part or known.configuration, split or known.split, known.revision)
    yield from ((f"{known.hub}, row {number}", row) for number, row in enumerate(rows, start=1))


def _from_files(known: Entry, path: Path, split: str | None) -> Iterator[tuple[str, Any]]:
    for file in _files(path, split or known.split) if path.is_dir() else [path]:
        if not file.exists():
            raise LabError(f"No file at {file}. Give the path of a downloaded file, or leave it out to load from the hub.")
        if file.suffix.lower() not in FORMATS:
            raise LabError(f"{file.name} is none of the forms {', '.join(FORMATS)}: convert it, or unpack it first.")
        yield from _READERS[file.suffix.lower()](known, file)


def _files(folder: Path, split: str) -> list[Path]:
    """The folder's files of a split, by their names; all of them where no name holds a split."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in FORMATS and file.is_file() and not file.name.startswith("."))
    if not files:
        raise LabError(f"the folder {folder.name} holds no file of the forms {', '.join(FORMATS)}.")
    if len(forms := sorted({file.suffix.lower() for file in files})) > 1:
        raise LabError(f"the folder {folder.name} holds files of several forms ({', '.join(forms)}): pass one file, or keep one form.")

    def names(file: Path, word: str) -> bool:
        return re.search(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])", str(file.relative_to(folder)).lower()) is not None

    of_split = [file for file in files if names(file, split)]
    if not of_split and any(names(file, word) for file in files for word in _SPLITS):
        raise LabError(f"no file of the split {split!r} in {folder.name}, which has {', '.join(file.name for file in files[:8])}: pass split=….")
    return of_split or files


def _from_json(known: Entry, file: Path) -> Iterator[tuple[str, Any]]:
    unwrap = UNWRAPPED.get(known.name)
    whole = _object(file) if unwrap and file.suffix.lower() == ".json" else None
    if whole is None:
        yield from file_rows(file)
        return
    try:
        rows = unwrap(whole, file.stem)
    except (KeyError, TypeError) as error:
        raise LabError(f"{file.name}: the JSON of {known.title} has another shape ({error}).") from None
    yield from ((f"{file.name}, example {number}", row) for number, row in enumerate(rows, start=1))


def _object(file: Path) -> dict[str, Any] | None:
    """The one JSON object that fills a file, with its examples inside; None for anything else, which `file_rows` reads or names."""
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and any(isinstance(value, list) and value and isinstance(value[0], dict) for value in found.values()) else None


def _from_table(known: Entry, file: Path) -> Iterator[tuple[str, Any]]:
    """A file of cells: every cell is text here, and `fitted` makes of it what the column asks for."""
    from datasets import Features, Value

    tabs = file.suffix.lower() == ".tsv"
    first = _first_line(file, tabs)
    header = not known.headerless or bool(set(first) & set(known.columns))
    names = first if header else list(known.headerless)
    if len(set(names)) != len(names) or len(names) != len(first):
        raise LabError(f"{file.name}: the first line has {len(first)} cells, and the columns are {', '.join(names)}: each needs a name of its own.")
    options = {"sep": "\t" if tabs else ",", "quoting": csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL, "keep_default_na": False, "encoding": "utf-8-sig"}
    features = Features({column: Value("string") for column in names})
    rows = _read("csv", file, **options, **({} if header else {"column_names": names}), features=features)
    for number, row in enumerate(rows, start=1):
        yield f"{file.name}, row {number}", {column: _cell(cell) for column, cell in row.items()}


def _first_line(file: Path, tabs: bool) -> list[str]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            return next(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(lines), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabError(f"{file.name} cannot be read as a table of text ({error}).") from None


def _cell(text: str | None) -> Cell | None:
    return None if text in (None, "") else Cell(text)


def _from_parquet(known: Entry, file: Path) -> Iterator[tuple[str, Any]]:
    yield from ((f"{file.name}, row {number}", row) for number, row in enumerate(_read("parquet", file), start=1))


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars of `datasets` meanwhile: a file is read in a moment."""
    import datasets

    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _read(form: str, file: Path, **options: Any) -> Sequence[dict[str, Any]]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError

    try:
        with quiet(), tempfile.TemporaryDirectory() as cache:  # in memory: no copy of the user's file stays behind
            return load_dataset(form, data_files=glob.escape(str(file)), split="train", cache_dir=cache, keep_in_memory=True, **options)
    except (DatasetGenerationError, OSError, ValueError, RuntimeError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise LabError(f"{file.name} cannot be read as {form} ({reason}).") from None


_READERS = {".jsonl": _from_json, ".json": _from_json, ".csv": _from_table, ".tsv": _from_table, ".parquet": _from_parquet}
