"""Cases of `preferences`: a short record, one or two questions about it, and the prompt that both make."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from llmsuite_lab.core.errors import unknown, whole
from llmsuite_lab.world.preferences_values import ASKS, FIELDS, drawn, wordings
from llmsuite_lab.world.support_desk_dialogue import SPLITS, Split

UNKNOWN = "unknown"
OF_ASK = {"cancel": "status", "return": "status"}  # the field that answers, where it is not called like the question
MAY_BE_UNKNOWN = ("order", "status", "day", "sum")
_UNKNOWN_SHARE = {True: 0.2, False: 0.1}  # of fields that are asked for, and of those that only stand there
_SHOWN_SHARE = 0.5  # of fields that nobody asks for


@dataclass(frozen=True)
class Case:
    """One prompt and the facts behind it.

    record: its fields in the order in which they are written, each a text, or None where the desk does not know it; a field that is not shown is not in it.
    asks: what is asked for, of `ASKS`, in order: a field, or whether one may still "cancel" or "return".
    """

    id: str
    split: Split
    record: Mapping[str, str | None]
    asks: tuple[str, ...]
    prompt: str

    @property
    def noun(self) -> str:
        """What kind of thing was bought."""
        return str(self.record["product"]).split()[-1]

    def allowed(self, ask: str) -> bool | None:
        """Whether a "cancel" or "return" is still possible, by the order's state; None where the state is unknown or not shown."""
        status = self.record.get("status")
        return None if status is None else ask in wordings()["statuses"][status]


def cases(count: int, split: Split = "train", seed: int = 0) -> list[Case]:
    """`count` cases with different prompts; the same (split, seed) gives the same ones, and a larger count begins with the smaller.

    Raises ValueError for an unknown split or a count outside 0–100,000.
    """
    if split not in SPLITS:
        raise ValueError(unknown("split", split, list(SPLITS)))
    whole("count", count, 0, 100_000)
    rng = Random(f"preferences {split} {seed}")
    found: dict[str, Case] = {}
    while len(found) < count:
        case = _draw(f"{split}-{seed}-{len(found)}", split, rng)
        found.setdefault(case.prompt, case)
    return list(found.values())


def _draw(name: str, split: Split, rng: Random) -> Case:
    asks = tuple(rng.sample(ASKS, 2 if rng.random() < 0.45 else 1))
    needed = {OF_ASK.get(ask, ask) for ask in asks}
    sure = {"customer", "product"} | {OF_ASK[ask] for ask in asks if ask in OF_ASK}
    record: dict[str, str | None] = {}
    for field in rng.sample(FIELDS, len(FIELDS)):
        value = drawn(field, split, rng)
        if field in needed | sure or rng.random() < _SHOWN_SHARE:
            hidden = field in MAY_BE_UNKNOWN and field not in sure and rng.random() < _UNKNOWN_SHARE[field in needed]
            record[field] = None if hidden else value
    half = "test" if split == "test" else "train"
    noun = str(record["product"]).split()[-1]
    opener = rng.choice(wordings()["openers"][half])
    asked = [rng.choice(wordings()["questions"][ask][half]).format(noun=noun) for ask in asks]
    told = ", ".join(f"{field} {UNKNOWN if value is None else value}" for field, value in record.items())
    return Case(name, split, record, asks, " ".join([f"{told}.", *filter(None, [opener]), *asked, "Reply:"]))
