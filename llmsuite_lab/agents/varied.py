"""ReAct trained on more varied encyclopedias, and what it is measured on: at home, on pages told anew, and on those of another author.

    training    the course's training almanacs as they are, the same told in other sentences (`world.varied.retold`), and drawn worlds of other
                kinds and relations (`World`), in which what no page says is part of the lesson: the right answer is then "not enough info"
    measured    questions, claims      the frozen almanac                 reworded    its questions over pages in other sentences
                sea, stage             another author's (`world.elsewhere`), their claims under <name> claims

Turns, loss and LoRA are those of `training`. A fact is looked up where the page that Search shows does not state it, and one Lookup is all: if the
page does not hold the word, the agent says so.
"""

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from llmsuite_lab.agents import evaluation, measuring
from llmsuite_lab.agents.demonstrations import Turn, demonstrate, opening_text, plan
from llmsuite_lab.agents.fact_checking import check_claims
from llmsuite_lab.agents.tools import almanac_tools, call
from llmsuite_lab.agents.training import MIXTURES, WORLDS, TurnExample, collate_turns, draw_item, encode_trajectory
from llmsuite_lab.core.errors import within
from llmsuite_lab.core.runs import Outcome
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.lm.lora import LoraSettings, train_lora
from llmsuite_lab.lm.training import History
from llmsuite_lab.world.almanac import Almanac, build
from llmsuite_lab.world.almanac_claims import Claim
from llmsuite_lab.world.almanac_frozen import load_almanac, load_questions
from llmsuite_lab.world.almanac_reworded import reworded
from llmsuite_lab.world.elsewhere import pages as elsewhere
from llmsuite_lab.world.varied.pages import Item, items
from llmsuite_lab.world.varied.retold import retold

SHARES = {"as they are": 0.22, "retold": 0.30, "drawn": 0.48}


@dataclass(frozen=True)
class VariedSettings(LoraSettings):
    """What a run is made of (`lm.lora`), and how many `worlds` are drawn."""

    steps: int = 420
    batch_size: int = 5
    worlds: int = 60


def demonstrate_item(item: Item, almanac: Almanac) -> list[Turn]:
    """The gold turns for an item of a drawn world. Raises ValueError when the pages do not say what its steps say."""
    tools = {tool.name: tool for tool in almanac_tools(almanac)}
    turns: list[Turn] = []
    steps, thought = item.steps, _plan(item)
    open_page = None
    for i, step in enumerate(steps):
        said = ""
        if i:
            before = steps[i - 1]
            fresh = f" of {step.subject}" if step.subject != before.value else ""
            thought = f"The {before.name} is {before.value}. Now the {step.name}{fresh}."
        if step.subject != open_page:
            said = _act(turns, tools, thought, "Search", step.subject)
            open_page = step.subject
        if not item.page_exists:
            break
        if step.keyword:
            said = _act(turns, tools, "The page does not say it.", "Lookup", step.keyword)
        elif step.value is None:
            raise ValueError(f"the {step.name} of {step.subject} has no value and no keyword to look it up by")
        if step.value is not None and step.value.casefold() not in said.casefold():
            raise ValueError(f"the page says {said!r}, which does not hold {step.value!r}: the {step.name} of {step.subject}")
    turns.append(Turn(*_conclude(item)))
    return turns


def _act(turns: list[Turn], tools: dict[str, Any], thought: str, name: str, argument: str) -> str:
    result = call(tools[name], argument)
    turns.append(Turn(thought, name, argument, result.text))
    return result.text


def _plan(item: Item) -> str:
    if item.item.hops:
        return plan(item.item)
    return f"I need the {item.steps[-1].name}."


