"""`LanguageModel` as a LangChain chat model: the one object of this course behind the one interface of LangChain (paper 2.4).

    messages → prompt → LanguageModel.complete → AIMessage(text, tool calls, token usage)

Without tools the model's chat template is used. With tools bound, a model whose template shows tools is spoken to in its own form (`native_format`); any other
in the ReAct form that the tuned model of notebook 04 knows (`react_format`), so that `create_agent` really drives it: a model without an adapter reads the
tools in front of the question, unless `examples` stand there.
In production: `langchain_huggingface.ChatHuggingFace`.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import get_config_list, run_in_executor
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool

from llmsuite_lab.agents import functions
from llmsuite_lab.agents.tools import Tool
from llmsuite_lab.chains import native_format, react_format
from llmsuite_lab.chains.fields import Checked
from llmsuite_lab.chains.identity import identity
from llmsuite_lab.chains.structured_output import METHODS, StructuredOutput
from llmsuite_lab.lm.language_model import Completion
from llmsuite_lab.lm.stops import stop_list
from llmsuite_lab.lm.structured import RETRIES
from llmsuite_lab.lm.text import encode
from llmsuite_lab.lm.tool_calls import forced_call, shows_tools, whole_turn

_together: ContextVar[tuple[Any, Callable[[], Any]] | None] = ContextVar("_together", default=None)  # within `batch`: the model, its answer
OPTIONS = ("max_tokens", "temperature", "top_k", "top_p", "seed")  # what a single call may set in the model's place


class LabChatModel(Checked, BaseChatModel):
    """A chat model over a loaded `LanguageModel`. Greedy unless `temperature` is above zero; `batch` and `abatch` generate all inputs in one batch.

    A call may set any of OPTIONS and `stop` in the place of the model's own: `model.invoke(messages, max_tokens=8)`, `model.bind(temperature=0.7)`.
    """

    language_model: Any  # LanguageModel; pydantic need not look into it
    max_tokens: int = 128  # new tokens at most, per answer
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0
    stop: str | list[str] | None = None  # one stop string, or several
    examples: str = ""  # worked trajectories in front of every ReAct prompt, for a model that was not tuned on them
    tool_form: Literal["auto", "native", "react"] = "auto"  # how tools are shown: natively where the chat template does and there are no examples

    @property
    def _llm_type(self) -> str:
        return "llmsuite-lab"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        sampling = {name: getattr(self, name) for name in OPTIONS}
        ends = {"ends_at": stop_list(self.stop or [])}  # "stop" itself is the call's, in LangChain's own key
        return {**identity(self.language_model), **sampling, **ends, "examples": self.examples, "tool_form": self.tool_form}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return {
            **super()._get_ls_params(stop=stop, **kwargs),
            "ls_provider": "llmsuite-lab",
            "ls_model_name": kwargs.get("model", self.language_model.name),
        }

    def get_token_ids(self, text: str) -> list[int]:
        """The ids of a text by the model's own tokenizer: what LangChain counts tokens with (`get_num_tokens`, `trim_messages`)."""
        return encode(self.language_model.tokenizer, [text])[0]

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable | BaseTool], *, tool_choice: str | bool | dict | None = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools to choose from. `tool_choice` makes it call a tool: the named one, or with "any" the likeliest of them.

        Raises ValueError for a choice that is not among the tools.
        """
        schemas = [tool.schema if isinstance(tool, Tool) and not callable(tool) else convert_to_openai_tool(tool) for tool in tools]
        return self.bind(tools=schemas, forced=_forced(tool_choice, [s["function"]["name"] for s in schemas]), **kwargs)

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, method: str = "json_schema", retries: int = RETRIES, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """The model, its answer a value of `schema`: a pydantic class, a TypedDict, a JSON schema. A text that does not fit goes back with the reason,
        `retries` times at most; then OutputParserException, or with `include_raw` the exception under "parsing_error".

        How often stands in the raw message, `response_metadata["structured_output"]`. Every `method` of LangChain comes to the same: the fields are asked for
        in the prompt, and what comes back is validated, so that `strict` changes nothing. Raises ValueError for an unknown method or option.
        """
        if method not in METHODS or set(kwargs) - {"strict"}:
            raise ValueError(f"method={method!r}, options {sorted(kwargs)}: the methods are {', '.join(METHODS)}, the only other option is strict")
        try:
            convert_to_json_schema(schema)
        except ValueError as error:
            what = "a pydantic class, a TypedDict, or a JSON schema with a title"
            raise ValueError(f"schema={str(schema)[:80]} is none: it must be {what}") from error
        return StructuredOutput(model=self, target=schema, include_raw=include_raw, method=method, retries=retries)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        *,
        tools: Sequence[dict[str, Any]] = (),
        forced: Sequence[str] = (),
        **kwargs: Any,
    ) -> ChatResult:
        batched, answer = _together.get() or (None, None)
        done, chosen = answer() if batched is self else self._complete([messages], stop, tools, forced, kwargs)[0]
        message = self._message(messages, done, tools, chosen)
        return ChatResult(generations=[ChatGeneration(message=message, generation_info={"finish_reason": done.finish_reason})])

    def _complete(
        self,
        conversations: Sequence[Sequence[BaseMessage]],
        stop: list[str] | None,
        tools: Sequence[dict[str, Any]],
        forced: Sequence[str],
        options: dict[str, Any],
    ) -> list[tuple[Completion, str]]:
        """One batched generation; each completion with the beginning of the call that was put into the model's mouth, if one was."""
        chosen = [self._likeliest(messages, tools, forced) for messages in conversations]
        prompts = [self.prompt(messages, tools) for messages in conversations]
        prompts = [prompt + begun if begun else prompt for prompt, begun in zip(prompts, chosen, strict=True)]
        done = self.language_model.complete(prompts, **self._options(stop, tools, options))
        if self._native(tools):
            done = [replace(one, text=whole_turn(prompt, one.text)) for one, prompt in zip(done, prompts, strict=True)]
        return list(zip(done, chosen, strict=True))

    def _likeliest(self, messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]], forced: Sequence[str]) -> str:
        """The beginning of the call to make; of several, the one that has the highest mean log-probability per token here. "" when the model is free."""
        if not forced:
            return ""
        if self._native(tools):
            turns = native_format.conversation_of(messages)
            begun = [forced_call(self.language_model.tokenizer, turns, tools, name) for name in forced]
        else:
            begun = [react_format.beginning_of(name) for name in forced]
        if len(forced) == 1:
            return begun[0]
        scores = self.language_model.score([self.prompt(messages, tools)] * len(forced), begun)
        return max(zip(scores, begun, strict=True), key=lambda pair: pair[0].logprob / pair[0].tokens)[1]

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        *,
        tools: Sequence[dict[str, Any]] = (),
        forced: Sequence[str] = (),
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        """Text as it is written; a call, known only when it ends, in the last chunk, with the usage. A ReAct turn and a forced call are one chunk."""
        written = shown = ""
        if forced or (tools and not self._native(tools)):
            ((done, begun),) = self._complete([messages], stop, tools, forced, kwargs)
        else:
            prompt, begun = self.prompt(messages, tools), ""
            pieces = self.language_model.stream(prompt, **self._options(stop, tools, kwargs))
            written = whole_turn(prompt, "") if tools else ""
            while True:
                try:
                    written += next(pieces)
                except StopIteration as ended:
                    done = replace(ended.value, text=whole_turn(prompt, ended.value.text)) if tools else ended.value
                    break
                ready = native_format.speakable(written) if tools else written
                if len(ready) > len(shown):
                    chunk = ChatGenerationChunk(message=AIMessageChunk(ready[len(shown) :]))
                    shown = ready
                    if run_manager:
                        run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk
        message = self._message(messages, done, tools, begun)
        calls = [tool_call_chunk(name=c["name"], args=_json(c["args"]), id=c["id"], index=i) for i, c in enumerate(message.tool_calls)]
        rest = ChatGenerationChunk(
            message=AIMessageChunk(
                message.text[len(shown) :],
                tool_call_chunks=calls,
                usage_metadata=message.usage_metadata,
                additional_kwargs=message.additional_kwargs,
                response_metadata=message.response_metadata,
                chunk_position="last",
            )
        )
        if run_manager:
            run_manager.on_llm_new_token(rest.text, chunk=rest)
        yield rest

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Answer all inputs with one batched generation; each still passes through `invoke`, so that callbacks, traces and the cache see it.

        As everywhere in LangChain: with `return_exceptions` an input that cannot be answered gives its exception in its place, and the others are
        answered; without, the first such exception is raised. The generation waits for the first input that the cache does not answer.
        """
        if not inputs:
            return []
        batch, results = _Batch(self, inputs, kwargs), []
        for i, (value, own) in enumerate(zip(inputs, get_config_list(config, len(inputs)), strict=True)):
            token = _together.set((self, partial(batch.answer, i)))
            try:
                results.append(self.invoke(value, own, **kwargs))
            except Exception as error:
                if not return_exceptions:
                    raise
                results.append(error)
            finally:
                _together.reset(token)
        return results

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """`batch` in a thread: one batched generation, and the event loop stays free."""
        return await run_in_executor(None, partial(self.batch, inputs, config, return_exceptions=return_exceptions, **kwargs))

    def prompt(self, messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]] = ()) -> str:
        """The text the model continues for these messages: its chat template, or with tools, where that shows none, the ReAct form."""
        if self._native(tools):
            return self.language_model.chat_prompt(native_format.conversation_of(messages), tools)
        if tools:
            shown = "" if self.examples or self.language_model.adapter else functions.shown(tools)  # a tuned model knows its tools
            return self.examples + shown + react_format.prompt_of(messages)
        turns = [{"role": native_format.role_of(message), "content": react_format.text_of(message)} for message in messages]
        return self.language_model.chat_prompt([turn | ({"role": "user"} if turn["role"] == "tool" else {}) for turn in turns])

    def _native(self, tools: Sequence[dict[str, Any]]) -> bool:
        if not tools or self.tool_form == "react":
            return False
        return self.tool_form == "native" or (not self.examples and shows_tools(self.language_model.tokenizer))

    def _options(self, stop: list[str] | None, tools: Sequence[dict[str, Any]], options: dict[str, Any]) -> dict[str, Any]:
        if strange := [name for name in options if name not in OPTIONS]:
            raise ValueError(f"this model has no option {strange[0]!r} to set in a call; it has {', '.join(OPTIONS)} and stop")
        own = {name: options.get(name, getattr(self, name)) for name in OPTIONS}
        stops = [*stop_list(stop or self.stop or []), *(react_format.STOPS if tools and not self._native(tools) else ())]
        return {"max_new_tokens": own.pop("max_tokens"), "stop": stops, **own}

    def _message(self, messages: list[BaseMessage], done: Completion, tools: Sequence[dict[str, Any]], begun: str) -> AIMessage:
        call_id = f"call_{sum(isinstance(m, ToolMessage) for m in messages)}"
        if self._native(tools):
            message = native_format.message_of(str(begun) + done.text, call_id, tools, only_first=bool(begun))
        elif tools:
            raw = begun + done.text
            if begun:  # the call ends at its bracket, whatever the model goes on to write, or where its tokens ended
                raw = react_format.first_action(raw)
            message = react_format.message_of(raw, done.finish_reason, tools, call_id=call_id)
        else:
            message = AIMessage(done.text)
        message.usage_metadata = _usage(done.prompt_tokens, done.completion_tokens)
        message.response_metadata = {"model_name": self.language_model.name, "finish_reason": done.finish_reason}
        return message


class _Batch:
    """The inputs of one `batch`, generated together when the first of them is asked for; alone, should that fail, so that each has its own error."""

    def __init__(self, model: LabChatModel, inputs: Sequence[LanguageModelInput], options: dict[str, Any]) -> None:
        own = {name: value for name, value in options.items() if name not in ("stop", "tools", "forced", "ls_structured_output_format")}
        self.model, self.inputs = model, list(inputs)
        self.options = (options.get("stop"), options.get("tools", ()), options.get("forced", ()), own)
        self.answers: list[tuple[Completion, str]] | None = None
        self.asked = False

    def answer(self, i: int) -> tuple[Completion, str]:
        """The completion of input `i`."""
        if not self.asked:
            self.asked = True
            with suppress(Exception):  # whose fault it is comes out below, one by one
                self.answers = self.model._complete([self._messages(value) for value in self.inputs], *self.options)
        return self.answers[i] if self.answers is not None else self.model._complete([self._messages(self.inputs[i])], *self.options)[0]

    def _messages(self, value: LanguageModelInput) -> list[BaseMessage]:
        return self.model._convert_input(value).to_messages()


def _usage(read: int, written: int) -> dict[str, int]:
    return {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}


def _forced(choice: str | bool | dict | None, names: list[str]) -> list[str]:
    """The tools one of which must be called; empty when the model is free."""
    if isinstance(choice, dict):
        choice = choice.get("function", {}).get("name")
    if choice in (None, False, "auto", "none"):
        return []
    if choice in (True, "any", "required"):
        return names
    if choice not in names:
        raise ValueError(f"tool_choice={choice!r} is not among the tools: {', '.join(names)}")
    return [choice]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
