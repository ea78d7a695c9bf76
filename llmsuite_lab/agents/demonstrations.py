"""Gold trajectories: how a question or claim is answered, written from its facts and from what the tools really say.

Question: …  ( Thought: …  Action: name[argument]  Observation: … )*  Thought: …  Action: Finish[answer]

The first thought is the plan, read off the question relation by relation; each later thought states the fact just found and takes the next
item of the plan. What is learned is to read a plan and to follow one, not the plans themselves. Observations come from the tools themselves; a
demonstration cannot show text that the almanac does not hold.
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
    open_page = None
    thought = plan(item)

    def act(thought: str, name: str, argument: str) -> str:
        result = call(tools[name], argument)
        turns.append(Turn(thought, name, argument, result.text))
        return result.text

    for i, (subject, name, value) in enumerate(item.hops):
        text = ""
        if i > 0:
            fresh = f" of {subject}" if subject != item.hops[i - 1][2] else ""  # the second half of a comparison starts at its own page
            thought = f"The {item.hops[i - 1][1]} is {item.hops[i - 1][2]}. Now the {name}{fresh}."
        if subject != open_page:
            text = act(thought, "Search", subject)
            open_page = subject
        if subject in almanac.pages and (keyword := relation(almanac.pages[subject].kind, name).keyword):
            text = act("The page does not say it.", "Lookup", keyword)
        if value is not None and value not in text:
            raise ValueError(f"the almanac says {text!r}, which does not hold {value!r}: the {name} of {subject}")
    turns.append(Turn(*_conclude(item)))
    return turns


def plan(item: Question | Claim) -> str:
    """The first thought: the relations to follow, in order. "I need the founder, then the birthplace." or "I need the start year of both."""
    names = [name for _, name, _ in item.hops]
    both = isinstance(item, Question) and bool(item.reason)
    return "I need the " + ", then the ".join(names[: len(names) // 2] if both else names) + (" of both." if both else ".")


def _conclude(item: Question | Claim) -> tuple[str, str, str]:
    _, name, value = item.hops[-1]
    if isinstance(item, Question):
        return f"The {name} is {value}. {item.reason}".strip(), "Finish", item.answer
    if not item.page_exists:
        return "There is no such page.", "Finish", item.label
    if value is None:
        return "No page says it.", "Finish", item.label
    verdict = "too, so it is true." if item.label == "supports" else "instead, so it is false."
    return f"The {name} is {value}. The claim says {item.claimed} {verdict}", "Finish", item.label


def render_turn(turn: Turn) -> str:
    """What the model writes in this turn, after "Thought:": its end is the newline behind the closing bracket."""
    return f" {turn.thought}\nAction: {turn.action}[{turn.argument}]\n"


def render_observation(text: str) -> str:
    """What the loop writes back, up to where the model goes on."""
    return f"Observation: {text}\nThought:"