def _conclude(item: Item) -> tuple[str, str, str]:
    asked, last = item.item, item.steps[-1]
    answer = asked.label if isinstance(asked, Claim) else asked.answer
    if not item.page_exists:
        return "There is no such page.", "Finish", answer
    if last.value is None:
        return "No page says it.", "Finish", answer
    if isinstance(asked, Claim):
        verdict = "too, so it is true." if asked.label == "supports" else "instead, so it is false."
        return f"The {last.name} is {last.value}. The claim says {asked.claimed} {verdict}", "Finish", answer
    return f"The {last.name} is {last.value}. {asked.reason}".strip(), "Finish", answer


def draw(n: int, seed: int, worlds: int = VariedSettings.worlds) -> list[tuple[str, list[Turn]]]:
    """`n` training trajectories as (opening, turns), sources by SHARES, in random order."""
    within("n", n, 0, 1_000_000)
    rng = Random(f"react-varied-{seed}")
    plain = [build("train", 1000 * seed + i + 1) for i in range(WORLDS)]
    told = [retold(build("train", 1000 * seed + 500 + i), rng) for i in range(WORLDS)]
    drawn = items(n, seed, worlds)
    kinds, shares = zip(*MIXTURES["varied"].items(), strict=True)
    found = []
    for i in range(n):
        source = rng.choices(list(SHARES), list(SHARES.values()))[0]
        if source == "drawn":
            item, world = next(drawn)
            found.append((opening_text(item.item), demonstrate_item(item, world.almanac)))
        else:
            almanac = (plain if source == "as they are" else told)[i % WORLDS]
            one = draw_item(rng.choices(kinds, shares)[0], almanac, rng)
            found.append((opening_text(one), demonstrate(one, almanac)))
    return found


def training_set(tokenizer: Any, n: int, seed: int, worlds: int) -> list[TurnExample]:
    """The trajectories of `draw`, encoded."""
    return [encode_trajectory(tokenizer, opening, turns) for opening, turns in draw(n, seed, worlds)]


def train(seed: int = 0, settings: VariedSettings | None = None, **options: Any) -> tuple[Any, History, dict[str, Any]]:
    """Train one adapter: (the peft model, the history, the settings as data). `options` as for `lm.lora.train_lora`, errors too."""
    settings = settings or VariedSettings()
    count = settings.steps * settings.batch_size
    return train_lora(
        settings, lambda tokenizer: training_set(tokenizer, count, seed, settings.worlds), seed,
        collate_fn=collate_turns, micro_batch_size=1, buckets=False, **options,
    )  # fmt: skip


def solved(adapter: Path | str, per_kind: int = measuring.PER_KIND) -> dict[str, Any]:
    """An adapter's answers at home, over reworded pages, and in the worlds of another author; plain data."""
    lm, found = LanguageModel.load(adapter=adapter), measuring.answers_and_claims(adapter)
    asked = load_questions(per_kind=per_kind)
    found["reworded"] = measuring.rows(evaluation.react_answers(lm, asked, reworded(load_almanac()))[0])
    for name in elsewhere.names():
        found |= away(lm, elsewhere.load(name))
    return found


def shipped(adapter: Path | str = "react") -> Outcome:
    """The first ReAct adapter in the worlds of another author: what the varied one is compared with. (Over reworded pages: the recipe react_wordings.)"""
    lm = LanguageModel.load(adapter=adapter)
    return Outcome({"adapter": str(adapter)}, {key: rows for name in elsewhere.names() for key, rows in away(lm, elsewhere.load(name)).items()})


def away(lm: LanguageModel, world: elsewhere.World) -> dict[str, Any]:
    """Answers and verdicts in one world of another author, by its name."""
    answers, trajectories = evaluation.react_answers(lm, world.questions, world.pages)
    verdicts = check_claims(lm, world.claims, lambda: almanac_tools(world.pages))
    return {
        world.name: measuring.rows(answers),
        f"{world.name} steps": dict(evaluation.problems(trajectories)),
        f"{world.name} claims": [{"text": c.text, "label": c.label, "said": v.label} for c, v in zip(world.claims, verdicts, strict=True)],
    }

