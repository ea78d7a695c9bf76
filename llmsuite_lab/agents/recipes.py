"""What takes long in this section, for `llmsuite train`: the ReAct adapter, shorter and narrower trainings of it, and the untuned model."""

from functools import partial
from typing import Any

from llmsuite_lab.core.runs import Outcome, Recipe, Run


def _react(run: Run, sampled: bool = False, **changed: Any) -> Outcome:
    from llmsuite_lab.agents import measuring, training
    from llmsuite_lab.lm.runs import trained

    train = partial(training.train, settings=training.Settings(**changed))
    return trained(run, train, measuring.sampled_answers if sampled else measuring.answers_and_claims)


def _varied(run: Run) -> Outcome:
    from llmsuite_lab.agents import varied
    from llmsuite_lab.lm.runs import trained

    return trained(run, partial(varied.train, settings=varied.VariedSettings()), varied.solved)


def _elsewhere(run: Run) -> Outcome:
    from llmsuite_lab.agents import varied

    return varied.shipped()


def _one_turn(run: Run, retrieved: bool) -> Outcome:
    from llmsuite_lab.agents import measuring, one_turn
    from llmsuite_lab.lm.runs import trained

    train = partial(one_turn.train, settings=one_turn.Settings(retrieved=retrieved))
    return trained(run, train, partial(measuring.one_turn_answers, retrieved))


def _refused(run: Run) -> Outcome:
    from llmsuite_lab.agents import measuring

    return measuring.refused_once()


def _wordings(run: Run) -> Outcome:
    from llmsuite_lab.agents import measuring

    return measuring.page_wordings()


def _untuned(run: Run) -> Outcome:
    from llmsuite_lab.agents import measuring

    return measuring.untuned()


def _without_pages(run: Run) -> Outcome:
    from llmsuite_lab.agents import measuring

    return measuring.without_pages()


RECIPES = (
    Recipe("react", "adapter: think, search and look up in turns, on varied plans", _react, seeds=(0, 1, 2), ships=True),
    Recipe("react_varied", "adapter: the loop on more varied encyclopedias, measured on another author's too", _varied, seeds=(0, 1, 2), ships=True),
    Recipe("react_elsewhere", "the adapter `react` in encyclopedias of another author", _elsewhere),
    Recipe("short_react", "the same with two thirds of the steps", partial(_react, steps=160)),
    Recipe("react_two_hop", "the same on eight kinds of two hops, half the steps", partial(_react, sampled=True, mixture="two_hop", steps=120)),
    Recipe("react_one_three_hop", "and one kind of three hops added", partial(_react, sampled=True, mixture="one_three_hop", steps=120)),
    Recipe("react_without_pages", "the shipped adapter when the encyclopedia is empty: the control of its gain", _without_pages),
    Recipe("react_refused", "the shipped adapter with one of its actions exchanged for a foreign one: what a refusal costs", _refused),
    Recipe("react_wordings", "the shipped adapter over pages whose sentences are not those of training", _wordings),
    Recipe("react_closed_book", "the same items, trained as long, without any page: answers in one turn", partial(_one_turn, retrieved=False)),
    Recipe("react_one_retrieval", "the same after the pages of one retrieval", partial(_one_turn, retrieved=True)),
    Recipe("react_baselines", "the untuned model: no tool, chain of thought, few-shot ReAct", _untuned),
)
