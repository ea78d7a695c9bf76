"""What the recipes of this section measure: a tuned adapter, and the untuned model, on the frozen questions and claims."""

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from llmsuite_lab.agents import evaluation, one_turn
from llmsuite_lab.agents.fact_checking import check_claims, confusion
from llmsuite_lab.agents.injection import Saboteur
from llmsuite_lab.agents.tools import almanac_tools
from llmsuite_lab.core.runs import Outcome
from llmsuite_lab.lm.language_model import LanguageModel
from llmsuite_lab.world.almanac_frozen import load_almanac, load_claims, load_questions
from llmsuite_lab.world.almanac_questions import TRAINED_KINDS, UNTRAINED_KINDS
from llmsuite_lab.world.almanac_reworded import reworded
from llmsuite_lab.world.elsewhere.pages import World

PER_KIND = 12  # questions of each kind that a run is scored on, of the 25 frozen ones
UNTUNED_PER_KIND = 5  # the untuned model's long prompts cost minutes
FEW_SHOT_STEPS = 6  # turns that the untuned model gets: a correct answer takes two to five
SAMPLED_KINDS = ("founder_birthplace", "birthplace_river", "publisher_product", *UNTRAINED_KINDS)  # what narrower mixtures are asked


def on(world: World) -> dict[str, Any]:
    """Every way of answering the questions of a world of one's own (`own_world.load`), and its claims checked: "answers" by method and the "confusion".

    "tuned ReAct" is the adapter `react_varied`, which was trained on pages of many forms: yours are not written like the course's.
    `figures.follow` draws what comes back. Raises ValueError for a world without questions.
    """
    if not world.questions:
        raise ValueError(f"the world {world.name!r} has no questions")
    base, tuned, questions = LanguageModel.load(), LanguageModel.load(adapter="react_varied"), world.questions
    examples = evaluation.react_shots()
    answers = {
        "no tool": evaluation.direct(base, questions),
        "chain of thought": evaluation.chain_of_thought(base, questions),
        "few-shot ReAct": evaluation.react_answers(base, questions, world.pages, examples=examples, max_steps=FEW_SHOT_STEPS)[0],
        "tuned ReAct": evaluation.react_answers(tuned, questions, world.pages)[0],
    }
    verdicts = check_claims(tuned, world.claims, lambda: almanac_tools(world.pages)) if world.claims else []
    return {"answers": answers, "confusion": confusion(world.claims, verdicts)}


def answers_and_claims(adapter: Path | str) -> dict[str, Any]:
    """An adapter's answers to the first `PER_KIND` frozen questions of every kind and to every claim, with one trajectory to show; plain data."""
    lm, almanac, questions, claims = LanguageModel.load(adapter=adapter), load_almanac(), load_questions(per_kind=PER_KIND), load_claims()
    start = time.perf_counter()
    answers, trajectories = evaluation.react_answers(lm, questions, almanac)
    questions_s = time.perf_counter() - start
    verdicts = check_claims(lm, claims, lambda: almanac_tools(almanac))
    return {
        "questions": rows(answers),
        "steps": dict(evaluation.problems(trajectories)),
        "questions_s": round(questions_s, 1),
        "claims_s": round(time.perf_counter() - start - questions_s, 1),
        "claims": [{"text": c.text, "label": c.label, "said": v.label} for c, v in zip(claims, verdicts, strict=True)],
        "confusion": confusion(claims, verdicts),
        "showcase": trajectories[0].as_dict(),
    }


def sampled_answers(adapter: Path | str) -> dict[str, Any]:
    """An adapter's answers to the frozen questions of some trained kinds and all that were never trained."""
    answers, _ = evaluation.react_answers(
        LanguageModel.load(adapter=adapter), load_questions(SAMPLED_KINDS, per_kind=PER_KIND), load_almanac()
    )
    return {"questions": rows(answers)}


def untuned() -> Outcome:
    """The three ways of answering without training, on the first `UNTUNED_PER_KIND` frozen questions of each kind."""
    lm, almanac, questions = LanguageModel.load(), load_almanac(), load_questions(per_kind=UNTUNED_PER_KIND)
    few_shot, trajectories = evaluation.react_answers(lm, questions, almanac, examples=evaluation.react_shots(), max_steps=FEW_SHOT_STEPS)
    methods = {
        "no tool": evaluation.direct(lm, questions),
        "chain of thought": evaluation.chain_of_thought(lm, questions),
        "few-shot ReAct": few_shot,
    }
    answers = {name: rows(found) for name, found in methods.items()}
    return Outcome(
        {"model": lm.name, "per_kind": UNTUNED_PER_KIND, "max_steps": FEW_SHOT_STEPS},
        {"answers": answers, "steps": dict(evaluation.problems(trajectories))},
    )


def without_pages(adapter: Path | str = "react") -> Outcome:
    """A tuned adapter on the first frozen questions of the trained kinds, its encyclopedia emptied: Search finds nothing, whatever it asks for."""
    questions = load_questions(TRAINED_KINDS, per_kind=UNTUNED_PER_KIND)
    answers, trajectories = evaluation.react_answers(LanguageModel.load(adapter=adapter), questions, replace(load_almanac(), pages={}))
    steps = dict(evaluation.problems(trajectories))
    return Outcome({"adapter": str(adapter), "per_kind": UNTUNED_PER_KIND}, {"questions": rows(answers), "steps": steps})


def refused_once(adapter: Path | str = "react", per_kind: int = PER_KIND) -> Outcome:
    """A tuned adapter on the trained kinds twice: undisturbed, and with a foreign action in the place of its second turn, which is refused."""
    lm, almanac, questions = LanguageModel.load(adapter=adapter), load_almanac(), load_questions(TRAINED_KINDS, per_kind=per_kind)
    undisturbed, _ = evaluation.react_answers(lm, questions, almanac)
    after, trajectories = evaluation.react_answers(Saboteur(lm), questions, almanac)
    steps = dict(evaluation.problems(trajectories))
    return Outcome({"adapter": str(adapter), "per_kind": per_kind, "turn": 2}, {"undisturbed": rows(undisturbed), "refused": rows(after), "steps": steps})


def page_wordings(adapter: Path | str = "react", per_kind: int = PER_KIND) -> Outcome:
    """A tuned adapter on all kinds over the frozen pages, whose sentences are those of training, and over the same facts in other sentences."""
    lm, almanac, questions = LanguageModel.load(adapter=adapter), load_almanac(), load_questions(per_kind=per_kind)
    found = {name: rows(evaluation.react_answers(lm, questions, pages)[0]) for name, pages in (("trained", almanac), ("own", reworded(almanac)))}
    return Outcome({"adapter": str(adapter), "per_kind": per_kind}, found)


def one_turn_answers(retrieved: bool, adapter: Path | str) -> dict[str, Any]:
    """An adapter of `one_turn` on the first frozen questions of every kind."""
    questions, pages = load_questions(per_kind=PER_KIND), one_turn.Pages() if retrieved else None
    return {"questions": rows(one_turn.answers(LanguageModel.load(adapter=adapter), questions, load_almanac(), pages))}


def rows(answers: list[evaluation.Answer]) -> list[dict[str, Any]]:
    """Answers as plain data."""
    return [asdict(answer) | {"wall_s": round(answer.wall_s, 3)} for answer in answers]
