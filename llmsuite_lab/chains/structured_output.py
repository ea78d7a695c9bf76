"""Structured output in LangChain: `model.with_structured_output(Schema)`, validated, with a counted retry (`lm.structured`).

    messages + the fields asked for  →  model  →  validate  →  value         or back to the model, with the reason

The model is asked through its own `batch`, so that callbacks, traces and the cache see every text. In production: a provider's JSON mode, or constrained
decoding.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig, RunnableSerializable
from langchain_core.runnables.config import get_config_list, run_in_executor
from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import BaseModel, ConfigDict, Field, create_model

from llmsuite_lab.lm.structured import RETRIES, Structured, complaint, object_of, request, until_valid, value_of

METHODS = ("function_calling", "json_mode", "json_schema")
_TYPES = {"string": str, "integer": int, "number": float, "boolean": bool, "array": list, "object": dict}


class StructuredOutput(RunnableSerializable):
    """What `LabChatModel.with_structured_output` returns. With `include_raw` an answer is {"raw", "parsed", "parsing_error"}."""

    model: Any  # a LabChatModel
    target: Any  # a pydantic class, a TypedDict or a JSON schema
    include_raw: bool = False
    method: str = "json_schema"
    retries: int = RETRIES

    @property
    def InputType(self) -> Any:
        """What the model takes."""
        return self.model.InputType

    @property
    def OutputType(self) -> Any:
        """What `target` makes, or a dictionary."""
        return self.target if isinstance(self.target, type) and not self.include_raw else dict

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """One answer. Raises OutputParserException when no text fitted (without `include_raw`)."""
        return self.batch([input], config, **kwargs)[0]

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """An answer each; a round is one batched generation of those still open."""
        schema = self.target.model_json_schema() if _is_model(self.target) else convert_to_json_schema(self.target)
        configs = get_config_list(config, len(inputs))
        raw: list[Any] = [AIMessage("")] * len(inputs)  # the last message of each, or the error in its place
        asked: list[list[BaseMessage]] = [[] for _ in inputs]
        for i, value in enumerate(inputs):
            try:
                asked[i] = with_request(self.model._convert_input(value).to_messages(), request(schema))
            except ValueError as error:  # not a message: its own error, and the others are answered
                raw[i] = error
        shown = {"ls_structured_output_format": {"kwargs": {"method": self.method}, "schema": self.target}}

        def ask(rows: Sequence[tuple[int, Structured]]) -> list[str]:
            numbers = [i for i, _ in rows]
            rows = [(i, found) for i, found in rows if not isinstance(raw[i], Exception)]
            messages = [[*asked[i], *([raw[i], HumanMessage(complaint(found.errors[-1]))] if found.errors else [])] for i, found in rows]
            done = self.model.batch(messages, [configs[i] for i, _ in rows], return_exceptions=True, **shown, **kwargs)
            for (i, found), message in zip(rows, done, strict=True):
                raw[i] = message
                found.cut = not isinstance(message, Exception) and message.response_metadata.get("finish_reason") == "length"
            return ["" if isinstance(raw[i], Exception) else raw[i].text for i in numbers]

        found = until_valid(ask, len(inputs), reader(self.target, schema), self.retries)
        results = [self._result(*row) for row in zip(found, raw, strict=True)]
        if not return_exceptions and (failed := next((one for one in results if isinstance(one, Exception)), None)) is not None:
            raise failed
        return results

    async def ainvoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """`invoke` in a thread."""
        return await run_in_executor(config, partial(self.invoke, input, config, **kwargs))

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """`batch` in a thread."""
        return await run_in_executor(None, partial(self.batch, inputs, config, return_exceptions=return_exceptions, **kwargs))

    def _result(self, found: Structured, raw: Any) -> Any:
        if isinstance(raw, Exception):
            return raw
        counted = {"structured_output": {"retries": found.retries, "errors": found.errors}}
        raw = raw.model_copy(update={"response_metadata": raw.response_metadata | counted})  # a cache may hold the message itself
        error = None
        if len(found.errors) == len(found.texts):
            tries = len(found.texts)
            error = OutputParserException(f"none of {tries} texts fitted the schema; the last: {found.errors[-1]}", llm_output=found.texts[-1])
        if self.include_raw:
            return {"raw": raw, "parsed": found.value, "parsing_error": error}
        return found.value if error is None else error


def with_request(messages: Sequence[BaseMessage], wanted: str) -> list[BaseMessage]:
    """The messages, ending with what is wanted: in the user's last message, or in one of its own."""
    if messages and isinstance(messages[-1], HumanMessage) and isinstance(messages[-1].content, str):
        return [*messages[:-1], HumanMessage(f"{messages[-1].content}\n\n{wanted}")]
    return [*messages, HumanMessage(wanted)]


def reader(target: Any, schema: dict[str, Any]) -> Callable[[str], Any]:
    """Text → value: of the pydantic class itself; for a TypedDict or a JSON schema a dictionary whose top level has been validated."""
    if _is_model(target):
        return lambda text: value_of(text, target)
    if isinstance(target, type) and hasattr(target, "parse_obj"):  # pydantic.v1, which LangChain takes too
        return lambda text: target.parse_obj(object_of(text))
    fields = {
        f"field_{i}": (_type(about), Field(... if name in schema.get("required", ()) else None, alias=name))
        for i, (name, about) in enumerate(schema.get("properties", {}).items())
    }
    model = create_model("Answer", __config__=ConfigDict(extra="allow"), **fields)
    return lambda text: value_of(text, model).model_dump(by_alias=True, exclude_unset=True)


def _is_model(target: Any) -> bool:
    return isinstance(target, type) and issubclass(target, BaseModel)


def _type(about: dict[str, Any]) -> Any:
    if "enum" in about or "const" in about:
        return Literal[tuple(about.get("enum", [about.get("const")]))]
    kind = about.get("type")
    return _TYPES.get(kind, Any) if isinstance(kind, str) else Any
