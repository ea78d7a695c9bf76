"""What a support-desk dialogue consists of: the facts behind it, its turns, and what is asked about it in five tasks.

`support_desk` makes dialogues, `support_desk_facts` scores a summary against the facts; both stand on these records.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from llmsuite_lab.core.errors import LabError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
INTENTS = (  # in the order in which prompts list them
    "delivery", "exchange", "refund", "billing", "cancellation",
    "technical help", "account", "order change", "product question", "complaint",
)  # fmt: skip
SENTIMENTS = ("angry", "worried", "happy", "neutral")
ENTITY_KINDS = ("customer", "product", "order", "amount", "date")
REGISTERS = ("polite", "terse", "chatty", "formal", "blunt", "typos")


@dataclass(frozen=True)
class Facts:
    """What is true in the end: who asked (`customer`), who answered (`agent`), about what (`product`, `problem`), and what came of it (`outcome`).

    `order` is None where no order is talked about. `amount` and `date` are those of the outcome (the sum paid back, the day promised), None where the
    outcome has none; sums and days that are only mentioned are no facts. Years are not spoken of: every date lies in one invented year.
    `problem` and `outcome` are keys of support_desk_lexicon.toml.
    """

    customer: str
    agent: str
    product: str
    order: str | None
    problem: str
    date: date | None
    amount: Decimal | None
    outcome: str


@dataclass(frozen=True)
class Turn:
    """What one `speaker`, "Customer" or "Agent", says at a time."""

    speaker: Literal["Customer", "Agent"]
    text: str


@dataclass(frozen=True)
class Dialogue:
    """A dialogue of 4 to 12 turns with the truth of its five tasks: `summary`, `intent`, `sentiment`, `entities` (kind → words of the dialogue), and
    a `question` whose `answer` stands in the dialogue. `template` names the wordings it was told with, `register` the customer's way of writing."""

    id: str
    split: Split
    template: str
    turns: tuple[Turn, ...]
    facts: Facts
    summary: str
    intent: str
    sentiment: str
    entities: dict[str, str]
    question: str
    answer: str
    register: str

    @property
    def text(self) -> str:
        """The dialogue as it is shown to a model: one line a turn, "Customer: …" or "Agent: …"."""
        return "\n".join(f"{turn.speaker}: {turn.text}" for turn in self.turns)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `from_dict` is the inverse."""
        row = asdict(self)
        facts = row["facts"]
        facts["date"] = None if self.facts.date is None else self.facts.date.isoformat()
        facts["amount"] = None if self.facts.amount is None else str(self.facts.amount)
        return row

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Dialogue":
        """Rebuild a dialogue from `as_dict`. Raises LabError for data of another shape."""
        try:
            facts = dict(data["facts"])
            facts["date"] = None if facts["date"] is None else date.fromisoformat(facts["date"])
            facts["amount"] = None if facts["amount"] is None else Decimal(facts["amount"])
            turns = tuple(Turn(**turn) for turn in data["turns"])
            return cls(**{**data, "turns": turns, "facts": Facts(**facts), "entities": dict(data["entities"])})
        except (KeyError, TypeError, ValueError, InvalidOperation) as error:
            raise LabError(f"this is not a support-desk dialogue ({error}): restore the file from the repository") from error
