"""`LanguageModel` as a LangChain text model: prompt in, continuation out, no chat template (paper 2.4).

    P(text | prompt)      template | LabLLM(...) | StrOutputParser()

RAG and PAL of this course ask with raw text: for a small model a bare "Question: … Answer:" beats the chat template. `LabLLM` is what stands in
the middle of their chains. In production: `langchain_huggingface.HuggingFacePipeline`, or a hosted model's completion endpoint.
"""

from collections.abc import Iterator
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseLLM
from langchain_core.outputs import Generation, GenerationChunk, LLMResult


class LabLLM(BaseLLM):
    """A text model over a loaded `LanguageModel`; greedy. `batch` generates all prompts together."""

    language_model: Any  # LanguageModel; pydantic need not look into it
    max_tokens: int = 64  # new tokens at most
    stop: list[str] | None = None

    @property
    def _llm_type(self) -> str:
        return "llmsuite-lab-text"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"name": self.language_model.name, "adapter": self.language_model.adapter, "max_tokens": self.max_tokens}

    def _generate(
        self, prompts: list[str], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> LLMResult:
        done = self.language_model.complete(prompts, max_new_tokens=self.max_tokens, stop=stop or self.stop or [])
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

    def _stream(
        self, prompt: str, stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> Iterator[GenerationChunk]:
        for piece in self.language_model.stream(prompt, max_new_tokens=self.max_tokens, stop=stop or self.stop or []):
            chunk = GenerationChunk(text=piece)
            if run_manager:
                run_manager.on_llm_new_token(piece, chunk=chunk)
            yield chunk
