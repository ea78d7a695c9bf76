"""A support desk: invented customer dialogues whose facts are known exactly, for five tasks at once.

    Customer: My Huxum kettle should have been here on 2 May …   →  summary · intent · sentiment · entities · a question and its answer

One world, five tasks, so that multitask tuning and forgetting can be measured. The settled facts are spread over the turns, and beside them stand
others that must not be taken for them: a second order, a sum that was only offered, a colleague, a number that is corrected. `facts_in` counts the
facts of a summary: the measure "all essential details, no inaccuracies" beside ROUGE.
Test dialogues use other plots, wordings (of turns, summaries and questions), names, products and numbers than training; validation uses the
wordings of training with its own names, products and numbers. In production: DialogSum and SAMSum (`world.readers`), or one's own tickets.
"""

import json
from pathlib import Path
from random import Random

from llmsuite_lab.core.errors import LabError, unknown, within
from llmsuite_lab.core.files import write_output
from llmsuite_lab.core.paths import data_dir
from llmsuite_lab.world.support_desk_dialogue import (
    ENTITY_KINDS,
    INTENTS,
    REGISTERS,
    SENTIMENTS,
    SPLITS,
    Dialogue,
    Facts,
    Split,
    Turn,
)
from llmsuite_lab.world.support_desk_facts import FactScore, facts_in
from llmsuite_lab.world.support_desk_telling import Teller

__all__ = [
    "ENTITY_KINDS", "INTENTS", "REGISTERS", "SENTIMENTS", "SPLITS", "Dialogue", "FactScore", "Facts", "Split", "Turn",
    "dialogues", "facts_in", "freeze", "frozen", "read", "write",
]  # fmt: skip
FROZEN = 200


def dialogues(count: int, split: Split = "train", seed: int = 0) -> list[Dialogue]:
    """`count` different dialogues of a split; the same (split, seed) gives the same ones, and a larger count begins with the smaller.

    Raises ValueError for an unknown split or a count outside 0–20,000.
    """
    if split not in SPLITS:
        raise ValueError(unknown("split", split, list(SPLITS)))
    within("count", count, 0, 20_000)
    teller = Teller(split, Random(f"support desk {split} {seed}"))
    found: dict[str, Dialogue] = {}
    while len(found) < count:
        dialogue = teller.tell(len(found))
        found.setdefault(dialogue.text, dialogue)
    return list(found.values())


def frozen(split: Split = "test") -> list[Dialogue]:
    """The 200 stored test dialogues. Raises ValueError for another split, LabError for a missing or damaged file."""
    if split != "test":
        raise ValueError(f"split={split!r}, but only test is stored; use dialogues(count, {split!r}) for the others")
    return read(_file())


def freeze(target: Path | None = None) -> None:
    """Write the stored test dialogues anew into the file `target` (default: the course's own)."""
    write(target or _file(), dialogues(FROZEN, "test"))


def write(file: Path, chosen: list[Dialogue]) -> None:
    """Write dialogues as JSON lines, atomically."""
    write_output(file, "".join(json.dumps(dialogue.as_dict(), ensure_ascii=False) + "\n" for dialogue in chosen))


def read(file: Path) -> list[Dialogue]:
    """Dialogues from a JSON-lines file. Raises LabError when it is missing or damaged."""
    try:
        return [Dialogue.from_dict(json.loads(row)) for row in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise LabError(f"the dialogues in {file.name} cannot be read ({error}): restore the file from the repository") from error


def _file() -> Path:
    return data_dir() / "support_desk" / "test.jsonl"
