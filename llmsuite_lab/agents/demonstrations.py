"""Gold trajectories: how a question or claim is answered, written from its facts and from what the tools really say.

Question: …  ( Thought: …  Action: name[argument]  Observation: … )*  Thought: …  Action: Finish[answer]

A thought states the fact just found and names the next one wanted, so that the plan unrolls one relation at a time: what is learned is the step,
not the whole chain. Observations come from the tools themselves; a demonstration cannot show text that the almanac does not hold.
"""

from dataclasses import dataclass

from llmsuite_lab.agents.tools import almanac_tools, call
from llmsuite_lab.world.almanac import Almanac
from llmsuite_lab.world.almanac_claims import Claim
from llmsuite_lab.world.almanac_questions import Question
from llmsuite_lab.world.almanac_relations import relation


@dataclass(frozen=True)
class Turn:
    """One turn of the model and the tool's reply; the last one has the action Finish and no observation."""

    thought: str
    action: str
    argument: str
    observation: str = ""


def opening_text(item: Question | Claim) -> str:
    """What the model is given first: "Question: …" or "Claim: …", ready for its first thought."""
    return f"{'Claim' if isinstance(item, Claim) else 'Question'}: {item.text}\nThought:"


def demonstrate(item: Question | Claim, almanac: Almanac) -> list[Turn]:
    """The gold turns for a question or claim of `almanac`. Raises ValueError when the pages do not say what its hops say."""
    tools = {tool.name: tool for tool in almanac_tools(almanac)}
    turns: list[Turn] = []
    known, open_page = "", None

    def act(thought: str, name: str, argument: str) -> str:
        result = call(tools[name], argument)
        turns.append(Turn(f"{known}{thought}", name, argument, result.text))
        return result.text

    for subject, name, value in item.hops:
        text = ""
        if subject != open_page:
            named = f" of {subject}" if subject in item.text else ""
            text = act(f"I need the {name}{named}.", "Search", subject)
            open_page = subject
        if subject in almanac.pages and (keyword := relation(almanac.pages[subject].kind, name).keyword):
            known = ""
            text = act("The page does not say it. I look it up.", "Lookup", keyword)
        if value is not None and value not in text:
            raise ValueError(f"the almanac says {text!r}, which does not hold {value!r}: the {name} of {subject}")
        known = f"The {name} is {value}. "
    turns.append(Turn(*_conclude(item, known.strip())))
    return turns


def _conclude(item: Question | Claim, known: str) -> tuple[str, str, str]:
    if isinstance(item, Question):
        return f"{known} {item.reason}".strip(), "Finish", item.answer
    subject, name, value = item.hops[-1]
    if not item.page_exists:
        return f"There is no page on {subject}.", "Finish", item.label
    if value is None:
        return f"The page does not say the {name}.", "Finish", item.label
    verdict = "too, so it is true." if item.label == "supports" else "instead, so it is false."
    return f"{known} The claim says {item.claimed} {verdict}", "Finish", item.label


def render_turn(turn: Turn) -> str:
    """What the model writes in this turn, after "Thought:": its end is the newline behind the closing bracket."""
    return f" {turn.thought}\nAction: {turn.action}[{turn.argument}]\n"


def render_observation(text: str) -> str:
    """What the loop writes back, up to where the model goes on."""
    return f"Observation: {text}\nThought:"
