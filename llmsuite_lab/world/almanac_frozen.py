"""The held-out split, frozen: one test almanac, its questions of every measured kind, and its claims, as files in data/almanac/.

The files are what every figure of the course is measured on. They can be made again, byte for byte, by `freeze`; a test does so.
"""

import json
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

from llmsuite_lab.core.errors import LabError
from llmsuite_lab.core.files import as_json, write_output
from llmsuite_lab.core.paths import data_dir
from llmsuite_lab.world.almanac import TEST_SEED, Almanac, build, save
from llmsuite_lab.world.almanac_claims import LABELS, Claim, draw_claim
from llmsuite_lab.world.almanac_questions import TRAINED_KINDS, UNTRAINED_KINDS, Question, draw_question
from llmsuite_lab.world.almanac_relations import PageKind

PER_KIND, PER_LABEL = 25, 30
TEST_SIZES: dict[PageKind, int] = {"person": 60, "city": 36, "river": 24, "company": 60, "magazine": 60}


def folder() -> Path:
    """Where the frozen split lies."""
    return data_dir() / "almanac"


def freeze(target: Path | None = None) -> None:
    """Write pages.json, questions.json and claims.json into `target` (default: the course's data folder). Raises OSError."""
    target = target or folder()
    almanac, rng = build("test", TEST_SEED, TEST_SIZES), Random(TEST_SEED)
    save(almanac, target / "pages.json")
    questions = [
        q for kind in (*TRAINED_KINDS, *UNTRAINED_KINDS) for q in _distinct(lambda kind=kind: draw_question(almanac, kind, rng), PER_KIND)
    ]
    claims = [c for label in LABELS for c in _distinct(lambda label=label: draw_claim(almanac, label, rng), PER_LABEL)]
    write_output(target / "questions.json", as_json([asdict(question) for question in questions]))
    write_output(target / "claims.json", as_json([asdict(claim) for claim in claims]))


def _distinct(draw: Any, n: int) -> list[Any]:
    """`n` items that name different hops: another wording of the same question would count one fact twice."""
    found: dict[Any, Any] = {}
    for _ in range(200 * n):
        item = draw()
        found.setdefault(frozenset(item.hops), item)
        if len(found) == n:
            return list(found.values())
    raise ValueError(f"only {len(found)} different items of {n} could be drawn; build a larger almanac")


def load_questions(kinds: tuple[str, ...] | None = None, per_kind: int | None = None) -> list[Question]:
    """Frozen test questions of `kinds` (None: all), the first `per_kind` of each (None: all of them).

    Raises ValueError for an unknown kind or a `per_kind` outside 1..PER_KIND, LabError when the file is missing or broken.
    """
    known = (*TRAINED_KINDS, *UNTRAINED_KINDS)
    if unknown := [kind for kind in kinds or () if kind not in known]:
        raise ValueError(f"kinds {unknown} are not in the frozen split, which holds {', '.join(known)}")
    return _take([Question(**_tuples(row)) for row in _read("questions.json")], "kind", kinds or known, per_kind, PER_KIND)


def load_claims(per_label: int | None = None) -> list[Claim]:
    """Frozen test claims, the first `per_label` of each label (None: all). Errors as in `load_questions`."""
    return _take([Claim(**_tuples(row)) for row in _read("claims.json")], "label", LABELS, per_label, PER_LABEL)


def _take(items: list[Any], field: str, values: tuple[str, ...], per_value: int | None, most: int) -> list[Any]:
    if per_value is not None and not 1 <= per_value <= most:
        raise ValueError(f"{per_value} items per {field} were asked for; the frozen split holds 1 to {most}")
    return [item for value in values for item in [i for i in items if getattr(i, field) == value][:per_value]]


def _tuples(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"hops": tuple(tuple(hop) for hop in row["hops"])}


def _read(name: str) -> list[dict[str, Any]]:
    path = folder() / name
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LabError(
            f"{path} is missing or broken ({error}); restore it with git, or make it again with almanac_frozen.freeze()"
        ) from error


def load_almanac() -> Almanac:
    """The frozen test almanac. Raises LabError when its file is missing or broken."""
    from llmsuite_lab.world.almanac import load

    return load(folder() / "pages.json")
