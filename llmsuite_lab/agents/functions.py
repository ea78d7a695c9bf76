"""Tools from typed Python functions: the signature and the docstring say all that a model must know.

    def price(item: str, count: int = 1) -> float      →   name, description, JSON schema;   Action: price[{"item": "lamp", "count": 2}]

Several arguments stand between the brackets as one JSON object, a single one as it is. What does not fit the signature is not run: the model reads why, as
an observation (Schick et al. 2023, "Toolformer", section 2, and Yao et al. 2022 for the loop). In production: `langchain_core.tools.tool`,
`transformers.utils.get_json_schema`, an MCP server.
"""

import asyncio
import functools
import inspect
import json
import threading
import typing
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PydanticSchemaGenerationError, PydanticUserError, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from llmsuite_lab.agents import docstrings
from llmsuite_lab.agents.react import FINISH
from llmsuite_lab.agents.tools import Argument, Tool, tools_in
from llmsuite_lab.lm.schemas import in_words
from llmsuite_lab.lm.tool_calls import read_json

MAX_CHARS = 2000  # of all arguments together


@dataclass(frozen=True)
class Arguments(Argument):
    """The arguments of a function, checked by `model`; `parse` gives them by name."""

    model: type[BaseModel] = BaseModel

    def parse(self, text: str) -> dict[str, Any]:  # type: ignore[override]
        """The typed values of `text`: a JSON object, or the bare value of a single argument. Raises ValueError that says what is allowed."""
        if len(text) > self.max_chars:
            raise ValueError(f"the arguments have {len(text)} characters, at most {self.max_chars} are allowed")
        error: ValidationError | None = None
        for values in self._readings(text.strip()):
            try:
                checked = self.model.model_validate(values)
            except ValidationError as wrong:
                error = error or wrong
            else:
                return {name: getattr(checked, name) for name in self.model.model_fields}
        told = [f"{'.'.join(map(str, e['loc'])) or 'the arguments'}: {e['msg']}" for e in error.errors()[:3]]
        raise ValueError("; ".join(told)) from error

    def _readings(self, text: str) -> list[dict[str, Any]]:
        """What `text` may mean, the likeliest first: the arguments by name, and of a single one its value as JSON or as it stands."""
        fields, why = self.model.model_fields, ""
        try:
            value = read_json(text) if text else {}
        except ValueError as error:
            value, why = text, f" ({str(error)[:80]})" if text.startswith("{") else ""
        if len(fields) != 1:
            if not isinstance(value, dict):
                raise ValueError(f"the arguments must be one JSON object, such as {self.example()}{why}" if fields else "it has no arguments: leave them out")
            return [value]
        ((name, field),) = fields.items()
        if isinstance(value, dict) and (name in value or not value):
            return [value, {name: value}]
        return [{name: text}] if field.annotation is str else [{name: value}, {name: text}]

    def example(self) -> str:
        """The arguments as JSON, each with what it must be."""
        return "{" + ", ".join(f'"{name}": …' for name in self.model.model_fields) + "}"


@dataclass(frozen=True)
class FunctionTool(Tool):
    """A tool that is a Python function; made by `tool_from`. May be called as that function."""

    @property
    def arguments(self) -> type[BaseModel]:
        """The pydantic model of its arguments."""
        return self.argument.model

    @property
    def parameters(self) -> dict[str, Any]:
        """JSON schema of the arguments."""
        return {key: value for key, value in self.arguments.model_json_schema().items() if key != "title"}

    def text_of(self, arguments: dict[str, Any]) -> str:
        """Arguments by name as JSON; one that is its parameter's own default is left out. Raises ValueError for a name that the function does not have, or a
        value that JSON cannot carry.
        """
        fields = self.arguments.model_fields
        if strange := [name for name in arguments if name not in fields]:
            raise ValueError(f"there is no argument {strange[0]!r}: the arguments are {self.argument.example()}")
        given = {name: value for name, value in arguments.items() if fields[name].is_required() or value is not fields[name].default}
        try:
            return json.dumps(to_jsonable_python(given), ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:  # pydantic's own is a ValueError
            raise ValueError(f"the arguments cannot be carried by JSON: {error}") from error

    def __call__(self, **arguments: Any) -> Any:
        """What the function itself returns for these arguments, unchecked."""
        return self.function(arguments)


def tool_from(function: Callable[..., Any], *, name: str | None = None, timeout_s: float = 5.0, max_chars: int = 600) -> FunctionTool:
    """The tool that a typed function is: its name, its docstring's first paragraph, and of each parameter type, default and what the docstring
    (`docstrings.parameters`) or `Annotated[int, "how many"]` says of it.

    A method of an instance will do, a `functools.partial` (what it has fixed is not shown), an object that can be called, an async function. Raises
    ValueError for a function without a docstring, with a parameter that has no type or one that JSON cannot carry, with *args or positional-only
    parameters, for a generator, and for what `Tool` refuses.
    """
    if not callable(function) or inspect.isclass(function):
        raise ValueError(f"a tool is made of a function, got {function!r:.80}")
    plain, fixed = _plain(function)
    called = name or getattr(function, "__name__", getattr(plain, "__name__", "").replace("__call__", ""))
    if called == FINISH:
        raise ValueError(f"{FINISH} is the loop's own action: give name=… to the tool")
    if not called:
        raise ValueError(f"{type(function).__name__} has no name that a model could call it by: give name=… to the tool")
    text = vars(function).get("__doc__") if isinstance(function, functools.partial) else None
    if not (text := text or inspect.getdoc(plain)) or not docstrings.purpose(text):
        raise ValueError(f"{called} has no docstring that begins with what it does: the model would not know")
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        raise ValueError(f"{called} yields its values one by one: return a list of them")
    try:
        hints, signature = typing.get_type_hints(plain, include_extras=True), inspect.signature(function)
    except (NameError, TypeError, ValueError) as error:
        raise ValueError(f"the signature of {called} cannot be read: {error}") from error
    visible = [p for p in signature.parameters.values() if p.name not in fixed]
    fields = _fields(called, visible, hints, docstrings.parameters(text, signature.parameters))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Field name .* shadows an attribute", UserWarning)  # "copy" and "json" are good names
            model = create_model(f"{called}Arguments", __config__=ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=()), **fields)
            model.model_json_schema()
    except (PydanticSchemaGenerationError, PydanticUserError, NameError, TypeError, ValueError) as error:
        raise ValueError(f"a parameter of {called} has a type that JSON cannot carry: {str(error).splitlines()[0]}") from error
    arguments = Arguments(_between_brackets(list(fields)), max_chars=MAX_CHARS, model=model)
    made = FunctionTool(called, docstrings.purpose(text), arguments, lambda values: _value(function(**values)), timeout_s, max_chars)
    told = {name: field.description for name, (_, field) in fields.items()}
    annotations = {name: typing.Annotated[hint, told[name]] if told.get(name) else hint for name, hint in hints.items() if name in fields or name == "return"}
    described_as = {"__name__": called, "__qualname__": called, "__doc__": made.description, "__annotations__": annotations}
    described_as["__signature__"] = signature.replace(parameters=[p.replace(annotation=annotations[p.name]) for p in visible])
    for attribute, value in described_as.items():  # what LangChain and others ask of a function
        object.__setattr__(made, attribute, value)
    return made


