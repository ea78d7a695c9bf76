"""A typed function is a tool: its schema, its prompt, and what becomes of arguments that do not fit."""

import asyncio
import dataclasses
import datetime
import decimal
import enum
import functools
import warnings
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from llmsuite_lab.agents import docstrings
from llmsuite_lab.agents.functions import described, tool_from
from llmsuite_lab.agents.react import parse_turn, react
from llmsuite_lab.agents.tools import Argument, Tool, call

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


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Size:
    wide: int
    high: int = 1


class Address(BaseModel):
    street: str
    code: int | None = None


def parcel(things: list[str], to: Address, size: Size, colour: Colour = Colour.RED, day: datetime.date | None = None, table: dict[str, int] = {}) -> str:  # noqa: B006
    """Send it."""
    return f"{things} {to.street} {size.wide * size.high} {colour.name} {day} {table}"


PARCEL = '{"things": ["a ]", "b"], "to": {"street": "Way"}, "size": {"wide": 2}, "colour": "blue", "day": "2024-05-01", "table": {"x": 1}}'


def test_lists_and_objects_are_shown_with_what_is_in_them_and_can_be_written_in_the_loop(scripted):
    tool = tool_from(parcel)
    shown = described([tool])
    assert "  things: list of string\n" in shown
    assert '  to: {"street": string, "code": integer or null}\n' in shown
    assert '  size: {"wide": integer, "high": integer}\n' in shown
    assert '  colour: one of "red", "blue", "red" if left out\n' in shown
    assert "  day: string (date) or null, null if left out\n" in shown
    assert "  table: object, its values integer, {} if left out\n" in shown
    assert '  currency: one of "EUR", "CHF", "EUR" if left out\n' in described([tool_from(price)])
    model = scripted({OPENING: [f" I send.\nAction: parcel[{PARCEL}]\n", f" Again.\nAction: parcel[{PARCEL}]\n", FINISH]})
    (done,) = react(model, [OPENING], lambda: [tool])
    assert [step.kind for step in done.steps] == ["ok", "repeated", "finish"]
    assert done.steps[0].observation == "['a ]', 'b'] Way 2 BLUE 2024-05-01 {'x': 1}"


def test_brackets_stand_only_in_json(scripted):
    def total(numbers: list[int]) -> int:
        """The sum."""
        return sum(numbers)

    for argument in ("[1, 2]", '{"numbers": [1, 2]}', "[]"):
        parsed = parse_turn(f"I add.\nAction: total[{argument}]")
        assert parsed.argument == argument
    for argument in ("[1, 2", "[a]", "a[1]", "[1] and [2]", "[1e999]", "[" * 5000, '{"a": 1}]'):
        assert parse_turn(f"I add.\nAction: total[{argument}]") is None
    model = scripted({OPENING: [" I add.\nAction: total[[1, 2]]\n", ' I add.\nAction: total[{"numbers": [3]}]\n', " I know.\nAction: Finish[[3, 3]]\n"]})
    (done,) = react(model, [OPENING], lambda: [tool_from(total)])
    assert [step.observation for step in done.steps] == ["3", "3", ""]
    assert done.answer == "[3, 3]"


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (str, "12", "12"), (str | None, "12", "12"), (str | None, "null", None), (int | str, "12", 12), (dict[str, int], "{}", {}),
        (dict[str, int], '{"n": 1}', {"n": 1}), (dict[str, int], '{"n": {"a": 1}}', {"a": 1}), (Literal["12", "x"], "12", "12"), (list[int], "[1]", [1]),
        (bool, "true", True), (float, "2", 2.0), (Colour, "red", Colour.RED), (decimal.Decimal, "1.5", decimal.Decimal("1.5")),
    ],
)  # fmt: skip
def test_a_single_argument_is_read_as_what_its_type_asks_for(hint, text, value):
    got = []

    def one(n):
        """Take it."""
        got.append(n)

    one.__annotations__ = {"n": hint}
    assert call(tool_from(one), text).kind == "ok"
    assert (got, type(got[0])) == ([value], type(value))


@pytest.mark.parametrize("text", ["NaN", "1e999", "inf", "-Infinity", '{"x": "nan"}', '{"x": 1e999}'])
def test_what_is_not_finite_is_no_argument(text):
    def half(x: float) -> float:
        """Half of it."""
        return x / 2

    assert call(tool_from(half), text).kind == "bad argument"


def test_what_is_wrong_with_arguments_is_said():
    def now() -> str:
        """The day."""
        return "Monday"

    assert "leave them out" in call(tool_from(now), "today").text
    assert "Expecting ',' delimiter" in call(tool_from(price), '{"item": "lamp" "count": 2}').text
    assert "half a character" in call(tool_from(price), '{"item": "\\ud800"}').text


class Shop:
    """A shop."""

    prices = {"lamp": 9}

    def price(self, item: str, count: int = 1) -> int:
        """What it costs."""
        return self.prices[item] * count

    def __call__(self, item: str) -> int:
        """What one costs."""
        return self.prices[item]


async def later(n: int) -> int:
    """One more, later."""
    await asyncio.sleep(0)
    return n + 1


