"""`LanguageModel` as a LangChain chat model: the one object of this course behind the one interface of LangChain (paper 2.4).

    messages → prompt → LanguageModel.complete → AIMessage(text, tool calls, token usage)

Without tools the model's chat template is used. With tools bound, the conversation is written in the ReAct form that the tuned model of
notebook 04 knows (`react_format`), so that `create_agent` really drives it. In production: `langchain_huggingface.ChatHuggingFace`.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ChatMessage, ToolMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import get_config_list
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from llmsuite_lab.chains.identity import identity
from llmsuite_lab.chains.react_format import STOPS, message_of, prompt_of, text_of
from llmsuite_lab.lm.language_model import Completion
from llmsuite_lab.lm.stops import stop_list

_together: ContextVar[tuple[Any, Callable[[], Any]] | None] = ContextVar("_together", default=None)  # within `batch`: the model, its answer
_ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "user"}


class LabChatModel(BaseChatModel):
    """A chat model over a loaded `LanguageModel`. Greedy unless `temperature` is above zero; `batch` generates all inputs in one batch."""

    language_model: Any  # LanguageModel; pydantic need not look into it
    max_tokens: int = 128  # new tokens at most, per answer
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0
    stop: str | list[str] | None = None  # one stop string, or several
    examples: str = ""  # worked trajectories in front of every ReAct prompt, for a model that was not tuned on them

    @property
    def _llm_type(self) -> str:
        return "llmsuite-lab"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        sampling = {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p, "seed": self.seed}
        ends = {"max_tokens": self.max_tokens, "ends_at": stop_list(self.stop or [])}  # "stop" itself is the call's, in LangChain's own key
        return {**identity(self.language_model), **sampling, **ends, "examples": self.examples}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return {
            **super()._get_ls_params(stop=stop, **kwargs),
            "ls_provider": "llmsuite-lab",
            "ls_model_name": kwargs.get("model", self.language_model.name),
        }

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable | BaseTool], *, tool_choice: str | bool | dict | None = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools to choose from. `tool_choice` makes it call a tool: the named one, or with "any" the likeliest of them.

        Raises ValueError for a choice that is not among the tools.
        """
        schemas = [convert_to_openai_tool(tool) for tool in tools]
        return self.bind(tools=schemas, forced=_forced(tool_choice, [s["function"]["name"] for s in schemas]), **kwargs)

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
        done, chosen = answer() if batched is self else self._complete([messages], stop, tools, forced)[0]
        message = self._message(messages, done, tools, chosen)
        return ChatResult(generations=[ChatGeneration(message=message, generation_info={"finish_reason": done.finish_reason})])

    def _complete(
        self, conversations: Sequence[Sequence[BaseMessage]], stop: list[str] | None, tools: Sequence[dict[str, Any]], forced: Sequence[str]
    ) -> list[tuple[Completion, str | None]]:
        """One batched generation; each completion with the tool that it was made to call, if it was."""
        chosen = [self._likeliest(messages, tools, forced) for messages in conversations]
        prompts = [self.prompt(messages, tools, name) for messages, name in zip(conversations, chosen, strict=True)]
        return list(zip(self.language_model.complete(prompts, **self._options(stop, tools)), chosen, strict=True))

    def _likeliest(self, messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]], forced: Sequence[str]) -> str | None:
        """The tool to call among those that may be: the one whose call has the highest mean log-probability per token here."""
        if len(forced) < 2:
            return forced[0] if forced else None
        scores = self.language_model.score([self.prompt(messages, tools)] * len(forced), [_beginning(name) for name in forced])
        return max(zip(scores, forced, strict=True), key=lambda pair: pair[0].logprob / pair[0].tokens)[1]

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
        if tools:  # a tool call is only known when its bracket closes: one chunk
            message = self._generate(messages, stop, run_manager, tools=tools, forced=forced).generations[0].message
            calls = [tool_call_chunk(name=c["name"], args=_json(c["args"]), id=c["id"], index=i) for i, c in enumerate(message.tool_calls)]
            yield ChatGenerationChunk(
                message=AIMessageChunk(
                    message.content,
                    tool_call_chunks=calls,
                    usage_metadata=message.usage_metadata,
                    additional_kwargs=message.additional_kwargs,
                    response_metadata=message.response_metadata,
                )
            )
            return
        prompt, written = self.prompt(messages), ""
        for piece in self.language_model.stream(prompt, **self._options(stop, tools)):
            written += piece
            chunk = ChatGenerationChunk(message=AIMessageChunk(piece))
            if run_manager:
                run_manager.on_llm_new_token(piece, chunk=chunk)
            yield chunk
        usage = _usage(self.language_model.count_tokens(prompt), self.language_model.count_tokens(written))
        metadata = {"model_name": self.language_model.name}
        yield ChatGenerationChunk(message=AIMessageChunk("", usage_metadata=usage, response_metadata=metadata, chunk_position="last"))

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

    def prompt(self, messages: Sequence[BaseMessage], tools: Sequence[dict[str, Any]] = (), forced: str | None = None) -> str:
        """The text the model continues for these messages: its chat template, or the ReAct form when there are tools."""
        if not tools:
            return self.language_model.chat_prompt([_turn(message) for message in messages])
        return self.examples + prompt_of(messages) + (_beginning(forced) if forced else "")

    def _options(self, stop: list[str] | None, tools: Sequence[dict[str, Any]]) -> dict[str, Any]:
        stops = [*stop_list(stop or self.stop or []), *(STOPS if tools else ())]
        sampling = {"temperature": self.temperature, "top_p": self.top_p, "seed": self.seed}
        return {"max_new_tokens": self.max_tokens, "stop": stops, **sampling, **({"top_k": self.top_k} if self.top_k is not None else {})}

    def _message(self, messages: list[BaseMessage], done: Completion, tools: Sequence[dict[str, Any]], forced: str | None) -> AIMessage:
        if tools:
            raw = _beginning(forced) + done.text if forced else done.text
            if forced:  # the call ends at its bracket, whatever the model goes on to write, or where its tokens ended
                raw = raw.partition("]")[0].rstrip("\n") + "]"
            message = message_of(raw, done.finish_reason, tools, call_id=f"call_{sum(isinstance(m, ToolMessage) for m in messages)}")
        else:
            message = AIMessage(done.text)
        message.usage_metadata = _usage(done.prompt_tokens, done.completion_tokens)
        message.response_metadata = {"model_name": self.language_model.name, "finish_reason": done.finish_reason}
        return message


