"""What takes long in this section, for `llmsuite train`: the ReAct adapter, shorter and narrower trainings of it, and the untuned model."""

from functools import partial
from typing import Any

from llmsuite_lab.core.runs import Outcome, Recipe, Run


def _react(run: Run, sampled: bool = False, **changed: Any) -> Outcome:
    from llmsuite_lab.agents import measuring, training
    from llmsuite_lab.lm.runs import trained

    train = partial(training.train, settings=training.Settings(**changed))
    return trained(run, train, measuring.sampled_answers if sampled else measuring.answers_and_claims)


def _untuned(run: Run) -> Outcome:
    from llmsuite_lab.agents import measuring

    return measuring.untuned()


def _without_pages(run: Run) -> Outcome:
    from llmsuite_lab.agents import measuring

    return measuring.without_pages()


RECIPES = (
    Recipe("react", "adapter: think, search and look up in turns, on varied plans", _react, seeds=(0, 1, 2), ships=True),
    Recipe("short_react", "the same with two thirds of the steps", partial(_react, steps=160)),
    Recipe("react_two_hop", "the same on eight kinds of two hops, half the steps", partial(_react, sampled=True, mixture="two_hop", steps=120)),
    Recipe("react_one_three_hop", "and one kind of three hops added", partial(_react, sampled=True, mixture="one_three_hop", steps=120)),
    Recipe("react_without_pages", "the shipped adapter when the encyclopedia is empty: the control of its gain", _without_pages),
    Recipe("react_baselines", "the untuned model: no tool, chain of thought, few-shot ReAct", _untuned),
)