def test_methods_partials_objects_and_async_functions_are_tools():
    assert call(tool_from(Shop().price), '{"item": "lamp", "count": 2}').text == "18"
    assert call(tool_from(Shop(), name="shop"), "lamp").text == "9"
    half = tool_from(functools.partial(price, currency="CHF", count=2))
    assert (half.name, list(half.parameters["properties"]), half.description) == ("price", ["item"], "What so many of an item cost in all.")
    assert (call(half, "lamp").text, half(item="lamp")) == ("18.0", 18.0)
    assert list(tool_from(functools.partial(price, "lamp")).parameters["properties"]) == ["count", "currency"]
    assert call(tool_from(later), "2").text == "3"
    assert call(tool_from(functools.partial(later)), "2").text == "3"
    assert tool_from(later)(n=2) == 3

    async def inside():
        return tool_from(later)(n=3)

    assert asyncio.run(inside()) == 4, "a loop that runs already, as in a notebook"


def test_a_tool_that_leaves_or_gives_half_characters_is_answered():
    def leave(n: int) -> str:
        """Leaves."""
        raise SystemExit(n)

    def half(n: int) -> str:
        """A file's name."""
        return "a\udc80" * n

    assert (call(tool_from(leave), "3").kind, call(tool_from(leave), "3").text) == ("raised", "leave failed: SystemExit: 3.")
    assert call(tool_from(half), "2").text == "a?a?"
    with decimal.localcontext() as context:
        context.prec = 3
        assert call(Tool("Third", "a third", Argument("n"), lambda n: str(decimal.Decimal(1) / 3)), "1").text == "0.333", "the caller's context"


GOOGLE = """What it does,
in two lines.
Args:
    city (str, optional): where,
        as on a map: "Wick"
    days: how many

        at most ten
    *rest: more
Returns:
    city: not this
"""
NUMPY = """What it does,
in two lines.

Parameters
----------
city : str
    where,
    as on a map: "Wick"
days : int, optional
    how many

    at most ten

Returns
-------
city : str
    not this
"""
REST = """What it does,
in two lines.
:param str city: where,
    as on a map: "Wick"
:param days: how many
    at most ten
:returns: not this
"""


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, REST])
def test_a_docstring_of_each_form_says_what_the_parameters_are(text):
    assert docstrings.purpose(text) == "What it does, in two lines."
    found = docstrings.parameters(text, ["city", "days", "other"])
    assert found["city"] == 'where, as on a map: "Wick"'
    assert found["days"].startswith("how many")
    assert set(found) == {"city", "days"}
    assert docstrings.parameters("What.\n\ncity: not here\n\nReturns:\n    days: nor here", ["city", "days"]) == {}
    assert (docstrings.purpose("Parameters"), docstrings.purpose("Args:\n    city: where")) == ("Parameters", "")


def test_what_annotated_says_is_shown():
    def f(a: Annotated[int, "how many"], b: Annotated[int, Field(ge=1, description="from one")] = 1, c: Annotated[int, "hidden"] = 2):
        """F.

        Args:
            c: from the docstring
        """

    shown = described([tool_from(f)])
    lines = ["  a: integer, how many", "  b: integer, 1 if left out, from one", "  c: integer, 2 if left out, from the docstring"]
    assert shown.splitlines()[2:5] == lines


def test_names_that_pydantic_has_are_used_or_refused_but_never_dropped():
    def good(json: str, copy: int = 1, schema: str = "s", model_name: str = "n") -> str:
        """Good names."""
        return f"{json} {copy} {schema} {model_name}"

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert call(tool_from(good), '{"json": "j", "model_name": "m"}').text == "j 1 s m"

    def hidden(_n: int):
        """Hidden."""

    def config(model_config: str):
        """Config."""

    def each(n: int):
        """Each."""
        yield n

    refused = {hidden: "pydantic keeps for itself", config: "pydantic keeps for itself", each: "return a list", Shop.price: r"tool_from\(thing.price\)"}
    for function, said in refused.items():
        with pytest.raises(ValueError, match=said):
            tool_from(function)
    for function, said in {Shop(): "give name=", functools.partial(lambda n: n, 1): "no docstring", Shop: "got <class", "price": "got 'price'"}.items():
        with pytest.raises(ValueError, match=said):
            tool_from(function)


def test_what_is_no_list_of_tools_is_told_what_to_do(scripted):
    model = scripted({OPENING: [FINISH]})
    for made, said in {price: r"price is a function, no tool: agents.functions.tool_from", 3: "3 is a int, no tool"}.items():
        for use in (lambda made=made: react(model, [OPENING], lambda: [made]), lambda made=made: described([made])):
            with pytest.raises(TypeError, match=said):
                use()
    with pytest.raises(TypeError, match=r"must return a list of tools, .*: write lambda: \[tool\]"):
        react(model, [OPENING], lambda: tool_from(price))


def test_to_a_function_two_spellings_are_two_arguments(scripted):
    def first_line(file: str, count: int = 1) -> str:
        """Its first line."""
        return f"{file} {count}"

    turns = ['{"file": "a.txt"}', '{"file": "A.txt"}', '{"count": 1, "file": "a.txt"}', '{"file": "a.txt", "count": "1"}', '{"file": "a.txt", "count": 2}']
    model = scripted({OPENING: [f" I read.\nAction: first_line[{turn}]\n" for turn in turns] + [FINISH]})
    (done,) = react(model, [OPENING], lambda: [tool_from(first_line)])
    assert [step.kind for step in done.steps] == ["ok", "ok", "repeated", "repeated", "ok", "finish"]
