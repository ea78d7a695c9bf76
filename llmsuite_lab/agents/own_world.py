"""An encyclopedia, questions and claims of one's own in the place of the course's: a folder becomes a world that everything takes which takes one.

    notes.md, …        a page for every top heading (or file): its first sentence is what Search returns, the others are what Lookup finds
    questions.jsonl    {"question": "In which city was the founder born?", "answer": "Oslo", "kind": "two pages"}          "kind" is optional
    claims.jsonl       {"claim": "The founder was born in Oslo.", "label": "supports" | "refutes" | "not enough info"}     the file is optional

`load()` is the course's frozen split; `load(folder)` is another, and `evaluation`, `measuring.on` and the figures take the one as the other.
"""

import math
from pathlib import Path
from typing import Any

from llmsuite_lab.agents.tools import Argument
from llmsuite_lab.core.errors import whole
from llmsuite_lab.core.text import fold, one_line
from llmsuite_lab.retrieval.chunking import by_sentences
from llmsuite_lab.retrieval.documents import announce, read_folder
from llmsuite_lab.retrieval.pipeline import subject
from llmsuite_lab.world.almanac import Almanac, Page
from llmsuite_lab.world.almanac_claims import LABELS, Claim
from llmsuite_lab.world.almanac_frozen import load_almanac, load_claims, load_questions
from llmsuite_lab.world.almanac_questions import Question
from llmsuite_lab.world.elsewhere.pages import World
from llmsuite_lab.world.readers import usable_rows

KIND = "your questions"
_BRACKETS, _LONGEST = str.maketrans("[]", "()"), Argument("title").max_chars  # what Search[…] can be asked for


def load(folder: str | Path | None = None, per_kind: int | None = None, per_label: int | None = None) -> World:
    """Pages, questions and claims of a folder, the first `per_kind` and `per_label` of each sort (None: all); the course's without a folder.

    Warns of files that cannot be read.
    Raises LabError for a folder without pages, and for a file that is missing or has rows that cannot be used, naming the first of them and why;
    ValueError for a number below 1.
    """
    if folder is None:
        return World("almanac", "test", load_almanac(), tuple(load_questions(per_kind=per_kind)), tuple(load_claims(per_label)))
    for name, count in (("per_kind", per_kind), ("per_label", per_label)):
        if count is not None:
            whole(name, count, 1, 10**9)
    place = Path(folder)
    questions, _ = usable_rows(place / "questions.jsonl", _question, 'a row is {"question": "…", "answer": "…"}', skip_bad=None)
    claims: list[Claim] = []
    if (place / "claims.jsonl").exists():
        claims, _ = usable_rows(place / "claims.jsonl", _claim, f'a row is {{"claim": "…", "label": {" | ".join(LABELS)}}}', skip_bad=None)
    pages = Almanac("test", 0, _pages(place), {})
    return World(place.name, "test", pages, _first(questions, "kind", per_kind), _first(claims, "label", per_label))


def _pages(folder: Path) -> dict[str, Page]:
    sentences: dict[str, tuple[str, list[str]]] = {}  # by the title as Search compares it
    passages, skipped = read_folder(folder)
    announce(skipped, ["questions.jsonl", "claims.jsonl"])
    for passage in passages:
        title = subject(passage).partition(" > ")[0].translate(_BRACKETS)[:_LONGEST].strip()
        sentences.setdefault(fold(title), (title, []))[1].extend(chunk.text for chunk in by_sentences(passage.text, 1))
    return {title: Page(title, "page", told[0], tuple(told[1:])) for title, told in sentences.values() if told}


def _question(where: str, row: Any) -> Question:
    answer = row.get("answer") if isinstance(row, dict) else None
    unreadable = not str(answer).strip() or isinstance(answer, float) and not math.isfinite(answer)
    if isinstance(answer, bool) or not isinstance(answer, str | int | float) or unreadable:
        raise ValueError(f"answer must be a text or a number, not {answer!r:.60}: the pages answer every question")
    if not isinstance(row.get("kind"), str | None):
        raise ValueError(f"kind must be a text, not {row['kind']!r}")
    if not isinstance(row.get("question"), str) or not row["question"].strip():
        raise ValueError(f"question must be a text, not {row.get('question')!r:.60}")
    return Question(str(row.get("kind") or KIND), one_line(row["question"]), str(answer), ())  # a second line could be a turn of the loop's


def _claim(where: str, row: Any) -> Claim:
    claim, label = (row.get("claim"), row.get("label")) if isinstance(row, dict) else (None, None)
    if not isinstance(claim, str) or not claim.strip() or label not in LABELS:
        raise ValueError(f"claim must be a text, label one of {', '.join(LABELS)}; they are {claim!r:.60} and {label!r:.30}")
    return Claim(one_line(claim), label, (), "")


def _first(items: list[Any], field: str, count: int | None) -> tuple[Any, ...]:
    seen: dict[str, int] = {}
    kept = []
    for item in items:
        name = getattr(item, field)
        seen[name] = seen.get(name, 0) + 1
        if count is None or seen[name] <= count:
            kept.append(item)
    return tuple(kept)
