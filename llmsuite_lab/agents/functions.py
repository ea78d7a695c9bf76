"""Tools from typed Python functions: the signature and the docstring say all that a model must know.

    def price(item: str, count: int = 1) -> float      →   name, description, JSON schema;   Action: price[{"item": "lamp", "count": 2}]

Several arguments stand between the brackets as one JSON object, a single one as it is. What does not fit the signature is not run: the model reads why, as
an observation (Schick et al. 2023, "Toolformer", section 2, and Yao et al. 2022 for the loop). In production: `langchain_core.tools.tool`,
`transformers.utils.get_json_schema`, an MCP server.
"""

import inspect
import json
import re
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PydanticSchemaGenerationError, PydanticUserError, ValidationError, create_model

from llmsuite_lab.agents.react import FINISH
from llmsuite_lab.agents.tools import Argument, Tool
from llmsuite_lab.core.values import finite

MAX_CHARS = 2000  # of all arguments together
_PARAMETER = re.compile(r"^\s*(?::param\s+)?(\w+)\s*(?:\([^)]*\))?\s*:\s*(\S.*)$")


@dataclass(frozen=True)
class Arguments(Argument):
    """The arguments of a function, checked by `model`; `parse` gives them by name."""

    model: type[BaseModel] = BaseModel

    def parse(self, text: str) -> dict[str, Any]:  # type: ignore[override]
        """The typed values of `text`: a JSON object, or the bare value of a single argument. Raises ValueError that says what is allowed."""
        names = list(self.model.model_fields)
        if len(text) > self.max_chars:
            raise ValueError(f"the arguments have {len(text)} characters, at most {self.max_chars} are allowed")
        try:
            value = json.loads(text, parse_float=finite, parse_constant=finite) if text.strip() else {}
        except (ValueError, RecursionError):
            value = text.strip()
        if not isinstance(value, dict) or (len(names) == 1 and names[0] not in value and value):
            if len(names) != 1:
                raise ValueError(f"the arguments must be one JSON object, such as {self.example()}")
            value = {names[0]: text.strip() if self.model.model_fields[names[0]].annotation is str else value}
        try:
            checked = self.model.model_validate(value)
        except ValidationError as error:
            raise ValueError("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])) from error
        return {name: getattr(checked, name) for name in names}

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
        """Arguments by name as JSON. Raises ValueError for a name that the function does not have, or a value that JSON cannot carry."""
        if strange := [name for name in arguments if name not in self.arguments.model_fields]:
            raise ValueError(f"there is no argument {strange[0]!r}: the arguments are {self.argument.example()}")
        try:
            return json.dumps(arguments, ensure_ascii=False, allow_nan=False)
        except TypeError as error:
            raise ValueError(f"the arguments cannot be carried by JSON: {error}") from error

    def __call__(self, **arguments: Any) -> Any:
        """What the function itself returns for these arguments, unchecked."""
        return self.function(arguments)


def tool_from(function: Callable[..., Any], *, name: str | None = None, timeout_s: float = 5.0, max_chars: int = 600) -> FunctionTool:
    """The tool that a typed function is: its name, its docstring's first paragraph, and of each parameter type, default and the docstring's line
    ("city: where", under Args, or ":param city: where").

    A class instance's method will do. Raises ValueError for a function without a docstring, with a parameter that has no type or one that JSON cannot
    carry, with *args or positional-only parameters, and for what `Tool` refuses.
    """
    called = name or getattr(function, "__name__", "")
    if called == FINISH:
        raise ValueError(f"{FINISH} is the loop's own action: give name=… to the tool")
    if not callable(function) or inspect.isclass(function):
        raise ValueError(f"a tool is made of a function, got {type(function).__name__}")
    text = inspect.getdoc(function) if getattr(function, "__doc__", None) else None
    if not text:
        raise ValueError(f"{called or 'the function'} has no docstring: the model would not know what it does")
    about = {found[1]: found[2].strip() for line in text.splitlines() if (found := _PARAMETER.match(line))}
    fields: dict[str, Any] = {}
    try:
        hints, signature = typing.get_type_hints(function, include_extras=True), inspect.signature(function)
    except (NameError, TypeError, ValueError) as error:
        raise ValueError(f"the signature of {called} cannot be read: {error}") from error
    for parameter in signature.parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ValueError(f"parameter {parameter.name} of {called} has no name to call it by: only named parameters are allowed")
        if parameter.name not in hints:
            raise ValueError(f"parameter {parameter.name} of {called} has no type: write {parameter.name}: str, or what it is")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], Field(default, description=about.get(parameter.name)))
    try:
        model = create_model(f"{called}Arguments", __config__=ConfigDict(extra="forbid"), **fields)
        model.model_json_schema()
    except (PydanticSchemaGenerationError, PydanticUserError, NameError, TypeError, ValueError) as error:
        raise ValueError(f"a parameter of {called} has a type that JSON cannot carry: {str(error).splitlines()[0]}") from error
    shown = next(iter(fields)) if len(fields) == 1 else ("{" + ", ".join(f'"{field}": …' for field in fields) + "}" if fields else "")
    made = FunctionTool(
        called, " ".join(text.split("\n\n")[0].split()), Arguments(shown, max_chars=MAX_CHARS, model=model), lambda values: function(**values),
        timeout_s, max_chars,
    )  # fmt: skip
    described_as = {"__name__": called, "__qualname__": called, "__doc__": text, "__annotations__": hints, "__signature__": signature}
    for attribute, value in described_as.items():  # what LangChain and others ask of a function
        object.__setattr__(made, attribute, value)
    return made


def described(tools: Sequence[Tool]) -> str:
    """The tools as the model reads them, in front of the question (`react(…, examples=described(tools))`): each with its action, description, types."""
    lines = ["Think in one line, then act in one line. You may use:"]
    for tool in tools:
        lines.append(f"Action: {tool.name}[{tool.argument.name}] — {tool.description}")
        properties = tool.schema["function"]["parameters"].get("properties", {}) if isinstance(tool, FunctionTool) else {}
        for name, schema in properties.items():
            kind = schema.get("type") or json.dumps({key: value for key, value in schema.items() if key not in ("title", "description", "default")})
            default = f", {json.dumps(schema['default'], ensure_ascii=False)} if left out" if "default" in schema else ""
            lines.append(f"  {name}: {kind}{default}" + (f", {schema['description']}" if "description" in schema else ""))
    return "\n".join([*lines, f"Action: {FINISH}[answer] — give the answer", "", ""])
