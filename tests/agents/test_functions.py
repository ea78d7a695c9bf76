"""A typed function is a tool: its schema, its prompt, and what becomes of arguments that do not fit."""

from typing import Literal

import pytest

from llmsuite_lab.agents.functions import described, tool_from
from llmsuite_lab.agents.react import react
from llmsuite_lab.agents.tools import call

OPENING = "Question: what?\nThought:"
FINISH = " I know.\nAction: Finish[18.0]\n"


def price(item: str, count: int = 1, currency: Literal["EUR", "CHF"] = "EUR") -> float:
    """What so many of an item
    cost in all.

    Args:
        item: what is bought
        count (int): how many
    """
    return {"lamp": 9.0}[item] * count


def test_the_schema_comes_from_signature_and_docstring():
    schema = tool_from(price).schema
    assert (schema["type"], schema["function"]["name"]) == ("function", "price")
    assert schema["function"]["description"] == "What so many of an item cost in all."
    parameters = schema["function"]["parameters"]
    assert parameters["required"] == ["item"]
    assert parameters["properties"]["item"]["type"] == "string"
    assert parameters["properties"]["item"]["description"] == "what is bought"
    assert (parameters["properties"]["count"]["type"], parameters["properties"]["count"]["default"]) == ("integer", 1)
    assert parameters["properties"]["count"]["description"] == "how many"
    assert parameters["properties"]["currency"]["enum"] == ["EUR", "CHF"]
    assert tool_from(price)(item="lamp", count=3) == 27.0


def test_several_arguments_stand_in_one_action_and_a_mistake_is_an_observation(scripted):
    turns = ['price[{"item": "lamp", "count": "two"}]', "price[lamp]", 'price[{"item": "sofa"}]', 'price[{"count": 2, "item": "lamp"}]']
    turns += ['price[{"item": "lamp", "count": 2.0}]']
    model = scripted({OPENING: [f" I look.\nAction: {action}\n" for action in turns] + [FINISH]})
    (done,) = react(model, [OPENING], lambda: [tool_from(price)], examples=described([tool_from(price)]))
    assert [step.kind for step in done.steps] == ["bad argument", "bad argument", "raised", "ok", "repeated", "finish"]
    said = [step.observation for step in done.steps]
    assert "count: Input should be a valid integer" in said[0]
    assert 'one JSON object, such as {"item": …, "count": …, "currency": …}' in said[1]
    assert "KeyError" in said[2]
    assert said[3] == "18.0"
    shown = model.prompts[0][0]
    assert 'Action: price[{"item": …, "count": …, "currency": …}] — What so many of an item cost in all.\n' in shown
    assert "  count: integer, 1 if left out, how many\n" in shown
    assert shown.endswith(OPENING)


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ('{"item": "lamp", "colour": "red"}', "bad argument"),
        ('{"item": null}', "bad argument"),
        ('{"item": "lamp", "count": NaN}', "bad argument"),
        ('{"item": "lamp", "currency": "USD"}', "bad argument"),
        ('["lamp"]', "bad argument"),
        ("", "bad argument"),
        ("[" * 1500, "bad argument"),
        ('{"item": "' + "x" * 3000 + '"}', "bad argument"),
        ('{"item": "lamp"}', "ok"),
    ],
)
def test_only_what_fits_the_signature_is_run(arguments, kind):
    assert call(tool_from(price), arguments).kind == kind


def test_a_single_argument_needs_no_json_and_none_needs_nothing():
    def row(n: int) -> str:
        """A row by number."""
        return f"row {n + 1}"

    def word(text: str) -> str:
        """The word again."""
        return text

    def now() -> str:
        """The day."""
        return "Monday"

    assert call(tool_from(row), "41").text == call(tool_from(row), '{"n": 41}').text == "row 42"
    assert call(tool_from(word), "12").text == "12"
    assert call(tool_from(now), "").text == "Monday"
    assert call(tool_from(row), "forty").kind == "bad argument"


def test_what_cannot_be_a_tool_is_refused():
    def silent(n: int) -> int:
        return n

    def untyped(n):
        """It has no type."""

    def many(*rest: int):
        """It has no names."""

    class Thing:
        pass

    def odd(n: Thing):
        """Its type is no JSON."""

    refused = {silent: "no docstring", untyped: "parameter n of untyped has no type", many: "only named parameters", odd: "a type that JSON cannot carry"}
    for function, said in refused.items():
        with pytest.raises(ValueError, match=said):
            tool_from(function)
    with pytest.raises(ValueError, match="loop's own action"):
        tool_from(price, name="Finish")
    with pytest.raises(ValueError, match="one word"):
        tool_from(price, name="the price")
