"""A language model as one object: lists of prompts in, lists of completions with token counts and wall time out."""

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from llmsuite_lab.core import zoo
from llmsuite_lab.core.runtime import profile

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Completion:
    """One generated text. `finish_reason` is "eos" (the model ended), "stop" (a stop string, removed from `text`) or "length" (token limit)."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    wall_s: float


@dataclass(frozen=True)
class Score:
    """Sum of the token log-probabilities (natural log) of a continuation, and its length in tokens."""

    logprob: float
    tokens: int
    wall_s: float

    @property
    def perplexity(self) -> float:
        """exp(−logprob / tokens)."""
        return math.exp(-self.logprob / self.tokens)


class LanguageModel:
    """A causal language model with its tokenizer. Make one with `LanguageModel.load()`."""

    def __init__(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", name: str, adapter: str | None = None) -> None:
        self.model, self.tokenizer, self.name, self.adapter = model, tokenizer, name, adapter
        tokenizer.padding_side = "left"

    @classmethod
    def load(cls, name: str | None = None, adapter: Any = None, dtype: torch.dtype | None = None, device: Any = None) -> "LanguageModel":
        """Load by zoo name; None means the profile's choice."""
        dial = profile()
        name = name or dial.model
        model = zoo.load_model(name, dtype or dial.dtype, device or dial.device)
        if adapter is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, zoo.adapter_path(adapter)).merge_and_unload().eval()
        return cls(model, zoo.load_tokenizer(name), name, adapter)

    @property
    def context_length(self) -> int:
        """Most tokens that prompt and completion may have together."""
        return self.model.config.max_position_embeddings

    def count_tokens(self, text: str) -> int:
        """How many tokens `text` has."""
        return len(self.tokenizer(text, add_special_tokens=False).input_ids)

    @torch.inference_mode()
    def complete(
        self,
        prompts: list[str],
        max_new_tokens: int = 64,
        stop: Any = (),
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        progress: bool = False,
    ) -> list[Completion]:
        """Continue each prompt."""
        start, results = time.perf_counter(), []
        torch.manual_seed(seed)
        stop = [stop] if isinstance(stop, str) else list(stop)
        for first in range(0, len(prompts), batch_size or profile().batch_size):
            inputs = self.tokenizer(prompts[first : first + (batch_size or profile().batch_size)], return_tensors="pt", padding=True)
            sampling = (
                {"do_sample": True, "temperature": temperature, "top_k": top_k, "top_p": top_p} if temperature else {"do_sample": False}
            )
            extra = {"stop_strings": stop, "tokenizer": self.tokenizer} if stop else {}
            out = self.model.generate(**inputs.to(self.model.device), max_new_tokens=max_new_tokens, **sampling, **extra)
            for ids, mask in zip(out[:, inputs.input_ids.shape[1] :].tolist(), inputs.attention_mask):
                eos = self.tokenizer.eos_token_id
                finish = "eos" if eos in ids else "length"
                ids = ids[: ids.index(eos)] if eos in ids else ids
                text = self.tokenizer.decode(ids, skip_special_tokens=True)
                cut = min((text.find(s) for s in stop if s in text), default=-1)
                if cut >= 0:
                    text, finish = text[:cut], "stop"
                results.append(Completion(text, int(mask.sum()), len(ids), finish, time.perf_counter() - start))
        return results

    def chat(self, conversations: list, **options: Any) -> list[Completion]:
        """Answer each conversation (a string is one user message)."""
        turns = [[{"role": "user", "content": c}] if isinstance(c, str) else c for c in conversations]
        return self.complete([self.tokenizer.apply_chat_template(t, tokenize=False, add_generation_prompt=True) for t in turns], **options)