def _plain(function: Callable[..., Any]) -> tuple[Callable[..., Any], set[str]]:
    """The function that holds annotations and docstring, and the parameters that partials around it have fixed by name."""
    fixed: set[str] = set()
    while isinstance(function, functools.partial):
        function, fixed = function.func, fixed | set(function.keywords)
    return (function if hasattr(function, "__name__") else type(function).__call__), fixed


def _fields(called: str, parameters: Sequence[inspect.Parameter], hints: dict[str, Any], about: dict[str, str]) -> dict[str, Any]:
    """Of each parameter (type, pydantic field). Raises ValueError for one that a model cannot give."""
    fields: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ValueError(f"parameter {parameter.name} of {called} has no name to call it by: only named parameters are allowed")
        if parameter.name in ("self", "cls") and parameter.name not in hints:
            raise ValueError(f"{called} belongs to a class: take it from an instance, tool_from(thing.{called})")
        if parameter.name not in hints:
            raise ValueError(f"parameter {parameter.name} of {called} has no type: write {parameter.name}: str, or what it is")
        if parameter.name.startswith("_") or (parameter.name.startswith("model_") and hasattr(BaseModel, parameter.name)):
            raise ValueError(f"parameter {parameter.name} of {called} has a name that pydantic keeps for itself: give it another")
        hint = hints[parameter.name]
        marks = typing.get_args(hint)[1:] if typing.get_origin(hint) is typing.Annotated else ()
        told = about.get(parameter.name) or next((mark for mark in marks if isinstance(mark, str)), None)
        default = {} if parameter.default is parameter.empty else {"default": parameter.default}
        own = any(isinstance(mark, FieldInfo) and mark.description for mark in marks)
        fields[parameter.name] = (hint, Field(**default) if own or told is None else Field(**default, description=told))
    return fields


def _value(result: Any) -> Any:
    """What a function returned; what an async one promises is waited for, in a loop of its own."""
    if not inspect.isawaitable(result):
        return result
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_promised(result))
    box: list[Callable[[], Any]] = []  # a loop runs here already, as in a notebook: another thread has its own

    def work() -> None:
        try:
            found = asyncio.run(_promised(result))
            box.append(lambda: found)
        except BaseException as error:
            box.append(functools.partial(_throw, error))

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join()
    return box[0]()


async def _promised(result: Any) -> Any:
    return await result


def _throw(error: BaseException) -> None:
    raise error


def described(tools: Sequence[Tool]) -> str:
    """The tools as the model reads them, in front of the question (`react(…, examples=described(tools))`): each with its action, description, types."""
    return shown([tool.schema for tool in tools_in(tools)])


def shown(schemas: Sequence[dict[str, Any]]) -> str:
    """`described` of tools that are given as schemas ({"type": "function", "function": …}), as LangChain has them."""
    lines = ["Think in one line, then act in one line. You may use:"]
    for schema in schemas:
        about, parameters = schema["function"], schema["function"].get("parameters", {})
        properties = parameters.get("properties", {})
        lines.append(f"Action: {about['name']}[{_between_brackets(list(properties))}] — {' '.join(about.get('description', '').split())}")
        for name, part in properties.items():
            default = f", {json.dumps(part['default'], ensure_ascii=False)} if left out" if "default" in part else ""
            told = f", {' '.join(part['description'].split())}" if "description" in part else ""
            lines.append(f"  {name}: {in_words(part, parameters.get('$defs', {}))}{default}{told}")
    return "\n".join([*lines, f"Action: {FINISH}[answer] — give the answer", "", ""])


def _between_brackets(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else "{" + ", ".join(f'"{name}": …' for name in names) + "}" if names else ""