class _Batch:
    """The inputs of one `batch`, generated together when the first of them is asked for; alone, should that fail, so that each has its own error."""

    def __init__(self, model: LabChatModel, inputs: Sequence[LanguageModelInput], options: dict[str, Any]) -> None:
        self.model, self.inputs = model, list(inputs)
        self.options = (options.get("stop"), options.get("tools", ()), options.get("forced", ()))
        self.answers: list[tuple[Completion, str | None]] | None = None
        self.asked = False

    def answer(self, i: int) -> tuple[Completion, str | None]:
        """The completion of input `i`."""
        if not self.asked:
            self.asked = True
            with suppress(Exception):  # whose fault it is comes out below, one by one
                self.answers = self.model._complete([self._messages(value) for value in self.inputs], *self.options)
        return self.answers[i] if self.answers is not None else self.model._complete([self._messages(self.inputs[i])], *self.options)[0]

    def _messages(self, value: LanguageModelInput) -> list[BaseMessage]:
        return self.model._convert_input(value).to_messages()


def _beginning(name: str) -> str:
    """What is put into the model's mouth to make it call a tool; its argument is left to the model."""
    return f" I use {name}.\nAction: {name}["


def _usage(read: int, written: int) -> dict[str, int]:
    return {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}


def _turn(message: BaseMessage) -> dict[str, str]:
    role = message.role if isinstance(message, ChatMessage) else _ROLES.get(message.type)
    if role is None:
        raise ValueError(
            f"a message of type {message.type!r} has no role in the model's chat template; it knows system, user and assistant"
        )
    return {"role": role, "content": text_of(message)}


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
