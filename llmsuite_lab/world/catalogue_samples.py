"""Is there a reader for each row of Table 1 that reads the set's public format? Tried on small files in that format, written in our own words.

    tried("mgsm")   →   {"jsonl": 2, "json": 2, "csv": 2, "tsv": 2, "parquet": 2, "folder": 2, "own": 2}        form → rows read

Nothing is downloaded and no data of the sets is copied: the samples have their columns and file forms, as their cards and repositories give them.
"""

import csv
import io
import json
import tempfile
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import write_output
from llmsuite_lab.world.catalogue import ENTRIES, entry
from llmsuite_lab.world.catalogue_loading import load, quiet


@cache
def _samples() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def sample(name: str, part: str | None = None) -> list[dict[str, Any]]:
    """Rows of an entry, or of a part of one, in the hub's columns. Raises ValueError for an unknown name, or an entry that is no data."""
    known = entry(name)
    known.part(part)
    chosen = part or known.configuration
    if not known.readable:
        raise ValueError(f"{known.title} has no rows: {known.task}")
    if known.name == "glue":  # its parts are rows of the table themselves
        return sample(next(row.name for row in ENTRIES.values() if row.hub == known.hub and not row.parts and row.configuration == chosen))
    found = _samples()[known.name]
    return [dict(row) for row in (found["rows"] if chosen == known.configuration else found.get("parts", {}).get(part, found["rows"]))]


def own_file(name: str) -> tuple[str, str] | None:
    """(name, text) of a sample file in the set's own form, where it has one besides the hub's columns. Raises ValueError for an unknown name."""
    found = _samples().get(entry(name).name, {}).get("own")
    return None if found is None else (found["file"], found["text"])


def tried(name: str) -> dict[str, int]:
    """Form → rows that `load` reads of the entry's sample; empty for an entry that is no data. Errors as `load`, which a working reader has none of."""
    known = entry(name)
    if not known.readable:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        return {form: len(load(known.name, file)) for form, file in write(known.name, Path(folder)).items()}


def refuses(name: str, other: str) -> bool:
    """Whether the reader of `name` refuses the sample of `other`, naming what does not fit. Raises ValueError for an unknown name."""
    with tempfile.TemporaryDirectory() as folder:
        file = write(other, Path(folder))["jsonl"]
        try:
            load(name, file)
        except LabError:
            return True
    return False


def write(name: str, folder: Path, part: str | None = None) -> dict[str, Path]:
    """Write the sample in every form into the new or empty folder: form → file. Raises ValueError for an unknown name, LabError as `write_output`."""
    rows, files = sample(name, part), {}
    names = list(dict.fromkeys(column for row in rows for column in row))
    texts = {"jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "json": json.dumps(rows, ensure_ascii=False)}
    texts |= {"csv": _table(names, rows, ","), "tsv": _table(names, rows, "\t")}
    for form, text in texts.items():
        files[form] = folder / f"sample.{form}"
        write_output(files[form], text)
    from datasets import Dataset

    files["parquet"] = folder / "sample.parquet"
    with quiet():
        Dataset.from_list([{column: row.get(column) for column in names} for row in rows]).to_parquet(files["parquet"])
    files["folder"] = folder / "data"
    write_output(folder / "data" / f"{entry(name).split}.jsonl", texts["jsonl"])
    write_output(folder / "data" / "other.jsonl", texts["jsonl"])  # not of the split that is asked for
    if part is None and (own := own_file(name)):
        files["own"] = folder / own[0]
        write_output(files["own"], own[1])
    return files


def _table(names: Sequence[str], rows: Sequence[dict[str, Any]], mark: str) -> str:
    """The rows as a table of text with a header; lists and objects as JSON in their cell, tabs without quotation marks."""
    cells = [[json.dumps(value) if isinstance(value := row.get(name, ""), list | dict) else str(value) for name in names] for row in rows]
    if mark == "\t":
        return "".join("\t".join(line) + "\n" for line in [list(names), *cells])
    text = io.StringIO()
    csv.writer(text).writerows([names, *cells])
    return text.getvalue()
