"""Small corpora of another author and form: minutes, questions and answers, a log, index cards; letters for validation.

Each has questions that one of its passages answers, and as many that none does, about things and people that it names.
"""

import tomllib
from functools import cache
from pathlib import Path

from llmsuite_lab.world.handbook import Handbook, Passage, Question


def load(name: str) -> Handbook:
    """The corpus of this name as passages and questions ("one" and "unanswerable"). Raises ValueError for an unknown name."""
    if name not in texts():
        raise ValueError(f"corpus {name!r}: there are {', '.join(texts())}")
    text = texts()[name]
    ids = {title: f"{name}-{i}" for i, (title, _) in enumerate(text["passages"])}
    passages = tuple(Passage(ids[title], ids[title], title, said, "") for title, said in text["passages"])
    asked = [Question(f"{name}-q{i}", q, a, "one", (ids[title],), "") for i, (q, a, title) in enumerate(text["asked"])]
    nothing = [Question(f"{name}-u{i}", q, None, "unanswerable", (), "", "not stated") for i, q in enumerate(text["unanswerable"])]
    return Handbook(name, "test", 0, passages, (*asked, *nothing))


def names(role: str = "test") -> list[str]:
    """The corpora with this role, "test" or "validation"."""
    return [name for name, text in texts().items() if text["role"] == role]


@cache
def texts() -> dict:
    """The file as it stands."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
