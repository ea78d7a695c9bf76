"""`LanguageModel` as a LangChain text model: prompt in, continuation out, no chat template (paper 2.4).

    P(text | prompt)      template | LabLLM(...) | StrOutputParser()

RAG and PAL of this course ask with raw text: for a small model a bare "Question: … Answer:" beats the chat template. `LabLLM` is what stands in
the middle of their chains. In production: `langchain_huggingface.HuggingFacePipeline`, or a hosted model's completion endpoint.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseLLM, LanguageModelInput
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list

from llmsuite_lab.chains.fields import Checked
from llmsuite_lab.chains.identity import identity
from llmsuite_lab.lm.stops import stop_list


class LabLLM(Checked, BaseLLM):
    """A text model over a loaded `LanguageModel`; greedy. `batch` generates all prompts together. A call may set `stop` alone."""

    language_model: Any  # LanguageModel; pydantic need not look into it
    max_tokens: int = 64  # new tokens at most
    stop: str | list[str] | None = None  # one stop string, or several

    @property
    def _llm_type(self) -> str:
        return "llmsuite-lab-text"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {**identity(self.language_model), "max_tokens": self.max_tokens, "ends_at": stop_list(self.stop or [])}

    def _generate(
        self, prompts: list[str], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> LLMResult:
        done = self.language_model.complete(prompts, **self._options(stop, kwargs))
        return LLMResult(
            generations=[
                [
                    Generation(
                        text=c.text,
                        generation_info={
                            "finish_reason": c.finish_reason,
                            "input_tokens": c.prompt_tokens,
                            "output_tokens": c.completion_tokens,
                        },
                    )
                ]
                for c in done
            ]
        )

    def _options(self, stop: list[str] | None, options: dict[str, Any]) -> dict[str, Any]:
        if options:  # LangChain keeps answers of a text model under the prompt and its fields: an option of the call would get another's answer
            raise ValueError(f"this model has no option {next(iter(options))!r} to set in a call, only stop: LabLLM(language_model=…, max_tokens=…) has")
        return {"max_new_tokens": self.max_tokens, "stop": stop_list(stop or self.stop or [])}

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Continue all inputs with one batched generation; with `return_exceptions`, one that cannot be gives its own error and spoils no other."""
        done = super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)
        if len(done) < 2 or not any(isinstance(answer, Exception) for answer in done):
            return done
        one = partial(super().batch, return_exceptions=True, **kwargs)
        return [one([value], [own])[0] for value, own in zip(inputs, get_config_list(config, len(inputs)), strict=True)]

    def _stream(
        self, prompt: str, stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> Iterator[GenerationChunk]:
        for piece in self.language_model.stream(prompt, **self._options(stop, kwargs)):
            chunk = GenerationChunk(text=piece)
            if run_manager:
                run_manager.on_llm_new_token(piece, chunk=chunk)
            yield chunk
