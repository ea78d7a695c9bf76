"""Readers of public data sets in their own formats, from a file the user names or from the Hugging Face hub.

| name | keys of a row | becomes |
|---|---|---|
| gsm8k | question, answer (ends in `#### N`) | Problem |
| gsm-hard | input, code, target | Problem |
| svamp | input, target; or Body, Question, Answer, Equation | Problem |
| hotpotqa | question, answer, type; the full format adds level, context, supporting_facts | MultiHop |
| fever | claim, label (verifiable, evidence) | Verdict |
| squad | title, context, question, answers (text); no text where the context does not answer it (2.0) | Reading |
| dialogsum | dialogue, summary (topic); its test file has summary1 to summary3 and topic1 to topic3 | Dialogue |
| samsum | dialogue, summary | Dialogue |

A file is JSON Lines or one JSON list, in UTF-8 with or without a byte order mark, with any line ends. A row that does not fit stops the reading with
its line and what is wrong with it: a silently skipped row is a wrong score later. In production: `datasets.load_dataset`.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeVar

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.values import finite
from llmsuite_lab.world.rows import json_kind, optional_text_of, read_dialogue, text_of

T = TypeVar("T")
_SHOWN = 5  # bad rows that are named


@dataclass(frozen=True)
class Problem:
    """A word problem: its text, the number that solves it, and the worked solution or program where the set has one."""

    question: str
    answer: float
    solution: str = ""


@dataclass(frozen=True)
class MultiHop:
    """A question over several documents: `kind` is "bridge" or "comparison"; `paragraphs` and `supporting` (titles) may be empty."""

    question: str
    answer: str
    kind: str
    paragraphs: tuple[tuple[str, str], ...] = ()  # (title, text)
    supporting: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """A claim with its label, "supports", "refutes" or "not enough info", and the titles of the pages that prove it."""

    claim: str
    label: str
    pages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """A question about a paragraph of the page `title`, with the answers that people marked in it; none where it does not say."""

    title: str
    context: str
    question: str
    answers: tuple[str, ...]


# the Penn Treebank's names for characters that mean something in its trees, as FEVER's page names carry them
_ESCAPES = {"LRB": "(", "RRB": ")", "LSB": "[", "RSB": "]", "LCB": "{", "RCB": "}", "COLON": ":", "SLASH": "/", "QUOTE": '"'}
_ESCAPED = re.compile(rf"-({'|'.join(_ESCAPES)})-")
LABELS = {"SUPPORTS": "supports", "REFUTES": "refutes", "NOT ENOUGH INFO": "not enough info"}


def _gsm8k(row: dict) -> Problem:
    solution, mark, number = text_of(row, "answer").rpartition("####")
    if not mark:
        raise ValueError("'answer' does not end in '#### <number>'")
    return Problem(text_of(row, "question"), finite(number), solution.strip())


def _gsm_hard(row: dict) -> Problem:
    return Problem(text_of(row, "input"), finite(row["target"]), text_of(row, "code"))


def _svamp(row: dict) -> Problem:
    if "Body" in row:
        body = text_of(row, "Body")
        body += "" if body.endswith((".", "!", "?")) else "."
        return Problem(f"{body} {text_of(row, 'Question')}", finite(row["Answer"]), optional_text_of(row, "Equation"))
    if "code" in row:
        raise ValueError("it has a 'code', as rows of gsm-hard have")
    return Problem(text_of(row, "input"), finite(row["target"]))


def _hotpotqa(row: dict) -> MultiHop:
    context, facts = row.get("context") or [], row.get("supporting_facts") or []
    if isinstance(context, dict):  # the hub's columns instead of the file's pairs
        context = list(zip(context["title"], context["sentences"], strict=True))
    facts = [[title] for title in facts["title"]] if isinstance(facts, dict) else facts
    for key, pairs, shape in (("context", context, "[title, [sentences]]"), ("supporting_facts", facts, "[title, sentence number]")):
        if not isinstance(pairs, list) or not all(isinstance(pair, list | tuple) and pair and isinstance(pair[0], str) for pair in pairs):
            raise ValueError(f"{key!r} is not a list of {shape}")
    if not all(len(pair) == 2 and isinstance(pair[1], list) and all(isinstance(s, str) for s in pair[1]) for pair in context):
        raise ValueError("'context' is not a list of [title, [sentences]]")
    titles = [fact[0] for fact in facts]
    paragraphs = tuple((title, " ".join(s.strip() for s in sentences)) for title, sentences in context)
    return MultiHop(text_of(row, "question"), text_of(row, "answer"), text_of(row, "type"), paragraphs, tuple(dict.fromkeys(titles)))


def _fever(row: dict) -> Verdict:
    label = text_of(row, "label")
    if label not in LABELS:
        raise ValueError(f"label {label!r} is none of {', '.join(LABELS)}")
    if "evidence_wiki_url" in row:  # the hub's column instead of the file's groups
        pages = [row["evidence_wiki_url"]] if row["evidence_wiki_url"] else []
    else:
        groups = row.get("evidence") or []
        if not isinstance(groups, list) or not all(
            isinstance(g, list) and all(isinstance(i, list) and len(i) > 2 for i in g) for g in groups
        ):
            raise ValueError("'evidence' is not a list of groups of [annotation, number, page, sentence]")
        pages = [item[2] for group in groups for item in group if item[2] is not None]
    if not all(isinstance(page, str) for page in pages):
        raise ValueError("the page of a piece of evidence is not text")
    return Verdict(
        _unescaped(text_of(row, "claim")), LABELS[label], tuple(dict.fromkeys(_unescaped(page.replace("_", " ")) for page in pages))
    )


def _squad(row: dict) -> Reading:
    context, answers = text_of(row, "context"), row["answers"]
    said = answers["text"] if isinstance(answers, dict) else None
    if not isinstance(said, list) or not all(isinstance(one, str) and one in context for one in said):
        raise ValueError("'answers' is not {\"text\": […]} with texts that stand in 'context'")
    return Reading(text_of(row, "title").replace("_", " "), context, text_of(row, "question"), tuple(said))


def _unescaped(text: str) -> str:
    return unicodedata.normalize("NFC", _ESCAPED.sub(lambda m: _ESCAPES[m[1]], text))  # claims and page names are compared


def _one_per_claim(verdicts: Iterable[Verdict]) -> Iterator[Verdict]:
    """The hub has a row for every piece of evidence: neighbours about one claim become one verdict with all its pages."""
    for (claim, label), rows in groupby(verdicts, key=lambda row: (row.claim, row.label)):
        yield Verdict(claim, label, tuple(dict.fromkeys(page for row in rows for page in row.pages)))


@dataclass(frozen=True)
class Format:
    """How one public set is read: the parser of a row, and where the hub keeps it (data set, configuration, split, revision).

    `join` puts together what the hub has in several rows and a file in one.
    Sets whose main revision is a Python script are read from the revision that holds the hub's own conversion: no script of a stranger runs here.
    """

    parse: Callable[[dict], Any]
    hub: str
    configuration: str | None
    split: str
    revision: str | None = None
    join: Callable[[Iterable[Any]], Iterator[Any]] = iter


FORMATS: dict[str, Format] = {
    "gsm8k": Format(_gsm8k, "openai/gsm8k", "main", "test"),
    "gsm-hard": Format(_gsm_hard, "reasoning-machines/gsm-hard", None, "train"),
    "svamp": Format(_svamp, "ChilleD/SVAMP", None, "test"),
    "hotpotqa": Format(_hotpotqa, "hotpotqa/hotpot_qa", "distractor", "validation"),
    "fever": Format(_fever, "fever/fever", "v1.0", "labelled_dev", "refs/convert/parquet", _one_per_claim),
    "squad": Format(_squad, "rajpurkar/squad_v2", "squad_v2", "validation"),
    "dialogsum": Format(read_dialogue, "knkarthick/dialogsum", None, "validation"),
    "samsum": Format(read_dialogue, "knkarthick/samsum", None, "test"),
}


def read(name: str, path: str | Path | None = None, limit: int | None = None) -> list[Any]:
    """Rows of one public set as the dataclass of its kind: from `path`, or from the hub without one; at most `limit` rows.

    Raises ValueError for an unknown name or limit < 1, LabError for a file or row that does not fit (with its line) or an unreachable hub.
    """
    if name not in FORMATS:
        raise ValueError(f"name={name!r}, but the formats are {', '.join(FORMATS)}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit={limit}, but at least one row must be read")
    rows = file_rows(Path(path)) if path is not None else _hub_rows(FORMATS[name])
    parsed = _parsed(name, rows)
    return list(islice(FORMATS[name].join(parsed) if path is None else parsed, limit))


def _parsed(name: str, rows: Iterable[tuple[str, Any]]) -> Iterator[Any]:
    for where, row in rows:
        if not isinstance(row, dict):
            raise LabError(f"{where}: a row of {name} is an object with keys, not {json_kind(row)}.")
        try:
            yield FORMATS[name].parse(row)
        except KeyError as error:
            keys = ", ".join(row) or "none"
            raise LabError(
                f"{where}: the key {error} of the {name} format is missing; the row has {keys}. Is this a {name} file?"
            ) from None
        except (ValueError, TypeError, IndexError) as error:
            raise LabError(f"{where}: not a row of the {name} format: {error}.") from None


def file_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """(where it stands, value) of every row: the line in a JSON Lines file, the position in a JSON list. Raises LabError for a file that is neither."""
    for where, row in _rows(path, "Give the path of a downloaded file, or leave it out to load from the hub."):
        if isinstance(row, _Torn):
            raise LabError(f"{where}: {row.reason}. A download that broke off ends like this.")
        yield where, row


@dataclass(frozen=True)
class _Torn:
    """A line that is no JSON, and why."""

    reason: str


def _rows(path: Path, advice: str) -> Iterator[tuple[str, Any]]:
    """As `file_rows`, with a `_Torn` for a line that is no JSON; `advice`: what to do where there is no such file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise LabError(f"No file at {path}. {advice}") from None
    except OSError as error:
        raise LabError(f"{str(path)[:200]} cannot be read as a file ({error.strerror}).") from None
    except UnicodeDecodeError as error:
        raise LabError(f"{path.name} is not UTF-8 (byte {error.start}): save it as UTF-8, or unpack it where it is compressed.") from None
    if text.lstrip().startswith("["):
        try:
            rows = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise LabError(f"{path.name} begins as a JSON list but is not one: {error}.") from None
        if not rows:
            raise LabError(f"{path.name} is an empty list: there is no row in it.")
        yield from ((f"{path.name}, row {position}", row) for position, row in enumerate(rows, start=1))
        return
    if not text.strip():
        raise LabError(f"{path.name} is empty.")
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):  # not splitlines(): U+2028 may stand inside a JSON text
        if line.strip():
            try:
                yield f"{path.name}, line {number}", json.loads(line)
            except (ValueError, RecursionError) as error:
                yield f"{path.name}, line {number}", _Torn(f"not JSON ({error})")


