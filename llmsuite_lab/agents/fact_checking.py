"""Fact verification with the same loop: read until the pages support the claim, refute it, or have nothing to say (FEVER: Thorne et al., 2018).

label = Finish[supports | refutes | not enough info]

Nothing is added to ReAct but another opening ("Claim: …") and a closed set of answers: any other answer counts as no label and is wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llmsuite_lab.agents.demonstrations import opening_text
from llmsuite_lab.agents.react import Trajectory, Writer, react
from llmsuite_lab.agents.tools import Tool
from llmsuite_lab.core.text import fold
from llmsuite_lab.world.almanac_claims import LABELS, Claim

NO_LABEL = "no label"


@dataclass(frozen=True)
class Verdict:
    """What the loop made of a claim: one of LABELS, or NO_LABEL when it did not finish or finished with something else."""

    label: str
    trajectory: Trajectory


def check_claims(model: Writer, claims: Sequence[Claim], make_tools: Callable[[], Sequence[Tool]], **limits: Any) -> list[Verdict]:
    """Verify all claims together; one Verdict each, in order. `limits` and errors as for `react`."""
    trajectories = react(model, [opening_text(claim) for claim in claims], make_tools, **limits)
    return [Verdict(read_label(trajectory.answer), trajectory) for trajectory in trajectories]


def read_label(answer: str | None) -> str:
    """The label that an answer names, strictly: upper and lower case alike, nothing before or after."""
    answer = fold(answer or "")
    return answer if answer in LABELS else NO_LABEL


def confusion(claims: Sequence[Claim], verdicts: Sequence[Verdict]) -> dict[str, dict[str, int]]:
    """{true label: {given label: count}}, NO_LABEL among the given. Raises ValueError for lists of different length."""
    table = {label: dict.fromkeys((*LABELS, NO_LABEL), 0) for label in LABELS}
    for claim, verdict in zip(claims, verdicts, strict=True):
        table[claim.label][verdict.label] += 1
    return table
