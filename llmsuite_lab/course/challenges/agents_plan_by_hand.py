"""The loop without a model: a policy by rules that searches the almanac, scored on questions that the recorded agents were asked."""

import re
from collections.abc import Callable, Mapping

from llmsuite_lab.agents import records
from llmsuite_lab.agents.tools import almanac_tools, call
from llmsuite_lab.core import records as core_records
from llmsuite_lab.core.metrics import exact_match
from llmsuite_lab.course.challenges import Challenge
from llmsuite_lab.course.exercises import Mistake, expect
from llmsuite_lab.world.almanac_frozen import load_almanac, load_questions

MOST_ACTIONS = 10


def which_was_first(question: str, act: Callable[[str, str], str]) -> str | None:
    """An example with a single plan: of two names, open both pages and compare the first number that stands on each."""
    found = re.search(r"([A-Z]\w+(?: [A-Z]\w+)*) (?:and|or) ([A-Z]\w+(?: [A-Z]\w+)*)", question)
    if not found:
        return None
    numbers = [re.search(r"\d+", act("Search", title)) for title in found.groups()]
    if not all(numbers):
        return None
    first, second = (int(n[0]) for n in numbers)
    return found[1] if (first > second) == ("longer" in question) else found[2]


def _questions() -> list:
    asked = {row["question"] for row in core_records.read("react_baselines").results["answers"]["chain of thought"]}
    return [q for q in load_questions() if q.text in asked]


def _measure(policy: Callable) -> float:
    almanac, right, asked = load_almanac(), 0, _questions()
    for question in asked:
        tools, taken = {tool.name: tool for tool in almanac_tools(almanac)}, []

        def act(name: str, argument: str, tools: dict = tools, taken: list = taken) -> str:
            if name not in tools:
                raise Mistake(f"there is no action {name!r}; the actions are Search and Lookup, and what you return is the answer.")
            taken.append(name)
            if len(taken) > MOST_ACTIONS:
                raise Mistake(f"more than {MOST_ACTIONS} actions for one question; an agent that does not end is no agent.")
            return call(tools[name], argument).text

        said = policy(question.text, act)
        expect(said is None or isinstance(said, str), f"your policy returned {said!r}; return the answer as text, or None.")
        right += said is not None and exact_match(said, question.answer)
    return right / len(asked)


def _marks() -> Mapping[str, float]:
    asked = {q.text for q in _questions()}
    scores = [score for (_, text), score in records.mean_over_seeds(records.runs(), records.correct).items() if text in asked]
    untuned = core_records.read("react_baselines").results["answers"]["chain of thought"]
    return {
        "untuned chain of thought": sum(row["correct"] for row in untuned) / len(untuned),
        "tuned ReAct": sum(scores) / len(scores),
    }


CHALLENGE = Challenge(
    id="agents.plan_by_hand",
    notebook="04_react_agents",
    title="what does the loop need a model for?",
    statement=(
        "Write `policy(question, act)`. `act(\"Search\", title)` and `act(\"Lookup\", word)` return the observation as text, at most "
        f"{MOST_ACTIONS} of them a question; return the answer, or None. No model: rules and patterns. The score is the share of right answers on frozen "
        "questions that the recorded agents were asked too; larger is better. Write your rules on `draw_question(build(\"train\", seed), kind, rng)` of "
        "`llmsuite_lab.world`: other names and other wordings. There is no mark to pass: "
        "where do your rules fail first, at the plan, the page or the comparison?"
    ),
    name="policy",
    starter="def policy(question, act):\n    ...",
    measure=_measure,
    marks=_marks,
    unit="share of questions right",
    difficulty=4,
    minutes=60,
    ideas=(
        "names are the capitalised words in a row; one name is a chain, two are a comparison",
        "read the chain from its name outwards: of the publisher of …",
        "a page's beginning does not hold everything: which words would you look up?",
        "count at which step each of your wrong answers went astray",
    ),
    example=which_was_first,
    smaller_is_better=False,
)
