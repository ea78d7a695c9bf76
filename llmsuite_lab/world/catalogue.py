"""The data sets and benchmarks of the paper's Table 1, typed and checked, and the counts it gives for FLAN-T5, SAMSum and DialogSum.

    entry("mnli") → task, size, languages, licence, hub id, reference, metric, templates, columns; what the paper says, and where that is a slip

The rows stand in catalogue.toml with their sources; what could not be checked says "not verified". `catalogue_loading.load` reads the data. Source: paper,
Table 1 and 5.2. In production: a data set's card on the hub, `datasets.load_dataset_builder(name).info`.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llmsuite_lab.core.errors import unknown

if TYPE_CHECKING:
    import pandas

_SLOT = re.compile(r"\{(\w+)\}")
_UNITS = ("tasks", "task types", "scenarios", "data sets")  # sizes that count no examples
UNVERIFIED = "not verified"


@dataclass(frozen=True)
class Template:
    """A prompt and its completion with {column} slots."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class Part:
    """One task of a benchmark that has several: its columns (name → type), its examples by split, its classes' labels."""

    columns: Mapping[str, str]
    size: Mapping[str, int]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One row of Table 1.

    kind: "benchmark", "data set", "mixture", or "none" for what is none of them. `hub` is empty where the hub has no such set; `configuration`, `split` and
    `revision` are what is loaded by default. `columns`: name → type (text, number, texts, numbers, class N; "?": may be missing). `headerless`: the columns of
    its own csv or tsv files, which have no header. `paper_says` is the paper's row and `slip` what is wrong in it, "" where nothing is.
    """

    name: str
    title: str
    kind: Literal["benchmark", "data set", "mixture", "none"]
    task: str
    about: str
    reference: str
    metric: str
    paper_says: str
    sources: tuple[str, ...]
    slip: str = ""
    languages: tuple[str, ...] = ()
    licence: str = ""
    hub: str = ""
    configuration: str | None = None
    split: str = "train"
    revision: str | None = None
    size: Mapping[str, int] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    templates: tuple[Template, ...] = ()
    headerless: tuple[str, ...] = ()
    parts: Mapping[str, Part] = field(default_factory=dict)

    @property
    def examples(self) -> int | None:
        """Examples in all splits of all parts; None where no source was found that counts them."""
        sizes = [self.size, *(part.size for part in self.parts.values())]
        counted = [n for size in sizes for unit, n in size.items() if unit not in _UNITS]
        return sum(counted) if counted else None

    @property
    def readable(self) -> bool:
        """Whether there is anything to read."""
        return bool(self.columns or self.parts)

    def part(self, name: str | None = None) -> Part:
        """The named part, or the one that is loaded by default; an entry without parts is its own. Raises ValueError for an unknown one."""
        if not self.parts:
            return Part(self.columns, self.size, self.labels)
        if (chosen := self.configuration if name is None else name) not in self.parts:
            raise ValueError(unknown(f"part of {self.title}", chosen, list(self.parts)))
        return self.parts[chosen]


@dataclass(frozen=True)
class Fact:
    """A count that the paper gives (`paper`: "exactly", "about" or "over" so many) beside the `value` in its source."""

    id: str
    what: str
    paper: int
    form: Literal["exactly", "about", "over"]
    value: int
    source: str
    slip: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the paper's count is the source's; "about" allows 5 %, "over" less than a tenth more."""
        allowed = {"exactly": (1.0, 1.0), "about": (0.95, 1.05), "over": (1.0, 1.1)}[self.form]
        return allowed[0] <= self.value / self.paper <= allowed[1]


def _read() -> tuple[dict[str, Entry], tuple[Fact, ...]]:
    file = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    entries: dict[str, Entry] = {}
    together: dict[str, list[str]] = {}
    for row in file["entry"]:
        together[row["name"]] = row.pop("parts_are", [])
        row["templates"] = tuple(Template(**template) for template in row.get("templates", ()))
        row["parts"] = {name: Part(part["columns"], part["size"], tuple(part.get("labels", ()))) for name, part in row.get("parts", {}).items()}
        entries[row["name"]] = Entry(**{key: tuple(value) if isinstance(value, list) else value for key, value in row.items()})
    for name, members in together.items():  # GLUE's parts are rows of the table themselves
        entries[name].parts.update({entries[m].configuration: Part(entries[m].columns, entries[m].size, entries[m].labels) for m in members})
    return entries, tuple(Fact(**row) for row in file["fact"])


ENTRIES, FACTS = _read()


def entry(name: str) -> Entry:
    """The row of that name or title, whatever its case. Raises ValueError for an unknown one."""
    found = {key.casefold(): row for row in ENTRIES.values() for key in (row.name, row.title)}
    if not isinstance(name, str) or name.casefold() not in found:
        raise ValueError(unknown("data set", name, list(ENTRIES)))
    return found[name.casefold()]


def slips() -> dict[str, str]:
    """Title → what is wrong in the paper's row, for the rows where something is."""
    return {row.title: row.slip for row in ENTRIES.values() if row.slip}


def table() -> "pandas.DataFrame":
    """The catalogue as a table to look at: a row an entry, in the paper's order; "–" where a column does not apply."""
    import pandas

    rows = []
    for row in ENTRIES.values():
        units = ", ".join(f"{n:,} {unit}" for unit, n in row.size.items() if unit in _UNITS)
        size = f"{row.examples:,}" if row.examples else f"{UNVERIFIED} ({units})" if units else "–"
        splits = dict.fromkeys(split for sizes in (row.size, *(part.size for part in row.parts.values())) for split in sizes if split not in _UNITS)
        rows.append(
            {
                "name": row.title, "kind": row.kind, "task": row.task, "examples": size, "splits": ", ".join(splits) or "–",
                "languages": ", ".join(row.languages) or "–",
                "licence": row.licence or "–", "hub": row.hub or "–", "metric": row.metric,
                "templates": len(row.templates), "reference": row.reference, "slip": row.slip or "–",
            }
        )  # fmt: skip
    return pandas.DataFrame(rows).set_index("name")


def prompts(name: str, row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(prompt, completion) of a row of the data by each template of the entry; classes appear by their labels, choices with a letter each.

    Raises ValueError for an unknown name, an entry without templates, a column that the row lacks, or a withheld label.
    """
    known = entry(name)
    if not known.templates:
        raise ValueError(f"{known.title} has no prompt template: it is {known.task}")
    part = known.part()

    def filled(text: str, completion: bool) -> str:
        return _SLOT.sub(lambda slot: _shown(slot[1], row, part, completion), text)

    return [(filled(template.prompt, False), filled(template.completion, True)) for template in known.templates]


def _shown(column: str, row: Mapping[str, Any], part: Part, completion: bool) -> str:
    value = row.get(column)
    if value is None:
        raise ValueError(f"the template asks for the column {column!r}, but the row has {', '.join(map(str, row)) or 'none'}")
    if part.columns.get(column, "").startswith("class"):
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(part.labels):
            raise ValueError(f"{column!r} is {value!r}: the label is withheld, or is none of {', '.join(part.labels)}")
        return part.labels[value]
    if isinstance(value, list | tuple):
        return ("".join(map(str, value[:1]))) if completion else "\n".join(f"{chr(65 + i)}. {choice}" for i, choice in enumerate(value))
    return f"{value:g}" if isinstance(value, float) else str(value)