def usable_rows(path: Path, parse: Callable[[str, Any], T], form: str, *, skip_bad: bool | None = False) -> tuple[list[T], list[tuple[str, str]]]:
    """(what `parse` made of the rows of a person's own file, the bad ones as (where, reason)). `parse` takes (where, value), raises ValueError if it is bad.

    form: what a row looks like, in a sentence. A line that is no JSON is a bad row; with `skip_bad` bad rows are left out, and None means that there is no
    such choice. Raises LabError for a missing or empty file, for bad rows (the first ones by line, and how many) unless they are skipped, where none is left.
    """
    rows, bad = [], []
    for where, value in _rows(path, "Give the path of a file of your own: JSON Lines, or a JSON list."):
        if isinstance(value, _Torn):
            bad.append((where, value.reason))
            continue
        try:
            rows.append(parse(where, value))
        except ValueError as error:
            bad.append((where, str(error)))
    if bad and not skip_bad:
        shown = "; ".join(f"{where}: {reason}" for where, reason in bad[:_SHOWN])
        more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        choice = "" if skip_bad is None else ", or go on without them (--skip-bad)"
        raise LabError(f"{len(bad)} of {len(bad) + len(rows)} rows cannot be used ({shown}{more}): mend them{choice}")
    if not rows:
        raise LabError(f"{path.name} holds no row that can be used: {form}")
    return rows, bad


def _hub_rows(known: Format) -> Iterator[tuple[str, Any]]:
    rows = from_hub(known.hub, known.configuration, known.split, known.revision)
    yield from ((f"{known.hub}, row {position}", row) for position, row in enumerate(rows, start=1))


def from_hub(hub: str, configuration: str | None, split: str, revision: str | None = None) -> Any:
    """A split of a data set on the hub, as `datasets` has it; no code of the set is run. Raises LabError when it cannot be loaded, offline above all."""
    from datasets import load_dataset
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return load_dataset(hub, configuration, split=split, revision=revision)
    except (OSError, ValueError, RuntimeError, HfHubHTTPError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LabError(f"{hub} could not be loaded from the hub ({reason}). Without a network, download it elsewhere and pass its path.") from None
